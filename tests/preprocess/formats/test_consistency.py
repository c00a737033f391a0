"""Which bits of a cell hold the value, and its sign: held against pydicom and two's complement."""

from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.uid import (
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)

from nlbs.preprocess.formats.image_file import read_image
from tests.preprocess.dicom_files import (
    PICTURE,
    make_dicom,
)


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ExplicitVRBigEndian, RLELossless])
@pytest.mark.parametrize(("stored", "high"), [(12, 15), (12, 13), (10, 11), (1, 8), (15, 15)])
def test_values_may_stand_anywhere_in_their_cells_and_the_other_bits_are_ignored(
    stored: int, high: int, syntax: str, signed: bool, tmp_path: Path
) -> None:
    # PS3.5 8.1.1: a value takes the bits HighBit down to HighBit - BitsStored + 1; overlays may have others.
    generator = np.random.default_rng(stored * 16 + high)
    values = generator.integers(0, 2**stored, (61, 47))
    shift = high - stored + 1
    others = generator.integers(0, 2**16, (61, 47)) & ~(((1 << stored) - 1) << shift)
    cells = ((values << shift) | others).astype(np.uint16)
    expected = np.where(values >= 2 ** (stored - 1), values - 2**stored, values) if signed else values
    for decoder in ("auto", "pylibjpeg"):
        path = make_dicom(
            tmp_path, cells, syntax, 16, BitsStored=stored, HighBit=high, PixelRepresentation=int(signed)
        )
        assert np.array_equal(read_image(path, decoder).stored, expected)


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, JPEG2000Lossless, JPEGLSLossless, RLELossless])
@pytest.mark.parametrize("bits", range(9, 17))
def test_signed_values_of_every_depth_come_back(bits: int, syntax: str, tmp_path: Path) -> None:
    signed = ((PICTURE.astype(np.int32) << 4 >> (16 - bits)) - (1 << (bits - 1))).astype(np.int16)
    assert (signed.min(), signed.max()) == (
        -(1 << (bits - 1)),
        (4095 << 4 >> (16 - bits)) - (1 << (bits - 1)),
    )
    path = make_dicom(tmp_path, signed, syntax, bits)
    assert np.array_equal(read_image(path).stored, signed)


def test_overlays_in_the_high_bits_of_a_signed_image_do_not_change_it(tmp_path: Path) -> None:
    # PS3.5 8.1.2 as it was until 2004: an overlay plane in bit 15 of 16, beside 12 bits of pixels.
    signed = (PICTURE.astype(np.int32) - 2048).astype(np.int16)
    overlay = np.zeros(PICTURE.shape, np.uint16)
    overlay[10:30, 10:30] = 1 << 15
    cells = (signed.view(np.uint16) & 0x0FFF) | overlay
    path = make_dicom(tmp_path, cells, bits=12, PixelRepresentation=1)
    dataset = pydicom.dcmread(path)
    for element_, vr, value in (
        (0x0010, "US", 61),
        (0x0011, "US", 47),
        (0x0100, "US", 16),
        (0x0102, "US", 15),
    ):
        dataset.add_new((0x6000, element_), vr, value)
    dataset.save_as(path)
    image = read_image(path)
    assert np.array_equal(image.stored, signed)
    assert image.notes == ()


def test_signed_values_below_bits_stored_are_noted(tmp_path: Path) -> None:
    # JPEG 2000 has a sign and a depth of its own: here two bits more than the header says.
    signed = (PICTURE.astype(np.int32) - 2048).astype(np.int16)
    path = make_dicom(tmp_path, np.minimum(signed, 100), JPEG2000Lossless, 12, BitsStored=10, HighBit=9)
    assert read_image(path).notes == ("pixel values reach -2048, beyond BitsStored 10",)


def test_a_missing_high_bit_is_bits_stored_less_one(tmp_path: Path) -> None:
    assert np.array_equal(read_image(make_dicom(tmp_path, PICTURE, HighBit=None)).stored, PICTURE)


def test_values_beyond_bits_stored_are_noted(tmp_path: Path) -> None:
    image = read_image(make_dicom(tmp_path, PICTURE, JPEGLSLossless, 12, BitsStored=11, HighBit=10))
    assert image.notes == ("pixel values reach 4095, beyond BitsStored 11",)
    assert read_image(make_dicom(tmp_path, PICTURE)).notes == ()


def test_a_signed_codestream_under_an_unsigned_header_is_read_as_pydicom_reads_it(tmp_path: Path) -> None:
    signed = (PICTURE.astype(np.int32) - 2048).astype(np.int16)
    path = make_dicom(tmp_path, signed, JPEG2000Lossless, 12, PixelRepresentation=0)
    expected = signed.astype(np.int32) % 4096  # the same 12 bits
    assert np.array_equal(pydicom.dcmread(path).pixel_array, expected)
    for decoder in ("auto", "pylibjpeg"):
        assert np.array_equal(read_image(path, decoder).stored, expected)
