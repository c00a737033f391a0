"""What the header of a grey image says, its spacing included: checked before any pixel is touched."""

import struct
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pydicom
from pydicom.errors import BytesLengthException

from nlbs.preprocess.formats.image_errors import BadHeaderError, UnsupportedImageError

#: mm between pixels: detectors and film scanners have 0.02 to 0.2, magnified images less, copies made smaller more.
SMALLEST_MM, LARGEST_MM = 0.015, 5.0
#: mm that the longer side of an image may have: the largest film is 30 x 40 cm.
LONGEST_SIDE_MM = 500.0
#: Slices, whose field of view may be wider, and of which some do have 1 mm from pixel to pixel.
_SLICES = ("MR", "CT", "PT")
_LONGEST_SIDE_OF_SLICE_MM = 1000.0
#: A pixel is about as high as it is wide.
_MOST_OBLONG = 2.0
#: No image is magnified more: of two spacings that differ by more one is of something else.
_MOST_MAGNIFIED = 2.5

#: mm that toolkits write where they know no spacing; no detector and no film scanner has it.
_PLACEHOLDER = (1.0, 1.0)

Spacing = tuple[float, float]


def sensible_spacing(
    stated: Mapping[str, Any], shape: tuple[int, int], of_slice: bool = False
) -> tuple[Spacing | None, tuple[str, ...]]:
    """Return the first spacing that can be one of a mammogram, None where there is none, and remarks on the others.

    A spacing that cannot be, as 1\\1 of an image with 3,062 rows, is unknown: a wrong one would resample the image
    to another scale than all others.

    Args:
        stated: keyword -> value of the element, by order of preference; None where it is missing.
        shape: rows and columns of the image.
        of_slice: whether it is a slice, and not a radiograph.
    """
    longest_mm, what = (_LONGEST_SIDE_OF_SLICE_MM, "slice") if of_slice else (LONGEST_SIDE_MM, "mammogram")
    found: dict[str, Spacing] = {}
    notes = []
    for keyword, value in stated.items():
        spacing = _two_numbers(value)
        if spacing == _PLACEHOLDER and not of_slice:
            notes.append(f"{keyword} 1 x 1 is what software writes that knows none: it is not believed")
        elif spacing is not None and _is_possible(spacing, shape, longest_mm):
            found[keyword] = spacing
        elif spacing is not None:
            text = " x ".join(f"{length:g}" for length in spacing)
            notes.append(f"{keyword} {text} cannot be that of a {what} in mm: it is not believed")
        elif value is not None and value != [] and value != "":
            notes.append(f"{keyword} is no two numbers")
    first = next(iter(found.values()), None)
    if first is not None and any(_differ(first, other) for other in found.values()):
        notes.append(" and ".join(found) + " differ by more than magnification: the first is taken")
    return first, tuple(notes)


def _two_numbers(value: Any) -> Spacing | None:
    try:
        row, column = (float(number) for number in value or ())
    except (TypeError, ValueError, OverflowError):
        return None
    return row, column


def _is_possible(spacing: Spacing, shape: tuple[int, int], longest_mm: float) -> bool:
    # NaN is in no range.
    if not all(SMALLEST_MM <= length <= LARGEST_MM for length in spacing):
        return False
    sides = (spacing[0] * shape[0], spacing[1] * shape[1])
    return max(sides) <= longest_mm and max(spacing) <= _MOST_OBLONG * min(spacing)


def _differ(one: Spacing, other: Spacing) -> bool:
    return not 1 / _MOST_MAGNIFIED < one[0] / other[0] < _MOST_MAGNIFIED


Stored = npt.NDArray[np.integer[Any]]

#: Refused from the header, before any pixel is allocated; the largest detectors have 25 Mpixel.
MAX_PIXELS = 120_000_000

#: What pydicom raises on broken files, seen in fuzzed ones: they are one file's trouble, not the run's.
PYDICOM_ERRORS = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    BytesLengthException,
    EOFError,
    LookupError,
    NotImplementedError,
    OSError,
    RecursionError,
    TypeError,
    ValueError,
    struct.error,
)

#: Elements with a distance between pixels, by preference; the last is that of digitised films (PS3.3 C.8.6.1).
SPACINGS = ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing")

pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE


