"""What headers of odd kinds of images leave open: the spacing of magnified views, the polarity of raw ones."""

from dataclasses import replace

import numpy as np

from nlbs.preprocess.formats.header import SourceImage, Stored, element
from nlbs.preprocess.images.display import modality_falls
from nlbs.preprocess.images.kind import spacing_in_patient

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
