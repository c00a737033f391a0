"""Headers that contradict the pixels: the values that were put in come out, or it is said that they may not."""

import struct
from pathlib import Path

import numpy as np
import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.uid import (
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from nlbs.errors import ImageError
from nlbs.preprocess.formats.image_file import read_image
from nlbs.preprocess.formats.stored import sign_extended
from nlbs.preprocess.images.decode import DecodeOptions, decode_image
from tests.preprocess.dicom_files import PICTURE, make_dicom
from tests.preprocess.mask_images import breast_image

#: uint16, 12 bits, air 0.
BREAST = breast_image(1, "L", "MLO")
NATIVE_AND_RLE = pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, RLELossless])


def read(folder: Path, pixels: np.ndarray, syntax: str = ExplicitVRLittleEndian, **elements: object):
    return read_image(make_dicom(folder, pixels, syntax, **elements))


def decoded(folder: Path, pixels: np.ndarray = BREAST, **elements: object):
    return decode_image(make_dicom(folder, pixels, **elements), DecodeOptions())


# --- Bits --------------------------------------------------------------------------------------------


@NATIVE_AND_RLE
@pytest.mark.parametrize("high_bit", [0, 7, 10, 12, 13, 15, 16])
def test_a_high_bit_that_the_values_do_not_have_is_not_believed(
    high_bit: int, syntax: str, tmp_path: Path
) -> None:
    path = make_dicom(tmp_path, PICTURE, syntax, HighBit=high_bit)
    assert np.array_equal(pydicom.dcmread(path).pixel_array, PICTURE)  # which never looks at it
    image = read_image(path)
    assert np.array_equal(image.stored, PICTURE)
    assert len(image.notes) == 1
    assert f"HighBit {'is ' if 11 < high_bit < 16 else ''}{high_bit}" in image.notes[0]


@NATIVE_AND_RLE
@pytest.mark.parametrize(("bits", "high_bit"), [(12, 11), (12, 15), (10, 9), (14, 13), (14, 15)])
def test_values_in_the_highest_bits_are_found_there(
    bits: int, high_bit: int, syntax: str, tmp_path: Path
) -> None:
    values = PICTURE << 4 >> (16 - bits)
    image = read(tmp_path, values << (16 - bits), syntax, BitsStored=bits, HighBit=high_bit)
    assert np.array_equal(image.stored, values)
    assert bool(image.notes) is (high_bit != 15)


@NATIVE_AND_RLE
def test_values_of_more_bits_than_stored_do_not_wrap(syntax: str, tmp_path: Path) -> None:
    image = read(tmp_path, PICTURE, syntax, BitsStored=10, HighBit=9)
    assert np.array_equal(image.stored, PICTURE)
    assert image.notes == ("pixel values reach 4095, beyond BitsStored 10",)


@pytest.mark.parametrize("bit", [12, 13, 15])
def test_an_overlay_in_a_high_bit_is_no_value(bit: int, tmp_path: Path) -> None:
    # PS3.5 8.1.2 as it was until 2004.
    overlay = np.zeros(PICTURE.shape, np.uint16)
    overlay[10:30, 10:30] = 1 << bit
    image = read(tmp_path, PICTURE | overlay)
    assert np.array_equal(image.stored, PICTURE)
    assert image.notes == ()


def test_an_overlay_that_is_stated_leaves_values_with_empty_low_bits_where_they_are(tmp_path: Path) -> None:
    # Eight bits of grey, made twelve: without the statement they would be values in the highest bits.
    values = PICTURE & 0x0FF0
    path = make_dicom(tmp_path, values | np.uint16(0x8000) * (PICTURE > 2000))
    dataset = pydicom.dcmread(path)
    dataset.add_new(0x60000102, "US", 15)
    dataset.save_as(path)
    image = read_image(path)
    assert np.array_equal(image.stored, values)
    assert image.notes == ()


def test_bytes_in_the_other_order_are_seen(tmp_path: Path) -> None:
    image = read(tmp_path, PICTURE.byteswap())
    assert np.array_equal(image.stored, PICTURE)
    assert "other order" in image.notes[0]


