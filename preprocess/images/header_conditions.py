"""What a DICOM header states of view, side, age and modality: it fills what a table leaves open, and may disagree."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import pydicom

from nlbs.manifests.conditions import VIEWS, Conditions, age_bin_of, parse_age, parse_laterality, parse_view
from nlbs.preprocess.formats.header import element
from nlbs.preprocess.images.foreground import foreground_of

#: What :func:`settled` uses of the record of a stored image.
SETTLED_BY = (
    *("header_view", "header_laterality", "header_age_years", "header_rows_toward"),
    *("crop_x", "crop_columns", "source_columns", "mask_method"),
)

#: Codes of View Code Sequence (PS3.16 CID 4014), SNOMED CT and the older SRT: some vendors state the view here alone.
_VIEW_CODES = {
    **dict.fromkeys(("399162004", "R-10242"), "CC"),
    **dict.fromkeys(("399368009", "R-10226"), "MLO"),
    **dict.fromkeys(("399260004", "R-10224"), "ML"),
    **dict.fromkeys(("399352003", "R-10228"), "LM"),
    **dict.fromkeys(("399099002", "R-10230"), "LMO"),
    **dict.fromkeys(("399196006", "R-10244"), "FB"),
    **dict.fromkeys(("399188001", "R-102D0"), "SIO"),
    **dict.fromkeys(("441555000", "R-40AAA"), "ISO"),
    **dict.fromkeys(("399192008", "R-1024A"), "XCCL"),
    **dict.fromkeys(("399101009", "R-1024B"), "XCCM"),
}
#: Modality -> --foreground. CR and DX may be mammograms too: see :func:`stated_foreground`.
_FOREGROUNDS = {"MG": "breast", "CR": "body", "DX": "body", "MR": "body", "SM": "tissue"}
#: What :func:`stated_foreground` looks at.
FOREGROUND_KEYWORDS = ("Modality", "BodyPartExamined", "ViewPosition", "ViewCodeSequence")

#: Elements in which a side may stand (PS3.3 C.8.11.3, C.7.3.1, C.7.6.16.2.8).
SIDE_KEYWORDS = ("ImageLaterality", "Laterality", "SharedFunctionalGroupsSequence")
#: Ages differ by a birthday between exam and table.
_YEARS_APART = 1
#: A breast nearer to one edge by less than this share of the width lies on neither.
_LEAST_LEAN = 0.05


@dataclass(frozen=True)
class Settled:
    """What is known of an image once table and header are put together."""

    conditions: Conditions
    from_header: tuple[str, ...]  #: conditions that the header gave
    disagreements: tuple[str, ...]  #: remarks: table and header state different things
    remarks: tuple[str, ...]  #: what else looks odd


def stated_foreground(dataset: pydicom.Dataset) -> str | None:
    """Return which ``--foreground`` the modality of a header asks for; None where it is none that is known.

    CR and DX are bodies, unless their body part or their view is that of a mammogram.
    """
    modality = _word(dataset, "Modality")
    if modality in ("CR", "DX"):
        view = _parsed(parse_view, element(dataset, "ViewPosition")) or _coded_view(dataset)
        if "BREAST" in _word(dataset, "BodyPartExamined") or view in VIEWS:
            return "breast"
    return _FOREGROUNDS.get(modality)


def stated_conditions(dataset: pydicom.Dataset, foreground: str = "breast") -> dict[str, str | int | None]:
    """Return view, side, age and the way of rows that a header states, None where it states none that is known.

    Of another foreground than a breast the age alone: views, sides and the way of rows are those of a breast.

    Returns:
        header_view, header_laterality, header_age_years (up to 90), and header_rows_toward ("A" anterior, "P"
        posterior).
    """
    of_breast = foreground == "breast"
    view = _parsed(parse_view, element(dataset, "ViewPosition")) or _coded_view(dataset)
    return {
        "header_view": view if of_breast else None,
        "header_laterality": stated_side(dataset) if of_breast else None,
        "header_age_years": _parsed(parse_age, element(dataset, "PatientAge")),
        "header_rows_toward": _rows_toward(dataset) if of_breast else None,
    }


def stated_side(dataset: pydicom.Dataset) -> str | None:
    """Return the side that a header states: of the image, of the series, or of its only frame."""
    groups = element(dataset, "SharedFunctionalGroupsSequence")
    anatomy = element(groups[0], "FrameAnatomySequence") if groups else None
    frame = element(anatomy[0], "FrameLaterality") if anatomy else None
    stated = (element(dataset, "ImageLaterality"), element(dataset, "Laterality"), frame)
    return next((side for side in (_parsed(parse_laterality, text) for text in stated) if side), None)


def modality_notes(dataset: pydicom.Dataset, foreground: str = "breast") -> tuple[str, ...]:
    """Return a remark where the header states a modality that does not go with a foreground: of a breast, MG does."""
    if foreground != "breast":
        stated = stated_foreground(dataset)
        if foreground == "none" or stated in (None, foreground):
            return ()
        return (f"by Modality (0008,0060) the foreground is {stated}, not {foreground}: check --foreground",)
    modality = element(dataset, "Modality")
    if modality in (None, "", "MG"):
        return ()
    return ("Modality (0008,0060) is not MG: is this a mammogram?",)


def settled(record: Mapping[str, Any], known: Conditions, counts: str = "table") -> Settled:
    """Return the conditions of an image from its table, filled from its header, and where the two disagree.

    Args:
        record: of the stored image.
        known: what the table says.
        counts: "table" or "header", where they disagree. Headers are often wrong, and a table was made on purpose.
    """
    stated = {name: record.get(f"header_{name}") for name in ("view", "laterality", "age_years")}
    values: dict[str, Any] = {}
    against = []
    for name, value in stated.items():
        own = getattr(known, name)
        # An age bin without an age is the table's, and no header's age is put beside it.
        if value is None or (name == "age_years" and own is None and known.age_bin is not None):
            continue
        if own is None:
            values[name] = value
        elif _differ(name, own, value):
            table, header = (", which counts,", "") if counts == "table" else ("", ", which counts")
            against.append(f"{name} is {own} in the table{table} and {value} in the DICOM header{header}")
            if counts == "header":
                values[name] = value
    if "age_years" in values:
        values["age_bin"] = age_bin_of(values["age_years"])
    conditions = replace(known, **values)
    taken = tuple(name for name in stated if name in values)
    of_breast = foreground_of(record.get("mask_method")) == "breast"
    remarks = _side_remarks(record, conditions.laterality) if of_breast else ()
    return Settled(conditions, taken, tuple(against), remarks)


def _differ(name: str, own: Any, value: Any) -> bool:
    return abs(own - value) > _YEARS_APART if name == "age_years" else bool(own != value)


def _side_remarks(record: Mapping[str, Any], laterality: str | None) -> tuple[str, ...]:
    """Return a remark where the breast lies against the edge at which the other one is shown.

    Rows run away from the chest wall in a left breast, and toward it in a right one, unless Patient Orientation says
    how they run: A, toward anterior, or P (PS3.3 C.7.6.1.1.1).
    """
    edge, toward = _edge(record), record.get("header_rows_toward")
    expected = {"A": "left", "P": "right"}.get(
        toward or "", {"L": "left", "R": "right"}.get(laterality or "")
    )
    if edge is None or expected is None or edge == expected:
        return ()
    source = "Patient Orientation (0020,0020)" if toward else f"laterality {laterality}"
    return (
        f"the breast lies at the {edge} edge, and {source} lets expect the {expected} one: is it mirrored?",
    )


def _edge(record: Mapping[str, Any]) -> str | None:
    """Return the edge of the source image at which the breast lies; None where it lies at neither, or nobody knows."""
    if not {"crop_x", "crop_columns", "source_columns"} <= set(record):
        return None
    left = record["crop_x"]
    right = record["source_columns"] - left - record["crop_columns"]
    if abs(left - right) < _LEAST_LEAN * record["source_columns"]:
        return None
    return "left" if left < right else "right"


def _rows_toward(dataset: pydicom.Dataset) -> str | None:
    """Return where rows run to by Patient Orientation: "A", anterior, or "P", posterior; None where it says neither."""
    value = element(dataset, "PatientOrientation")
    first = value[0] if isinstance(value, pydicom.multival.MultiValue) and len(value) == 2 else None
    return first[0] if isinstance(first, str) and first[:1] in ("A", "P") else None


def _word(dataset: pydicom.Dataset, keyword: str) -> str:
    value = element(dataset, keyword)
    return value.strip().upper() if isinstance(value, str) else ""


def _parsed(parse: Callable[[str], Any], value: Any) -> Any:
    try:
        return parse(value) if isinstance(value, str) else None
    except ValueError:
        return None


def _coded_view(dataset: pydicom.Dataset) -> str | None:
    items = element(dataset, "ViewCodeSequence")
    code = element(items[0], "CodeValue") if items else None
    return _VIEW_CODES.get(code) if isinstance(code, str) else None
