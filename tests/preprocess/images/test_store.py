"""The store of decoded images: lossless, readable by zarr as it is, and never silent about damage.

Also covers: preprocess/images/store_check.py.
"""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

from nlbs.errors import DatasetError
from nlbs.preprocess.images.store import ImageStore, mask_of, run_lengths
from tests.conftest import some

RECIPE = {"dtype": "uint8", "voi": "auto", "decoder": "auto"}


def record_of(pixels: np.ndarray) -> dict[str, Any]:
    bits = np.zeros((4, 3), bool)
    bits[1:3, 1] = True
    return {
        "crop_rows": pixels.shape[0],
        "crop_columns": pixels.shape[1],
        "mask": {"step": 8, "rows": 4, "columns": 3, "runs": run_lengths(bits)},
        "notes": ["one", "two"],
    }


def some_pixels(dtype: str = "uint8") -> np.ndarray:
    generator = np.random.default_rng(1)
    return (generator.random((33, 24)) * np.iinfo(dtype).max).astype(dtype)


@pytest.fixture
def store(tmp_path: Path) -> ImageStore:
    return ImageStore.open(tmp_path / "images.zarr", RECIPE)


# --- Masks as runs ---------------------------------------------------------------------------------


@given(st.integers(1, 12), st.integers(1, 12), st.integers(1, 9), st.data())
def test_a_mask_comes_back_from_its_runs(rows: int, columns: int, step: int, data: st.DataObject) -> None:
    flat = data.draw(st.lists(st.booleans(), min_size=rows * columns, max_size=rows * columns))
    bits = np.array(flat).reshape(rows, columns)
    runs = run_lengths(bits)
    assert sum(runs) == bits.size
    assert all(run > 0 for run in runs[1:])
    assert json.loads(json.dumps(runs)) == runs
    again, found = mask_of({"mask": {"step": step, "rows": rows, "columns": columns, "runs": runs}})
    assert np.array_equal(again, bits)
    assert again.dtype == bool
    assert found == step


def test_runs_begin_with_the_length_of_what_is_outside() -> None:
    assert run_lengths(np.array([[False, True], [True, False]])) == [1, 2, 1]
    assert run_lengths(np.array([[True, False]])) == [0, 1, 1]
    assert run_lengths(np.zeros((2, 3), bool)) == [6]
    assert run_lengths(np.ones((2, 3), bool)) == [0, 6]


# --- Pixels ----------------------------------------------------------------------------------------


@settings(max_examples=15, deadline=None)
@given(
    st.sampled_from(["uint8", "uint16"]), st.integers(1, 70), st.integers(1, 70), st.integers(0, 2**32 - 1)
)
def test_pixels_and_record_come_back_to_the_last_bit(
    tmp_path_factory: pytest.TempPathFactory, dtype: str, rows: int, columns: int, seed: int
) -> None:
    store = ImageStore.open(tmp_path_factory.mktemp("store") / "images.zarr", RECIPE)
    pixels = np.random.default_rng(seed).integers(
        0, np.iinfo(dtype).max, (rows, columns), dtype, endpoint=True
    )
    store.put("a", pixels, record_of(pixels))
    again = store.pixels("a")
    assert again.dtype == pixels.dtype
    assert np.array_equal(again, pixels)
    assert record_of(pixels).items() <= (store.record("a") or {}).items()


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_zarr_reads_the_store_as_it_is(store: ImageStore, dtype: str) -> None:
    pixels = some_pixels(dtype)
    store.put("a", pixels, record_of(pixels))
    group = zarr.open_group(store.path, mode="r")
    array = group["a"]
    assert isinstance(array, zarr.Array)
    assert np.array_equal(np.asarray(array[:]), pixels)
    assert array.attrs["crop_rows"] == 33
    assert array.metadata.zarr_format == 3
    assert group.attrs["voi"] == "auto"


def test_an_image_of_air_alone_is_written_out(store: ImageStore) -> None:
    store.put("a", np.zeros((5, 6), np.uint8), {})
    assert (store.path / "a" / "c" / "0" / "0").is_file()
    assert np.array_equal(store.pixels("a"), np.zeros((5, 6), np.uint8))


def test_the_same_image_gives_the_same_bytes(tmp_path: Path) -> None:
    contents = []
    for name in ("one", "two"):
        store = ImageStore.open(tmp_path / name, RECIPE)
        store.put("a", some_pixels(), record_of(some_pixels()))
        files = sorted(path for path in store.path.rglob("*") if path.is_file())
        contents.append([(str(path.relative_to(store.path)), path.read_bytes()) for path in files])
    assert contents[0] == contents[1]


