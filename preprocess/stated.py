"""What a DICOM header states of view, side and modality, and where a table says otherwise."""

from collections.abc import Callable, Mapping
from typing import Any

import pydicom

from nlbs.manifests.conditions import Conditions, parse_laterality, parse_view
from nlbs.preprocess.header import element

#: SNOMED CT codes of View Code Sequence (PS3.16 CID 4014): some vendors state the view here alone.
_VIEW_CODES = {"399162004": "CC", "399368009": "MLO"}


def stated_conditions(dataset: pydicom.Dataset) -> dict[str, str | None]:
    """Gives "header_view" and "header_laterality": None where the header has none that is known."""
    sides = (element(dataset, keyword) for keyword in ("ImageLaterality", "Laterality"))
    return {
        "header_view": _parsed(parse_view, element(dataset, "ViewPosition")) or _coded_view(dataset),
        "header_laterality": next(
            (side for side in (_parsed(parse_laterality, s) for s in sides) if side), None
        ),
    }


def modality_notes(dataset: pydicom.Dataset) -> tuple[str, ...]:
    """Gives a remark where the header states a modality that is not mammography (MG)."""
    modality = element(dataset, "Modality")
    if modality in (None, "", "MG"):
        return ()
    return ("Modality (0008,0060) is not MG: is this a mammogram?",)


def disagreements(record: Mapping[str, Any], conditions: Conditions) -> tuple[str, ...]:
    """Gives a remark for each condition that the table and the header of an image state differently.

    The table counts: headers are often wrong, and a table was made on purpose.
    """
    stated = {"view": record.get("header_view"), "laterality": record.get("header_laterality")}
    return tuple(
        f"{name} is {getattr(conditions, name)} in the table, which counts, and {value} in the DICOM header"
        for name, value in stated.items()
        if value is not None and getattr(conditions, name) not in (None, value)
    )


def _parsed(parse: Callable[[str], str | None], value: Any) -> str | None:
    try:
        return parse(value) if isinstance(value, str) else None
    except ValueError:
        return None


def _coded_view(dataset: pydicom.Dataset) -> str | None:
    items = element(dataset, "ViewCodeSequence")
    code = element(items[0], "CodeValue") if items else None
    return _VIEW_CODES.get(code) if isinstance(code, str) else None
