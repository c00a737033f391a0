"""What kind of image a DICOM header states: see :mod:`nlbs.manifests.kinds`; and the spacing in the patient."""

import re
from collections.abc import Callable, Iterable
from typing import Any

import pydicom

from nlbs.manifests.kinds import KINDS, STANDARD_KINDS, view_and_kind
from nlbs.preprocess.formats.header import element
from nlbs.preprocess.formats.image_errors import OtherKindError

#: SOP classes (PS3.4 B.5): of secondary captures, of tomosynthesis, of images for processing, of mammograms.
_CAPTURES = frozenset(f"1.2.840.10008.5.1.4.1.1.7{part}" for part in ("", ".1", ".2", ".3", ".4"))
_TOMOSYNTHESIS = frozenset(f"1.2.840.10008.5.1.4.1.1.13.1.{number}" for number in (3, 4, 5))
#: Slices of tomosynthesis before there was a class for them; and US, MR, PT, NM, where Modality is lost.
_CT = "1.2.840.10008.5.1.4.1.1.2"
_OTHER_CLASSES = frozenset(
    f"1.2.840.10008.5.1.4.1.1.{part}" for part in ("2.1", "3.1", "4", "4.1", "6.1", "6.2", "20", "128", "130")
)
_FOR_PROCESSING = frozenset(("1.2.840.10008.5.1.4.1.1.1.1.1", "1.2.840.10008.5.1.4.1.1.1.2.1"))
_MAMMOGRAM = "1.2.840.10008.5.1.4.1.1.1.2"

#: Modalities (PS3.3 C.7.3.1.1.1) that show no X-ray of a breast. CR, DX and OT may: old mammograms are called so.
_OTHER_MODALITIES = frozenset(
    (*("AU", "BI", "BMD", "CT", "DOC", "ECG", "ES", "GM", "IVOCT", "IVUS", "IO", "KO", "MR", "NM", "OCT", "OP"),
     *("OPT", "PR", "PT", "PX", "RF", "RTDOSE", "RTIMAGE", "RTPLAN", "RTSTRUCT", "RWV", "SEG", "SM", "SR", "TG"),
     *("US", "XA", "XC"))
)  # fmt: skip

#: Values 3 and up of Image Type (PS3.3 C.8.11.7.1.4, C.8.21.6.1.1) and what some makers write there.
_IMAGE_TYPES = {
    **dict.fromkeys(
        ("STEREO_SCOUT", "STEREO_MINUS", "STEREO_PLUS", "PREFIRE", "PREFIRE_MINUS", "PREFIRE_PLUS", "POSTFIRE",
         "POSTFIRE_MINUS", "POSTFIRE_PLUS", "POSTBIOPSY", "POSTMARKER", "TOMO_SCOUT", "STEREO", "BIOPSY"),
        "biopsy",
    ),
    **dict.fromkeys(("SPECIMEN",), "specimen"),
    **dict.fromkeys(("GENERATED_2D", "TOMO_2D", "SYNTHETIC", "SYNTHETIC_2D", "SYNTHESIZED_2D", "C-VIEW", "CVIEW",
                     "V-PREVIEW", "VPREVIEW", "INSIGHT_2D"), "synthetic_2d"),
    **dict.fromkeys(("TOMO", "TOMO_PROJ", "TOMOSYNTHESIS"), "tomosynthesis"),
    **dict.fromkeys(("SUBTRACTION", "ADDITION", "HIGH_ENERGY", "RECOMBINED"), "contrast"),
    **dict.fromkeys(("SCREEN SAVE", "SCREEN_SAVE", "SCREENSAVE", "SCREENSHOT", "SCREEN_CAPTURE"),
                    "secondary_capture"),
    **dict.fromkeys(("PHANTOM", "QC", "FLAT_FIELD", "FLATFIELD"), "quality_control"),
    **dict.fromkeys(("ROI", "CROPPED"), "region"),
}  # fmt: skip
#: Where several of them stand, the first of these counts.
_IMAGE_TYPE_ORDER = (
    *("quality_control", "specimen", "biopsy", "secondary_capture", "region", "synthetic_2d", "contrast"),
    "tomosynthesis",
)

