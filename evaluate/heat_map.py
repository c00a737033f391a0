"""Scores of patches laid over the image that they were cut from."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from nlbs.evaluate.arrays import Floats

_HOT = np.array([(0, 0, 0), (120, 0, 60), (220, 60, 0), (255, 190, 0), (255, 255, 200)], np.float64)
_MOST_OPAQUE = 0.75


@dataclass(frozen=True)
class Places:
    """Where patches lie in an image, in pixels of the source."""

    y: Floats  #: (n,) of the top
    x: Floats  #: (n,) of the left; negative where a patch begins beside the image
    edge: Floats  #: (n,)


def lay_out(maps: npt.NDArray[np.floating], places: Places, most_px: int = 480) -> Floats:
    """Gives the maps of patches at their places, averaged where they overlap; nan where no patch lies.

    Args:
        maps: (n, R, R), or (n, 1, 1) for one value per patch.
        places: of the patches.
        most_px: the longer edge of the picture at most; several pixels of the source share one of it.

    Returns:
        (H, W), the smallest box that holds every patch.
    """
    top, left = places.y.min(), places.x.min()
    height, width = (places.y + places.edge).max() - top, (places.x + places.edge).max() - left
    step = max(1.0, max(height, width) / most_px)
    shape = max(1, round(height / step)), max(1, round(width / step))
    total, count = np.zeros(shape), np.zeros(shape)
    for one, y, x, edge in zip(maps, places.y - top, places.x - left, places.edge, strict=True):
        rows, columns = (
            _span(start / step, edge / step, size) for start, size in ((y, shape[0]), (x, shape[1]))
        )
        size = columns.stop - columns.start, rows.stop - rows.start
        picture = Image.fromarray(np.asarray(one, np.float32))
        total[rows, columns] += np.asarray(picture.resize(size, Image.Resampling.BOX))
        count[rows, columns] += 1
    with np.errstate(invalid="ignore"):
        mean: Floats = total / np.where(count > 0, count, np.nan)
    return mean


def painted(grey: Floats, heat: Floats, low: float, high: float) -> npt.NDArray[np.uint8]:
    """Gives a grey image with heat over it, (H, W, 3) uint8 RGB.

    Args:
        grey: (H, W) 0 to 255, nan outside the patches.
        heat: (H, W), nan outside.
        low: heat that leaves the image as it is, and all below.
        high: heat that is brightest, and all above.
    """
    share = np.clip((np.nan_to_num(heat, nan=low) - low) / max(high - low, 1e-12), 0, 1)
    stops = np.linspace(0, 1, len(_HOT))
    colour = np.stack([np.interp(share, stops, _HOT[:, channel]) for channel in range(3)], axis=-1)
    opaque = (_MOST_OPAQUE * share)[:, :, None]
    mixed = (1 - opaque) * np.nan_to_num(grey)[:, :, None] + opaque * colour
    rgb: npt.NDArray[np.uint8] = mixed.round().clip(0, 255).astype(np.uint8)
    return rgb


def _span(start: float, length: float, size: int) -> slice:
    """Gives at least one pixel, inside the picture."""
    first = min(round(start), size - 1)
    return slice(first, max(first + 1, min(round(start + length), size)))
