"""zarr shards as zarr-python reads them, and as it writes them itself."""

import io
import json
import math
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np
import numpy.typing as npt
import pytest
import zarr
from zarr.codecs import BytesCodec, Crc32cCodec, ShardingCodec, ZstdCodec

from nlbs.shards.format.container import PatchFormat, write_shard
from nlbs.shards.format.zarr_shard import write_chunks, zarr_json


def some_pixels(count: int, resolution: int = 16, dtype: str = "uint8") -> npt.NDArray[Any]:
    pixels = np.random.default_rng(count).integers(
        0, np.iinfo(dtype).max, (count, resolution, resolution), dtype=dtype, endpoint=True
    )
    pixels[1::3] = 0  # air alone, which zarr leaves out unless it is told otherwise
    return pixels


def written(path: Path, pixels: npt.NDArray[Any], compression: str) -> Path:
    form = PatchFormat("zarr", compression, pixels.shape[1], str(pixels.dtype), math.prod(pixels.shape[3:]))
    write_shard(path, ((f"k{i}", patch, {}) for i, patch in enumerate(pixels)), form)
    return path


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
@pytest.mark.parametrize("compression", ["none", "zstd"])
@pytest.mark.parametrize("count", [0, 1, 5])
def test_zarr_reads_the_same_pixels(tmp_path: Path, count: int, compression: str, dtype: str) -> None:
    pixels = some_pixels(count, dtype=dtype)
    array = zarr.open_array(written(tmp_path / "00000.zarr", pixels, compression), mode="r")
    assert (array.shape, array.dtype) == (pixels.shape, pixels.dtype)
    assert array.chunks == (1, 16, 16)
    np.testing.assert_array_equal(array[...], pixels)
    for row in range(count):
        np.testing.assert_array_equal(array[row], pixels[row])
    assert array.metadata.dimension_names == ("patch", "y", "x")  # type: ignore[union-attr]
    assert dict(array.attrs) == {}


@pytest.mark.parametrize("compression", ["none", "zstd"])
def test_zarr_reads_colours_with_their_channels_last(tmp_path: Path, compression: str) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (5, 16, 16, 3), dtype=np.uint8)
    array = zarr.open_array(written(tmp_path / "00000.zarr", pixels, compression), mode="r")
    assert array.chunks == (1, 16, 16, 3)
    assert array.metadata.dimension_names == ("patch", "y", "x", "channel")  # type: ignore[union-attr]
    np.testing.assert_array_equal(array[...], pixels)


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
@pytest.mark.parametrize("compression", ["none", "zstd"])
def test_the_bytes_are_those_that_zarr_itself_writes(tmp_path: Path, compression: str, dtype: str) -> None:
    """zarr-python is the second implementation: of the codecs, their order, and the place of the index."""
    pixels = some_pixels(3, dtype=dtype)
    theirs = zarr.create_array(
        store=tmp_path / "theirs.zarr",
        shape=pixels.shape,
        dtype=pixels.dtype,
        chunks=pixels.shape,
        serializer=ShardingCodec(
            chunk_shape=(1, 16, 16),
            codecs=[
                BytesCodec(endian="little"),
                *([ZstdCodec(level=3)] if compression == "zstd" else []),
                Crc32cCodec(),
            ],
        ),
        compressors=None,
        fill_value=0,
        config={"write_empty_chunks": True},
        dimension_names=("patch", "y", "x"),
    )
    theirs[...] = pixels
    ours = written(tmp_path / "ours.zarr", pixels, compression)
    described = json.loads((tmp_path / "theirs.zarr" / "zarr.json").read_text())
    if dtype == "uint8":  # zarr leaves out an order of bytes that single bytes do not have
        described["codecs"][0]["configuration"]["codecs"][0]["configuration"] = {"endian": "little"}
    described.pop("storage_transformers")  # none; optional
    assert json.loads((ours / "zarr.json").read_text()) == described
    if compression == "none":  # a frame may differ between two zstd libraries
        assert (ours / "c/0/0/0").read_bytes() == (tmp_path / "theirs.zarr" / "c/0/0/0").read_bytes()


@pytest.mark.parametrize("compression", ["none", "zstd"])
def test_a_placement_is_what_the_index_says_but_for_the_checksum(compression: str) -> None:
    pixels, file = some_pixels(4, dtype="uint16"), io.BytesIO()
    placements = write_chunks(file, pixels, compression)
    data = file.getvalue()
    index, checksum = data[-4 * 16 - 4 : -4], data[-4:]
    assert int.from_bytes(checksum, "little") == google_crc32c.value(index)
    entries = np.frombuffer(index, "<u8").reshape(4, 2)  # offset and length, the last four bytes a CRC-32C
    assert [[place.offset, place.nbytes + 4] for place in placements] == entries.tolist()
    for place in placements:
        stored = data[place.offset : place.offset + place.nbytes]
        assert google_crc32c.value(stored) == place.crc32c
        after = data[place.offset + place.nbytes :][:4]
        assert int.from_bytes(after, "little") == place.crc32c


def test_the_same_pixels_give_the_same_bytes_and_nothing_half_written_stays(tmp_path: Path) -> None:
    pixels = some_pixels(5)
    first, second = (written(tmp_path / name, pixels, "zstd") for name in ("a.zarr", "b.zarr"))
    for name in ("zarr.json", "c/0/0/0"):
        assert (first / name).read_bytes() == (second / name).read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.zarr", "b.zarr"]

    def broken() -> Any:
        yield "k", pixels[0], {}
        raise RuntimeError("in the middle")

    with pytest.raises(RuntimeError, match="in the middle"):
        write_shard(tmp_path / "c.zarr", broken(), PatchFormat("zarr", "none", 16, "uint8"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.zarr", "b.zarr"]


def test_a_shard_that_an_interrupted_cut_left_is_replaced(tmp_path: Path) -> None:
    written(tmp_path / "00000.zarr", some_pixels(5), "none")
    written(tmp_path / "00000.zarr", some_pixels(2), "none")
    np.testing.assert_array_equal(zarr.open_array(tmp_path / "00000.zarr", mode="r")[...], some_pixels(2))


def test_a_description_is_json_that_does_not_depend_on_what_is_in_the_array() -> None:
    assert zarr_json(7, 32, "uint16", "zstd") == zarr_json(7, 32, "uint16", "zstd")
    assert json.loads(zarr_json(7, 32, "uint16", "zstd"))["shape"] == [7, 32, 32]
