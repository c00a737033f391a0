"""The distance between pixels that a header states, held against what a detector and a breast can be."""

from collections.abc import Mapping
from typing import Any

#: mm between pixels: detectors and film scanners have 0.02 to 0.2, magnified images less, copies made smaller more.
SMALLEST_MM, LARGEST_MM = 0.015, 5.0
#: mm that the longer side of an image may have: the largest film is 30 x 40 cm.
LONGEST_SIDE_MM = 500.0
#: A pixel is about as high as it is wide.
_MOST_OBLONG = 2.0
#: No image is magnified more: of two spacings that differ by more one is of something else.
_MOST_MAGNIFIED = 2.5

#: mm that toolkits write where they know no spacing; no detector and no film scanner has it.
_PLACEHOLDER = (1.0, 1.0)

Spacing = tuple[float, float]


def sensible_spacing(
    stated: Mapping[str, Any], shape: tuple[int, int]
) -> tuple[Spacing | None, tuple[str, ...]]:
    """Return the first spacing that can be one of a mammogram, None where there is none, and remarks on the others.

    A spacing that cannot be, as 1\\1 of an image with 3,062 rows, is unknown: a wrong one would resample the image
    to another scale than all others.

    Args:
        stated: keyword -> value of the element, by order of preference; None where it is missing.
        shape: rows and columns of the image.
    """
    found: dict[str, Spacing] = {}
    notes = []
    for keyword, value in stated.items():
        spacing = _two_numbers(value)
        if spacing == _PLACEHOLDER:
            notes.append(f"{keyword} 1 x 1 is what software writes that knows none: it is not believed")
        elif spacing is not None and _is_possible(spacing, shape):
            found[keyword] = spacing
        elif spacing is not None:
            text = " x ".join(f"{length:g}" for length in spacing)
            notes.append(f"{keyword} {text} cannot be that of a mammogram in mm: it is not believed")
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


def _is_possible(spacing: Spacing, shape: tuple[int, int]) -> bool:
    # NaN is in no range.
    if not all(SMALLEST_MM <= length <= LARGEST_MM for length in spacing):
        return False
    sides = (spacing[0] * shape[0], spacing[1] * shape[1])
    return max(sides) <= LONGEST_SIDE_MM and max(spacing) <= _MOST_OBLONG * min(spacing)


def _differ(one: Spacing, other: Spacing) -> bool:
    return not 1 / _MOST_MAGNIFIED < one[0] / other[0] < _MOST_MAGNIFIED