def test_a_second_version_of_an_image_replaces_the_first(store: ImageStore) -> None:
    store.put("a", some_pixels(), {"version": 1})
    store.put("a", some_pixels("uint16")[:20], {"version": 2})
    assert np.array_equal(store.pixels("a"), some_pixels("uint16")[:20])
    assert (store.record("a") or {})["version"] == 2


# --- Damage ----------------------------------------------------------------------------------------


def test_a_missing_image_has_no_record_and_its_pixels_are_an_error(store: ImageStore) -> None:
    assert store.record("a") is None
    with pytest.raises(DatasetError, match="run build-shards again"):
        store.pixels("a")


def test_a_deleted_chunk_is_an_error_and_never_air(store: ImageStore) -> None:
    store.put("a", some_pixels(), {})
    (store.path / "a" / "c" / "0" / "0").unlink()
    assert not np.asarray(zarr.open_array(store.path / "a", mode="r")[...]).any()  # what zarr makes of it
    with pytest.raises(DatasetError, match="pixels are missing"):
        store.pixels("a")


def test_a_cut_chunk_is_an_error(store: ImageStore) -> None:
    store.put("a", some_pixels(), {})
    chunk = store.path / "a" / "c" / "0" / "0"
    data = chunk.read_bytes()
    for cut in (0, 1, 3, 4, 16, len(data) // 2, len(data) - 4, len(data) - 1):
        chunk.write_bytes(data[:cut])
        with pytest.raises(DatasetError, match="damaged"):
            store.pixels("a")


def test_every_flipped_byte_of_the_pixels_is_an_error(store: ImageStore) -> None:
    store.put("a", some_pixels(), {})
    chunk = store.path / "a" / "c" / "0" / "0"
    data = chunk.read_bytes()
    for place in {*range(40), *range(40, len(data), 13), *range(len(data) - 6, len(data))}:
        damaged = bytearray(data)
        damaged[place] ^= 1 << place % 8
        chunk.write_bytes(damaged)
        with pytest.raises(DatasetError, match="damaged"):
            store.pixels("a")


def test_a_flipped_byte_of_the_description_is_an_error_or_changes_nothing(store: ImageStore) -> None:
    pixels = some_pixels("uint16")
    store.put("a", pixels, record_of(pixels))
    expected = store.record("a")
    text = (store.path / "a" / "zarr.json").read_bytes()
    for place in some(range(0, len(text), 3)):
        damaged = bytearray(text)
        damaged[place] ^= 1 << place % 7
        (store.path / "a" / "zarr.json").write_bytes(damaged)
        try:
            assert store.record("a") == expected
            assert np.array_equal(store.pixels("a"), pixels)
        except DatasetError as error:
            assert "run build-shards again" in str(error)


def test_a_broken_description_of_the_store_is_a_plain_error(store: ImageStore) -> None:
    for text in ("", "{", "[]", "null", '{"attributes": 3}'):
        (store.path / "zarr.json").write_text(text)
        with pytest.raises(DatasetError, match="damaged"):
            ImageStore.open(store.path, RECIPE)


# --- Recipes ---------------------------------------------------------------------------------------


def test_a_store_opens_again_with_the_same_recipe_only(store: ImageStore) -> None:
    store.put("a", some_pixels(), {})
    again = ImageStore.open(store.path, dict(reversed(RECIPE.items())))
    assert np.array_equal(again.pixels("a"), some_pixels())
    with pytest.raises(DatasetError, match="voi was 'auto', now 'window'"):
        ImageStore.open(store.path, {**RECIPE, "voi": "window"})
    with pytest.raises(DatasetError, match="keep_background was None, now True"):
        ImageStore.open(store.path, {**RECIPE, "keep_background": True})


def test_an_interrupted_image_leaves_nothing_of_its_name(
    store: ImageStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("nlbs.local_store.sync_file", fail)
    with pytest.raises(OSError, match="No space left"):
        store.put("a", some_pixels(), {})
    assert store.record("a") is None
    assert [path.name for path in store.path.iterdir()] == ["zarr.json"]


def test_a_store_without_folder_has_no_attributes(tmp_path: Path) -> None:
    store = ImageStore.open(tmp_path / "images.zarr", RECIPE)
    assert store.attributes is not None
    shutil.rmtree(store.path)
    assert store.attributes is None
