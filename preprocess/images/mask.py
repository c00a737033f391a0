"""Where the breast is: found before VOI, on a small copy, without labels, film strips and noise."""

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from nlbs.errors import ImageError
from nlbs.preprocess.formats.header import Header, Stored
from nlbs.preprocess.images.display import modality_falls

Small = npt.NDArray[np.float32]
Bits = npt.NDArray[np.bool_]
Image = TypeVar("Image", Small, Bits)

#: How masks are made, kept with each: raise the number with whatever changes a mask.
METHOD = "background-peak 1"

#: The small copy has about this many rows; what follows counts in its pixels.
SMALL_ROWS = 512

#: A breast that takes less, or more, of the image than this is flagged: look at it.
SMALLEST_FRACTION, LARGEST_FRACTION = 0.05, 0.90

#: Pixels around the breast that are kept with it, so that the skin line is never cut.
MARGIN_MM = 2.5
TYPICAL_HEIGHT_MM = 250.0  #: of the image, where the header has no spacing: downsized files have none

_STRIP_DEPTH = 0.08  # of the image's side: film rims, their glow and collimator edges are not deeper
_RIM_SHARE = 0.25  # of the air along an edge: a rim takes more of it than a label
_RIM_STEP = 0.2  # of the contrast: a white rim stands out of the breast that it lies over
_OPENING = 2  # removes what is thinner than twice this: letters, scratches, what is left of a strip
_CLOSING = 5
LEAST_SIZE = 32
_WALL = 10  # this near to a side a component stands at the chest wall


class NoForegroundError(ImageError):
    """Nothing can be told from the background."""

    status = "no_foreground"


class NoBreastError(NoForegroundError):
    """No breast can be told from the background."""

    status = "no_breast"


@dataclass(frozen=True)
class Mask:
    """The foreground (the breast, a body) on a grid ``step`` times coarser than the image."""

    bits: Bits  #: (rows, columns) of the small copy, True inside the foreground
    keep: Bits  #: the foreground and a margin around it; nothing outside is part of the decoded image
    step: int  #: pixels of the image per pixel of the mask, in both directions
    threshold: float  #: stored value (of the small copy, air low) above which a pixel is no background

    @property
    def fraction(self) -> float:
        """The share of the image inside the foreground."""
        return float(self.bits.mean())


def breast_mask(stored: Stored, header: Header) -> Mask:
    """Return the breast's place in an image.

    On a copy of about 512 rows: the background's mode gives the threshold, strips along the
    edges are cut off, thin things are opened away, and of the components the largest stays,
    with others of weight that stand at the same chest wall (a muscle that fell apart from its
    breast). Holes are filled.

    Args:
        stored: (H, W) integers.
        header: its polarity (``inverted``), padding values and spacing.

    Raises:
        NoBreastError: nothing of the size of a breast stands out.
    """
    step = max(1, round(stored.shape[0] / SMALL_ROWS))
    small = small_copy(stored, header, step)
    if min(small.shape) < LEAST_SIZE:
        raise NoBreastError(f"an image of {header.rows} x {header.columns} pixels is too small for a breast")
    attempts = [(threshold, *_breast_above(small, threshold)) for threshold in background_thresholds(small)]
    # A collimated frame has two backgrounds: above the darker one the other still fills the frame.
    threshold, bits, trimmed = next((a for a in attempts if not _is_a_lit_field(a[1])), attempts[0])
    if bits.mean() < 0.005:
        raise NoBreastError(f"only {100 * bits.mean():.1f} % of the image stands out from its background")
    spacing_mm = header.spacing_mm[0] if header.spacing_mm else TYPICAL_HEIGHT_MM / stored.shape[0]
    margin = max(2, round(MARGIN_MM / (spacing_mm * step)))
    keep = dilated(bits, margin) & ~trimmed
    return Mask(bits, keep, step, threshold)