@pytest.mark.parametrize("bits", [12, 16])
def test_segments_of_rle_in_the_wrong_order_are_seen(bits: int, tmp_path: Path) -> None:
    path = make_dicom(tmp_path, PICTURE, RLELossless, BitsStored=bits, HighBit=bits - 1)
    dataset = pydicom.dcmread(path)
    frame = next(pydicom.encaps.generate_frames(dataset.PixelData, number_of_frames=1))
    _, first, second = struct.unpack_from("<3I", frame)
    # PS3.5 G.2: the most significant byte comes first; some writers begin with the least.
    high, low = frame[first:second], frame[second:]
    head = struct.pack("<16I", 2, 64, 64 + len(low), *[0] * 13)
    dataset.PixelData = pydicom.encaps.encapsulate([head + low + high])
    dataset.save_as(path)
    image = read_image(path)
    assert np.array_equal(image.stored, PICTURE)
    assert "other order" in image.notes[0]


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, RLELossless])
@pytest.mark.parametrize("shift", [0, 4, 8])
def test_sound_values_of_16_bits_are_not_turned(shift: int, syntax: str, tmp_path: Path) -> None:
    # 8 bits in the lower or the upper byte, 12 in the highest bits, and all of them.
    for values in ((PICTURE >> 4) << shift, (PICTURE >> shift) << 4, PICTURE * 16 + PICTURE % 16):
        image = read(tmp_path, values.astype(np.uint16), syntax, BitsStored=16, HighBit=15)
        assert np.array_equal(image.stored, values)
        assert image.notes == ()


def test_without_bits_stored_all_bits_are(tmp_path: Path) -> None:
    # As GDCM takes it.
    image = read(tmp_path, PICTURE, BitsStored=None, HighBit=None)
    assert np.array_equal(image.stored, PICTURE)
    assert any("BitsStored is missing" in note for note in image.notes)


@pytest.mark.parametrize("syntax", [JPEGBaseline8Bit, JPEGLosslessSV1, JPEGLSLossless, JPEG2000Lossless])
@pytest.mark.parametrize("decoder", ["auto", "imagecodecs", "pylibjpeg"])
def test_a_codestream_of_8_bits_may_stand_where_16_are_allocated(
    decoder: str, syntax: str, tmp_path: Path
) -> None:
    grey = (PICTURE >> 4).astype(np.uint8)
    right = read_image(make_dicom(tmp_path, grey, syntax, 8), decoder).stored
    path = make_dicom(tmp_path, grey, syntax, 8, BitsAllocated=16, BitsStored=12, HighBit=11)
    assert np.array_equal(read_image(path, decoder).stored, right)
    assert np.abs(right.astype(int) - grey).max() <= (12 if syntax == JPEGBaseline8Bit else 0)


# --- Signs -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "syntax",
    [ExplicitVRLittleEndian, RLELossless, JPEGLSLossless, JPEGLosslessSV1],
    ids=lambda uid: uid.keyword,
)
@pytest.mark.parametrize("bits", [12, 16])
def test_unsigned_values_under_a_signed_header_stay_unsigned(bits: int, syntax: str, tmp_path: Path) -> None:
    values = BREAST << (bits - 12)
    assert values.max() >= 1 << (bits - 1)
    image = read(tmp_path, values, syntax, bits=bits, PixelRepresentation=1)
    assert np.array_equal(image.stored, values)
    assert image.header.signed is False
    assert "it is not believed" in image.notes[0]


