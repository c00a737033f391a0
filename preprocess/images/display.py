"""Stored values become display values: modality LUT, VOI, inversion, uint8 or uint16, in one table."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pydicom
from pydicom.multival import MultiValue
from pydicom.uid import UID

from nlbs.preprocess.formats.header import Header, Stored, element

Values = npt.NDArray[np.float64]
Table = npt.NDArray[np.uint8] | npt.NDArray[np.uint16]

#: auto: LUT sequence, else window, else range. The others take that kind alone, range where it is absent.
VOI_CHOICES = ("auto", "lut", "window", "range")

#: A VOI that leaves less of the output range than this to the middle 98 % of the breast has not been made
#: for the pixels it stands with.
LEAST_CONTRAST = 0.05

#: Where no VOI is to be had, this share of the breast (in %) becomes black, and this white.
RANGE_BLACK, RANGE_WHITE = 0.5, 0.2


_LINES_AT_ONCE = 64  # whose 64-bit indices stay in the cache: twice as fast as the whole image


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
    """Return the table that turns stored values into display values, air 0.

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
    values, note = _modality_values_or_levels(header, levels)
    notes = [note] if note else []
    middle = np.percentile(breast, (1, 99)).astype(np.int64) - first
    for kind in {"auto": ("lut", "window"), "lut": ("lut",), "window": ("window",)}.get(choice, ()):
        fractions = _voi_fractions(header, values, kind)
        if fractions is None:
            notes.extend(_of_unusable(header, kind))
            continue
        if abs(fractions[middle[1]] - fractions[middle[0]]) >= LEAST_CONTRAST:
            break
        notes.append(f"the header's {kind} leaves the breast without contrast")
    else:
        kind = "range"
        low, high = (
            (RANGE_WHITE, RANGE_BLACK)
            if header.inverted != modality_falls(header)
            else (RANGE_BLACK, RANGE_WHITE)
        )
        bounds = np.percentile(breast, (low, 100 - high)).astype(np.int64) - first
        fractions = _range_fractions(values, values[bounds])
    if header.inverted:
        fractions = 1 - fractions
    if header.padding is not None:
        fractions = np.where((levels >= header.padding[0]) & (levels <= header.padding[1]), 0.0, fractions)
    top = np.iinfo(dtype).max
    return Display(np.rint(fractions * top).astype(dtype), first, kind, "; ".join(notes) or None)


def display_pixels(stored: Stored, display: Display) -> npt.NDArray[Any]:
    """Return display values of stored ones: (H, W) of the table's dtype, air 0."""
    pixels = np.empty(stored.shape, display.table.dtype)
    for start in range(0, len(stored), _LINES_AT_ONCE):
        index = stored[start : start + _LINES_AT_ONCE]
        if display.first:
            index = index.astype(np.int32) - display.first
        # "clip" lets numpy write in place; no value lies outside.
        np.take(display.table, index, out=pixels[start : start + _LINES_AT_ONCE], mode="clip")
    return pixels


def modality_values(header: Header, levels: npt.NDArray[np.int64]) -> Values:
    """Return modality values of stored values (PS3.3 C.11.1): a LUT sequence, or slope and intercept.

    Raises:
        ValueError: the elements are there and cannot be used.
    """
    items = element(header.dataset, "ModalityLUTSequence")
    if items:
        return _looked_up(items[0], levels.astype(np.float64), header)[0]
    if "RescaleSlope" not in header.dataset or "RescaleIntercept" not in header.dataset:
        return levels.astype(np.float64)
    slope = _number(element(header.dataset, "RescaleSlope"))
    intercept = _number(element(header.dataset, "RescaleIntercept"))
    if not slope or intercept is None:
        raise ValueError("RescaleSlope and RescaleIntercept are no two numbers, or the slope is 0")
    scaled: Values = levels.astype(np.float64) * slope + intercept
    return scaled


def modality_falls(header: Header) -> bool:
    """Return whether the modality LUT gives higher stored values lower modality values."""
    lowest = -(1 << header.bits_stored - 1) if header.signed else 0
    ends, _ = _modality_values_or_levels(header, np.array([lowest, lowest + (1 << header.bits_stored) - 1]))
    return bool(ends[1] < ends[0])


def _modality_values_or_levels(header: Header, levels: npt.NDArray[np.int64]) -> tuple[Values, str | None]:
    try:
        return modality_values(header, levels), _of_half_a_scale(header)
    except (ValueError, TypeError, IndexError):
        return levels.astype(np.float64), "the header's modality LUT cannot be read: it is left out"


