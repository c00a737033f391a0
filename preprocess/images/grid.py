"""Where patches are cut: a grid over the crop or over the crop at another scale, kept where enough of it is breast."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from nlbs.errors import ConfigError
from nlbs.preprocess.images.foreground import foreground_of
from nlbs.preprocess.images.mask import Bits
from nlbs.preprocess.images.store import mask_of
from nlbs.shards.format.container import misfit, suffix
from nlbs.shards.format.description_check import LARGEST_RESOLUTION

_NEARLY = 1e-6  #: of a pixel: what a length of whole pixels may lack after a division


@dataclass(frozen=True)
class Sampling:
    """A grid over the crop of an image: pixel (i, j) covers crop rows ``top + [i, i+1) * scale_y``, columns alike.

    What of a pixel lies outside the crop is air.
    """

    rows: int
    columns: int
    scale_y: float = 1.0  #: pixels of the crop per pixel of the grid, from row to row
    scale_x: float = 1.0  #: from column to column
    left: float = 0.0  #: where the grid begins, in columns of the crop; it begins at row 0
    indent: int = 0  #: columns of air that a patch of a whole image has at the left of the grid

    @property
    def is_plain(self) -> bool:
        """Whether the grid is that of the crop itself."""
        return (self.scale_y, self.scale_x, self.left) == (1.0, 1.0, 0.0)


def at_spacing(record: Mapping[str, Any], spacing_mm: float) -> Sampling | None:
    """Return the grid of a stored image whose pixels are ``spacing_mm`` apart in both directions.

    It ends with the last pixel that lies wholly inside the crop, so that none is mixed with air.

    Returns:
        None where the spacing of the image is unknown.
    """
    if record["spacing_mm"] is None:
        return None
    scale_y, scale_x = (spacing_mm / found for found in record["spacing_mm"])
    rows = max(1, math.floor(record["crop_rows"] / scale_y + _NEARLY))
    columns = max(1, math.floor(record["crop_columns"] / scale_x + _NEARLY))
    return Sampling(rows, columns, scale_y, scale_x)


def fitted(record: Mapping[str, Any], bits: Bits, resolution: int) -> Sampling:
    """Return the grid on which a whole crop just fits into (resolution, resolution), its aspect kept.

    Args:
        record: of a stored image; where its spacing is known, the aspect is that in mm.
        bits: its mask, for the side of a breast's chest wall: there the grid ends with the crop, so
            that a pixel that is partly air stands at the other side. Any other image stands in the middle.
        resolution: edge of the square in pixels.
    """
    between_rows, between_columns = record["spacing_mm"] or (1.0, 1.0)
    aspect = between_rows / between_columns  # columns as long as a row
    rows, columns = record["crop_rows"], record["crop_columns"]
    scale_y = max(rows, columns / aspect) / resolution
    scale_x = scale_y * aspect
    fitting = min(resolution, math.ceil(columns / scale_x - _NEARLY))
    # Of the air beside it, how much stands at its left: none, all of it, or half.
    at_left = float(wall_is_right(bits)) if foreground_of(record.get("mask_method")) == "breast" else 0.5
    left = (columns - fitting * scale_x) * at_left if at_left else 0.0
    indent = math.floor((resolution - fitting) * at_left)
    return Sampling(
        min(resolution, math.ceil(rows / scale_y - _NEARLY)), fitting, scale_y, scale_x, left, indent
    )


def wall_is_right(bits: Bits) -> bool:
    """Return whether the chest wall is at the right: where the crop's edge touches more breast.

    Where both edges touch as much, it is the side of the half that holds more of the breast.
    """
    half = bits.shape[1] // 2
    left, right = (int(part.sum()) for part in (bits[:, 0], bits[:, -1]))
    if left == right:
        left, right = int(bits[:, :half].sum()), int(bits[:, bits.shape[1] - half :].sum())
    return right > left


def resampled(crop: npt.NDArray[Any], sampling: Sampling) -> npt.NDArray[Any]:
    """Return the pixels of a grid over a crop: (rows, columns), the crop's own where the grid is plain, else float32.

    Each is a mean weighted by a triangle that reaches one pixel of the grid, and at least one of
    the crop, to each side of its centre: Pillow's ``BILINEAR``, which widens with the scale and
    so is antialiased. No weight is negative: air stays 0, and nothing rings at the skin.

    Args:
        crop: (H, W) or (H, W, channels), uint8 or uint16.
        sampling: of the grid.
    """
    if sampling.is_plain:
        return crop
    if crop.ndim == 3:
        return np.stack(
            [resampled(crop[..., channel], sampling) for channel in range(crop.shape[2])], axis=-1
        )
    bottom, left = sampling.rows * sampling.scale_y, sampling.left
    right = left + sampling.columns * sampling.scale_x
    before = max(0, math.ceil(-left - _NEARLY))
    below = max(0, math.ceil(bottom - crop.shape[0] - _NEARLY))
    behind = max(0, math.ceil(right - crop.shape[1] - _NEARLY))
    values = np.pad(crop, ((0, below), (before, behind))).astype(np.float32)
    box = (
        max(0.0, left + before),
        0.0,
        min(right + before, float(values.shape[1])),
        min(bottom, float(values.shape[0])),
    )
    picture = Image.fromarray(values).resize(
        (sampling.columns, sampling.rows), Image.Resampling.BILINEAR, box=box
    )
    return np.asarray(picture)


def as_dtype(values: npt.NDArray[Any], stored: np.dtype[Any], dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    """Return display values as ``dtype``: rounded to the nearest, halves to the even one.

    Args:
        values: over the range of ``stored``; integers, or float32 after resampling.
        stored, dtype: uint8 or uint16. The full range goes onto the full range: uint16 to uint8 is v / 257.
    """
    if values.dtype == dtype:
        return values
    ratio = np.iinfo(stored).max / np.iinfo(dtype).max
    return np.asarray(np.rint(values / np.float32(ratio) if ratio != 1 else values).astype(dtype))


SMALLEST_SPACING_MM, LARGEST_SPACING_MM = 0.01, 5.0

#: The guide's trade-offs between quality and speed: resolution and stride in pixels.
CUT_PRESETS = {"high": (512, 256), "balanced": (256, 512), "fast": (128, 1024)}


@dataclass(frozen=True)
class CutOptions:
    """How a shard set is cut from the decoded images."""

    resolution: int = 256  #: edge of a patch in pixels
    stride: int = 512  #: distance between patches in pixels; nothing in mode "whole"
    min_foreground: float = 0.1  #: least fraction of a patch inside the breast
    mode: str = "patches"  #: "patches", or "whole": the whole foreground in one patch per image
    spacing_mm: float | None = None  #: between pixels of a patch; None is the image's own
    unknown_spacing: str = "refuse"  #: what to do about images of unknown spacing: "refuse" or "skip"
    dtype: str | None = None  #: "uint8" or "uint16"; None is the store's
    container: str = "tar"  #: one of nlbs.shards.format.container.CONTAINERS
    compression: str = "none"  #: of a patch, as the container takes it

    def __post_init__(self) -> None:
        """Raise ConfigError for numbers that no patch can have, and for options that exclude each other."""
        if not 8 <= self.resolution <= LARGEST_RESOLUTION:
            raise ConfigError(f"--resolution {self.resolution}: expected 8 to {LARGEST_RESOLUTION} pixels")
        if self.stride < 1:
            raise ConfigError(f"--stride {self.stride}: expected at least 1 pixel")
        if not 0 <= self.min_foreground <= 1:
            raise ConfigError(f"--min-foreground {self.min_foreground}: expected a fraction between 0 and 1")
        if self.spacing_mm is not None and not SMALLEST_SPACING_MM <= self.spacing_mm <= LARGEST_SPACING_MM:
            raise ConfigError(
                f"--spacing-mm {self.spacing_mm:g}: expected {SMALLEST_SPACING_MM} to {LARGEST_SPACING_MM} mm; "
                "mammograms have 0.05 to 0.1"
            )
        if self.mode == "whole" and self.spacing_mm is not None:
            raise ConfigError(
                "--spacing-mm means nothing with --mode whole, which fits each image to the patch"
            )
        problem = misfit(self.container, self.compression)
        if problem is not None:
            raise ConfigError(problem)

    @property
    def name(self) -> str:
        """The folder name of the shard set: "r256-s512", "whole-r256", "r256-s512-0.1mm-uint8-zarr-zstd"."""
        cut = f"whole-r{self.resolution}" if self.mode == "whole" else f"r{self.resolution}-s{self.stride}"
        spacing = "" if self.spacing_mm is None else f"-{self.spacing_mm}mm"
        dtype = "" if self.dtype is None else f"-{self.dtype}"
        return f"{cut}{spacing}{dtype}{suffix(self.container, self.compression)}"

    def for_store(self, dtype: str) -> "CutOptions":
        """Return the same options for a store of some dtype; their own is None where it is that of the store.

        Raises:
            ConfigError: the store holds less than the patches are to have.
        """
        if self.dtype == "uint16" and dtype == "uint8":
            raise ConfigError(
                "--dtype uint16: the decoded images are uint8, and what was rounded away does not come back; "
                "build again into another folder with build-shards --dtype uint16"
            )
        return replace(self, dtype=None if self.dtype == dtype else self.dtype)

    def parameters(self) -> dict[str, Any]:
        """Return what shard_set.json says about the cut: all that the bytes depend on, None for what means nothing."""
        known = {key: value for key, value in asdict(self).items() if key != "unknown_spacing"}
        return {**known, "stride": None if self.mode == "whole" else self.stride}

    @classmethod
    def from_parameters(cls, parameters: Mapping[str, Any]) -> "CutOptions":
        """Return the options that a set was cut with, of what its shard_set.json says."""
        known = {field.name: parameters.get(field.name) for field in fields(cls)}
        # A set whose images all had a spacing is cut alike by either rule.
        options: dict[str, Any] = {**known, "unknown_spacing": "skip"}
        return cls(**{key: value for key, value in options.items() if value is not None})


@dataclass(frozen=True)
class Patch:
    """Where one patch lies in an image."""

    y: int  #: top row of the patch on the grid that it is cut from: of the crop, or of the resampled crop
    x: int  #: left column
    foreground: float  #: fraction inside the breast, 0 to 1
    crop_y: int  #: the same corner in pixels of the crop
    crop_x: int  #: may be negative in mode "whole", where air stands at the left of the breast


def sampling_of(record: Mapping[str, Any], options: CutOptions) -> Sampling | None:
    """Return the grid that the patches of a stored image are cut from; None where its spacing had to be known."""
    if options.mode == "whole":
        return fitted(record, mask_of(record)[0], options.resolution)
    if options.spacing_mm is not None:
        return at_spacing(record, options.spacing_mm)
    return Sampling(record["crop_rows"], record["crop_columns"])


def patches_of(record: Mapping[str, Any], options: CutOptions) -> list[Patch]:
    """Return the patches of a stored image, row by row; none where its spacing is unknown and had to be known."""
    grid = sampling_of(record, options)
    if grid is None:
        return []
    if options.mode == "whole":
        tops, lefts = [0], [-grid.indent]
    else:
        tops = axis_positions(grid.rows, options.resolution, options.stride)
        lefts = axis_positions(grid.columns, options.resolution, options.stride)
    bits, step = mask_of(record)
    down = [top * grid.scale_y for top in tops]
    across = [grid.left + left * grid.scale_x for left in lefts]
    edges = options.resolution * grid.scale_y, options.resolution * grid.scale_x
    fractions = foreground_fractions(bits, step, down, across, *edges)
    kept = np.argwhere((fractions >= options.min_foreground) & (fractions > 0))
    return [
        Patch(tops[i], lefts[j], float(fractions[i, j]), round(down[i]), round(across[j])) for i, j in kept
    ]


def axis_positions(length: int, resolution: int, stride: int) -> list[int]:
    """Return where patches begin along one axis of a crop.

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
    bits: Bits,
    step: int,
    tops: Sequence[float],
    lefts: Sequence[float],
    height: float,
    width: float | None = None,
) -> npt.NDArray[np.float64]:
    """Return the share of each patch that is breast.

    Args:
        bits: the crop's mask, (rows, columns), each pixel standing for step x step pixels.
        step: pixels of the crop per pixel of the mask.
        tops, lefts: where patches begin, in pixels of the crop.
        height, width: of a patch in pixels of the crop; a square where there is no width.

    Returns:
        (len(tops), len(lefts)), 0 to 1; what of a patch lies outside the crop is no breast.
    """
    width = height if width is None else width
    down = _overlaps(bits.shape[0], step, tops, height)
    across = _overlaps(bits.shape[1], step, lefts, width)
    return np.asarray(down @ bits.astype(np.float64) @ across.T / (height * width))


def _overlaps(cells: int, step: int, starts: Sequence[float], length: float) -> npt.NDArray[np.float64]:
    """Return how many pixels each patch shares with each line of the mask: (patches, cells)."""
    edges = np.arange(cells + 1) * step
    begin = np.asarray(starts)[:, None]
    low, high = np.maximum(edges[:-1], begin), np.minimum(edges[1:], begin + length)
    shared: npt.NDArray[np.float64] = np.maximum(high - low, 0).astype(np.float64)
    return shared
