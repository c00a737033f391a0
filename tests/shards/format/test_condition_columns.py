"""Condition codes by row, against the values of the manifest as Python has them."""

import random
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from nlbs.manifests.schema import NLBS
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
