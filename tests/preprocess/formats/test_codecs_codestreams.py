"""Codestreams tell their size before they are decoded."""

from dataclasses import replace
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
from pydicom.uid import (
    UID,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLSNearLossless,
)

from nlbs.preprocess.formats import syntaxes
from nlbs.preprocess.formats.codecs import Codestream, codestream, jpeg_xl_size, with_full_spectrum
from nlbs.preprocess.formats.image_errors import DecodeError
from nlbs.preprocess.formats.image_file import read_image
from tests.preprocess.dicom_files import ENCODERS, PICTURE, make_dicom, public_file
from tests.preprocess.formats.test_codecs import reference
from tests.preprocess.formats.test_syntaxes import with_frames


def test_extended_jpeg_whose_scan_claims_to_end_at_coefficient_0_decodes_as_its_mended_copy() -> None:
    # Two public files of one image: pydicom's makers mended one by hand.
    broken, mended = public_file("JPEG-lossy.dcm"), public_file("JPGExtended.dcm")
    with pytest.raises(RuntimeError):
        reference(broken)
    assert np.array_equal(read_image(broken).stored, reference(mended))


def test_a_scan_that_ends_at_coefficient_63_is_left_alone() -> None:
    frame = ENCODERS[JPEGExtended12Bit](PICTURE, 12)
    assert with_full_spectrum(frame) == frame
    for cut in range(40):
        assert with_full_spectrum(frame[:cut]) == frame[:cut]


@pytest.mark.parametrize("syntax", ENCODERS, ids=lambda syntax: syntax.keyword)
def test_a_codestream_tells_its_size_before_it_is_decoded(syntax: UID) -> None:
    bits = 8 if syntax == JPEGBaseline8Bit else 12
    frame = ENCODERS[syntax]((PICTURE >> (12 - bits)).astype(np.uint8 if bits == 8 else np.uint16), bits)
    stated = codestream(frame)
    assert stated is not None
    assert (stated.rows, stated.columns, stated.components) == (61, 47, 1)
    assert stated.precision in (bits, 16)  # imagecodecs writes JPEG-LS of 16-bit arrays as its values need
    for cut in range(30):
        part = codestream(frame[:cut])  # of JPEG-LS, what says whether it is lossless stands behind the size
        assert part is None or replace(part, lossless=stated.lossless) == stated


def test_nothing_that_is_no_codestream_tells_a_size() -> None:
    for frame in (b"", b"\0" * 100, b"\xff" * 100, b"\xff\xd8" + b"\xff\xe0\0\0" * 50):
        assert codestream(frame) is None


@pytest.mark.parametrize("syntax", ENCODERS, ids=lambda syntax: syntax.keyword)
def test_a_codestream_of_another_size_is_refused_before_it_takes_memory(syntax: UID, tmp_path: Path) -> None:
    bits = 8 if syntax == JPEGBaseline8Bit else 12
    pixels = (PICTURE >> (12 - bits)).astype(np.uint8 if bits == 8 else np.uint16)
    path = make_dicom(tmp_path, pixels, syntax, bits, Rows=60)
    with pytest.raises(DecodeError, match="61 x 47 pixels, Rows and Columns say 60 x 47"):
        read_image(path)


def test_a_codestream_of_three_colours_in_a_grey_file_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    colours = np.stack([(PICTURE >> 4).astype(np.uint8)] * 3, -1)
    frame = imagecodecs.jpegls_encode(colours)
    assert codestream(frame) == Codestream(61, 47, 3, 8, lossless=True)
    monkeypatch.setitem(ENCODERS, JPEGLSNearLossless, lambda *_: frame)
    path = make_dicom(tmp_path, (PICTURE >> 4).astype(np.uint8), JPEGLSNearLossless, 8)
    with pytest.raises(DecodeError, match="3 components"):
        read_image(path)


@pytest.mark.parametrize(
    "shape", [(61, 47), (64, 64), (8, 256), (300, 400), (1080, 1920), (1000, 3000), (256, 8)]
)
def test_jpeg_xl_tells_its_size_before_it_is_decoded(shape: tuple[int, int], tmp_path: Path) -> None:
    assert jpeg_xl_size(bytes(imagecodecs.jpegxl_encode(np.zeros(shape, np.uint8)))) == shape
    boxed = imagecodecs.jpegxl_encode(np.zeros(shape, np.uint8), usecontainer=True)
    assert jpeg_xl_size(bytes(boxed)) == shape
    assert jpeg_xl_size(b"\xff\x0a") is None
    assert jpeg_xl_size(b"no image at all, and long enough") is None


def test_a_jpeg_xl_of_another_size_is_refused(tmp_path: Path) -> None:
    frame = bytes(imagecodecs.jpegxl_encode(np.zeros((60, 47), np.uint16), lossless=True))
    with pytest.raises(DecodeError, match="60 x 47 pixels, Rows and Columns say 61 x 47"):
        read_image(with_frames(tmp_path, [frame], syntaxes.JPEG_XL))
