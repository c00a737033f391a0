"""DICOM datasets of the phantom, in the dialect of a GE Senographe Essential.

Everything in them is made up; the manufacturer's name stands there because readers of such files
must cope with that maker's habits. Synthetic Data (0008,001C) is YES.
"""

import datetime

import imagecodecs
import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    UID,
    DigitalMammographyXRayImageStorageForPresentation,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
    generate_uid,
)

from nlbs.preprocess.phantom.breast import View
from nlbs.preprocess.phantom.patient import stream

#: Names of the transfer syntaxes that a phantom mixes, in the order in which they take turns.
TRANSFER_SYNTAXES: dict[str, UID] = {
    "jpeg-lossless": JPEGLosslessSV1,
    "jpeg2000": JPEG2000Lossless,
    "jpeg-ls": JPEGLSLossless,
    "rle": RLELossless,
    "explicit": ExplicitVRLittleEndian,
}
#: The encoder of each syntax that pydicom can compress to. Pinned, as installing another changes bytes.
_ENCODERS = {JPEG2000Lossless: "pylibjpeg", JPEGLSLossless: "pyjpegls", RLELossless: "pylibjpeg"}

#: PS3.3 C.8.11.7: directions of a row to the right and of a column downwards. The chest wall is at the
#: left of a left breast; a column of CC runs from the outer to the inner side, one of MLO to the feet.
_ORIENTATIONS = {
    ("L", "CC"): ["A", "R"],
    ("R", "CC"): ["P", "L"],
    ("L", "MLO"): ["A", "FR"],
    ("R", "MLO"): ["P", "FL"],
}
#: PS3.16 CID 4014 in the old SNOMED codes that these scanners write: code, meaning.
_VIEW_CODES = {"CC": ("R-10242", "cranio-caudal"), "MLO": ("R-10226", "medio-lateral oblique")}
_BITS = 12


def make_dataset(
    view: View, pixels: npt.NDArray[np.uint16], spacing_mm: float, seed: int, syntax: UID
) -> Dataset:
    """Return the DICOM file of an image, pixels compressed, ready to be written.

    The same arguments give the same dataset: UIDs are hashes of the seed and of what the image is.

    Args:
        view: what the image shows.
        pixels: uint16, (rows, columns), 12 bits.
        spacing_mm: between pixels, in both directions.
        seed: of the phantom.
        syntax: one of :data:`TRANSFER_SYNTAXES`.
    """
    dataset = Dataset()
    _add_identity(dataset, view, seed)
    _add_acquisition(dataset, view, spacing_mm)
    _add_image(dataset, pixels)
    _add_display(dataset)
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    # Our own, so that the bytes do not depend on pydicom's version.
    dataset.file_meta.ImplementationClassUID = _uid("implementation")
    dataset.file_meta.ImplementationVersionName = "NLBS_PHANTOM"
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    _compress(dataset, pixels, syntax)
    return dataset


def _add_identity(dataset: Dataset, view: View, seed: int) -> None:
    patient, side = view.breast.patient, view.breast.laterality
    generator = stream(seed, patient.index, 9)
    day = datetime.date(2008, 1, 1) + datetime.timedelta(days=int(generator.integers(1095)))
    date, time = day.strftime("%Y%m%d"), f"{generator.integers(8, 18):02d}{generator.integers(60):02d}00"
    study = (str(seed), patient.number)
    dataset.SpecificCharacterSet = "ISO_IR 100"
    dataset.ImageType = ["ORIGINAL", "PRIMARY", ""]
    dataset.SOPClassUID = DigitalMammographyXRayImageStorageForPresentation
    dataset.SOPInstanceUID = _uid(*study, side, view.view)
    dataset.SyntheticData = "YES"
    dataset.StudyDate = dataset.SeriesDate = dataset.AcquisitionDate = dataset.ContentDate = date
    dataset.StudyTime = dataset.SeriesTime = dataset.AcquisitionTime = dataset.ContentTime = time
    dataset.AccessionNumber = ""
    dataset.Modality = "MG"
    dataset.PresentationIntentType = "FOR PRESENTATION"
    dataset.Manufacturer = "GE MEDICAL SYSTEMS"
    dataset.InstitutionName = "PHANTOM"
    dataset.ReferringPhysicianName = ""
    dataset.StudyDescription = "PHANTOM, SYNTHETIC SCREENING MAMMOGRAM"
    dataset.SeriesDescription = f"PHANTOM {side} {view.view}"
    dataset.ManufacturerModelName = "Senographe Essential VERSION ADS_54.10"
    dataset.PatientName = f"PHANTOM^{patient.index}"
    dataset.PatientID = patient.number
    dataset.PatientBirthDate = ""
    dataset.PatientSex = "F"
    # How anonymised files of this scanner spell an unknown age.
    dataset.PatientAge = f"{patient.age_years if patient.age_known else 0:03d}Y"
    dataset.StudyInstanceUID = _uid(*study, "study")
    dataset.SeriesInstanceUID = _uid(*study, "series", side, view.view)
    dataset.StudyID = "PHANTOM"
    dataset.SeriesNumber = 1
    dataset.InstanceNumber = 1 + 2 * "LR".index(side) + ("CC", "MLO").index(view.view)


