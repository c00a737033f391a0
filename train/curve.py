"""The loss curve of a run as a picture."""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from nlbs.files import write_with

_PANELS = {"total": "loss, at the final KL weight", "reconstruction": "mean L1", "kl": "KL, nats"}


def epoch_rows(metrics: Path) -> list[dict[str, Any]]:
    """Gives the rows of metrics.jsonl that judge epochs, in order."""
    rows = [json.loads(line) for line in metrics.read_text(encoding="utf-8").splitlines()]
    epochs = [row for row in rows if row.get("kind") == "epoch" and type(row.get("epoch")) is int]
    return [
        {key: value for key, value in row.items() if isinstance(value, int | float | None)} for row in epochs
    ]


def loss_figure(rows: Sequence[dict[str, Any]]) -> Figure:
    """Gives a panel per term over epochs from 1, training and, where there is one, validation.

    A value that was not finite is a gap.
    """
    figure = Figure(figsize=(12, 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    for axes, (term, title) in zip(figure.subplots(1, len(_PANELS)), _PANELS.items(), strict=True):
        for key, label in (("train", "training"), ("val", "validation")):
            points = [(row["epoch"] + 1, row[f"{key}_{term}"]) for row in rows if f"{key}_{term}" in row]
            if points:
                values = [math.nan if value is None else value for _, value in points]
                axes.plot([epoch for epoch, _ in points], values, marker=".", label=label)
        axes.set_title(title)
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.3)
        if axes.lines:
            axes.legend()
    return figure


def write_curve(path: Path, metrics: Path) -> None:
    """Writes the loss curve of a run as PNG."""
    figure = loss_figure(epoch_rows(metrics))
    write_with(path, lambda file: figure.savefig(file, format="png", dpi=100))