@dataclass(frozen=True)
class Header:
    """What the header of a grey image says."""

    rows: int
    columns: int
    bits_allocated: int
    bits_stored: int
    high_bit: int
    signed: bool  #: PixelRepresentation is 1
    inverted: bool  #: MONOCHROME1, or PresentationLUTShape INVERSE: the smallest value is white
    transfer_syntax: str  #: UID, or "png", "pgm", "tiff"
    spacing_mm: tuple[float, float] | None  #: row, column distance on the detector
    padding: tuple[int, int] | None  #: lowest and highest stored value that is no image (PS3.3 C.7.5.1.1.2)
    dataset: pydicom.Dataset  #: without the pixels; empty where the file is no DICOM file
    polarity_known: bool = True  #: False: ``inverted`` is still to be told from the pixels
    notes: tuple[str, ...] = ()  #: what the elements say and is not believed


@dataclass(frozen=True)
class SourceImage:
    """A decoded file, or one frame of it."""

    stored: Stored  #: (rows, columns), integers as stored, before any lookup table
    header: Header
    decoder: str  #: which package decoded it
    notes: tuple[str, ...]  #: what looked wrong and was not grave
    frame: int | None = None  #: from 1, of a file with more than one
    #: (rows, columns, 3) red, green, blue as stored, where the file has them; ``stored`` is then their luminance
    colour: Stored | None = None


def element(dataset: pydicom.Dataset, keyword: str | int) -> Any:
    """Return the value of an element; None where it is missing, empty, or cannot be read."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about the very values that the caller judges
            value = dataset.get(keyword)
    except PYDICOM_ERRORS:
        return None
    return None if isinstance(value, str) and not value.strip() else value


def whole_number(dataset: pydicom.Dataset, keyword: str, default: int | None = None) -> int:
    """Return an element's value as an integer.

    Raises:
        BadHeaderError: it is no single whole number, or is missing and there is no default.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            value = dataset.get(keyword)
    except PYDICOM_ERRORS as error:
        raise BadHeaderError(f"{keyword} is no single whole number") from error
    if value is not None and value != "":
        return whole_of(value, keyword)
    if default is None:
        raise BadHeaderError(f"{keyword} is missing")
    return default


def whole_of(value: Any, keyword: str) -> int:
    """Return the value of an element as an integer.

    Raises:
        BadHeaderError: it is no single whole number.
    """
    try:
        return int(value)
    except PYDICOM_ERRORS as error:
        raise BadHeaderError(f"{keyword} is no single whole number") from error


def check_size(rows: int, columns: int, max_pixels: int) -> None:
    """Refuse an image without pixels, or with more than allowed.

    Raises:
        BadHeaderError: it is one of them.
    """
    if rows < 1 or columns < 1 or rows * columns > max_pixels:
        raise BadHeaderError(f"Rows x Columns is {rows} x {columns}, expected 1 to {max_pixels:,} pixels")


def dicom_header(dataset: pydicom.Dataset, transfer_syntax: str, max_pixels: int) -> Header:
    """Return what the elements of a grey image say, one frame of it where there are more.

    Args:
        dataset: its elements; those of the frame's functional groups stand among them.
        transfer_syntax: UID.
        max_pixels: larger images are refused.

    Raises:
        ImageError: it is no grey image, or the elements contradict each other.
    """
    rows, columns = whole_number(dataset, "Rows"), whole_number(dataset, "Columns")
    samples = whole_number(dataset, "SamplesPerPixel", 1)
    allocated = whole_number(dataset, "BitsAllocated")
    stored = whole_number(dataset, "BitsStored", allocated)
    signed = whole_number(dataset, "PixelRepresentation", 0)
    check_size(rows, columns, max_pixels)
    inverted, notes = _stated_polarity(dataset, samples)
    if allocated not in (8, 16) or not 1 <= stored <= allocated:
        raise BadHeaderError(
            f"BitsAllocated {allocated}, BitsStored {stored}: expected 8 or 16 bits, and of them 1 or more stored"
        )
    if element(dataset, "BitsStored") is None:
        notes += (f"BitsStored is missing: it is taken as BitsAllocated, {allocated}",)
    high_bit = whole_number(dataset, "HighBit", stored - 1)
    if not stored - 1 <= high_bit < allocated:
        notes += (
            f"HighBit {high_bit} cannot be with {stored} of {allocated} bits: it is taken as {stored - 1}",
        )
        high_bit = stored - 1
    if signed not in (0, 1):
        raise BadHeaderError(f"PixelRepresentation is {signed}, expected 0 (unsigned) or 1 (signed)")
    spacing, spacing_notes = sensible_spacing(
        {keyword: element(dataset, keyword) for keyword in SPACINGS},
        (rows, columns),
        element(dataset, "Modality") in _SLICES,
    )
    return Header(
        rows=rows,
        columns=columns,
        bits_allocated=allocated,
        bits_stored=stored,
        high_bit=high_bit,
        signed=signed == 1,
        inverted=bool(inverted) or element(dataset, "PresentationLUTShape") == "INVERSE",
        transfer_syntax=transfer_syntax,
        spacing_mm=spacing,
        padding=padding_of(dataset, allocated, signed == 1),
        dataset=dataset,
        polarity_known=inverted is not None or element(dataset, "PresentationLUTShape") == "INVERSE",
        notes=(*notes, *spacing_notes),
    )


