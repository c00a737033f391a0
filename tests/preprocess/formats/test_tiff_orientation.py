"""What PNG and TIFF have in common: an orientation, and a range of their own."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from nlbs.preprocess.formats.image_file import read_image
from nlbs.preprocess.images.decode import DecodeOptions, decode_image
from tests.preprocess.dicom_files import make_dicom
from tests.preprocess.mask_images import breast_image
from tests.preprocess.plain_files import EIGHT, SIXTEEN, by_pillow, tiff_of, written


@pytest.mark.parametrize("kind", ["png", "pgm", "tiff", "white is zero"])
def test_a_plain_mammogram_is_shown_in_its_own_range(kind: str, tmp_path: Path) -> None:
    stored = breast_image(1, "L", "MLO").astype(np.uint16)
    content = {
        "png": by_pillow(Image.fromarray(stored), format="PNG"),
        "pgm": b"P5\n%d %d\n65535\n" % stored.shape[::-1] + stored.astype(">u2").tobytes(),
        "tiff": by_pillow(Image.fromarray(stored), format="TIFF"),
        "white is zero": tiff_of((4095 - stored).astype(np.uint16), photometric=0),
    }[kind]
    image = decode_image(written(tmp_path, content), DecodeOptions())
    assert image.record["voi"] == "range"
    assert image.record["transfer_syntax"] == kind.split()[0].replace("white", "tiff")
    assert image.record["spacing_mm"] is None
    assert image.record["header_view"] is image.record["header_laterality"] is image.record["frame"] is None
    expected = decode_image(make_dicom(tmp_path, stored), DecodeOptions())
    assert image.pixels.shape == expected.pixels.shape
    assert np.abs(image.pixels.astype(int) - expected.pixels).max() <= 1


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("pixels", [EIGHT, SIXTEEN], ids=["8", "16"])
def test_an_image_is_turned_as_pillow_turns_it(pixels: np.ndarray, orientation: int, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[274] = orientation
    png, tiff = tmp_path / "x.png", tmp_path / "x.tif"
    Image.fromarray(pixels).save(png, exif=exif)
    Image.fromarray(pixels).save(tiff, tiffinfo={274: orientation})
    with Image.open(png) as picture:
        expected = np.asarray(ImageOps.exif_transpose(picture)).astype(int)
    for path in (png, tiff):
        image = read_image(path)
        assert np.array_equal(image.stored, expected)
        assert (image.header.rows, image.header.columns) == expected.shape
        assert ("orientation" in "; ".join(image.notes)) is (orientation != 1)


def test_an_orientation_that_is_none_is_left_out_with_a_note(tmp_path: Path) -> None:
    Image.fromarray(EIGHT).save(tmp_path / "x.tif", tiffinfo={274: 9})
    image = read_image(tmp_path / "x.tif")
    assert np.array_equal(image.stored, EIGHT)
    assert "expected 1 to 8" in image.notes[0]