#: View Code Sequence (PS3.16 CID 4014) and View Modifier Code Sequence (CID 4015), SNOMED CT and the older SRT.
_SPECIMEN_VIEWS = frozenset(("127457009", "G-8310"))
_MAGNIFICATION = frozenset(("399163009", "R-102D6"))
_SPOT = frozenset(("399055006", "R-102D7"))
_IMPLANT_DISPLACED = frozenset(("399209000", "R-102D5"))
#: Modifiers that leave a view of the whole breast, which is worth a remark.
_MODIFIERS = {
    **dict.fromkeys(("399197002", "R-102D3"), "rolled lateral"),
    **dict.fromkeys(("399226006", "R-102D4"), "rolled medial"),
    **dict.fromkeys(("414493004", "R-102CA"), "rolled inferior"),
    **dict.fromkeys(("415670009", "R-102C9"), "rolled superior"),
    **dict.fromkeys(("399110001", "R-102C2"), "tangential"),
    **dict.fromkeys(("441752004", "P2-00161"), "anterior compression"),
}

#: Words of Series Description and Protocol Name, asked last: people and makers write there what they like.
_DESCRIPTIONS = (
    (r"\bs2d\b|\bc-?\s?view\b|\bv-?preview\b|\binsight 2d\b|\bintelligent 2d\b|\bs-view\b|\bsynth(?:etic|etisch)? ?2d\b"
     r"|\bsynthesi[sz]ed\b|\bgenerated 2d\b", "synthetic_2d"),
    (r"\b(?:tomo(?:synthesis)?|dbt) (?:projection|reconstruction|recon|slice|slab|plane|volume)s?\b"
     r"|\b(?:slabs|tomo projs?)\b", "tomosynthesis"),
    (r"\b(?:cesm|cedm|cem) (?:sub|rec|recombined)\b|\bsubtract(?:ed|ion)\b|\brecombined\b", "contrast"),
    (r"\bspecimens?\b", "specimen"),
    (r"\broi mask images?\b|\bcropped images?\b", "region"),
    (r"\bscreen ?(?:save|saves|shot|capture)s?\b", "secondary_capture"),
    (r"\bstereota(?:ctic|xis|xy)\b|\b(?:pre|post) ?fire\b|\bstereo scout\b"
     r"|\b(?:wire|needle) ?loc(?:ali[sz]ation)?\b|\bbiops(?:y|ies)\b", "biopsy"),
    (r"\bmag(?:nification|nified)?(?: views?)?\b", "magnified"),
    (r"\bspot(?: compression| views?)?\b", "spot"),
    (r"\bimplant displaced\b|\beklund\b|\bpush(?:ed)?[ -]?back\b", "implant_displaced"),
    (r"\bphantom images?\b|\b(?:acr|qc) phantoms?\b|\bflat ?field\b", "quality_control"),
)  # fmt: skip

#: A description of a raw image, where nothing says that it is for presentation.
_RAW = re.compile(r"\braw\b")
#: Code Meaning -> the code of SNOMED CT: makers' own codes have the standard's words (PS3.16 CID 4015).
_MEANINGS = {
    "MAGNIFICATION": "399163009",
    "SPOT COMPRESSION": "399055006",
    "IMPLANT DISPLACED": "399209000",
}

_MODIFIED_VIEWS = ("magnified", "spot", "implant_displaced")

#: Magnified less than this is a contact view: the breast's own thickness gives up to about 1.1.
LEAST_MAGNIFICATION = 1.25
#: Distances alone, which some makers fill in by rote, make a magnified view from this factor on: stands have 1.5 to 2.
_LEAST_BY_DISTANCES, _MOST_BY_DISTANCES = 1.4, 2.5
_MOST_MAGNIFICATION = 10.0
_SAME_SPACING = 0.01  # relative difference of two spacings that are written with different digits


def kind_of_header(dataset: pydicom.Dataset, of_breast: bool = True) -> str:
    """Return the kind that a header states, one of :data:`~nlbs.manifests.kinds.KINDS`; "unknown" where none.

    Coded elements count before words that people chose (PS3.3 C.8.11.1, C.8.11.7.1, C.7.6.22, C.12.1.1).

    Args:
        dataset: the header's elements.
        of_breast: whether the image is to be a mammogram; of another one most of them say nothing.
    """
    for found in _stated(dataset) if of_breast else _stated_of_others(dataset):
        if found is not None:
            return found
    presented = _text(dataset, "PresentationIntentType") == "FOR PRESENTATION"
    mammogram = _text(dataset, "SOPClassUID") == _MAMMOGRAM or _is_film(dataset)
    return "standard" if presented or mammogram else "unknown"