def _stated_polarity(dataset: pydicom.Dataset, samples: int) -> tuple[bool | None, tuple[str, ...]]:
    """Return whether the smallest value is white, None where no known interpretation says so, and a remark.

    Raises:
        UnsupportedImageError: it is a colour image.
    """
    stated = element(dataset, "PhotometricInterpretation")
    photometric = str(stated or "").strip().upper()
    if samples != 1:
        raise UnsupportedImageError(
            f"{samples} samples per pixel, expected a grey image (MONOCHROME1 or MONOCHROME2)"
            + (", or --channels rgb" if samples == 3 else "")
        )
    if photometric in ("MONOCHROME1", "MONOCHROME2"):
        return photometric == "MONOCHROME1", ()
    # Without a table there is nothing that the values could be entries of.
    if photometric.startswith("PALETTE") and "RedPaletteColorLookupTableDescriptor" in dataset:
        raise UnsupportedImageError("the values are entries of a colour table, expected a grey image")
    what = "is missing" if not photometric else "is none of a grey image"
    if photometric.startswith("MONO") and photometric[-1] in "12":  # "MONOCHROME 2", "MONOCHROM1"
        return photometric[-1] == "1", (
            f"PhotometricInterpretation {what}: taken as MONOCHROME{photometric[-1]}",
        )
    return None, (f"PhotometricInterpretation {what}",)


def plain_header(rows: int, columns: int, bits: int, kind: str, signed: bool, inverted: bool) -> Header:
    """Return the header of an image whose file says nothing but its size: PNG, PGM, TIFF.

    Its spacing is unknown: the resolution in such a file is that of a printer or a screen.

    Args:
        rows, columns: its size.
        bits: per value that it can use, 1 to 16.
        kind: "png", "pgm" or "tiff".
        signed: whether values are.
        inverted: whether the smallest value is white.
    """
    return Header(
        rows=rows,
        columns=columns,
        bits_allocated=8 if bits <= 8 else 16,
        bits_stored=bits,
        high_bit=bits - 1,
        signed=signed,
        inverted=inverted,
        transfer_syntax=kind,
        spacing_mm=None,
        padding=None,
        dataset=pydicom.Dataset(),
    )


def size_text(shape: tuple[int, ...]) -> str:
    """Return a size as messages have it: "61 x 47"."""
    return " x ".join(str(length) for length in shape)


def padding_of(dataset: pydicom.Dataset, bits_allocated: int, signed: bool) -> tuple[int, int] | None:
    """Return the lowest and the highest padding value that the elements state, as pixels of a sign have them."""
    value, limit = element(dataset, "PixelPaddingValue"), element(dataset, "PixelPaddingRangeLimit")
    try:
        first, last = (
            _as_cell(int(number), signed, bits_allocated)
            for number in (value, value if limit is None else limit)
        )
    except (TypeError, ValueError, OverflowError):
        return None
    return min(first, last), max(first, last)


def _as_cell(number: int, signed: bool, bits_allocated: int) -> int:
    """Return a padding value, written as US where the pixels are SS or the other way round, as the pixels have it."""
    span = 1 << bits_allocated
    if signed and number >= span // 2:
        return number - span
    return number + span if not signed and number < 0 else number
