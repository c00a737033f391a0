"""Conditions by row, against the values of the manifest as Python has them."""

import random
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from nlbs.manifests.schema import AGE_YEARS, NLBS, POSITION, Condition, Schema
from nlbs.shards.format.condition_columns import ConditionColumns
from nlbs.shards.format.manifest import SCHEMA, manifest_table

CODES: dict[str, dict[Any, int]] = {
    "view": {"CC": 0, "MLO": 1},
    "laterality": {"L": 0, "R": 1},
    "age_bin": {0: 0, 1: 1, 2: 2, 3: 3},
    "cancer": {0: 0, 1: 1},
    "false_positive": {0: 0, 1: 1},
}


@pytest.fixture(scope="module")
def table() -> pa.Table:
    """A manifest of 50 rows with unknowns, and views of which no model knows."""
    draw = random.Random(0)
    columns: dict[str, list[Any]] = {name: [0] * 50 for name in SCHEMA.names}
    columns |= {name: ["a"] * 50 for name in ("shard", "image", "patient")} | {"split": ["train"] * 50}
    for name, codes in CODES.items():
        columns[name] = draw.choices([*codes, None, *(["ML"] if name == "view" else [])], k=50)
    return manifest_table(columns, ["a"])


def expected(table: pa.Table, rows: list[int]) -> list[list[int]]:
    values = table.to_pylist()
    return [[codes.get(values[row][name], -1) for row in rows] for name, codes in CODES.items()]


@pytest.mark.parametrize("cut", ["whole", "a slice", "two pieces"])
def test_the_codes_of_rows_are_those_of_their_values(table: pa.Table, cut: str) -> None:
    part = {
        "whole": table,
        "a slice": table.slice(3, 30),
        "two pieces": pa.concat_tables([table.slice(0, 21), table.slice(21)]),
    }[cut]
    rows = np.random.default_rng(1).integers(0, len(part), 40)
    values = ConditionColumns(part, NLBS, 256).values(rows)
    assert {codes.dtype.name for codes in values.values()} == {"int64"}
    assert [codes.tolist() for codes in values.values()] == expected(part, rows.tolist())
    assert [codes.shape for codes in ConditionColumns(part, NLBS, 256).values(rows[:0]).values()] == [
        (0,)
    ] * 5


def test_a_column_without_unknowns_has_no_bits_of_them(table: pa.Table) -> None:
    whole = table.set_column(table.column_names.index("cancer"), "cancer", pa.array([1] * 50, pa.int8()))
    assert ConditionColumns(whole, NLBS, 256).values(np.arange(50))["cancer"].tolist() == [1] * 50


KEPT = Schema(
    (
        Condition("density", "ordinal", ("A", "B", "C", "D")),
        Condition("findings", "multilabel", ("Mass", "Nodule")),
        Condition("thickness", "continuous", ("thickness",), low=20, high=70),
        Condition("implant", "binary", ("no", "yes")),
        Condition("device", "categorical", ("Hologic", "GE")),
        AGE_YEARS,
    )
)


def with_kept(table: pa.Table, words: dict[str, list[str | None]]) -> pa.Table:
    for name, values in words.items():
        table = table.append_column(name, pa.array(values).dictionary_encode())
    return table


@pytest.mark.parametrize("pieces", [1, 2])
def test_kept_columns_are_read_by_their_words_whatever_their_order_is(table: pa.Table, pieces: int) -> None:
    words: dict[str, list[str | None]] = {
        "density": ["D", None, "A", "E"],
        "findings": ["Nodule|Mass", None, "No Finding", "Cyst|Nodule"],
        "thickness": ["55.5", None, "20", "thick"],
        "implant": ["1", None, "no", "yes"],
    }
    ages = pa.array([61, None, 90, 0], pa.int16())
    four = table.slice(0, 4).set_column(table.column_names.index("age_years"), "age_years", ages)
    four = with_kept(four, words)
    if pieces == 2:
        four = pa.concat_tables([four.slice(0, 1), four.slice(1)])
    found = ConditionColumns(four, KEPT, 256).values(np.array([3, 2, 1, 0, 3]))
    assert found["density"].tolist() == [-1, 0, -1, 3, -1]
    assert found["findings"].tolist() == [[0, 1], [0, 0], [-1, -1], [1, 1], [0, 1]]
    np.testing.assert_array_equal(found["thickness"][:, 0], [np.nan, 20, np.nan, 55.5, np.nan])
    assert found["implant"].tolist() == [1, 0, -1, 1, 1]
    assert found["device"].tolist() == [-1] * 5  # the manifest has no such column
    np.testing.assert_array_equal(found["age_years"][:, 0], [0, 90, np.nan, 61, 0])
    assert {name: values.dtype.name for name, values in found.items()} == {
        "density": "int64", "findings": "int8", "thickness": "float32", "implant": "int64", "device": "int64",
        "age_years": "float32",
    }  # fmt: skip


def test_a_position_lies_in_the_box_around_all_patches_of_its_image() -> None:
    columns: dict[str, list[Any]] = {name: [0] * 4 for name in SCHEMA.names}
    columns |= {name: ["a"] * 4 for name in ("shard", "patient")} | {"split": ["train"] * 4}
    columns |= {name: [None] * 4 for name in ("view", "laterality")}
    columns["image"] = ["one", "two", "one", "one"]
    # Patches of 100 pixels of the source: the box of the first image goes from 50 to 350 across, from 0 to 200 down.
    columns |= {"x": [50, 7, 250, 150], "y": [0, 7, 100, 50], "scale": [2.0] * 4}
    found = ConditionColumns(manifest_table(columns, ["a"]), Schema((POSITION,)), 50).values(np.arange(4))
    expected = [[50 / 300, 50 / 200], [0.5, 0.5], [250 / 300, 150 / 200], [0.5, 0.5]]
    np.testing.assert_allclose(found["position"], expected, rtol=1e-6)