def require_kind(kinds: Iterable[str], of_breast: bool = True) -> Callable[[pydicom.Dataset], None]:
    """Return a check of headers that raises OtherKindError where an image is of none of some kinds."""
    wanted = frozenset(kinds)

    def check(dataset: pydicom.Dataset) -> None:
        kind = kind_of_header(dataset, of_breast)
        if kind not in wanted:
            raise other_kind(kind, "header")

    return check


def other_kind(kind: str, by: str) -> OtherKindError:
    """Return the error of an image of a kind that is not asked for, told by its "header" or "table"."""
    own = "standard" if kind in STANDARD_KINDS else f"standard,{kind}"
    error = OtherKindError(
        f"by its {by} this is {KINDS[kind]}, which is not among the --kinds asked for: "
        f"--kinds {own} or --kinds all takes it"
    )
    error.kind = kind
    return error


def kind_notes(dataset: pydicom.Dataset, kind: str, of_breast: bool = True) -> tuple[str, ...]:
    """Return remarks on an image of a kind, its own, and on what makes no other kind of it but differs from most."""
    notes, codes = [], _modifiers(dataset)
    if kind not in ("standard", "unknown"):
        notes.append(f"this is {KINDS[kind]} (kind {kind})")
    if not of_breast:
        return tuple(notes)
    notes += [
        f"View Modifier Code Sequence (0054,0222) says {_MODIFIERS[code]}" for code in codes & set(_MODIFIERS)
    ]
    if _text(dataset, "BreastImplantPresent") == "YES":
        notes.append("Breast Implant Present (0028,1300) is YES")
    if "LOW_ENERGY" in _image_type(dataset):
        notes.append(
            "Image Type (0008,0008) says that this is the low-energy image of a contrast-enhanced pair"
        )
    if _text(dataset, "PartialView") == "YES":
        notes.append("Partial View (0028,1350) is YES: this is a part of the breast")
    if kind in STANDARD_KINDS and _is_secondary(dataset) and not _is_film(dataset):
        notes.append("Image Type (0008,0008) says SECONDARY: is this a mammogram as it was taken?")
    elif kind == "unknown" and _text(dataset, "SOPClassUID") in _CAPTURES:
        notes.append(
            "SOP Class UID (0008,0016) says Secondary Capture: is this a digitised film, or a screenshot?"
        )
    return tuple(notes)


def spacing_in_patient(
    dataset: pydicom.Dataset, spacing_mm: tuple[float, float] | None
) -> tuple[tuple[float, float] | None, tuple[str, ...]]:
    """Return the spacing of an image in the patient, and a remark where that is not the detector's.

    In a contact view both are taken as equal. Of a magnified view Imager Pixel Spacing is that of the detector
    and has to be divided by the factor (PS3.3 C.8.11.7, 0018,1114); Pixel Spacing that differs from it, or says
    how it was calibrated (0028,0A02), is in the patient already (PS3.3 10.7.1.3).

    Args:
        dataset: the header's elements.
        spacing_mm: row and column distance as the header has it; None where it has none.

    Returns:
        The spacing, None where it is not known, and remarks.
    """
    if spacing_mm is None or not _is_magnified(dataset):
        return spacing_mm, ()
    calibrated = _text(dataset, "PixelSpacingCalibrationType") in ("GEOMETRY", "FIDUCIAL")
    pixel, imager = (_pair(dataset, name) for name in ("PixelSpacing", "ImagerPixelSpacing"))
    differs = pixel is not None and imager is not None and abs(pixel[0] / imager[0] - 1) > _SAME_SPACING
    # A Pixel Spacing that is not believed is not the one that is given.
    if pixel is not None and abs(pixel[0] / spacing_mm[0] - 1) < _SAME_SPACING and (calibrated or differs):
        return spacing_mm, ("spacing of this magnified view is its calibrated Pixel Spacing (0028,0030)",)
    factor = magnification(dataset)
    if factor is None or factor < LEAST_MAGNIFICATION:
        return None, (
            "spacing of this magnified view is unknown: Estimated Radiographic Magnification Factor (0018,1114) "
            "gives no factor",
        )
    return (
        (spacing_mm[0] / factor, spacing_mm[1] / factor),
        (f"spacing in the patient is that of the detector over the magnification factor {factor:g}",),
    )


