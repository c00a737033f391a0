"""The manifest as pyarrow and pandas read it, and as a damaged or foreign file is refused.

Also covers: shards/format/arrow_file.py.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nlbs.errors import ShardError
from nlbs.shards.format.manifest import (
    condition_codes,
    indices,
    manifest_table,
    read_manifest,
    write_manifest,
)

SHARDS = ["00000.tar", "00001.tar", "00002.tar"]


def some_columns() -> dict[str, list[Any]]:
    return {
        "shard": ["00000.tar", "00000.tar", "00002.tar", "00002.tar"],
        "offset": [640, 5_000_000_000, 640, 1152],
        "nbytes": [256] * 4,
        "crc32c": [0, 0xFFFFFFFF, 1, 2],
        "image": ["a" * 16, "a" * 16, "b" * 16, "c" * 16],
        "y": [0, 512, 12, 0],
        "x": [0, 0, 99, -7],
        "scale": [1.0, 1.0, 2.5, 0.75],
        "foreground": [1.0, 0.1, 0.5, 0.75],
        "view": ["MLO", "CC", "XCCL", None],
        "laterality": ["R", "L", None, "R"],
        "age_years": [90, 0, None, 45],
        "age_bin": [3, 0, None, 0],
        "cancer": [1, 0, None, 0],
        "false_positive": [0, None, 1, 0],
        "patient": ["p1", "p1", "p2", "p3"],
        "split": ["train", "train", "val", "test"],
    }


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "manifest.arrow"
    write_manifest(path, manifest_table(some_columns(), SHARDS), "an id")
    return path


def test_pyarrow_reads_every_value_and_null_as_it_was_given(path: Path) -> None:
    with pa.memory_map(str(path)) as source:
        table = pa.ipc.open_file(source).read_all()
    assert table.to_pydict() == some_columns() | {
        "foreground": pytest.approx(some_columns()["foreground"], rel=1e-6)
    }


def test_pandas_reads_null_as_missing_and_never_as_zero(path: Path) -> None:
    frame = pd.read_feather(path)  # Feather version 2 is the Arrow IPC file
    assert list(frame.columns) == list(some_columns())
    for name, values in some_columns().items():
        assert frame[name].isna().tolist() == [value is None for value in values]
    assert frame["cancer"].dropna().tolist() == [1, 0, 0]
    assert frame["view"].cat.categories.tolist() == ["CC", "MLO", "XCCL"]


def test_the_columns_have_the_types_of_the_format(path: Path) -> None:
    schema = pa.ipc.open_file(pa.memory_map(str(path))).schema
    assert [f"{field.name}: {field.type}" for field in schema] == [
        "shard: dictionary<values=string, indices=int32, ordered=0>",
        "offset: int64",
        "nbytes: int32",
        "crc32c: uint32",
        "image: dictionary<values=string, indices=int32, ordered=0>",
        "y: int32",
        "x: int32",
        "scale: float",
        "foreground: float",
        "view: dictionary<values=string, indices=int8, ordered=0>",
        "laterality: dictionary<values=string, indices=int8, ordered=0>",
        "age_years: int16",
        "age_bin: int8",
        "cancer: int8",
        "false_positive: int8",
        "patient: dictionary<values=string, indices=int32, ordered=0>",
        "split: dictionary<values=string, indices=int8, ordered=0>",
    ]
    assert schema.metadata == {b"dataset_id": b"an id"}


def test_what_is_written_is_what_our_reader_gives(path: Path) -> None:
    table = read_manifest(path, "an id", 4)
    assert table.to_pydict() == manifest_table(some_columns(), SHARDS).to_pydict()


def test_a_shard_without_patches_keeps_its_number() -> None:
    table = manifest_table(some_columns(), SHARDS)
    assert indices(table["shard"]).to_pylist() == [0, 0, 2, 2]


def test_the_index_of_view_side_and_split_is_their_code_in_every_set() -> None:
    columns = some_columns() | {"view": ["LM", "MLO", "AT", "AT"], "split": ["test"] * 4}
    table = manifest_table(columns, SHARDS)
    assert indices(table["view"]).to_pylist() == [3, 1, 2, 2]  # CC, MLO, then the others by name
    assert indices(table["split"]).to_pylist() == [2] * 4
    assert indices(manifest_table(some_columns(), SHARDS)["laterality"]).to_pylist() == [1, 0, None, 1]


def test_a_model_sees_unknown_and_other_views_as_minus_one() -> None:
    codes = condition_codes(manifest_table(some_columns(), SHARDS))
    assert {name: values.tolist() for name, values in codes.items()} == {
        "view": [1, 0, -1, -1],  # MLO, CC, XCCL, unknown
        "laterality": [1, 0, -1, 1],
        "age_bin": [3, 0, -1, 0],
        "cancer": [1, 0, -1, 0],
        "false_positive": [0, -1, 1, 0],
    }


@given(st.lists(st.sampled_from([None, "CC", "MLO", "ML", "LM", "AT"]), max_size=20))
def test_codes_follow_the_view_whatever_views_a_set_has(views: list[str | None]) -> None:
    columns = {name: [values[0]] * len(views) for name, values in some_columns().items()} | {"view": views}
    codes = condition_codes(manifest_table(columns, SHARDS))["view"]
    assert codes.dtype == np.int8
    assert codes.tolist() == [{"CC": 0, "MLO": 1}.get(view or "", -1) for view in views]


def test_the_same_rows_give_the_same_bytes(tmp_path: Path, path: Path) -> None:
    write_manifest(tmp_path / "again", manifest_table(some_columns(), SHARDS), "an id")
    assert (tmp_path / "again").read_bytes() == path.read_bytes()


@pytest.mark.parametrize(("dataset_id", "rows"), [("another id", 4), ("an id", 5)])
def test_the_manifest_of_another_set_is_refused(path: Path, dataset_id: str, rows: int) -> None:
    with pytest.raises(
        ShardError, match=rf"{path} belongs to another shard set .*expected '{dataset_id}', {rows} rows"
    ):
        read_manifest(path, dataset_id, rows)


def test_a_manifest_with_other_columns_is_refused(tmp_path: Path) -> None:
    table = pa.table({"view": ["CC"]}, metadata={"dataset_id": "an id"})
    with pa.OSFile(str(tmp_path / "m"), "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
        writer.write_table(table)
    with pytest.raises(ShardError, match="does not have the columns of a manifest"):
        read_manifest(tmp_path / "m", "an id", 1)


@pytest.mark.parametrize("size", [0, 7, 100, 1000, -1])
def test_a_cut_off_manifest_is_refused_in_one_line(path: Path, size: int) -> None:
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(ShardError, match="cannot read the manifest") as caught:
        read_manifest(path, "an id", 4)
    assert "\n" not in str(caught.value)
    assert f"copy {path.parent} again" in str(caught.value)


def test_a_missing_manifest_is_named(tmp_path: Path) -> None:
    with pytest.raises(ShardError, match=str(tmp_path / "manifest.arrow")):
        read_manifest(tmp_path / "manifest.arrow", "an id", 4)
