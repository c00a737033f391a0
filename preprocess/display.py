"""Stored values become display values: modality LUT, VOI, inversion, uint8 or uint16, in one table."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pydicom
from pydicom.multival import MultiValue
from pydicom.pixels.processing import apply_modality_lut, apply_voi

from nlbs.preprocess.dicom import Header, Stored

Values = npt.NDArray[np.float64]
Table = npt.NDArray[np.uint8] | npt.NDArray[np.uint16]

#: auto: LUT sequence, else window, else range. The others take that kind alone, range where it is absent.
VOI_CHOICES = ("auto", "lut", "window", "range")

#: A VOI that leaves less of the output range than this to the middle 98 % of the breast has not been made
#: for the pixels it stands with.
LEAST_CONTRAST = 0.05


@dataclass(frozen=True)
class Display:
    """A lookup table from stored to display values."""

    table: Table  #: display value of stored value ``first + i``
    first: int
    voi: str  #: what was applied: "lut NORMAL"-like kinds without text from the file
    note: str | None  #: why it is not what the header asks for


def display_table(
    header: Header, first: int, last: int, breast: Values, dtype: npt.DTypeLike, choice: str = "auto"
) -> Display:
    """Gives the table that turns stored values into display values, air 0.

    The order is that of PS3.3 C.11.1 and C.11.2: modality LUT, VOI LUT, and the inversion of
    MONOCHROME1 or of Presentation LUT Shape INVERSE last. Padding values become 0.

    Args:
        header: of the image.
        first, last: the smallest and the largest stored value that occurs.
        breast: stored values of some pixels of the breast, any shape: they give the range where
            the header has no usable VOI.
        dtype: uint8 or uint16; the table uses its full range.
        choice: one of :data:`VOI_CHOICES`.
    """
    levels = np.arange(first, last + 1)
    values = modality_values(header.dataset, levels)
    middle = np.percentile(breast, (1, 99)).astype(np.int64) - first
    note = None
    for kind in {"auto": ("lut", "window"), "lut": ("lut",), "window": ("window",)}.get(choice, ()):
        fractions = _voi_fractions(header.dataset, values, kind)
        if fractions is None:
            continue
        if abs(fractions[middle[1]] - fractions[middle[0]]) >= LEAST_CONTRAST:
            break
        note = f"the header's {kind} leaves the breast without contrast; its own range is used"
    else:
        kind, fractions = (
            "range",
            _range_fractions(values, values[np.percentile(breast, (0.5, 99.8)).astype(np.int64) - first]),
        )
    if header.inverted:
        fractions = 1 - fractions
    if header.padding is not None:
        fractions = np.where((levels >= header.padding[0]) & (levels <= header.padding[1]), 0.0, fractions)
    top = np.iinfo(dtype).max
    return Display(np.rint(fractions * top).astype(dtype), first, kind, note)


def display_pixels(stored: Stored, display: Display) -> npt.NDArray[Any]:
    """Gives display values of stored ones: (H, W) of the table's dtype, air 0."""
    index = stored if display.first == 0 else stored.astype(np.int32) - display.first
    return np.take(display.table, index)


def modality_values(dataset: pydicom.Dataset, levels: npt.NDArray[np.int64]) -> Values:
    """Gives modality values of stored values (PS3.3 C.11.1): a LUT sequence, or slope and intercept."""
    values: Values = np.asarray(apply_modality_lut(levels, dataset), dtype=np.float64)
    return values


def window_fractions(values: Values, center: float, width: float, function: str) -> Values:
    """Gives a window's output as a fraction 0 to 1 of the output range.

    PS3.3 C.11.2.1.2 (LINEAR, equation C.11-1), C.11.2.1.3.1 (SIGMOID), C.11.2.1.3.2 (LINEAR_EXACT).

    Args:
        values: modality values, any shape.
        center, width: of the window; the width at least 1 for LINEAR, above 0 otherwise.
        function: "LINEAR", "LINEAR_EXACT" or "SIGMOID".
    """
    if function == "SIGMOID":
        with np.errstate(over="ignore"):
            return np.asarray(1 / (1 + np.exp(-4 * (values - center) / width)))
    if function == "LINEAR_EXACT":
        return np.clip((values - center) / width + 0.5, 0, 1)
    if width == 1:  # a step: the formula would divide by zero
        return np.where(values <= center - 0.5, 0.0, 1.0)
    return np.clip((values - (center - 0.5)) / (width - 1) + 0.5, 0, 1)


def _voi_fractions(dataset: pydicom.Dataset, values: Values, kind: str) -> Values | None:
    if kind == "lut":
        return _lut_fractions(dataset, values)
    center, width = _first_number(dataset.get("WindowCenter")), _first_number(dataset.get("WindowWidth"))
    function = str(dataset.get("VOILUTFunction") or "LINEAR").strip().upper()
    if function not in ("LINEAR", "LINEAR_EXACT", "SIGMOID") or center is None or width is None:
        return None
    if width < (1 if function == "LINEAR" else np.finfo(float).tiny):
        return None
    return window_fractions(values, center, width, function)


def _lut_fractions(dataset: pydicom.Dataset, values: Values) -> Values | None:
    """Gives the first VOI LUT's output as a fraction of the range that its descriptor states."""
    items = dataset.get("VOILUTSequence")
    if not items or "LUTDescriptor" not in items[0] or "LUTData" not in items[0]:
        return None
    try:
        output = np.asarray(apply_voi(np.rint(values).astype(np.int32), dataset), dtype=np.float64)
        bits = int(items[0].LUTDescriptor[2])
    except (ValueError, TypeError, AttributeError, NotImplementedError, KeyError, IndexError):
        return None  # a LUT that cannot be read is as good as none: the window or the range follows
    # Some write 8 or 16 into the descriptor and fewer or more bits into the data.
    top = max(2.0**bits - 1, 2.0 ** np.ceil(np.log2(max(output.max(), 1) + 1)) - 1)
    fractions: Values = output / top
    return fractions


def _range_fractions(values: Values, bounds: Values) -> Values:
    low, high = min(bounds), max(bounds)
    fractions: Values = np.clip((values - low) / max(high - low, 1e-9), 0, 1)
    return fractions


def _first_number(value: object) -> float | None:
    if isinstance(value, MultiValue | list | tuple):
        value = value[0] if len(value) else None
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return None
    return number if np.isfinite(number) else None
