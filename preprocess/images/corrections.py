"""A header corrected by its pixels: spacing in the patient, polarity of raw images, padding that is tissue."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from nlbs.preprocess.formats.header import Header, SourceImage, Stored, element
from nlbs.preprocess.images.display import modality_falls
from nlbs.preprocess.images.kind import spacing_in_patient
from nlbs.preprocess.images.mask import Mask, NoForegroundError, breast_mask, values_inside

_EDGE = 0.02  #: of the width: at one edge of a mammogram lies the breast, at the other one air
_CLEAR_STEP = 0.2  #: of the image's range, between the two edges
_EVEN = 0.5  #: air varies less than this much of what the breast does


def in_the_patient(image: SourceImage, kind: str) -> SourceImage:
    """Return an image with its spacing in the patient, and of a raw image with the polarity that its pixels have.

    Any other image is given back as it is.

    Args:
        image: as it was read.
        kind: of its header.
    """
    header = image.header
    spacing_mm, notes = spacing_in_patient(header.dataset, header.spacing_mm)
    inverted = header.inverted
    if kind == "for_processing":
        air_is_high = _air_is_high(image.stored)
        if air_is_high is None:
            # 1: lower values are less X-ray, -1: higher values are (PS3.3 C.8.11.3, 0028,1041).
            air_is_high = {1: True, -1: False}.get(element(header.dataset, "PixelIntensityRelationshipSign"))
        if air_is_high is None:
            notes = (
                *notes,
                "nothing tells on which end of the values of this raw image air lies: look at its mask",
            )
        elif air_is_high == (inverted == modality_falls(header)):
            inverted = not inverted
            notes = (
                *notes,
                "Photometric Interpretation (0028,0004) would show air white: this raw image is inverted",
            )
    if not notes and inverted == header.inverted:
        return image
    return replace(
        image,
        header=replace(header, spacing_mm=spacing_mm, inverted=inverted),
        notes=(*image.notes, *notes),
    )


def _air_is_high(stored: Stored) -> bool | None:
    """Return whether air has the high stored values, by the edge that is even; None where both edges are alike.

    Args:
        stored: (rows, columns), integers.
    """
    rows, columns = stored.shape
    width = max(1, round(_EDGE * columns))
    middle = stored[rows // 4 : max(rows // 4 + 1, 3 * rows // 4) : max(1, rows // 512)].astype(np.float64)
    left, right = middle[:, :width], middle[:, -width:]
    low, high = np.percentile(middle, (1, 99))
    step = float(np.median(left) - np.median(right))
    spreads = [float(np.subtract(*np.percentile(edge, (90, 10)))) for edge in (left, right)]
    if abs(step) < _CLEAR_STEP * (high - low) or min(spreads) > _EVEN * max(spreads):
        return None
    return (step > 0) == (spreads[0] < spreads[1])


_LINES = 32  #: of an image that are looked at first
#: A padding range that takes more than this share of the image's values is looked at.
_WIDE = 1 / 16
#: Padding is a frame or a background: the neighbour of a padding pixel is one as well, in this share at least.
_LEAST_TOGETHER = 0.8
#: Values on both sides of the padding, in this share of the image at least: then it is no end of the range.
_BOTH_SIDES = 0.005
#: Of the breast's pixels, found without regard to padding, this share may be padding: of a range, of a single value.
_MOST_OF_RANGE, _MOST_OF_VALUE = 0.05, 1e-4


def without_false_padding(
    stored: Stored, header: Header, mask_of: Callable[[Stored, Header], Mask] = breast_mask
) -> tuple[Header, tuple[str, ...]]:
    """Return the header without padding values that are tissue, and a remark where it had some.

    Args:
        stored: (H, W) integers.
        header: of the image.
        mask_of: finds its foreground.
    """
    if header.padding is None:
        return header, ()
    limit = _most_of_breast(stored, header.padding)
    if limit is None:
        return header, ()
    plain = replace(header, padding=None)
    try:
        inside = values_inside(stored, mask_of(stored, plain))
    except NoForegroundError:
        return header, ()
    low, high = header.padding
    share = float(((inside >= low) & (inside <= high)).mean()) if inside.size else 0.0
    if share <= limit:
        return header, ()
    note = f"the padding values {low} to {high} take {100 * share:.3g} % of the breast: they are not believed"
    return plain, (note,)


def _most_of_breast(stored: Stored, padding: tuple[int, int]) -> float | None:
    """Return the share of the breast that padding may take, None where nothing speaks against it at all."""
    some = stored[:: max(1, len(stored) // _LINES)]
    low, high = padding
    inside = (some >= low) & (some <= high)
    count = int(inside.sum())
    if not count:
        return None
    lowest, highest = int(some.min()), int(some.max())
    if min(high, highest) - max(low, lowest) + 1 > _WIDE * (highest - lowest + 1):
        return _MOST_OF_RANGE
    sides = min(float((some < low).mean()), float((some > high).mean()))
    together = float((inside[:, 1:] & inside[:, :-1]).sum()) / count
    return _MOST_OF_VALUE if sides >= _BOTH_SIDES and together < _LEAST_TOGETHER else None
