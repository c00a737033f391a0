"""Types and sizes in what somebody else sends are bounded before anything is allocated: no signal, no traceback.

Also covers: shards/format/description_check.py, shards/format/manifest_rows.py.
"""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pyarrow as pa
import pytest

from nlbs.errors import DatasetError, ShardError
from nlbs.preprocess.images.store import ImageStore
from nlbs.preprocess.images.store_check import check_chunk
from nlbs.shards import open_shards
from nlbs.shards.format.layout import read_shard_set_json
from nlbs.shards.format.payload import pixel_dtype, read_png
from nlbs.shards.reading import shard_set
from tests.conftest import some
from tests.reliability.received import (
    SET,
    change_description,
    change_manifest,
    change_record,
    commands,
    is_refused,
    with_codes,
    with_column,
    with_value,
    with_words,
)

ABSURD: tuple[Any, ...] = (-1, 10**62, 1e300, 1.5, True, "4", None, [], {}, [1])


@pytest.fixture
def root(tiny_root: Path, tmp_path: Path) -> Path:
    shutil.copytree(tiny_root, tmp_path / "shards")
    return tmp_path / "shards"


# --- shard_set.json ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [value for value in ABSURD if value is not None])
@pytest.mark.parametrize(
    "place",
    [
        ("parameters", "resolution"),
        ("parameters", "stride"),
        ("parameters", "dtype"),
        ("parameters", "spacing_mm"),
        ("parameters", "container"),
        ("parameters", "compression"),
        ("parameters",),
        ("manifest", "rows"),
        ("manifest",),
        ("counts", "patches"),
        ("counts", "images"),
        ("counts", "view"),
        ("code_books", "view"),
        ("code_books", "extra"),
        ("shards",),
        ("shards", 0),
        ("shards", 0, "bytes"),
        ("shards", 0, "crc32c"),
        ("shards", 0, "patches"),
        ("generation",),
        ("images_generation",),
        ("history",),
        ("dataset_id",),
        ("synthetic",),
    ],
    ids=lambda place: ".".join(map(str, place)) if isinstance(place, tuple) else None,
)
def test_a_description_with_an_impossible_value_is_refused_in_bounded_words(
    root: Path, place: tuple[Any, ...], value: Any
) -> None:
    empty = [([], ("history",)), ({}, ("counts", "view")), ([], ("code_books", "extra")), ([], ("shards",))]
    if (value, place) in empty or (value == 1.5 and place[-1] == "spacing_mm"):
        return  # which is possible
    if value == "4" and place[-1] in ("container", "compression"):
        return  # which another release may have: tests/shards/test_layout.py

    def change(info: dict[str, Any]) -> None:
        at: Any = info
        for step in place[:-1]:
            at = at[step]
        at[place[-1]] = value

    change_description(root / SET, change)
    with pytest.raises(ShardError) as caught:
        open_shards(root / SET)
    assert len(str(caught.value)) < 1500


@pytest.mark.parametrize(
    "name", ["O", "object", "float32", "V8", "uint32", ">u2", "U1", "int8", "datetime64[ns]", "", 5, None]
)
def test_only_two_types_of_pixels_are_known(name: object) -> None:
    with pytest.raises(ShardError, match="expected uint8 or uint16"):
        pixel_dtype(name)
    assert pixel_dtype("uint16") == np.uint16


# --- manifest.arrow ----------------------------------------------------------------------------------------


def chunked(table: pa.Table) -> pa.Table:
    return table.append_column("more", pa.array([["x"]] * len(table)))


def extended(table: pa.Table) -> pa.Table:
    return table.append_column("id", pa.array([b"0" * 16] * len(table), pa.binary(16)).cast(pa.uuid()))


def invalid_utf8(table: pa.Table) -> pa.Table:
    chunk = table["view"].chunk(0)
    words = pa.Array.from_buffers(
        pa.string(), 2, [None, pa.py_buffer(np.array([0, 2, 5], np.int32)), pa.py_buffer(b"\xff\xfeMLO")]
    )
    return with_column("view", pa.DictionaryArray.from_arrays(chunk.indices, words, safe=False))(table)


