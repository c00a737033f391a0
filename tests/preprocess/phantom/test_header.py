"""DICOM files of the phantom: their tags, and pixels read back by two independent decoders each."""

import io
from collections.abc import Callable

import imagecodecs
import numpy as np
import pydicom
import pytest
from pydicom.encaps import generate_frames
from pydicom.pixels.utils import pixel_array

from nlbs.preprocess.phantom.breast import View, draw_pixels, draw_view, spacing_of
from nlbs.preprocess.phantom.header import TRANSFER_SYNTAXES, make_dataset
from nlbs.preprocess.phantom.patient import draw_breast, draw_patient, stream

ROWS, COLUMNS = 320, 251  # an odd width: rows of an odd number of bytes


def view_of(side: str, name: str, index: int = 1) -> View:
    patient = draw_patient(index, stream(0, index))
    breast = draw_breast(patient, side, stream(0, index, 0))
    return draw_view(breast, name, COLUMNS * spacing_of(ROWS), stream(0, index, 0, 0))


@pytest.fixture(scope="module")
def image() -> tuple[View, np.ndarray]:
    view = view_of("R", "MLO")
    return view, draw_pixels(view, ROWS, COLUMNS, stream(0)).pixels


def written(view: View, pixels: np.ndarray, syntax: str) -> bytes:
    file = io.BytesIO()
    dataset = make_dataset(view, pixels, spacing_of(len(pixels)), 0, TRANSFER_SYNTAXES[syntax])
    dataset.save_as(file, enforce_file_format=True)
    return file.getvalue()


def rle_decoded(frame: bytes) -> np.ndarray:
    """PS3.5 G: a header of 16 numbers, then the high bytes and the low bytes, PackBits each."""
    count, *offsets = np.frombuffer(frame[:64], "<u4").tolist()
    assert count == 2
    ends = [offsets[1], len(frame)]
    high, low = (
        np.frombuffer(imagecodecs.packbits_decode(frame[start:end]), np.uint8)[: ROWS * COLUMNS].astype(
            np.uint16
        )
        for start, end in zip(offsets[:2], ends, strict=True)
    )
    return (high * 256 + low).reshape(ROWS, COLUMNS)


SECOND_DECODERS: dict[str, Callable[[bytes], np.ndarray]] = {
    "jpeg-lossless": imagecodecs.ljpeg_decode,
    "jpeg2000": imagecodecs.jpeg2k_decode,
    "jpeg-ls": imagecodecs.jpegls_decode,
    "rle": rle_decoded,
}


@pytest.mark.parametrize("syntax", sorted(SECOND_DECODERS))
def test_two_decoders_give_the_drawn_pixels(syntax: str, image: tuple[View, np.ndarray]) -> None:
    view, pixels = image
    file = io.BytesIO(written(view, pixels, syntax))
    assert np.array_equal(pixel_array(file, decoding_plugin="pylibjpeg"), pixels)
    dataset = pydicom.dcmread(file)
    assert dataset.file_meta.TransferSyntaxUID == TRANSFER_SYNTAXES[syntax]
    (frame,) = generate_frames(dataset.PixelData, number_of_frames=1)
    assert np.array_equal(SECOND_DECODERS[syntax](frame), pixels)


def test_uncompressed_pixels_are_the_drawn_ones(image: tuple[View, np.ndarray]) -> None:
    view, pixels = image
    dataset = pydicom.dcmread(io.BytesIO(written(view, pixels, "explicit")))
    assert dataset.file_meta.TransferSyntaxUID == "1.2.840.10008.1.2.1"
    assert np.array_equal(
        np.frombuffer(dataset.PixelData, "<u2")[: pixels.size].reshape(pixels.shape), pixels
    )


def test_jpeg_lossless_is_of_selection_value_1(image: tuple[View, np.ndarray]) -> None:
    # PS3.5 A.4.2: .57 allows every predictor, .70 the first only. SOS: length, count, (id, table), predictor.
    stream_bytes = written(*image, "jpeg-lossless")
    sof = stream_bytes.index(b"\xff\xc3")
    assert stream_bytes[sof + 4] == 12  # bits of a sample
    sos = stream_bytes.index(b"\xff\xda")
    assert stream_bytes[sos + 7] == 1