def test_signed_values_under_an_unsigned_header_are_signed(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(-6, 7, BREAST.shape)
    values = np.where(BREAST == 0, noise, BREAST).astype(np.int16)
    image = read(tmp_path, values, bits=16, PixelRepresentation=0)
    assert np.array_equal(image.stored, values)
    assert image.header.signed is True
    assert "it is not believed" in image.notes[0]


def test_what_header_and_values_agree_on_is_not_doubted(tmp_path: Path) -> None:
    signed = BREAST.astype(np.int16) - 2048
    black_and_white = np.where(BREAST > 0, 4095, 0).astype(np.uint16)
    for values in (BREAST, 4095 - BREAST, signed, black_and_white, BREAST >> 3, 4095 - (BREAST >> 3)):
        image = read(tmp_path, values)
        assert np.array_equal(image.stored, values)
        assert image.notes == ()


# --- Rows and columns --------------------------------------------------------------------------------


@NATIVE_AND_RLE
def test_rows_and_columns_that_are_swapped_are_seen_by_their_neighbours(syntax: str, tmp_path: Path) -> None:
    if syntax == RLELossless:  # which pydicom decodes by the rows that are stated
        path = make_dicom(tmp_path, BREAST, syntax)
        dataset = pydicom.dcmread(path)
        dataset.Rows, dataset.Columns = BREAST.shape[::-1]
        dataset.save_as(path)
        image = read_image(path)
    else:
        image = read(tmp_path, BREAST, Rows=BREAST.shape[1], Columns=BREAST.shape[0])
    assert np.array_equal(image.stored, BREAST)
    assert (image.header.rows, image.header.columns) == BREAST.shape
    assert "Rows and Columns are swapped" in image.notes[0]


# --- Polarity ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("inverted", [False, True])
@pytest.mark.parametrize("stated", [None, "", "MONOCHROME", "RGB", "GRAYSCALE"])
def test_without_an_interpretation_the_background_tells_the_polarity(
    stated: str | None, inverted: bool, tmp_path: Path
) -> None:
    pixels = 4095 - BREAST if inverted else BREAST
    image = read(tmp_path, pixels, PhotometricInterpretation=stated)
    assert image.header.inverted is inverted
    assert "PhotometricInterpretation" in image.notes[0]
    assert f"MONOCHROME{1 if inverted else 2}" in image.notes[1]


def test_an_interpretation_that_is_nearly_one_is_that_one(tmp_path: Path) -> None:
    for stated, inverted in (("MONOCHROME 1", True), ("MONOCHROME 2", False), ("monochrome2", False)):
        assert read(tmp_path, BREAST, PhotometricInterpretation=stated).header.inverted is inverted


def test_a_negative_under_the_name_of_a_positive_is_remarked(tmp_path: Path) -> None:
    for pixels, name, right in (
        (BREAST, "MONOCHROME2", True),
        (4095 - BREAST, "MONOCHROME1", True),
        (BREAST, "MONOCHROME1", False),
        (4095 - BREAST, "MONOCHROME2", False),
    ):
        try:
            notes = decoded(tmp_path, pixels, PhotometricInterpretation=name).notes
        except ImageError:
            assert not right
        else:
            assert any("is this a negative" in note for note in notes) is not right


# --- Padding -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "padding",
    [
        {"PixelPaddingValue": 0, "PixelPaddingRangeLimit": 4095},
        {"PixelPaddingValue": 4095, "PixelPaddingRangeLimit": 0},
        {"PixelPaddingValue": 0, "PixelPaddingRangeLimit": int(np.median(BREAST[BREAST > 0]))},
        {"PixelPaddingValue": int(np.median(BREAST[BREAST > 0]))},
    ],
    ids=["all", "reversed", "half of the breast", "a tissue value"],
)
def test_padding_that_is_tissue_is_not_believed(padding: dict[str, int], tmp_path: Path) -> None:
    plain, image = decoded(tmp_path), decoded(tmp_path, **padding)
    assert np.array_equal(image.pixels, plain.pixels)
    assert any("padding values" in note for note in image.notes)


@pytest.mark.parametrize("inverted", [False, True])
@pytest.mark.parametrize(
    "padding", [{"PixelPaddingValue": 0}, {"PixelPaddingValue": 0, "PixelPaddingRangeLimit": 30}]
)
def test_padding_that_is_air_is_believed(padding: dict[str, int], inverted: bool, tmp_path: Path) -> None:
    elements: dict[str, object] = dict(padding)
    if inverted:
        elements = {key: 4095 - value for key, value in padding.items()}
        elements["PhotometricInterpretation"] = "MONOCHROME1"
    image = decoded(tmp_path, 4095 - BREAST if inverted else BREAST, **elements)
    assert image.notes == ()