def offsets_out_of_range(table: pa.Table) -> pa.Table:
    chunk = table["image"].chunk(0)
    count = len(chunk.dictionary)
    offsets = np.array([0, *[2_000_000_000] * (count - 1), 1], np.int32)
    words = pa.Array.from_buffers(pa.string(), count, [None, pa.py_buffer(offsets), pa.py_buffer(b"x")])
    return with_column("image", pa.DictionaryArray.from_arrays(chunk.indices, words, safe=False))(table)


MANIFESTS: dict[str, Callable[[pa.Table], pa.Table]] = {
    **{
        f"codes of {name} out of range": with_codes(name, lambda codes: [codes[0], *[100] * (len(codes) - 1)])
        for name in ("shard", "image", "view", "laterality", "patient", "split")
    },
    **{
        f"codes of {name} below 0": with_codes(name, lambda codes: [-5] * len(codes))
        for name in ("shard", "image", "view", "laterality", "patient", "split")
    },
    **{
        f"unknown {name}": with_codes(name, lambda codes: [None, *codes[1:]])
        for name in ("shard", "image", "patient", "split")
    },
    "the largest code": with_codes("image", lambda codes: [2**31 - 1] * len(codes)),
    "offset behind the end": with_value("offset", 2**62),
    "offset below 0": with_value("offset", -1),
    "no offset": with_value("offset", None),
    "bytes of two gigabytes": with_value("nbytes", 2**31 - 1),
    "bytes below 0": with_value("nbytes", -1),
    "y of a thousand million": with_value("y", 10**9),
    "foreground that is no number": with_value("foreground", float("nan")),
    "scale of infinity": with_value("scale", float("inf")),
    "scale of 0": with_value("scale", 0.0),
    "age of minus one": with_value("age_years", -1),
    "age bin 100": with_value("age_bin", 100),
    "cancer 2": with_value("cancer", 2),
    "other views": with_words("view", lambda words: ["MLO", "CC", *words[2:]]),
    "an unknown view": with_words("view", lambda words: [*words[:2], "\x1b[31m"]),
    "other splits": with_words("split", lambda words: ["test", "val", "train"]),
    "other shards": with_words("shard", lambda words: ["../x", *words[1:]]),
    "a nested column": chunked,
    "an extension type": extended,
    "text that is no UTF-8": invalid_utf8,
    "texts that lie outside the file": offsets_out_of_range,
    "a column twice": lambda table: table.append_column("view", table["view"]),
    "a column of text where numbers belong": lambda table: with_column(
        "offset", table["offset"].cast(pa.string())
    )(table),
    "rows in another order": lambda table: table.take(pa.array(range(len(table) - 1, -1, -1))),
}


def test_a_manifest_with_impossible_rows_is_refused_by_every_command(root: Path) -> None:
    lines: list[tuple[object, ...]] = []
    for number, (what, change) in enumerate(MANIFESTS.items()):
        folder = root / f"r64-s{1000 + number}"
        shutil.copytree(root / SET, folder)
        change_manifest(folder, change)
        with pytest.raises(ShardError) as caught:
            open_shards(folder)
        assert len(str(caught.value)) < 1500, what
        lines += [("info", "--shards", folder), ("verify", "--shards", folder)]
    for what, done in some(zip((what for what in MANIFESTS for _ in range(2)), commands(lines), strict=True)):
        assert is_refused(done), (what, done)


