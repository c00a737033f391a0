"""Where patches are cut: a regular grid over the crop, kept where enough of a patch is breast."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from nlbs.errors import ConfigError
from nlbs.preprocess.mask import Bits
from nlbs.preprocess.store import mask_of

LARGEST_RESOLUTION = 4096

#: The guide's trade-offs between quality and speed: resolution and stride in pixels.
CUT_PRESETS = {"high": (512, 256), "balanced": (256, 512), "fast": (128, 1024)}


@dataclass(frozen=True)
class CutOptions:
    """How a shard set is cut from the decoded images."""

    resolution: int = 256  #: edge of a patch in pixels
    stride: int = 512  #: distance between patches in pixels
    min_foreground: float = 0.1  #: least fraction of a patch inside the breast

    def __post_init__(self) -> None:
        """Raises ConfigError for numbers that no patch can have."""
        if not 8 <= self.resolution <= LARGEST_RESOLUTION:
            raise ConfigError(f"--resolution {self.resolution}: expected 8 to {LARGEST_RESOLUTION} pixels")
        if self.stride < 1:
            raise ConfigError(f"--stride {self.stride}: expected at least 1 pixel")
        if not 0 <= self.min_foreground <= 1:
            raise ConfigError(f"--min-foreground {self.min_foreground}: expected a fraction between 0 and 1")

    @property
    def name(self) -> str:
        """The folder name of the shard set: "r256-s512"."""
        return f"r{self.resolution}-s{self.stride}"


@dataclass(frozen=True)
class Patch:
    """Where one patch lies in the crop of an image."""

    y: int  #: top row of the patch in the crop
    x: int  #: left column
    foreground: float  #: fraction inside the breast, 0 to 1


def patches_of(record: Mapping[str, Any], options: CutOptions) -> list[Patch]:
    """Gives the patches of a stored image, row by row."""
    tops = axis_positions(record["crop_rows"], options.resolution, options.stride)
    lefts = axis_positions(record["crop_columns"], options.resolution, options.stride)
    bits, step = mask_of(record)
    fractions = foreground_fractions(bits, step, tops, lefts, options.resolution)
    kept = np.argwhere((fractions >= options.min_foreground) & (fractions > 0))
    return [Patch(tops[i], lefts[j], float(fractions[i, j])) for i, j in kept]


def axis_positions(length: int, resolution: int, stride: int) -> list[int]:
    """Gives where patches begin along one axis of a crop.

    From 0 in steps of the stride. What is left at the end gets a patch of its own, flush with
    the end: always where strides of at most a patch promise to cover everything, otherwise
    where it does not overlap its neighbour. A crop shorter than a patch has one, padded with air.
    """
    if length <= resolution:
        return [0]
    positions = list(range(0, length - resolution + 1, stride))
    last = length - resolution
    if last > positions[-1] and (stride <= resolution or last >= positions[-1] + resolution):
        positions.append(last)
    return positions


def foreground_fractions(
    bits: Bits, step: int, tops: list[int], lefts: list[int], resolution: int
) -> npt.NDArray[np.float64]:
    """Gives the share of each patch that is breast.

    Args:
        bits: the crop's mask, (rows, columns), each pixel standing for step x step pixels.
        step: pixels of the crop per pixel of the mask.
        tops, lefts: where patches begin, in pixels of the crop.
        resolution: edge of a patch in pixels.

    Returns:
        (len(tops), len(lefts)), 0 to 1; what of a patch lies outside the crop is no breast.
    """
    down = _overlaps(bits.shape[0], step, tops, resolution)
    across = _overlaps(bits.shape[1], step, lefts, resolution)
    return np.asarray(down @ bits.astype(np.float64) @ across.T / resolution**2)


def _overlaps(cells: int, step: int, starts: list[int], resolution: int) -> npt.NDArray[np.float64]:
    """Gives how many pixels each patch shares with each line of the mask: (patches, cells)."""
    edges = np.arange(cells + 1) * step
    begin = np.asarray(starts)[:, None]
    low, high = np.maximum(edges[:-1], begin), np.minimum(edges[1:], begin + resolution)
    shared: npt.NDArray[np.float64] = np.maximum(high - low, 0).astype(np.float64)
    return shared
