"""Curves and histograms of the report as PNG, RGB arrays."""

import io
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from nlbs.evaluate.measures.arrays import Floats

_FEWEST_BINS, _MOST_BINS = 8, 40
_DPI = 90


def histograms(values: Mapping[str, Floats], label: str) -> npt.NDArray[np.uint8]:
    """Return the shares of values in equal bins, one outline per group, (H, W, 3) uint8.

    Args:
        values: group -> (n,); the bins span all groups but their outermost .5 %, which the end bins hold.
        label: of the x axis.
    """
    everything = np.concatenate(list(values.values()))
    low, high = np.quantile(everything, (0.005, 0.995))
    bins = int(np.clip(2 * np.sqrt(len(everything)), _FEWEST_BINS, _MOST_BINS))
    edges = np.linspace(low, high if high > low else low + 1, bins + 1)
    figure = _figure(5.2, 2.8)
    axes = figure.subplots()
    for name, some in values.items():
        counts, _ = np.histogram(np.clip(some, edges[0], edges[-1]), edges)
        axes.stairs(counts / max(1, len(some)), edges, fill=True, alpha=0.45, label=f"{name} ({len(some):,})")
    axes.set_xlabel(label, fontsize="small")
    axes.set_ylabel("share")
    axes.legend()
    return _drawn(figure)


def spectra(curves: Mapping[str, Floats]) -> npt.NDArray[np.uint8]:
    """Return mean power over frequency, one line per set of patches, (H, W, 3) uint8.

    Args:
        curves: name -> (R/2,) power at 1, 2, ... cycles per patch.
    """
    figure = _figure(6.2, 4)
    axes = figure.subplots()
    for name, power in curves.items():
        axes.loglog(np.arange(1, len(power) + 1), np.maximum(power, 1e-12), label=name)
        top = len(power)
    axes.axvspan(top / 2, top, color="0.9", zorder=0)
    axes.set_xlabel("cycles per patch; shaded: the top octave")
    axes.set_ylabel("power")
    axes.grid(alpha=0.3)
    axes.legend()
    return _drawn(figure)


def _figure(width: float, height: float) -> Figure:
    figure = Figure(figsize=(width, height), layout="constrained", dpi=_DPI)
    FigureCanvasAgg(figure)
    return figure


def _drawn(figure: Figure) -> npt.NDArray[np.uint8]:
    file = io.BytesIO()
    figure.savefig(file, format="png")
    return np.asarray(Image.open(file).convert("RGB"))


_HOT = np.array([(0, 0, 0), (120, 0, 60), (220, 60, 0), (255, 190, 0), (255, 255, 200)], np.float64)
_MOST_OPAQUE = 0.75


@dataclass(frozen=True)
class Places:
    """Where patches lie in an image, in pixels of the source."""

    y: Floats  #: (n,) of the top
    x: Floats  #: (n,) of the left; negative where a patch begins beside the image
    edge: Floats  #: (n,)


def lay_out(maps: npt.NDArray[np.floating], places: Places, most_px: int = 480) -> Floats:
    """Return the maps of patches at their places, averaged where they overlap; nan where no patch lies.

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
    """Return a grey image with heat over it, (H, W, 3) uint8 RGB.

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
    """Return at least one pixel, inside the picture."""
    first = min(round(start), size - 1)
    return slice(first, max(first + 1, min(round(start + length), size)))