@pytest.mark.parametrize("what", MANIFESTS)
def test_a_manifest_too_large_to_be_checked_at_once_kills_no_process(
    root: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """What is used of it before all of it is checked is within bounds all the same."""
    change_manifest(root / SET, MANIFESTS[what])
    monkeypatch.setattr(shard_set, "_CHECKED_AT_ONCE", -1)
    try:
        shards = open_shards(root / SET, verify="off")
    except ShardError:
        return
    with pytest.raises(ShardError):
        _ = shards.manifest
    for use in (
        lambda: shards.read(np.arange(len(shards))),
        lambda: shards.conditions(np.arange(len(shards))),
        lambda: shards.conditions(),
        lambda: shards.rows("train"),
        lambda: shards.rows("train", "view == 'CC'"),
        lambda: shards.occurring("train"),
        lambda: shards.shard_sizes(np.arange(len(shards))),
        lambda: shards.shard_sizes(shards.selection("train")),
    ):
        try:
            found = use()
        except ShardError as error:
            assert len(str(error)) < 1500
            continue
        if isinstance(found, dict):
            assert all(min(values, default=0) >= -1 for values in some(found.values()))


@pytest.mark.parametrize("codec", ["zstd", "lz4"])
def test_a_compressed_manifest_is_refused_before_it_is_inflated(root: Path, codec: str) -> None:
    """200 kB that Arrow would make 800 MB of: the file's size tells nothing of what it takes."""
    folder = root / SET
    rows = 100_000_000

    def bomb(table: pa.Table) -> pa.Table:
        zeros = pa.array(np.zeros(rows, np.int64))
        return pa.table({"offset": zeros})

    change_manifest(folder, bomb, pa.ipc.IpcWriteOptions(compression=codec))
    before = pa.total_allocated_bytes()
    with pytest.raises(ShardError, match="does not have the columns"):
        open_shards(folder)
    assert pa.total_allocated_bytes() - before < 10_000_000


@pytest.mark.parametrize("codec", ["zstd", "lz4"])
def test_a_manifest_of_the_right_columns_that_is_compressed_is_refused(root: Path, codec: str) -> None:
    change_manifest(root / SET, lambda table: table, pa.ipc.IpcWriteOptions(compression=codec))
    with pytest.raises(ShardError, match="it is compressed, which a manifest never is"):
        open_shards(root / SET)


def test_every_flipped_byte_of_a_manifest_with_mended_digests_is_survived(root: Path) -> None:
    """Not refused each time, as many bytes are values that may be so; and the process lives."""
    from tests.reliability.received import mend_manifest

    path = root / SET / "manifest.arrow"
    data = path.read_bytes()
    refused = 0
    for place in some(range(0, len(data), max(1, len(data) // 400))):
        changed = bytearray(data)
        changed[place] ^= 0x81
        path.write_bytes(changed)
        mend_manifest(root / SET)
        try:
            with open_shards(root / SET) as shards:
                shards.manifest.to_pylist()
                shards.conditions()
        except ShardError as error:
            refused += 1
            assert len(str(error)) < 1500
    assert refused > 100


# --- The image store ---------------------------------------------------------------------------------------


def in_record(**values: Any) -> Callable[[dict[str, Any]], None]:
    return lambda described: described["attributes"].update(values)


def in_mask(**values: Any) -> Callable[[dict[str, Any]], None]:
    return lambda described: described["attributes"]["mask"].update(values)


def negative_run(described: dict[str, Any]) -> None:
    """A run below 0 and one that makes up for it, so that their sum is right."""
    mask = described["attributes"]["mask"]
    mask["runs"] = [-5, 5 + mask["rows"] * mask["columns"]]


RECORDS: dict[str, Callable[[dict[str, Any]], object]] = {
    **{
        f"type {name}": lambda described, name=name: described.update(data_type=name)
        for name in ("O", "object", "float64", "V16", "uint32", "U4", 7, None, [])
    },
    **{
        f"shape {shape}": lambda described, shape=shape: described.update(shape=shape)
        for shape in (
            [10**62, 1],
            [10**9, 10**9],
            [-1, -1],
            [0, 0],
            [171],
            [1.5, 2],
            ["171", "89"],
            "x",
            None,
            [True, 1],
        )
    },
    **{f"crop_rows {value}": in_record(crop_rows=value) for value in ABSURD},
    **{f"crop_y {value}": in_record(crop_y=value) for value in ABSURD},
    "mask of ten thousand million": in_mask(runs=[10**10], rows=10**5, columns=10**5),
    "mask that is shorter": in_mask(runs=[5]),
    "mask of a negative run": negative_run,
    "mask whose runs come round": in_mask(runs=[2**63, 2**63]),
    "mask of words": in_mask(runs=["1", "2"]),
    "mask of a step of 0": in_mask(step=0),
    "no mask": in_record(mask=None),
    "a list in the mask's place": in_record(mask=[]),
    "spacing of 0": in_record(spacing_mm=[0, 0]),
    "spacing of words": in_record(spacing_mm=["a", "b"]),
    "spacing of one": in_record(spacing_mm=[1.0]),
    "spacing of a number": in_record(spacing_mm=0.1),
    "an age of words": in_record(header_age_years="old"),
    "inverted by a word": in_record(inverted="yes"),
    "flags that are none": in_record(mask_flags=5),
    "notes of numbers": in_record(notes=[1]),
    "a note of a megabyte": in_record(notes=["x" * 1_000_000]),
    "other codecs": lambda described: described.update(
        codecs=[{"name": "bytes"}, {"name": "numcodecs.pickle"}]
    ),
    "a filter before them": lambda described: described["codecs"].insert(0, {"name": "transpose"}),
    "codecs that are none": lambda described: described.update(codecs=[1, "blosc", None]),
    "two chunks": lambda described: described["chunk_grid"]["configuration"].update(chunk_shape=[1, 1]),
    "no checksum": in_record(chunk_crc32c=None),
    "a checksum of words": in_record(chunk_crc32c="x"),
    "a digest of pixels that leads out": in_record(pixels_sha256="../../x"),
}


@pytest.mark.parametrize("what", RECORDS)
def test_a_record_with_impossible_values_is_refused_before_anything_is_allocated(
    root: Path, what: str
) -> None:
    image = change_record(root, RECORDS[what])
    store = ImageStore(root / "images.zarr")
    for call in (store.record, store.pixels):
        with pytest.raises(DatasetError, match="is damaged") as caught:
            call(image)
        assert len(str(caught.value)) < 1500


def test_a_cut_of_a_store_with_impossible_records_is_one_sentence(root: Path) -> None:
    lines = []
    lost = {"a record without its crop": lambda described: described["attributes"].pop("crop_rows")}
    chosen = ("type O", "shape [1000000000, 1000000000]", "mask of ten thousand million", "spacing of words")
    for number, change in enumerate([*(RECORDS[what] for what in chosen), *lost.values()]):
        other = root / f"other-{number}"
        shutil.copytree(root / "images.zarr", other / "images.zarr")
        shutil.copy(root / "images.csv", other)
        change_record(other, change)
        lines.append(("reshard", "--shards", other, "--resolution", "64", "--stride", "64", "--jobs", "1"))
    for done in some(commands(lines)):
        assert is_refused(done), done


def test_a_chunk_of_another_size_gives_no_foreign_memory_away(root: Path) -> None:
    pixels = np.arange(6000, dtype=np.uint16).reshape(60, 100)
    packed = imagecodecs.blosc_encode(pixels.data.cast("B"), typesize=2)
    check_chunk(packed, 12_000)
    for other in (b"", b"\2\1\1\1", packed[:-1], packed + b"x", packed[:4] + bytes(4) + packed[8:]):
        with pytest.raises(ValueError, match=r"its chunk|cut off"):
            check_chunk(other, 12_000)
    with pytest.raises(ValueError, match="another number of pixels"):
        check_chunk(packed, 12_120)


def test_a_picture_of_another_size_is_no_patch() -> None:
    data = bytearray(imagecodecs.png_encode(np.zeros((32, 32), np.uint8)))
    out = np.empty((32, 32), np.uint8)
    read_png(data, out)
    for other in (np.empty((16, 16), np.uint8), np.empty((32, 64), np.uint8), np.empty((32, 32), np.uint16)):
        with pytest.raises(ValueError, match="it is no PNG file of"):
            read_png(data, other)
    with pytest.raises(ValueError, match="it is no PNG file of"):
        read_png(bytearray(imagecodecs.png_encode(np.zeros((32, 32, 3), np.uint8))), out)


def test_the_set_that_was_not_touched_is_read(root: Path) -> None:
    assert read_shard_set_json(root / SET)["generation"] == 1
    with open_shards(root / SET) as shards:
        assert shards.read(np.arange(len(shards))).shape == (len(shards), 64, 64)
    store = ImageStore(root / "images.zarr")
    assert all(store.pixels(path.name).size for path in some(store.path.iterdir()) if path.is_dir())
