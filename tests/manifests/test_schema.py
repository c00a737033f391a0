"""Conditions as a schema: what each kind holds, reads, writes and refuses."""

import json
import math
from typing import Any

import numpy as np
import pytest

from nlbs.errors import ConfigError
from nlbs.manifests.schema import AGE_YEARS, NLBS, POSITION, Condition, Schema

DENSITY = Condition("density", "ordinal", ("A", "B", "C", "D"))
FINDINGS = Condition("findings", "multilabel", ("Calcification", "Mass"), healthy=0)
OTHER = Schema((NLBS["view"], DENSITY, FINDINGS, POSITION, AGE_YEARS))


def test_the_conditions_of_nlbs_are_those_of_the_guide() -> None:
    assert [(c.name, c.kind, len(c.values)) for c in NLBS] == [
        ("view", "categorical", 2),
        ("laterality", "categorical", 2),
        ("age_bin", "ordinal", 4),
        ("cancer", "binary", 2),
        ("false_positive", "binary", 2),
    ]


@pytest.mark.parametrize(
    ("name", "text", "value", "word"),
    [
        ("view", "Craniocaudal", 0, "CC"),
        ("view", "1", 1, "MLO"),
        ("density", "c", 2, "C"),
        ("density", "3", 3, "D"),
        ("density", "?", -1, ""),
        ("findings", "mass|Calcification", (1.0, 1.0), "Calcification|Mass"),
        ("findings", "No finding", (0.0, 0.0), "no finding"),
        ("findings", "unknown", (-1.0, -1.0), ""),
        ("position", "0.25,1", (0.25, 1.0), "0.25,1"),
        ("age_years", "066Y", (66.0,), "66"),
    ],
)
def test_a_text_becomes_a_value_and_a_word(name: str, text: str, value: Any, word: str) -> None:
    condition = OTHER[name]
    if name == "view" and text == "1":
        condition = Condition("view", "categorical", ("CC", "MLO", "ML"))  # another one than that of NLBS
    found = condition.parse(text)
    assert found == value
    assert condition.word(found) == word


def test_unknown_numbers_are_nan_and_have_no_word() -> None:
    found = POSITION.parse("")
    assert isinstance(found, tuple)
    assert [math.isnan(number) for number in found] == [True, True]
    assert POSITION.word(found) == ""


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("view", "ML", "expected one of CC, MLO"),
        ("density", "E", "density 'E' cannot be read; expected one of A, B, C, D, or a code 0 to 3"),
        ("density", "4", "expected one of A, B, C, D"),
        ("findings", "Mass|Nodule", "expected some of Calcification, Mass"),
        ("position", "0.5", "expected 2 numbers (across, down) from 0 to 1"),
        ("position", "0.5,1.5", "from 0 to 1"),
        ("age_years", "old", "expected a number from 0 to 90"),
    ],
)
def test_what_is_no_value_is_refused_with_what_is(name: str, text: str, expected: str) -> None:
    with pytest.raises(ConfigError) as caught:
        OTHER[name].parse(text)
    assert expected in str(caught.value)


def test_arrays_have_the_shapes_and_types_of_the_kinds_and_hold_what_was_given() -> None:
    patches = [
        {"view": 1, "density": 3, "findings": (1.0, 0.0), "position": (0.25, 0.75), "age_years": (61.0,)},
        {"density": 0},
    ]
    columns = OTHER.arrays(patches)
    assert {name: (values.dtype.name, values.shape) for name, values in columns.items()} == {
        "view": ("int64", (2,)),
        "density": ("int64", (2,)),
        "findings": ("int8", (2, 2)),
        "position": ("float32", (2, 2)),
        "age_years": ("float32", (2, 1)),
    }
    assert OTHER.values_of(columns, 0) == patches[0]
    blank = OTHER.unknown(1)
    for name in ("view", "findings", "position", "age_years"):
        np.testing.assert_array_equal(columns[name][1:], blank[name])


def test_a_schema_comes_back_from_json_as_it_was() -> None:
    for schema in (NLBS, OTHER):
        assert Schema.from_json(json.loads(json.dumps(schema.as_json()))) == schema


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"view": 1}, "expected a list"),
        ([], "expected 1 to 64"),
        ([1], "is no condition"),
        ([{"name": "a", "kind": "ordinal"}], "is no condition"),
        ([{"name": "a", "kind": "ordinary", "values": ["x"]}], "did you mean 'ordinal'"),
        ([{"name": "a", "kind": "ordinal", "values": ["x", "x"]}], "each once"),
        ([{"name": "a", "kind": "ordinal", "values": []}], "has 0 values"),
        ([{"name": "a", "kind": "ordinal", "values": [1]}], "expected words"),
        ([{"name": "a", "kind": "ordinal", "values": ["x"], "mirrored": [1]}], "expected places"),
        ([{"name": "a", "kind": "binary", "values": ["x", "y"]}], "expected no, yes"),
        ([{"name": "a", "kind": "continuous", "values": ["x"], "low": 1, "high": 1}], "expected a range"),
        ([{"name": "a", "kind": "ordinal", "values": ["x"], "healthy": 1}], "expected 0 to 0"),
        ([{"name": "", "kind": "ordinal", "values": ["x"]}], "cannot be called"),
        ([{"name": "a", "kind": "ordinal", "values": ["x"], "more": 1}], "is no condition"),
        ([{"name": n, "kind": "ordinal", "values": ["x"]} for n in ("a b", "a_b")], "each once"),
    ],
)
def test_a_schema_that_cannot_be_is_refused(values: object, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Schema.from_json(values)


def test_a_condition_is_found_as_a_person_writes_it() -> None:
    assert NLBS.find("False-Positive") is NLBS["false_positive"]
    with pytest.raises(ConfigError, match="there is no condition 'cancr'; did you mean 'cancer'"):
        NLBS.find("cancr")


def test_the_values_that_are_met_are_codes() -> None:
    assert DENSITY.codes_met(np.array([2, -1, 2])) == {2, -1}
    assert FINDINGS.codes_met(np.array([[0, 1], [0, 0]], np.int8)) == {1}
    assert FINDINGS.codes_met(np.array([[0, 1], [-1, -1]], np.int8)) == {1, -1}
    assert AGE_YEARS.codes_met(np.array([[61], [np.nan]], np.float32)) == {0, -1}
    assert AGE_YEARS.codes_met(np.array([[np.nan]], np.float32)) == {-1}