def small_copy(stored: Stored, header: Header, step: int) -> Small:
    """Return every ``step``-th pixel as the mean of its 3 x 3 neighbours, air low, padding as air."""
    rows, columns = (max(1, length // step) for length in stored.shape)
    small_shape = rows, columns
    start = step // 2
    reach = min(1, start)
    total = np.zeros((rows, columns), np.float32)
    outside = np.zeros((rows, columns), np.bool_)
    for dy in range(-reach, reach + 1):
        for dx in range(-reach, reach + 1):
            part = stored[start + dy :: step, start + dx :: step][:rows, :columns]
            if part.shape != small_shape:
                part = np.pad(part, ((0, rows - part.shape[0]), (0, columns - part.shape[1])), mode="edge")
            total += part
            if header.padding is not None:
                outside |= (part >= header.padding[0]) & (part <= header.padding[1])
    small: Small = (total / (2 * reach + 1) ** 2).astype(np.float32)
    small = -small if header.inverted != modality_falls(header) else small
    if outside.any() and not outside.all():
        small[outside] = small[~outside].min()
    return small


def background_thresholds(small: Small) -> list[float]:
    """Return the values above which a pixel may be no background, likeliest first.

    A background is a clear peak of the histogram, the darkest one first. Its threshold lies
    above its own foot, and above it by a small share of the way to the bright end.

    Raises:
        NoBreastError: all pixels have nearly the same value.
    """
    low, high = np.percentile(small, (0.05, 99.5))
    if high <= low:
        raise NoBreastError("all pixels have nearly the same value")
    counts, edges = np.histogram(small, bins=256, range=(float(low), float(high)))
    smooth = ndimage.gaussian_filter1d(counts.astype(np.float64), 1.0)
    highest_around = ndimage.maximum_filter1d(smooth, 25)
    clear = (smooth >= highest_around) & (smooth >= 0.004 * counts.sum())
    peaks = np.flatnonzero(clear[:160])
    thresholds = []
    for mode in peaks if len(peaks) else [int(np.argmax(smooth))]:
        below = np.flatnonzero(smooth[mode:] < 0.05 * smooth[mode])
        foot = int(below[0]) if len(below) else 0
        thresholds.append(float(edges[min(mode + max(foot, round(0.03 * 256)), 255)]))
    return thresholds


def without_strips(small: Small, threshold: float) -> tuple[Bits, Bits]:
    """Return what is brighter than a threshold, without strips along the edges, and the lines cut off whole.

    The rim of a film, its glow, a paddle or another part of the body at an edge: bright where
    the image just behind is not, along much of the edge or into a corner. Where a strip is the
    white rim of a film, its lines go whole, for there it lies over the breast too.

    Args:
        small: (H, W), air low.
        threshold: above which a pixel is no background.

    Returns:
        ``small > threshold`` without strips, and True in the lines that were cut off.
    """
    result = small > threshold
    trimmed = np.zeros_like(result)
    contrast = float(np.percentile(small, 99.5)) - threshold
    depth = round(_STRIP_DEPTH * min(small.shape))
    core = small[depth:-depth, depth:-depth]
    whitest = float(np.percentile(core[core > threshold], 99)) if (core > threshold).any() else np.inf
    edges = zip(_from_each_edge(result), _from_each_edge(small), _from_each_edge(trimmed), strict=True)
    for view, values, cut in edges:
        depth = max(4, round(_STRIP_DEPTH * len(view)))
        behind = view[depth : depth + depth // 2].mean(0) > 0.5
        stray = view[:depth] & ~behind
        along_the_edge = bool((stray.mean(1) > 0.15).any())
        strip = along_the_edge | _reaches_a_corner(stray.any(0))
        view[:depth] &= ~(stray & strip & _as_thin_as_most(stray))
        rim = _rim_lines(values[: depth + 1], stray, behind, _RIM_STEP * contrast, whitest)
        # A film that glows along its edge has a white hairline there, too thin for the small copy.
        rim = max(rim, int(along_the_edge))
        view[:rim], cut[:rim] = False, True
    return result, trimmed


def _rim_lines(values: Small, stray: Bits, behind: Bits, step: float, whitest: float) -> int:
    """Return how many lines at an edge a white rim covers.

    Args:
        values: (depth + 1, n), the first line at the edge.
        stray: (depth, n), bright where the image behind is not.
        behind: (n,), where it is.
        step: a rim is brighter by this than the breast behind it, or
        whitest: as bright as this where it lies over air.
    """
    rim = 0
    for line in range(len(stray)):
        broad = stray[line].sum() > _RIM_SHARE * max(1, (~behind).sum())
        over_breast = behind.any() and np.median((values[line] - values[-1])[behind]) > step
        over_air = broad and (not behind.any() or np.median(values[line][stray[line]]) > whitest)
        if (over_breast and (broad or rim)) or over_air:
            rim = line + 2
        elif rim or line > 3:  # letters begin farther from the edge
            break
    return rim


def _as_thin_as_most(stray: Bits) -> Bits:
    """Return the positions along an edge where a strip has its usual thickness: more is a breast behind it."""
    thickness = np.where(stray.all(0), len(stray), stray.argmin(0))
    present = thickness[stray.any(0)]
    usual = np.median(present) if len(present) else 0.0
    thin: Bits = thickness <= 1.5 * usual + 1
    return thin


def _reaches_a_corner(line: Bits) -> Bits:
    """Return the runs of True that begin at either end of a line."""
    return np.logical_and.accumulate(line) | np.logical_and.accumulate(line[::-1])[::-1]


def _from_each_edge(image: Image) -> tuple[Image, Image, Image, Image]:
    """Return views of the image whose first line is its top, bottom, left and right one."""
    return image, image[::-1], image.T, image.T[::-1]


def _breast_above(small: Small, threshold: float) -> tuple[Bits, Bits]:
    bright, trimmed = without_strips(small, threshold)
    bits = _breast_components(dilated(eroded(bright, _OPENING), _OPENING))
    bits = filled(closed(bits)) & ~trimmed
    return bits, trimmed


def _is_a_lit_field(bits: Bits) -> bool:
    """Return whether both sides are mostly foreground: a breast has air at the side of its nipple."""
    rows, columns = np.flatnonzero(bits.any(1)), np.flatnonzero(bits.any(0))
    if len(rows) < 20 or len(columns) < 20:
        return False
    box = bits[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return bool(min(box[:, 2:8].mean(), box[:, -8:-2].mean()) > 0.6)


def _breast_components(bright: Bits) -> Bits:
    labels, count = ndimage.label(bright)
    if count == 0:
        return bright
    area = np.bincount(labels.ravel())[1:]
    main = int(np.argmax(area)) + 1
    breast = labels == main
    left, right = breast[:, :_WALL].sum(), breast[:, -_WALL:].sum()
    wall = labels[:, :_WALL] if left >= right else labels[:, -_WALL:]
    for other in np.unique(wall):
        if other not in (0, main) and area[other - 1] >= 0.08 * area[main - 1]:
            breast |= labels == other
    return np.asarray(breast)


def closed(bits: Bits) -> Bits:
    """Return the mask with notches closed; the padding keeps the image's edge from eroding it."""
    width = _CLOSING + 1
    padded = np.pad(bits, width, mode="edge")
    closed: Bits = eroded(dilated(padded, _CLOSING), _CLOSING)[width:-width, width:-width]
    return closed


def filled(bits: Bits) -> Bits:
    """Return the mask with what its foreground encloses: all but the air that is connected to a side."""
    labels, count = ndimage.label(~bits)
    is_air = np.zeros(count + 1, np.bool_)
    for side in (labels[0], labels[-1], labels[:, 0], labels[:, -1]):
        is_air[side] = True
    is_air[0] = False  # the label of the foreground
    filled: Bits = ~is_air[labels]
    return filled


def dilated(bits: Bits, iterations: int) -> Bits:
    """Return the dilation by a cross, repeated; five times as fast as scipy's, whose elements may be any."""
    for _ in range(iterations):
        grown = bits.copy()
        grown[1:] |= bits[:-1]
        grown[:-1] |= bits[1:]
        grown[:, 1:] |= bits[:, :-1]
        grown[:, :-1] |= bits[:, 1:]
        bits = grown
    return bits


def eroded(bits: Bits, iterations: int) -> Bits:
    """Return the erosion by a cross, repeated; outside the image nothing is foreground."""
    around = np.pad(~bits, 1, constant_values=True)
    return ~dilated(around, iterations)[1:-1, 1:-1]


def values_inside(stored: Stored, mask: Mask) -> npt.NDArray[np.float64]:
    """Return the stored values of the foreground's pixels, one per pixel of the mask: (n,) float64."""
    rows, columns = mask.bits.shape
    start = mask.step // 2
    part = stored[start :: mask.step, start :: mask.step][:rows, :columns]
    bits = mask.bits[: part.shape[0], : part.shape[1]]
    return part[bits].astype(np.float64)
