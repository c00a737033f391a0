"""The pixels that patches are cut from: those of the crop, or of the crop at another scale."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from nlbs.preprocess.images.mask import Bits

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
    wall_is_right: bool = False  #: whether what a patch is wider than the grid is to stand at its left

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
        bits: its mask, for the side of the chest wall: there the grid ends with the crop, so
            that a pixel that is partly air stands at the other side.
        resolution: edge of the square in pixels.
    """
    between_rows, between_columns = record["spacing_mm"] or (1.0, 1.0)
    aspect = between_rows / between_columns  # columns as long as a row
    rows, columns = record["crop_rows"], record["crop_columns"]
    scale_y = max(rows, columns / aspect) / resolution
    scale_x = scale_y * aspect
    fitting = min(resolution, math.ceil(columns / scale_x - _NEARLY))
    right = wall_is_right(bits)
    left = columns - fitting * scale_x if right else 0.0
    return Sampling(
        min(resolution, math.ceil(rows / scale_y - _NEARLY)), fitting, scale_y, scale_x, left, right
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
        crop: (H, W) uint8 or uint16.
        sampling: of the grid.
    """
    if sampling.is_plain:
        return crop
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
