"""Densities, assessments and findings in every spelling of the datasets."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nlbs.manifests.tables.extras import (
    RESERVED,
    parse_birads,
    parse_density,
    parse_findings,
    parse_projection,
    parse_split,
    parse_text,
    united,
)
from nlbs.preprocess.root.tables import _IMAGE_COLUMNS
from nlbs.shards.format.manifest import SCHEMA


@pytest.mark.parametrize(
    ("text", "density"),
    [
        ("1", "A"), ("4", "D"), ("2.0", "B"), ("A", "A"), ("d", "D"), ("DENSITY C", "C"), ("Density a", "A"),
        ("ACR 2", "B"), (" 3 ", "C"), ("0", None), ("5", None), ("5.0", None), ("", None), ("     ", None),
    ],
)  # fmt: skip
def test_a_density_is_a_letter_in_every_spelling(text: str, density: str | None) -> None:
    assert parse_density(text) == density


@pytest.mark.parametrize(
    ("text", "birads"),
    [
        ("BI-RADS 4", "4"), ("BI-RADS 5", "5"), ("4a", "4A"), ("4C", "4C"), ("4.0", "4"), ("0", "0"), ("6", "6"),
        ("A", "0"), ("N", "1"), ("B", "2"), ("P", "3"), ("S", "4"), ("M", "5"), ("K", "6"), ("X", None), ("", None),
        ("BIRADS 2", "2"), ("nan", None),
    ],
)  # fmt: skip
def test_an_assessment_is_a_number_in_every_spelling(text: str, birads: str | None) -> None:
    assert parse_birads(text) == birads


@pytest.mark.parametrize(("parse", "text"), [
    (parse_density, "6"), (parse_density, "E"), (parse_density, "1.5"), (parse_birads, "7"), (parse_birads, "3a"),
    (parse_birads, "Q"), (parse_findings, "['a"), (parse_split, "fold 1"),
])  # fmt: skip
def test_what_is_none_of_these_is_refused(parse, text: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match=r"is not a|is no list"):
        parse(text)


@pytest.mark.parametrize(
    ("text", "findings"),
    [
        ("Mass", "Mass"),
        ("Effusion|Cardiomegaly", "Cardiomegaly|Effusion"),
        ("['No Finding']", "No Finding"),
        ("['Skin Thickening', 'Mass', 'Mass']", "Mass|Skin Thickening"),
        ("[]", None),
        ("", None),
    ],
)
def test_findings_are_sorted_and_joined(text: str, findings: str | None) -> None:
    assert parse_findings(text) == findings


@pytest.mark.parametrize("parse", [parse_density, parse_birads, parse_findings, parse_split, parse_text])
@given(text=st.text(max_size=200))
def test_no_text_does_worse_than_a_value_error_or_gives_more_than_a_short_line(parse, text: str) -> None:  # type: ignore[no-untyped-def]
    with contextlib.suppress(ValueError):
        value = parse(text)
        labels = [] if value is None else value.split("|") if parse is parse_findings else [value]
        assert max(map(len, labels), default=1) <= 64
        assert min(map(len, labels), default=1) > 0
        assert "".join(labels).isprintable()


def test_many_labels_are_kept_whole() -> None:
    labels = [f"label number {number}" for number in range(10, 20)]
    assert parse_findings("|".join(reversed(labels))) == "|".join(labels)


@pytest.mark.parametrize(("text", "projection"), [("PA", "PA"), (" ap ", "AP"), ("", None), ("rl", "RL")])
def test_a_projection_is_one_of_dicoms(text: str, projection: str | None) -> None:
    assert parse_projection(text) == projection
    with pytest.raises(ValueError, match="'CC' is not a projection"):
        parse_projection("CC")


def test_of_several_lesions_the_gravest_counts_and_a_density_must_be_one() -> None:
    assert united("birads", ["2", None, "4B", "4", "0"]) == "4B"
    assert united("birads", ["3", "0"]) == "0"
    assert united("density", ["B", "B", None]) == "B"
    assert united("density", ["B", "C"]) is None
    assert united("findings", ["Mass|Nodule", "Asymmetry", "Mass"]) == "Asymmetry|Mass|Nodule"
    assert united("findings", [None]) is None


def test_no_name_of_ours_is_free_for_a_kept_column() -> None:
    assert set(SCHEMA.names) | set(_IMAGE_COLUMNS) <= RESERVED