def _of_half_a_scale(header: Header) -> str | None:
    """Return a remark where a slope or an intercept stands alone and would change values (PS3.3 C.11.1)."""
    slope, intercept = (element(header.dataset, f"Rescale{name}") for name in ("Slope", "Intercept"))
    if "RescaleSlope" in header.dataset and "RescaleIntercept" in header.dataset:
        return None
    if slope in (None, "", 1) and intercept in (None, "", 0):
        return None
    return "the header has only one of RescaleSlope and RescaleIntercept: it is left out"


def window_fractions(values: Values, center: float, width: float, function: str) -> Values:
    """Return a window's output as a fraction 0 to 1 of the output range.

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


def _voi_fractions(header: Header, values: Values, kind: str) -> Values | None:
    """Return the output of the header's first LUT or window; None where there is none that can be used."""
    if kind == "lut":
        return _lut_fractions(header, values)
    dataset = header.dataset
    center, width = (_first_number(element(dataset, name)) for name in ("WindowCenter", "WindowWidth"))
    function = str(element(dataset, "VOILUTFunction") or "LINEAR").strip().upper()
    if function not in ("LINEAR", "LINEAR_EXACT", "SIGMOID") or center is None or width is None:
        return None
    if width < (1 if function == "LINEAR" else np.finfo(float).tiny):
        return None
    return window_fractions(values, center, width, function)


def _of_unusable(header: Header, kind: str) -> list[str]:
    """Return a remark where the header has a VOI of a kind, which cannot be used."""
    keywords = ("VOILUTSequence",) if kind == "lut" else ("WindowCenter", "WindowWidth")
    stated = any(element(header.dataset, keyword) not in (None, "", []) for keyword in keywords)
    return [f"the header's {kind} cannot be used: it is left out"] if stated else []


def _lut_fractions(header: Header, values: Values) -> Values | None:
    """Return the first VOI LUT's output as a fraction of the range that its descriptor states."""
    items = element(header.dataset, "VOILUTSequence")
    if not items:
        return None
    try:
        output, bits, highest = _looked_up(items[0], values, header)
    except (ValueError, TypeError, IndexError):
        return None  # a LUT that cannot be read is as good as none: the window or the range follows
    # Some write 8 or 12 into the descriptor and more bits into the data.
    top = 2.0 ** max(bits, int(highest).bit_length()) - 1
    return output / top


def _looked_up(item: pydicom.Dataset, values: Values, header: Header) -> tuple[Values, int, int]:
    """Return a LUT's output (PS3.3 C.11.1.1, C.11.2.1.1), the bits of its range, and its largest entry.

    Raises:
        ValueError: descriptor and data do not make a LUT.
    """
    count, first, bits = (int(number) for number in element(item, "LUTDescriptor") or ())
    count = (count & 0xFFFF) or 1 << 16
    words = _lut_words(element(item, "LUTData"), UID(header.transfer_syntax).is_little_endian)
    packed = bits <= 8 and len(words) == (count + 1) // 2 and count > 1
    entries = words.astype("<u2").view(np.uint8) if packed else words
    if len(entries) < count or not 1 <= bits <= 16:
        raise ValueError("LUT Descriptor and LUT Data disagree")
    # Its sign is lost where US stands for SS, or the other way round.
    if first + count <= values.min() and first < 0:
        first += 1 << 16
    elif first > values.max() and first >= 1 << 15:
        first -= 1 << 16
    entries = entries[:count]
    index = np.clip(np.rint(values) - first, 0, count - 1).astype(np.int64)
    return entries[index].astype(np.float64), bits, int(entries.max())


def _lut_words(data: object, little_endian: bool | None) -> npt.NDArray[np.uint16]:
    """Return LUT Data, which is US, or OW: 16-bit words, each of one entry or of two of 8 bits."""
    if isinstance(data, bytes):
        words = np.frombuffer(data, "<u2" if little_endian else ">u2", count=len(data) // 2)
    else:
        words = np.atleast_1d(np.asarray(data)).astype(np.int64) & 0xFFFF
    return words.astype(np.uint16)


def _range_fractions(values: Values, bounds: Values) -> Values:
    low, high = min(bounds), max(bounds)
    fractions: Values = np.clip((values - low) / max(high - low, 1e-9), 0, 1)
    return fractions


def _first_number(value: object) -> float | None:
    if isinstance(value, MultiValue | list | tuple):
        value = value[0] if len(value) else None
    return _number(value)


def _number(value: object) -> float | None:
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        return None
    return number if np.isfinite(number) else None
