"""PNG files of other writers."""

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nlbs.preprocess.formats.image_errors import (
    UnsupportedImageError,
)
from nlbs.preprocess.formats.image_file import read_image
from tests.preprocess.plain_files import EIGHT, SIXTEEN, by_pillow, png_of, written


@pytest.mark.parametrize("pixels", [EIGHT, SIXTEEN], ids=["8", "16"])
def test_a_grey_png_of_another_writer_is_read(pixels: np.ndarray, tmp_path: Path) -> None:
    image = read_image(written(tmp_path, by_pillow(Image.fromarray(pixels), format="PNG")))
    assert np.array_equal(image.stored, pixels)
    assert image.stored.dtype == pixels.dtype
    assert (image.header.transfer_syntax, image.decoder) == ("png", "imagecodecs")
    assert (image.header.bits_stored, image.header.signed) == (8 * pixels.itemsize, False)
    assert image.header.spacing_mm is None


def test_an_interlaced_png_is_read(tmp_path: Path) -> None:
    # Adam7 of a 2 x 2 image (ISO/IEC 15948 8.2): pass 1 has (0,0), pass 6 (0,1), pass 7 the line (1,0) (1,1).
    plain = png_of(bytes(4), 2, 2, 8, 0)
    head = struct.pack(">IIBBBBB", 2, 2, 8, 0, 0, 0, 1)

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    data = plain[:8] + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"\0\x0a\0\x14\0\x1e\x28"))
    stored = read_image(written(tmp_path, data + chunk(b"IEND", b""))).stored
    assert stored.tolist() == [[10, 20], [30, 40]]


@pytest.mark.parametrize(("dtype", "bits"), [(">u1", 8), (">u2", 16)])
@pytest.mark.parametrize(("colour", "channels"), [(2, 3), (4, 2), (6, 4)])
def test_equal_channels_and_full_opacity_are_a_grey_png(
    colour: int, channels: int, dtype: str, bits: int, tmp_path: Path
) -> None:
    grey = (SIXTEEN >> (16 - bits)).astype(dtype)
    planes = np.stack([grey] * channels, -1)
    if colour & 4:
        planes[..., -1] = 2**bits - 1
    data = png_of(planes.astype(dtype).tobytes(), 47, 61, bits, colour)
    assert np.array_equal(read_image(written(tmp_path, data)).stored, grey)
    assert read_image(written(tmp_path, data), colour=True).colour is None or channels > 2
    planes[30, 20, channels - 1] -= 1  # one pixel with a tint, or not quite opaque
    with pytest.raises(UnsupportedImageError, match="grey"):
        read_image(written(tmp_path, png_of(planes.astype(dtype).tobytes(), 47, 61, bits, colour)))
