"""Curves and histograms of the report as PNG, RGB arrays."""

import io
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from nlbs.evaluate.arrays import Floats

_FEWEST_BINS, _MOST_BINS = 8, 40
_DPI = 90


def histograms(values: Mapping[str, Floats], label: str) -> npt.NDArray[np.uint8]:
    """Gives the shares of values in equal bins, one outline per group, (H, W, 3) uint8.

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
    """Gives mean power over frequency, one line per set of patches, (H, W, 3) uint8.

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
