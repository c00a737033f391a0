"""Curves and histograms of the report as PNG, RGB arrays."""

import io
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from nlbs.evaluate.arrays import Floats

_BINS = 40
_DPI = 90


def histograms(values: Mapping[str, Floats], label: str, log: bool = False) -> npt.NDArray[np.uint8]:
    """Gives the shares of values in equal bins, one outline per group, (H, W, 3) uint8.

    Args:
        values: group -> (n,); the bins span all groups but their outermost .5 %, which the end bins hold.
        label: of the x axis.
        log: whether that axis is logarithmic.
    """
    everything = np.concatenate(list(values.values()))
    low, high = np.quantile(everything, (0.005, 0.995))
    if log and low > 0:
        edges = np.geomspace(low, max(high, low * 1.001), _BINS + 1)
    else:
        edges = np.linspace(low, high if high > low else low + 1, _BINS + 1)
    figure = _figure(4.6, 2.8)
    axes = figure.subplots()
    for name, some in values.items():
        counts, _ = np.histogram(np.clip(some, edges[0], edges[-1]), edges)
        axes.stairs(counts / max(1, len(some)), edges, fill=True, alpha=0.45, label=f"{name} ({len(some):,})")
    if log and low > 0:
        axes.set_xscale("log")
    axes.set_xlabel(label)
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


def bars(groups: Sequence[str], series: Mapping[str, Sequence[float]], label: str) -> npt.NDArray[np.uint8]:
    """Gives bars side by side, one per series in every group, (H, W, 3) uint8."""
    figure = _figure(max(4.0, 0.5 * len(groups) + 2), 2.8)
    axes = figure.subplots()
    width = 0.8 / max(1, len(series))
    for number, (name, values) in enumerate(series.items()):
        axes.bar(np.arange(len(groups)) + number * width, values, width, label=name)
    axes.set_xticks(np.arange(len(groups)) + 0.4 - width / 2, list(groups))
    axes.set_ylabel(label)
    if len(series) > 1:
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