def _add_acquisition(dataset: Dataset, view: View, spacing_mm: float) -> None:
    side = view.breast.laterality
    dataset.AnatomicRegionSequence = [_code("T-04000", "BREAST")]
    dataset.BodyPartExamined = "BREAST"
    dataset.KVP = "30"
    dataset.DistanceSourceToDetector = "660"
    dataset.EstimatedRadiographicMagnificationFactor = "1"
    dataset.ImagerPixelSpacing = [f"{spacing_mm:.12g}"] * 2
    dataset.PositionerType = "MAMMOGRAPHIC"
    dataset.PositionerPrimaryAngle = "45" if view.view == "MLO" else "0"
    dataset.ViewPosition = view.view
    dataset.DetectorType = "SCINTILLATOR"
    dataset.PatientOrientation = _ORIENTATIONS[side, view.view]
    dataset.ImageLaterality = side
    dataset.OrganExposed = "BREAST"
    code = _code(*_VIEW_CODES[view.view])
    code.ViewModifierCodeSequence = []
    dataset.ViewCodeSequence = [code]


def _add_image(dataset: Dataset, pixels: npt.NDArray[np.uint16]) -> None:
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.Rows, dataset.Columns = pixels.shape
    dataset.BitsAllocated = 16
    dataset.BitsStored = _BITS
    dataset.HighBit = _BITS - 1
    dataset.PixelRepresentation = 0
    dataset.PixelPaddingValue = 0
    dataset.PixelPaddingRangeLimit = 30
    dataset.QualityControlImage = "NO"
    dataset.BurnedInAnnotation = (
        "NO"  # a view label identifies nobody, and stands under a NO in real files too
    )
    dataset.BreastImplantPresent = "NO"
    dataset.LossyImageCompression = "00"
    dataset.PixelData = pixels.astype("<u2").tobytes()
    dataset["PixelData"].VR = "OW"


def _add_display(dataset: Dataset) -> None:
    dataset.PixelIntensityRelationship = "LOG"
    dataset.PixelIntensityRelationshipSign = -1
    dataset.WindowCenter = ["2653", "2713", "2569"]
    dataset.WindowWidth = ["900", "750", "1050"]
    dataset.WindowCenterWidthExplanation = ["NORMAL", "HARDER", "SOFTER"]
    dataset.VOILUTFunction = "SIGMOID"
    dataset.RescaleIntercept = "0"
    dataset.RescaleSlope = "1"
    dataset.RescaleType = "US"
    dataset.PresentationLUTShape = "IDENTITY"


def _compress(dataset: Dataset, pixels: npt.NDArray[np.uint16], syntax: UID) -> None:
    if syntax == JPEGLosslessSV1:
        # Selection value 1 is the predictor; imagecodecs' ljpeg_encode writes predictor 6, another syntax.
        frame = imagecodecs.jpeg8_encode(pixels, lossless=True, predictor=1, bitspersample=_BITS)
        dataset.PixelData = encapsulate([bytes(frame)])
        dataset["PixelData"].VR = "OB"
        dataset["PixelData"].is_undefined_length = True
        dataset.file_meta.TransferSyntaxUID = syntax
    elif syntax != ExplicitVRLittleEndian:
        dataset.compress(syntax, encoding_plugin=_ENCODERS[syntax], generate_instance_uid=False)


def _code(value: str, meaning: str) -> Dataset:
    code = Dataset()
    code.CodeValue = value
    code.CodingSchemeDesignator = "SNM3"
    code.CodeMeaning = meaning
    return code


def _uid(*parts: str) -> UID:
    """A UID that depends on nothing but the parts."""
    return generate_uid(entropy_srcs=["nlbs phantom", *parts])