# --- Spacing -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("elements", "spacing", "remarked"),
    [
        ({"PixelSpacing": [1, 1]}, None, True),  # a breast of a metre
        ({"PixelSpacing": [9, 9]}, None, True),
        ({"PixelSpacing": [0, 0]}, None, True),
        ({"PixelSpacing": [-0.1, 0.1]}, None, True),
        ({"PixelSpacing": [70, 70]}, None, True),  # in micrometres
        ({"PixelSpacing": [0.007, 0.007]}, None, True),  # in centimetres
        ({"PixelSpacing": [0.1, 1]}, None, True),
        ({"PixelSpacing": [1, 1], "ImagerPixelSpacing": [0.2, 0.2]}, (0.2, 0.2), True),
        ({"NominalScannedPixelSpacing": [0.05, 0.05]}, (0.05, 0.05), False),  # of a film
        ({"PixelSpacing": [0.05, 0.05], "ImagerPixelSpacing": [0.2, 0.2]}, (0.05, 0.05), True),
        ({"PixelSpacing": [0.19, 0.19], "ImagerPixelSpacing": [0.2, 0.2]}, (0.19, 0.19), False),
        (
            {"PixelSpacing": [0.05, 0.05], "ImagerPixelSpacing": [0.09, 0.09]},
            (0.05, 0.05),
            False,
        ),  # magnified
        ({}, None, False),
    ],
)
def test_a_spacing_that_no_mammogram_has_is_unknown(
    elements: dict[str, object], spacing: tuple[float, float] | None, remarked: bool, tmp_path: Path
) -> None:
    image = read(tmp_path, BREAST, **elements)
    assert image.header.spacing_mm == spacing
    assert any("PixelSpacing" in note for note in image.notes) is remarked


# --- Nothing to see ----------------------------------------------------------------------------------


def test_a_spacing_that_software_makes_up_is_unknown_also_of_a_small_image(tmp_path: Path) -> None:
    small = np.ascontiguousarray(BREAST[::4, ::4])
    assert read(tmp_path, small, PixelSpacing=[0.8, 0.8]).header.spacing_mm == (0.8, 0.8)
    image = read(tmp_path, small, PixelSpacing=[1, 1])
    assert image.header.spacing_mm is None
    assert any("PixelSpacing" in note for note in image.notes)


def test_a_negative_in_which_no_breast_is_found_says_why(tmp_path: Path) -> None:
    dark = np.zeros((300, 240), np.uint16)
    y, x = np.mgrid[:300, :240]
    inside = ((y - 150) / 126) ** 2 + (x / 168) ** 2 < 1
    dark[inside] = (1500 + 8 * x + 2 * y)[inside]
    with pytest.raises(ImageError, match="is this a negative, with a wrong polarity") as caught:
        decoded(tmp_path, dark, PhotometricInterpretation="MONOCHROME1")
    assert caught.value.status == "no_breast"


def test_values_are_entries_of_a_colour_table_only_where_there_is_one(tmp_path: Path) -> None:
    image = read(tmp_path, BREAST, PhotometricInterpretation="PALETTE COLOR")
    assert np.array_equal(image.stored, BREAST)
    assert not image.header.inverted
    with pytest.raises(ImageError, match="colour table"):
        read(
            tmp_path,
            BREAST,
            PhotometricInterpretation="PALETTE COLOR",
            RedPaletteColorLookupTableDescriptor=[256, 0, 16],
        )


def test_a_breast_of_one_value_is_no_image(tmp_path: Path) -> None:
    flat = np.where(BREAST > 0, 2000, 0).astype(np.uint16)
    with pytest.raises(ImageError, match="one and the same grey value") as caught:
        decoded(tmp_path, flat)
    assert caught.value.status == "no_breast"


@given(st.integers(1, 16), st.data())
def test_sign_extension_is_that_of_twos_complement(bits: int, data: st.DataObject) -> None:
    cell = data.draw(st.integers(0, 2**16 - 1))
    low = cell % 2**bits
    expected = low - 2**bits if low >= 2 ** (bits - 1) else low
    assert sign_extended(np.array([cell], np.uint16), bits)[0] == expected
