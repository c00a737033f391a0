"""Conditions as a person asks for them."""

import math

import numpy as np
import pytest

from nlbs.errors import ConfigError
from nlbs.manifests.asked import (
    every_condition,
    expected,
    names_of,
    pairs_of,
    parse_value,
    parse_values,
    short_forms,
    text_of,
)
from nlbs.manifests.schema import AGE_YEARS, NLBS, POSITION, Condition, Schema

DENSITY = Condition("ACR density", "ordinal", ("1", "2", "3", "4"))
FINDINGS = Condition("findings", "multilabel", ("Mass", "Nodule"), healthy=0)
OTHERS = Schema((NLBS["view"], NLBS["age_bin"], AGE_YEARS, DENSITY, FINDINGS, POSITION))


def test_the_short_forms_are_those_of_the_guide() -> None:
    assert [(name, words) for name, words, _ in short_forms()] == [
        *(("view", "CC|MLO"), ("laterality", "L|R"), ("age", "years")),
        *(("cancer", "yes|no"), ("false_positive", "yes|no")),
    ]


@pytest.mark.parametrize(
    ("name", "text", "values"),
    [
        ("view", "mlo", {"view": 1}),
        ("ACR-Density", "4", {"ACR density": 3}),
        ("findings", "nodule|MASS", {"findings": (1.0, 1.0)}),
        ("findings", "mass", {"findings": (1.0, 0.0)}),
        ("findings", "no finding", {"findings": (0.0, 0.0)}),
        ("findings", "", {"findings": (-1.0, -1.0)}),
        ("position", "0.25, 1", {"position": (0.25, 1.0)}),
        ("age_years", "066Y", {"age_years": (66.0,)}),
        ("age", "66", {"age_bin": 3, "age_years": (66.0,)}),
        ("AGE", "95", {"age_bin": 3, "age_years": (90.0,)}),  # above 89 is one value
    ],
)
def test_a_value_is_read_by_the_kind_of_its_condition(
    name: str, text: str, values: dict[str, object]
) -> None:
    assert parse_value(name, text, OTHERS) == values


def test_an_age_stands_for_what_the_model_has_of_it() -> None:
    assert parse_value("age", "50", NLBS) == {"age_bin": 1}
    assert parse_value("age", "50", Schema((AGE_YEARS,))) == {"age_years": (50.0,)}
    unknown = parse_value("age", "unknown", OTHERS)
    assert unknown["age_bin"] == -1
    assert math.isnan(unknown["age_years"][0])  # type: ignore[index]
    assert "age" not in names_of(Schema((NLBS["view"],)))
    own = Schema((Condition("age", "categorical", ("young", "old")), NLBS["age_bin"]))
    assert parse_value("age", "old", own) == {"age": 1}
    assert names_of(own) == ("age", "age_bin")


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        (
            "density",
            "4",
            r"'density' \(did you mean 'ACR density'\?\); expected one of view, age_bin, age_years, ACR",
        ),
        ("view", "LCC", "view 'LCC' cannot be read; expected one of CC, MLO$"),
        ("view", "banana", "expected one of CC, MLO$"),
        ("age", "0", "years from 1 to 120"),
        ("age", "old", "years from 1 to 120"),
        ("ACR density", "9", "expected one of 1, 2, 3, 4, or a code 0 to 3"),
        ("findings", "Mass|Lump", "expected some of Mass, Nodule, joined by |, or no finding"),
        ("position", "0.5", r"expected 2 numbers \(across, down\) from 0 to 1"),
        ("position", "0.5,2", "from 0 to 1"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_what_can_be(name: str, text: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says.replace("|", r"\|")):
        parse_value(name, text, OTHERS)


def test_what_is_expected_is_told_for_each_name() -> None:
    told = {name: expected(name, OTHERS) for name in names_of(OTHERS)}
    assert told["age"] == "years from 1 to 120"
    assert told["age_bin"] == "one of <=45, 46-55, 56-65, >65, or a code 0 to 3"
    assert len(told) == 7


def test_a_condition_is_said_once() -> None:
    pairs = pairs_of("view=CC, age_bin=<=45,position=0.5,0.25,")
    assert pairs == [("view", "CC"), ("age_bin", "<=45"), ("position", "0.5,0.25")]
    assert parse_values(pairs, OTHERS) == {"view": 0, "age_bin": 0, "position": (0.5, 0.25)}
    for twice in ("view=CC,View=MLO", "age=66,age_years=66", "age_bin=0,age=unknown"):
        with pytest.raises(ConfigError, match="is said twice"):
            parse_values(pairs_of(twice), OTHERS)
    with pytest.raises(ConfigError, match="'CC' names no condition"):
        pairs_of("CC,age=66")


def test_what_is_not_said_is_unknown() -> None:
    assert OTHERS.words(every_condition({"view": 0}, OTHERS)) == {
        **dict.fromkeys(OTHERS.names, ""),
        "view": "CC",
    }


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, ""),
        (True, "yes"),
        (np.bool_(False), "no"),
        (66, "66"),
        (np.float32(0.5), "0.5"),
        ("CC", "CC"),
        (["Mass", "Nodule"], "Mass|Nodule"),
        ((0.25, 1), "0.25,1"),
        (np.array([0.25, 1.0]), "0.25,1"),
    ],
)
def test_a_value_of_python_is_said_as_on_the_command_line(value: object, text: str) -> None:
    assert text_of(value) == text
