"""What of an image is cut (``--foreground``): the breast of a mammogram, a body, stained tissue, or all of it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from nlbs.preprocess.formats.header import Header, Stored
from nlbs.preprocess.images.mask import (
    LEAST_SIZE,
    METHOD,
    SMALL_ROWS,
    Bits,
    Mask,
    NoForegroundError,
    Small,
    breast_mask,
    closed,
    dilated,
    eroded,
    filled,
    small_copy,
)

_LEAST_FRACTION = 0.005  # of the image: less is no body and no tissue
_OPENING = 2  # mask pixels: removes noise, letters and what joins them to a body
_MARGIN = 4  # mask pixels around a foreground that are kept with it
_DARK_BINS = 90  # of 256: air is dark; an image whose darkest peak is brighter shows none
_LEAST_DENSITY = 0.1  # of stain; blank glass varies by about 0.03
_LEAST_LIGHT = (
    0.75  # of the range: glass is at least so bright, or a slide full of tissue would be its own glass
)
_SPECK = 1e-3  # of the image: smaller pieces are dust


def body_mask(stored: Stored, header: Header) -> Mask:
    """Return the body in a chest X-ray or a slice: the largest region over air, with what it encloses, as lungs.

    Args:
        stored: (H, W) integers.
        header: its polarity (``inverted``) and padding values.

    Raises:
        NoForegroundError: nothing of the size of a body stands out.
    """
    step = _step(stored, "body")
    small = small_copy(stored, header, step)
    threshold = air_threshold(small)
    return _mask(body_bits(small, threshold), step, threshold, "body")


def body_bits(small: Small, threshold: float) -> Bits:
    """Return the largest region above a threshold, holes filled: (H, W), air low."""
    labels, count = ndimage.label(_opened(small > threshold))
    if not count:
        return np.zeros(small.shape, np.bool_)
    return filled(closed(labels == int(np.argmax(np.bincount(labels.ravel())[1:])) + 1))


def air_threshold(small: Small) -> float:
    """Return the value above which a pixel is no air: at the foot of the darkest peak of the histogram.

    At its first foot: too much air does a set of patches less harm than a body that lacks a part.

    Where no peak is dark there is no air (a chest that fills its image), and all pixels lie above what is returned.

    Raises:
        NoForegroundError: all pixels have nearly the same value.
    """
    low, high = (float(value) for value in np.percentile(small, (0.05, 99.5)))
    if high <= low:
        raise NoForegroundError("all pixels have nearly the same value")
    counts, edges = np.histogram(small, bins=256, range=(low, high))
    smooth = ndimage.gaussian_filter1d(counts.astype(np.float64), 2.0)
    peaks = (smooth >= ndimage.maximum_filter1d(smooth, 13)) & (smooth >= 0.004 * counts.sum())
    dark = np.flatnonzero(peaks[:_DARK_BINS])
    if not len(dark):
        return float(small.min()) - 1.0
    mode = int(dark[0])
    ends = (smooth[mode:-1] < 0.05 * smooth[mode]) | (smooth[mode + 1 :] > smooth[mode:-1])
    foot = int(np.argmax(ends)) if ends.any() else 0
    return float(edges[min(mode + max(foot, 8), 255)])


def tissue_mask(stored: Stored, header: Header) -> Mask:
    """Return the stained tissue of a histology image.

    Args:
        stored: (H, W) grey or (H, W, 3) red, green, blue; integers, glass bright unless the header says inverted.
        header: its bits and polarity.

    Raises:
        NoForegroundError: there is hardly any tissue.
    """
    step = _step(stored, "tissue")
    top = float((1 << header.bits_stored) - 1)
    light = reduced(stored, step) / top
    return _mask(tissue_bits(1 - light if header.inverted else light), step, _LEAST_DENSITY, "tissue")


def tissue_bits(light: npt.NDArray[np.floating[Any]]) -> Bits:
    """Return where light is absorbed or coloured by stain, without dust, small holes filled: (H, W).

    A pixel is tissue where the optical density -log10(I / glass) of its darkest channel reaches 0.1: what is dark, as
    nuclei, and what is saturated, as pale eosin, whose green alone is absorbed.

    Args:
        light: (H, W) or (H, W, channels), 0 to 1.
    """
    channels = light if light.ndim == 3 else light[..., None]
    glass = np.maximum(np.percentile(channels, 99, axis=(0, 1)), _LEAST_LIGHT)
    density = -np.log10(np.maximum(channels / glass, 1e-3))
    bits = closed(_opened(density.max(-1) >= _LEAST_DENSITY, 1))
    return ~_without_specks(~_without_specks(bits))


def whole_mask(stored: Stored, header: Header) -> Mask:
    """Return all of an image. Args: as for :func:`body_mask`; nothing of the header is looked at."""
    step = max(1, round(stored.shape[0] / SMALL_ROWS))
    bits = np.ones(tuple(max(1, length // step) for length in stored.shape[:2]), np.bool_)
    return Mask(bits, bits, step, 0.0)


def reduced(pixels: npt.NDArray[Any], step: int) -> npt.NDArray[np.float32]:
    """Return means of step x step pixels, (H // step, W // step) or with channels behind; the rest is left out."""
    rows, columns = (length // step for length in pixels.shape[:2])
    parts = pixels[: rows * step, : columns * step].reshape(rows, step, columns, step, *pixels.shape[2:])
    means: npt.NDArray[np.float32] = parts.mean((1, 3), dtype=np.float32)
    return means


def _step(stored: Stored, what: str) -> int:
    step = int(max(1, round(stored.shape[0] / SMALL_ROWS)))
    if min(stored.shape[:2]) // step < LEAST_SIZE:
        raise NoForegroundError(
            f"an image of {stored.shape[0]} x {stored.shape[1]} pixels is too small for a mask of its {what}: "
            "--foreground none takes all of it"
        )
    return step


def _mask(bits: Bits, step: int, threshold: float, what: str) -> Mask:
    if bits.mean() < _LEAST_FRACTION:
        raise NoForegroundError(
            f"only {100 * bits.mean():.1f} % of the image stands out from its background: there is no {what}, or "
            "--foreground is another one"
        )
    return Mask(bits, dilated(bits, _MARGIN), step, threshold)


def _opened(bits: Bits, width: int = _OPENING) -> Bits:
    """Return the mask without what is thinner than twice a width; the padding keeps the image's edge."""
    padded = np.pad(bits, width, mode="edge")
    return dilated(eroded(np.pad(padded, 1, mode="edge"), width), width)[
        width + 1 : -width - 1, width + 1 : -width - 1
    ]


def _without_specks(bits: Bits) -> Bits:
    labels, _ = ndimage.label(bits)
    large = np.bincount(labels.ravel()) >= _SPECK * bits.size
    large[0] = False
    found: Bits = large[labels]
    return found


@dataclass(frozen=True)
class Foreground:
    """One choice of ``--foreground``."""

    mask: Callable[[Stored, Header], Mask]
    method: str  #: kept with each mask: raise the number with whatever changes one
    what: str  #: in sentences
    clears: bool  #: whether what lies outside, and a margin, becomes air
    unusual: frozenset[str]  #: codes of mask_flags that are worth a look
    #: Whether the mask looks at the colours of an image that has some, not at its luminance.
    in_colour: bool = False


#: A chest fills its image and touches its edges, tissue lies in pieces: that is as it should be.
FOREGROUNDS = {
    "breast": Foreground(
        breast_mask,
        METHOD,
        "breast",
        True,
        frozenset(("small", "large", "ragged", "borders", "components", "aspect")),
    ),
    "body": Foreground(body_mask, "body 1", "body", True, frozenset(("small",))),
    "tissue": Foreground(tissue_mask, "tissue 1", "tissue", False, frozenset(("small",)), in_colour=True),
    "none": Foreground(whole_mask, "none 1", "image", False, frozenset()),
}


def foreground_of(method: object) -> str:
    """Return which foreground a stored image was cut by, of its ``mask_method``: that begins with the name."""
    name = str(method).partition(" ")[0]
    return name if name in FOREGROUNDS else "breast"
