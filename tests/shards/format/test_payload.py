"""What a patch is stored as: lossless, deterministic, and read by the libraries of the field.

Also covers: shards/format/container.py.
"""

import io
import tarfile
from pathlib import Path

import numcodecs
import numpy as np
import pytest
import webdataset
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from nlbs.shards.format.container import CONTAINERS, PatchFormat, misfit, suffix, write_shard
from nlbs.shards.format.payload import (
    DECODERS,
    ENCODERS,
    patch_shape,
    png_bytes,
    read_png,
    read_zstd,
    zstd_bytes,
)
from tests.conftest import some


@given(
    kind=st.sampled_from(sorted(DECODERS)),
    dtype=st.sampled_from(["uint8", "uint16"]),
    edge=st.integers(1, 40),
    top=st.integers(0, 65535),
    seed=st.integers(0, 2**32 - 1),
    channels=st.sampled_from([1, 3]),
)
def test_encode_then_decode_is_the_identity(
    kind: str, dtype: str, edge: int, top: int, seed: int, channels: int
) -> None:
    pixels = np.random.default_rng(seed).integers(
        0, min(top, np.iinfo(dtype).max), patch_shape(edge, channels), dtype=dtype, endpoint=True
    )
    out = np.empty_like(pixels)
    data = ENCODERS[kind](pixels)
    assert data == ENCODERS[kind](pixels.copy())
    DECODERS[kind](bytearray(data), out)
    np.testing.assert_array_equal(out, pixels)


def test_pillow_reads_a_coloured_png_and_a_grey_one_is_no_coloured_patch() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    with Image.open(io.BytesIO(png_bytes(pixels))) as image:
        assert image.mode == "RGB"
        np.testing.assert_array_equal(np.asarray(image), pixels)
    with pytest.raises(ValueError, match="no PNG file of 32x32x3 uint8 pixels"):
        read_png(bytearray(png_bytes(pixels[..., 0])), np.empty_like(pixels))


@pytest.mark.parametrize(("dtype", "mode"), [("uint8", "L"), ("uint16", "I;16")])
def test_pillow_reads_a_grayscale_png_of_as_many_bits(dtype: str, mode: str) -> None:
    pixels = np.random.default_rng(0).integers(0, np.iinfo(dtype).max, (32, 32), dtype=dtype, endpoint=True)
    data = png_bytes(pixels.astype(f">{pixels.dtype.str[1:]}")[:, ::-1])  # of any layout in memory
    assert data[24:26] == bytes(
        [8 * pixels.itemsize, 0]
    )  # ISO/IEC 15948 11.2.2: bit depth, colour type grayscale
    with Image.open(io.BytesIO(data)) as picture:
        assert picture.mode == mode
        np.testing.assert_array_equal(np.asarray(picture), pixels[:, ::-1])


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_another_zstd_library_reads_a_frame(dtype: str) -> None:
    pixels = np.random.default_rng(0).integers(0, 9, (32, 32), dtype=dtype)
    raw = numcodecs.Zstd().decode(zstd_bytes(pixels))
    np.testing.assert_array_equal(np.frombuffer(raw, pixels.dtype.newbyteorder("<")), pixels.ravel())


@pytest.mark.parametrize(("read", "kind"), [(read_png, "png"), (read_zstd, "zstd")])
def test_bytes_that_are_not_such_or_not_all_are_refused(read, kind: str) -> None:  # type: ignore[no-untyped-def]
    pixels = np.random.default_rng(0).integers(0, 255, (32, 32), dtype=np.uint8)
    data = ENCODERS[kind](pixels)
    for wrong in (b"", b"what", data[: len(data) // 2]):
        with pytest.raises(ValueError, match=kind.upper() if kind == "png" else kind):
            read(bytearray(wrong), np.empty((32, 32), np.uint8))
    for other in (np.empty((16, 16), np.uint8), np.empty((64, 64), np.uint8), np.empty((32, 32), np.uint16)):
        with pytest.raises(ValueError):
            read(bytearray(data), other)


def test_webdataset_and_tarfile_read_shards_of_png(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (3, 16, 16), dtype=np.uint8)
    patches = [(f"k{i}", patch, {"row": i}) for i, patch in enumerate(pixels)]
    written = write_shard(tmp_path / "00000.tar", patches, PatchFormat("tar", "png", 16, "uint8"))
    with tarfile.open(tmp_path / "00000.tar") as tar:
        assert tar.getnames() == [f"k{i}.{end}" for i in range(3) for end in ("png", "json")]
        for place, member in zip(written.placements, tar.getmembers()[::2], strict=True):
            assert (place.offset, place.nbytes) == (member.offset_data, member.size)
    samples = list(webdataset.WebDataset(str(tmp_path / "00000.tar"), shardshuffle=False).decode("l8"))
    for i, sample in some(enumerate(samples)):
        np.testing.assert_array_equal(sample["png"], pixels[i])
        assert sample["json"] == {"row": i}


def test_what_does_not_go_together_is_said_in_one_sentence() -> None:
    for container, kinds in CONTAINERS.items():
        assert all(misfit(container, kind) is None for kind in some(kinds))
    assert misfit("tar", "zstd") == (
        "a tar shard does not hold --compression zstd: it goes into zarr; tar takes none and png"
    )
    assert "it goes into tar; zarr takes none and zstd" in (misfit("zarr", "png") or "")


def test_only_what_differs_from_plain_tar_stands_in_a_name() -> None:
    endings = [
        suffix(*kind) for kind in (("tar", "none"), ("tar", "png"), ("zarr", "none"), ("zarr", "zstd"))
    ]
    assert endings == ["", "-png", "-zarr", "-zarr-zstd"]
