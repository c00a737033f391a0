"""TIFF files of other writers, in every form that a mammogram comes in."""

from pathlib import Path

import imagecodecs
import numpy as np
import pytest
from PIL import Image

from nlbs.preprocess.formats.image_errors import (
    UnsupportedImageError,
)
from nlbs.preprocess.formats.image_file import read_image
from tests.preprocess.dicom_files import PICTURE
from tests.preprocess.plain_files import EIGHT, SIXTEEN, by_pillow, tiff_of, written


@pytest.mark.parametrize("compression", [None, "tiff_lzw", "tiff_adobe_deflate", "packbits"])
@pytest.mark.parametrize("pixels", [EIGHT, SIXTEEN], ids=["8", "16"])
def test_a_tiff_of_another_writer_is_read(
    pixels: np.ndarray, compression: str | None, tmp_path: Path
) -> None:
    data = by_pillow(Image.fromarray(pixels), format="TIFF", compression=compression)
    image = read_image(written(tmp_path, data))
    assert np.array_equal(image.stored, pixels)
    assert image.stored.dtype == pixels.dtype
    assert (image.header.transfer_syntax, image.header.inverted) == ("tiff", False)


def test_a_tiff_compressed_with_zstd_is_read(tmp_path: Path) -> None:
    strip = imagecodecs.zstd_encode(SIXTEEN.tobytes())
    plain = tiff_of(SIXTEEN, t259=50000, t279=len(strip))
    data = plain[:8] + strip + plain[8 + len(strip) :]
    assert np.array_equal(read_image(written(tmp_path, data)).stored, SIXTEEN)


@pytest.mark.parametrize("order", ["<", ">"])
def test_both_byte_orders_signs_and_polarities_of_tiff_are_read(order: str, tmp_path: Path) -> None:
    assert np.array_equal(read_image(written(tmp_path, tiff_of(SIXTEEN, order=order))).stored, SIXTEEN)
    white = read_image(written(tmp_path, tiff_of(SIXTEEN, photometric=0, order=order)))
    assert white.header.inverted  # WhiteIsZero: the values stay, as in MONOCHROME1
    assert np.array_equal(white.stored, SIXTEEN)
    signed = (PICTURE.astype(np.int32) - 2048).astype(np.int16)
    image = read_image(written(tmp_path, tiff_of(signed, order=order)))
    assert np.array_equal(image.stored, signed)
    assert image.header.signed


def test_a_tiff_of_three_equal_channels_is_grey_and_of_others_is_not(tmp_path: Path) -> None:
    colours = np.stack([EIGHT] * 3, -1)
    strip = {"t258": 8}
    assert np.array_equal(read_image(written(tmp_path, tiff_of(colours, 2, **strip))).stored, EIGHT)
    colours[3, 4, 1] += 1
    with pytest.raises(UnsupportedImageError, match="colour"):
        read_image(written(tmp_path, tiff_of(colours, 2, **strip)))


def test_one_page_of_a_tiff_is_taken_only_where_it_is_asked_for(tmp_path: Path) -> None:
    pages = [Image.fromarray(EIGHT // part) for part in (1, 2, 3)]
    path = written(tmp_path, by_pillow(pages[0], format="TIFF", save_all=True, append_images=pages[1:]))
    with pytest.raises(UnsupportedImageError, match="3 frames, expected a single image: --frame"):
        read_image(path)
    for asked, part, number in ((1, 1, 1), (3, 3, 3), ("middle", 2, 2)):
        image = read_image(path, frame=asked)
        assert np.array_equal(image.stored, EIGHT // part)
        assert image.frame == number
    with pytest.raises(UnsupportedImageError, match="frame 4 is asked for, the file has 3"):
        read_image(path, frame=4)