def magnification(dataset: pydicom.Dataset) -> float | None:
    """Return how much larger the detector's image is than the patient; None where the header does not say.

    Estimated Radiographic Magnification Factor, else the ratio of the distances that it is defined by.
    """
    stated = _number(dataset, "EstimatedRadiographicMagnificationFactor")
    if stated is None:
        detector, patient = (_number(dataset, f"DistanceSourceTo{what}") for what in ("Detector", "Patient"))
        stated = detector / patient if detector and patient else None
    return stated if stated is not None and 1 <= stated <= _MOST_MAGNIFICATION else None


def _stated(dataset: pydicom.Dataset) -> Iterable[str | None]:
    """Yield what each element says, the strongest first; None where it says nothing."""
    types, codes = _image_type(dataset), _modifiers(dataset)
    of_types = {_IMAGE_TYPES[word] for word in types if word in _IMAGE_TYPES}
    sop_class, modality = _text(dataset, "SOPClassUID"), _text(dataset, "Modality")
    yield "quality_control" if _text(dataset, "QualityControlImage") == "YES" else None
    yield "quality_control" if "PHANTOM" in _text(dataset, "BodyPartExamined") else None
    yield "specimen" if _is_specimen(dataset) else None
    of_another = sop_class in _OTHER_CLASSES or (sop_class == _CT and modality != "MG")
    yield "other_modality" if modality in _OTHER_MODALITIES or of_another else None
    yield next((kind for kind in _IMAGE_TYPE_ORDER if kind in of_types), None)
    yield "biopsy" if _text(dataset, "PositionerType") == "STEREOTACTIC" else None
    yield "tomosynthesis" if sop_class in _TOMOSYNTHESIS or sop_class == _CT else None
    yield "secondary_capture" if _is_capture(dataset) else None
    raw = _text(dataset, "PresentationIntentType") == "FOR PROCESSING" or sop_class in _FOR_PROCESSING
    yield "for_processing" if raw else None
    yield "magnified" if _is_magnified(dataset) else None
    yield "spot" if codes & _SPOT else None
    yield "implant_displaced" if codes & _IMPLANT_DISPLACED else None
    modified = view_and_kind(_text(dataset, "ViewPosition"))
    yield modified[1] if modified is not None else None
    yield _described(dataset)


def _stated_of_others(dataset: pydicom.Dataset) -> Iterable[str | None]:
    """Yield what each element says of an image that is no mammogram; an MR slice may well be SECONDARY."""
    capture, burned_in = _text(dataset, "SOPClassUID") in _CAPTURES, _text(dataset, "BurnedInAnnotation")
    yield "quality_control" if _text(dataset, "QualityControlImage") == "YES" else None
    yield "secondary_capture" if capture and burned_in == "YES" else None
    raw = _text(dataset, "PresentationIntentType") == "FOR PROCESSING"
    yield "for_processing" if raw or _text(dataset, "SOPClassUID") in _FOR_PROCESSING else None


def _is_specimen(dataset: pydicom.Dataset) -> bool:
    """Return whether a header describes a specimen (PS3.3 C.7.6.22) or calls its view one (PS3.16 CID 4014)."""
    words = ("ViewPosition", "BodyPartExamined")
    return (
        any(
            element(item, "SpecimenIdentifier") is not None
            for item in _items(element(dataset, "SpecimenDescriptionSequence"))
        )
        or bool(_view_codes(dataset) & _SPECIMEN_VIEWS)
        or any(_text(dataset, word).startswith("SPECIMEN") for word in words)
    )


def _is_capture(dataset: pydicom.Dataset) -> bool:
    """Return whether an image was taken from a screen (PS3.3 C.7.6.1.1.2, C.8.6.1); digitised films are not meant."""
    if _is_film(dataset):
        return False
    capture, burned_in = _text(dataset, "SOPClassUID") in _CAPTURES, _text(dataset, "BurnedInAnnotation")
    return (
        # What an archive derived from a mammogram is SECONDARY too, and has nothing burned in.
        (_is_secondary(dataset) and burned_in != "NO")
        or (capture and burned_in == "YES")
        or (capture and _text(dataset, "ConversionType") in ("DRW", "SYN", "DV"))
    )


def _is_secondary(dataset: pydicom.Dataset) -> bool:
    return _image_type(dataset)[1:2] == ("SECONDARY",)