@pytest.mark.parametrize("syntax", sorted(TRANSFER_SYNTAXES))
def test_the_same_image_gives_the_same_bytes(syntax: str, image: tuple[View, np.ndarray]) -> None:
    assert written(*image, syntax) == written(*image, syntax)


def test_the_header_is_plainly_synthetic_and_speaks_the_dialect(image: tuple[View, np.ndarray]) -> None:
    view, pixels = image
    dataset = pydicom.dcmread(io.BytesIO(written(view, pixels, "jpeg-ls")))
    assert dataset[0x0008, 0x001C].value == "YES"
    assert "PHANTOM" in str(dataset.PatientName)
    assert "PHANTOM" in dataset.StudyDescription
    assert dataset.Modality == "MG"
    assert dataset.PresentationIntentType == "FOR PRESENTATION"
    assert dataset.SOPClassUID == "1.2.840.10008.5.1.4.1.1.1.2"
    assert dataset.PatientAge == f"{view.breast.patient.age_years:03d}Y"
    assert dataset.PatientID == view.breast.patient.number
    assert (dataset.Rows, dataset.Columns) == (ROWS, COLUMNS)
    assert (dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit) == (16, 12, 11)
    assert (dataset.PixelPaddingValue, dataset.PixelPaddingRangeLimit) == (0, 30)
    assert list(dataset.WindowCenterWidthExplanation) == ["NORMAL", "HARDER", "SOFTER"]
    assert len(dataset.WindowCenter) == len(dataset.WindowWidth) == 3
    assert dataset.VOILUTFunction == "SIGMOID"
    assert dataset.PresentationLUTShape == "IDENTITY"
    assert (dataset.RescaleSlope, dataset.RescaleIntercept) == (1, 0)
    # 3062 rows of 0.0941 mm on the scanner.
    assert dataset.ImagerPixelSpacing[0] * ROWS == pytest.approx(3062 * 0.0940909, rel=1e-5)


@pytest.mark.parametrize(
    ("side", "name", "orientation", "code"),
    [
        ("R", "MLO", ["P", "FL"], "R-10226"),  # as in a real GE Senographe file
        ("L", "MLO", ["A", "FR"], "R-10226"),
        ("R", "CC", ["P", "L"], "R-10242"),
        ("L", "CC", ["A", "R"], "R-10242"),
    ],
)
def test_view_and_side_stand_in_every_place(side: str, name: str, orientation: list[str], code: str) -> None:
    pixels = np.zeros((8, 8), np.uint16)
    dataset = make_dataset(view_of(side, name), pixels, 0.1, 0, TRANSFER_SYNTAXES["explicit"])
    assert dataset.ViewPosition == name
    assert dataset.ImageLaterality == side
    assert list(dataset.PatientOrientation) == orientation
    assert dataset.ViewCodeSequence[0].CodeValue == code


def test_an_unknown_age_is_spelt_as_the_scanner_does() -> None:
    view = view_of("L", "CC", index=5)
    assert not view.breast.patient.age_known
    pixels = np.zeros((8, 8), np.uint16)
    assert make_dataset(view, pixels, 0.1, 0, TRANSFER_SYNTAXES["explicit"]).PatientAge == "000Y"


def test_images_of_one_patient_share_the_study_and_nothing_else() -> None:
    pixels = np.zeros((8, 8), np.uint16)
    files = [
        make_dataset(view_of(side, name), pixels, 0.1, seed, TRANSFER_SYNTAXES["explicit"])
        for seed in (0, 1)
        for side in "LR"
        for name in ("CC", "MLO")
    ]
    assert len({file.SOPInstanceUID for file in files}) == 8
    assert len({file.SeriesInstanceUID for file in files}) == 8
    assert len({file.StudyInstanceUID for file in files}) == 2
    assert {file.file_meta.MediaStorageSOPInstanceUID for file in files} == {
        file.SOPInstanceUID for file in files
    }
