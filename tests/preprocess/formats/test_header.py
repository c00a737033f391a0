"""What a header says, and what is refused before a pixel is touched."""

from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.uid import (
    ExplicitVRLittleEndian,
    RLELossless,
)

from nlbs.errors import ImageError
from nlbs.preprocess.formats.header import element
from nlbs.preprocess.formats.image_errors import (
    BadHeaderError,
    NoPixelsError,
    UnsupportedImageError,
)
from nlbs.preprocess.formats.image_file import read_image
from tests.conftest import some
from tests.preprocess.dicom_files import (
    ENCODERS,
    PICTURE,
    eight_bits_where_needed,
    make_dicom,
    public_file,
    replaced,
)


@pytest.mark.parametrize(
    ("elements", "inverted"),
    [
        ({}, False),
        ({"PresentationLUTShape": "IDENTITY"}, False),
        ({"PresentationLUTShape": "INVERSE"}, True),
        ({"PhotometricInterpretation": "MONOCHROME1"}, True),
        # C.8.11.7.1.3 asks for both together: one inversion, said twice.
        ({"PhotometricInterpretation": "MONOCHROME1", "PresentationLUTShape": "INVERSE"}, True),
    ],
)
def test_the_polarity_is_told_by_two_elements(
    elements: dict[str, str], inverted: bool, tmp_path: Path
) -> None:
    assert read_image(make_dicom(tmp_path, PICTURE, **elements)).header.inverted is inverted


@pytest.mark.parametrize(
    ("elements", "padding"),
    [
        ({}, None),
        ({"PixelPaddingValue": 7}, (7, 7)),
        ({"PixelPaddingValue": 0, "PixelPaddingRangeLimit": 30}, (0, 30)),
        # C.7.5.1.1.2: the limit may be the lower end, as it is in MONOCHROME1.
        ({"PixelPaddingValue": 4095, "PixelPaddingRangeLimit": 4000}, (4000, 4095)),
    ],
)
def test_padding_is_a_value_or_a_range(
    elements: dict[str, int], padding: tuple[int, int] | None, tmp_path: Path
) -> None:
    assert read_image(make_dicom(tmp_path, PICTURE, **elements)).header.padding == padding


def test_a_signed_padding_range_keeps_its_signs(tmp_path: Path) -> None:
    path = make_dicom(tmp_path, (PICTURE.astype(np.int32) - 2048).astype(np.int16))
    dataset = pydicom.dcmread(path)
    dataset.add_new("PixelPaddingValue", "SS", -2048)
    dataset.add_new("PixelPaddingRangeLimit", "SS", -2000)
    dataset.save_as(path)
    assert read_image(path).header.padding == (-2048, -2000)


def test_a_padding_value_written_without_its_sign_gets_it_back(tmp_path: Path) -> None:
    path = make_dicom(tmp_path, (PICTURE.astype(np.int32) - 2048).astype(np.int16))
    dataset = pydicom.dcmread(path)
    dataset.add_new("PixelPaddingValue", "US", 65536 - 2000)
    dataset.save_as(path)
    assert read_image(path).header.padding == (-2000, -2000)


@pytest.mark.parametrize(
    ("elements", "spacing"),
    [
        ({}, None),
        ({"ImagerPixelSpacing": [0.1, 0.08]}, (0.1, 0.08)),
        ({"ImagerPixelSpacing": [0.1, 0.1], "PixelSpacing": [0.09, 0.09]}, (0.09, 0.09)),
        ({"PixelSpacing": [0, 0], "ImagerPixelSpacing": [0.07, 0.07]}, (0.07, 0.07)),
        ({"PixelSpacing": [0.1]}, None),
        ({"PixelSpacing": []}, None),
        ({"PixelSpacing": [1.0, 1.0]}, None),  # what software writes that knows none,
        ({"PixelSpacing": [1.0, 1.0], "Modality": "MR"}, (1.0, 1.0)),  # and what many a slice has
        ({"PixelSpacing": [90.0, 90.0], "Modality": "MR"}, None),
    ],
)
def test_the_spacing_is_two_sensible_numbers_or_unknown(
    elements: dict[str, list[float]], spacing: tuple[float, float] | None, tmp_path: Path
) -> None:
    assert read_image(make_dicom(tmp_path, PICTURE, **elements)).header.spacing_mm == spacing


def test_text_where_a_number_belongs_is_a_bad_header_or_unknown(tmp_path: Path) -> None:
    path = make_dicom(tmp_path, PICTURE, NumberOfFrames="10")
    with pytest.raises(BadHeaderError, match="NumberOfFrames is no single whole number"):
        read_image(replaced(path, "NumberOfFrames", b"1A"))
    path = make_dicom(tmp_path, PICTURE, PixelSpacing=[0.1, 0.1], WindowWidth="10")
    path = replaced(replaced(path, "PixelSpacing", b"one\\two "), "WindowWidth", b"1A")
    header = read_image(path).header
    assert header.spacing_mm is None
    assert element(header.dataset, "WindowWidth") == "1A"