def _is_film(dataset: pydicom.Dataset) -> bool:
    """Return whether this is a digitised film (C.8.6.1), as Conversion Type says, or a whole one of CBIS-DDSM.

    The makers of CBIS-DDSM called the conversion that of a workstation.
    """
    return (
        _text(dataset, "ConversionType") == "DF"
        or _text(dataset, "SeriesDescription") == "FULL MAMMOGRAM IMAGES"
    )


def _is_magnified(dataset: pydicom.Dataset) -> bool:
    factor = _number(dataset, "EstimatedRadiographicMagnificationFactor")
    modified = view_and_kind(_text(dataset, "ViewPosition"))
    return (
        bool(_modifiers(dataset) & _MAGNIFICATION)
        or (factor is not None and LEAST_MAGNIFICATION <= factor <= _MOST_MAGNIFICATION)
        or (modified is not None and modified[1] == "magnified")
        or (factor is None and _described(dataset) == "magnified")
        or (factor is None and _is_far_from_detector(dataset))
    )


def _is_far_from_detector(dataset: pydicom.Dataset) -> bool:
    """Return whether a mammogram's distances are those of a magnification stand; in CT they mean something else."""
    return (
        _text(dataset, "Modality") == "MG"
        and _LEAST_BY_DISTANCES <= (magnification(dataset) or 1) <= _MOST_BY_DISTANCES
    )


def _described(dataset: pydicom.Dataset) -> str | None:
    words = " ".join(_text(dataset, name) for name in ("SeriesDescription", "ProtocolName"))
    text = words.replace("_", " ").lower()
    found = next((kind for pattern, kind in _DESCRIPTIONS if re.search(pattern, text)), None)
    found = found or _kind_of_described_view(_text(dataset, "SeriesDescription"))
    if found is None and _RAW.search(text) and not _text(dataset, "PresentationIntentType"):
        found = "for_processing"
    # Where the view is coded, its modifiers are too, and what is not among them is not so.
    return None if found in _MODIFIED_VIEWS and element(dataset, "ViewCodeSequence") else found


def _kind_of_described_view(description: str) -> str | None:
    """Return the kind that a description of a side and a view has by its prefix or suffix: "L CC ID", "RMCC"."""
    side = re.fullmatch(r"(?:L|R|LEFT|RIGHT)[\s_-]*(.+)", description)
    modified = view_and_kind(side[1]) if side is not None else None
    return modified[1] if modified is not None and modified[0] is not None else None


def _view_codes(dataset: pydicom.Dataset) -> set[str]:
    return _codes(element(dataset, "ViewCodeSequence"))


def _modifiers(dataset: pydicom.Dataset) -> set[str]:
    """Return the codes of View Modifier Code Sequence, which stands in the item of View Code Sequence."""
    items = _items(element(dataset, "ViewCodeSequence"))
    inner = [_codes(element(item, "ViewModifierCodeSequence")) for item in items]
    # Some makers write it beside the view, and not within.
    return _codes(element(dataset, "ViewModifierCodeSequence")).union(*inner)


def _codes(items: Any) -> set[str]:
    values = {str(element(item, "CodeValue") or "").strip() for item in _items(items)} - {""}
    meanings = {_text(item, "CodeMeaning") for item in _items(items)}
    return values | {code for meaning, code in _MEANINGS.items() if meaning in meanings}


def _items(value: Any) -> tuple[pydicom.Dataset, ...]:
    """Return the items of a sequence; none where an element is no sequence."""
    return tuple(value) if isinstance(value, pydicom.Sequence) else ()


def _image_type(dataset: pydicom.Dataset) -> tuple[str, ...]:
    value = element(dataset, "ImageType")
    values = value if isinstance(value, pydicom.multival.MultiValue) else [value] if value else []
    return tuple(str(word).strip().upper() for word in values)


def _text(dataset: pydicom.Dataset, keyword: str) -> str:
    """Return the text of an element in capitals; empty where there is none."""
    value = element(dataset, keyword)
    return " ".join(value.split()).upper() if isinstance(value, str) else ""


def _number(dataset: pydicom.Dataset, keyword: str) -> float | None:
    try:
        value = float(element(dataset, keyword))
    except (TypeError, ValueError):
        return None
    return value if 0 < value < float("inf") else None


def _pair(dataset: pydicom.Dataset, keyword: str) -> tuple[float, float] | None:
    try:
        row, column = (float(value) for value in element(dataset, keyword) or ())
    except (TypeError, ValueError):
        return None
    return (row, column) if 0 < row < 10 and 0 < column < 10 else None
