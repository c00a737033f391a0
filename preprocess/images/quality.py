"""Figures of a decoded image that tell a person where to look: shape of the mask, intensities, signs of damage."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from nlbs.preprocess.images.mask import LARGEST_FRACTION, SMALLEST_FRACTION, Bits

MOST_RAGGED, MOST_BORDERS, MOST_COMPONENTS = 1.25, 2, 1
ASPECTS = (0.9, 6.0)  #: rows per column of the breast's bounding box

_BLOCK = 32  # pixels: edge of the blocks that texture is compared by
_LEAST_BLOCKS = 9  # fewer say nothing of an image


def mask_figures(
    bits: Bits, step: int, corner: tuple[int, int], source: tuple[int, int]
) -> dict[str, int | float]:
    """Return place and shape of a breast mask, in pixels of the source image.

    ``mask_raggedness`` is the length of the outline over that of the bounding box, both along pixel edges:
    exactly 1 for every shape that each row and column crosses once, more for each notch, hole and island.

    Args:
        bits: (rows, columns) of the crop's mask, True inside the breast.
        step: source pixels per mask pixel, both ways.
        corner: source row and column of the crop.
        source: rows and columns of the source image.
    """
    lines, positions = np.flatnonzero(bits.any(1)), np.flatnonzero(bits.any(0))
    top, bottom = int(lines[0]), int(lines[-1]) + 1
    left, right = int(positions[0]), int(positions[-1]) + 1
    box = np.pad(bits[top:bottom, left:right], 1)
    outline = np.count_nonzero(box[1:] != box[:-1]) + np.count_nonzero(box[:, 1:] != box[:, :-1])
    # The last line of the mask may reach past the image.
    y, x = corner[0] + top * step, corner[1] + left * step
    rows = min(corner[0] + bottom * step, source[0]) - y
    columns = min(corner[1] + right * step, source[1]) - x
    ends = (y, x, source[0] - y - rows, source[1] - x - columns)
    return {
        "mask_y": y,
        "mask_x": x,
        "mask_rows": rows,
        "mask_columns": columns,
        "mask_raggedness": round(outline / (2 * (bottom - top + right - left)), 3),
        "mask_components": int(ndimage.label(bits)[1]),
        "mask_borders": sum(end <= step for end in ends),
    }


def mask_flags(record: Mapping[str, Any]) -> list[str]:
    """Return what is unusual about the mask of a stored image, in short codes; empty where nothing is."""
    fraction, aspect = record["mask_fraction"], record["mask_rows"] / max(1, record["mask_columns"])
    flags = {
        "small": fraction < SMALLEST_FRACTION,
        "large": fraction > LARGEST_FRACTION,
        "ragged": record["mask_raggedness"] > MOST_RAGGED,
        "borders": record["mask_borders"] > MOST_BORDERS,
        "components": record["mask_components"] > MOST_COMPONENTS,
        "aspect": not ASPECTS[0] <= aspect <= ASPECTS[1],
    }
    return [name for name, flagged in flags.items() if flagged]


def pixel_figures(pixels: npt.NDArray[Any], bits: Bits, step: int) -> dict[str, float | None]:
    """Return what the pixels of a breast look like: intensities, and signs of a stream that decoded to garbage.

    Texture is compared in blocks of 32 x 32 pixels inside the breast, by the change from row to row of means
    over 32 columns, and from column to column of means over 32 rows; all as shares of 255 grey levels:

    - ``qc_row_jump``: the largest step between two rows over the block's usual one, in the worst block;
    - ``qc_streaks``: log of change across rows over change across columns, in the usual block;
    - ``qc_busiest``, ``qc_flattest``: change in the busiest block over the usual one, and in the usual one
      over the flattest.

    None where the breast has fewer than 9 such blocks. ``breast_p1``, ``breast_median`` and ``breast_p99`` are
    shares of the display range, 0 to 1.

    Args:
        pixels: (rows, columns) of the crop, uint8 or uint16; of (rows, columns, 3) green counts, as in an eye.
        bits: its mask, True inside the breast.
        step: pixels per mask pixel, both ways.
    """
    pixels = pixels[..., 1] if pixels.ndim == 3 else pixels
    inner = pixels[step // 2 :: step, step // 2 :: step][: bits.shape[0], : bits.shape[1]]
    values = inner[bits[: inner.shape[0], : inner.shape[1]]] / np.iinfo(pixels.dtype).max
    levels = np.percentile(values, (1, 50, 99)) if values.size else (None, None, None)
    names = ("breast_p1", "breast_median", "breast_p99")
    figures = {name: None if v is None else round(float(v), 4) for name, v in zip(names, levels, strict=True)}
    return {**figures, **_damage_figures(pixels, bits, step)}


def _damage_figures(pixels: npt.NDArray[Any], bits: Bits, step: int) -> dict[str, float | None]:
    names = ("qc_row_jump", "qc_streaks", "qc_busiest", "qc_flattest")
    high, wide = (length // _BLOCK for length in pixels.shape)
    inside = _inner_blocks(bits, step, high, wide)
    if np.count_nonzero(inside) < _LEAST_BLOCKS:
        return dict.fromkeys(names)
    whole = pixels[: high * _BLOCK, : wide * _BLOCK]
    scale = np.float32(255 / np.iinfo(pixels.dtype).max / _BLOCK)
    # A product is twice as fast as a sum over so short an axis, and exact: below 2^24.
    blocks = whole.astype(np.float32).reshape(-1, _BLOCK) @ np.ones(_BLOCK, np.float32)
    across = blocks.reshape(-1, wide) * scale  # (rows, wide)
    narrow = np.uint16 if pixels.dtype == np.uint8 else np.uint32
    down = whole.reshape(high, _BLOCK, -1).sum(1, dtype=narrow) * scale  # (high, columns)
    by_row = np.abs(np.diff(across, axis=0, append=across[-1:])).reshape(high, _BLOCK, wide)
    by_column = np.abs(np.diff(down, axis=1, append=down[:, -1:])).reshape(high, wide, _BLOCK)
    rows, columns = by_row.transpose(0, 2, 1)[inside], by_column[inside]  # (blocks, 32) each
    # The constants are fractions of a grey level: a block of one value is flat, not infinitely so.
    row_change, column_change = rows.mean(1) + 0.05, columns.mean(1) + 0.05
    change = row_change + column_change
    found = (
        (rows.max(1) / (np.median(rows, axis=1) + 0.25)).max(),
        np.median(np.log(row_change / column_change)),
        change.max() / np.median(change),
        np.median(change) / change.min(),
    )
    return {name: round(float(value), 3) for name, value in zip(names, found, strict=True)}


def _inner_blocks(bits: Bits, step: int, high: int, wide: int) -> Bits:
    """Return which blocks lie inside the breast, a block's width from its outline: (high, wide)."""
    inner = ndimage.binary_erosion(bits, iterations=max(1, -(-_BLOCK // step)))
    centres = (np.arange(max(high, wide)) * _BLOCK + _BLOCK // 2) // step
    rows = np.minimum(centres[:high], bits.shape[0] - 1)
    columns = np.minimum(centres[:wide], bits.shape[1] - 1)
    inside: Bits = inner[np.ix_(rows, columns)]
    return inside