def test_an_element_that_is_missing_or_blank_is_none(tmp_path: Path) -> None:
    dataset = read_image(make_dicom(tmp_path, PICTURE, VOILUTFunction="", ViewPosition="CC")).header.dataset
    assert element(dataset, "VOILUTFunction") is None
    assert element(dataset, "WindowCenter") is None
    assert element(dataset, "ViewPosition") == "CC"


def test_the_header_keeps_no_pixels(tmp_path: Path) -> None:
    assert read_image(make_dicom(tmp_path, PICTURE)).header.dataset.get("PixelData") is None


@pytest.mark.parametrize(
    ("elements", "error", "words"),
    [
        ({"Rows": 0}, BadHeaderError, "0 x 47"),
        ({"Columns": 0}, BadHeaderError, "61 x 0"),
        ({"Rows": 65535, "Columns": 65535}, BadHeaderError, "65535 x 65535, expected 1 to 120,000,000"),
        ({"Rows": None}, BadHeaderError, "Rows is missing"),
        ({"Columns": None}, BadHeaderError, "Columns is missing"),
        ({"Columns": [47, 47]}, BadHeaderError, "Columns is no single whole number"),
        ({"BitsAllocated": 1, "BitsStored": 1, "HighBit": 0}, BadHeaderError, "BitsAllocated 1,"),
        ({"BitsAllocated": 24}, BadHeaderError, "BitsAllocated 24"),
        ({"PixelRepresentation": 2}, BadHeaderError, "PixelRepresentation is 2"),
        ({"BitsAllocated": 32}, BadHeaderError, "BitsAllocated 32"),
        ({"BitsStored": 17}, BadHeaderError, "BitsStored 17"),
        ({"BitsStored": 0}, BadHeaderError, "BitsStored 0"),
        ({"BitsAllocated": None}, BadHeaderError, "BitsAllocated is missing"),
        ({"NumberOfFrames": 2}, UnsupportedImageError, "2 frames"),
        ({"NumberOfFrames": -1}, UnsupportedImageError, "-1 frames"),
        ({"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB"}, UnsupportedImageError, "3 samples"),
        (
            {
                "PhotometricInterpretation": "PALETTE COLOR",
                "RedPaletteColorLookupTableDescriptor": [256, 0, 16],
            },
            UnsupportedImageError,
            "grey",
        ),
    ],
)
def test_an_impossible_header_is_refused_in_words(
    elements: dict[str, object], error: type[ImageError], words: str, tmp_path: Path
) -> None:
    with pytest.raises(ImageError, match=words) as caught:
        read_image(make_dicom(tmp_path, PICTURE, **elements))
    assert isinstance(caught.value, error)


@pytest.mark.parametrize(
    "syntax", [ExplicitVRLittleEndian, RLELossless, *ENCODERS], ids=lambda uid: uid.keyword
)
def test_no_memory_is_taken_for_an_image_larger_than_allowed(syntax: str, tmp_path: Path) -> None:
    path = eight_bits_where_needed(tmp_path, syntax)
    with pytest.raises(BadHeaderError, match="expected 1 to 2,000 pixels"):
        read_image(path, max_pixels=2000)


def test_the_transfer_syntax_must_be_there_and_known(tmp_path: Path) -> None:
    with pytest.raises(BadHeaderError, match="0002,0010"):
        read_image(public_file("meta_missing_tsyntax.dcm"))
    data = make_dicom(tmp_path, PICTURE).read_bytes()
    for uid in (b"1.2.840.10008.9.9.1", b"1.2.PLANTED^NAME.12"):
        path = tmp_path / "private.dcm"
        path.write_bytes(data.replace(b"1.2.840.10008.1.2.1", uid))
        with pytest.raises(UnsupportedImageError, match="Transfer Syntax") as caught:
            read_image(path)
        assert uid.decode() not in str(caught.value)


def test_colour_and_multi_frame_public_files_are_unsupported() -> None:
    for name in (
        "SC_rgb_jpeg.dcm",
        "emri_small.dcm",
        "OBXXXX1A.dcm",
        "examples_ybr_color.dcm",
        "US1_J2KR.dcm",
    ):
        with pytest.raises(UnsupportedImageError):
            read_image(public_file(name))


def test_dicom_files_without_an_image_say_so() -> None:
    names = ("rtplan.dcm", "test-SR.dcm", "waveform_ecg.dcm", "reportsi.dcm")
    paths = [public_file(name) for name in names]
    paths.append(Path(pydicom.__file__).parent / "data" / "test_files" / "dicomdirtests" / "DICOMDIR")
    for path in some(paths):
        with pytest.raises(NoPixelsError):
            read_image(path)
