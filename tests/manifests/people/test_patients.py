"""One person has one id in a build, whatever spelling each row has, and that of the root where it holds the person."""

import random
import unicodedata
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nlbs.errors import DatasetError
from nlbs.manifests.conditions import Conditions
from nlbs.manifests.people.patients import Held, HeldPatient, united
from nlbs.manifests.people.splits import assign_splits
from nlbs.manifests.tables.rows import ImageRow, merged
from tests.conftest import some


def rows_of(patients: Sequence[str | None]) -> list[ImageRow]:
    return [
        ImageRow(number, f"{number}.dcm", Conditions(), patient)
        for number, patient in enumerate(patients, start=1)
    ]


def ids_of(
    patients: Sequence[str | None], held: Held | None = None, similar: str = "stop"
) -> list[str | None]:
    return [row.patient for row in united(rows_of(patients), held, similar)[0]]


def in_root(**splits: str) -> Held:
    """A root that holds these ids in these splits; "_" is a dot."""
    return Held(
        "sources.csv",
        {
            name.removeprefix("p").replace("_", "."): HeldPatient(line, split)
            for line, (name, split) in enumerate(splits.items(), start=2)
        },
    )


def test_ids_in_one_spelling_stay_as_they_are() -> None:
    rows = rows_of(["1000.0", "1000.0", "007", "\ufeffx", "Zoe\u0308", None])
    assert united(rows) == (tuple(rows), ())


def test_one_person_gets_the_shortest_spelling_and_rows_say_so() -> None:
    rows, notes = united(rows_of(["1000.0", "1000", "\u00a01000", "2", "3", "3.0"]))
    assert [row.patient for row in rows] == ["1000", "1000", "1000", "2", "3", "3"]
    assert notes == (
        "2 patients are written in more than one way, taken as one person each: see rows 1, 3 and 6",
    )
    assert [bool(row.notes) for row in rows] == [True, False, True, False, False, True]
    assert "1000" not in rows[0].notes[0]  # images.csv has it, and names nobody
    assert rows[0].details == ("patient: written '1000.0', taken as '1000'",)


@given(
    people=st.lists(st.integers(1, 10**9), min_size=1, max_size=12, unique=True),
    images=st.integers(1, 40),
    seed=st.integers(0, 1000),
)
def test_nobody_stands_in_two_splits_because_of_spelling(people: list[int], images: int, seed: int) -> None:
    ways = (
        str,
        "{}.0".format,
        " {}".format,
        "'{}".format,
        "\ufeff{}".format,
        '="{}"'.format,
        "{}\u00a0".format,
    )
    chosen = random.Random(seed)
    truth = [chosen.choice(people) for _ in range(images)]
    written: list[str | None] = [chosen.choice(ways)(person) for person in truth]
    ids = ids_of(written)
    splits = assign_splits([name for name in ids if name], (0.8, 0.1, 0.1), 0)
    by_person: dict[int, set[str]] = {}
    for person, name in zip(truth, ids, strict=True):
        by_person.setdefault(person, set()).add(splits[name or ""])
    assert all(len(found) == 1 for found in some(by_person.values()))
    assert len(set(ids)) == len(set(truth))  # and no two people became one
    # Neither the order of rows nor other people matter.
    order = list(range(images))
    chosen.shuffle(order)
    assert ids_of([written[place] for place in order]) == [ids[place] for place in order]


@pytest.mark.parametrize(
    ("one", "other", "words"),
    [
        ("007", "7", "leading zeros"),
        ("p1", "P1", "letter case"),
        ("P_1", "P-1", "dashes"),
        ("1e3", "1000", "number"),
    ],
)
def test_similar_ids_stop_with_their_rows_and_without_the_ids(one: str, other: str, words: str) -> None:
    with pytest.raises(DatasetError) as found:
        united(rows_of([one, "5", other, one]))
    assert "row 1 and row 3" in str(found.value)
    assert words in str(found.value)
    assert "--similar-ids" in str(found.value)
    assert one not in str(found.value).replace("--similar-ids", "")
    assert ids_of([one, other, "5"], similar="different") == [one, other, "5"]
    assert len(set(ids_of([one, other], similar="same"))) == 1


def test_certain_spellings_are_one_person_where_similar_ones_are_different() -> None:
    assert ids_of(["007", "7", "7.0"], similar="different") == ["007", "7", "7"]


def test_many_similar_ids_are_a_short_message() -> None:
    patients = [form for number in range(1, 300) for form in (str(number), f"{number:05d}")]
    with pytest.raises(DatasetError, match="299 patients") as found:
        united(rows_of(patients))
    assert len(str(found.value)) < 1200


def test_the_id_of_the_root_is_kept() -> None:
    held = in_root(p1000_0="val", p2="train")
    assert ids_of(["1000", "2.0", "3"], held) == ["1000.0", "2", "3"]
    assert ids_of(["1000.0", "2"], held) == ["1000.0", "2"]
    rows, notes = united(rows_of(["1000"]), held)
    assert notes
    assert rows[0].notes


def test_ids_that_are_similar_to_those_of_the_root_stop_with_its_lines() -> None:
    held = in_root(p007="val", p8="train")
    with pytest.raises(DatasetError, match=r"row 1 and line 2 of sources\.csv \(leading zeros\)"):
        united(rows_of(["7", "9"]), held)
    assert ids_of(["7"], held, "same") == ["007"]
    assert ids_of(["7"], held, "different") == ["7"]
    assert ids_of(["9"], held) == ["9"]  # what the table does not touch is not asked


def test_a_root_that_has_one_person_in_two_splits_is_refused() -> None:
    held = in_root(p1000="train", p1000_0="test")
    with pytest.raises(DatasetError, match=r"lines of sources\.csv: 2 and 3"):
        united(rows_of(["1000"]), held)
    assert ids_of(["1000", "1000.0"], held, "different") == ["1000", "1000.0"]
    both_in_train = in_root(p1000="train", p1000_0="train")
    assert ids_of(["1000.0", "1000", "1000.00"], both_in_train) == ["1000.0", "1000", "1000"]


def test_ids_that_a_spreadsheet_has_spoilt_stop() -> None:
    with pytest.raises(DatasetError, match=r"in 2 of 3 rows \(rows 1 and 3\)"):
        united(rows_of(["1.0943E+11", "7", "1.0943E+11"]))
    with pytest.raises(DatasetError, match="a spreadsheet has changed"):
        united(rows_of(["123456789012346000", "223456789012346000"]))


def test_rows_of_one_image_may_spell_its_patient_in_two_ways() -> None:
    def row(number: int, patient: str) -> ImageRow:
        return ImageRow(number, "a.dcm", Conditions(), patient)

    found = merged([row(1, "1000.0"), row(2, "1000")])
    assert (found.patient, found.problem) == ("1000", None)
    assert merged([row(1, "Zoe\u0308"), row(2, "Zo\u00eb")]).patient == unicodedata.normalize(
        "NFC", "Zo\u00eb"
    )
    assert merged([row(1, "1000"), row(2, "1001")]).problem is not None
