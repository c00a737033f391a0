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

_PANELS = 3  # the loss, and the first terms of it


def epoch_rows(metrics: Path) -> list[dict[str, Any]]:
    """Gives the rows of metrics.jsonl that judge epochs, in order."""
    rows = [json.loads(line) for line in metrics.read_text(encoding="utf-8").splitlines()]
    epochs = [row for row in rows if row.get("kind") == "epoch" and type(row.get("epoch")) is int]
    return [
        {key: value for key, value in row.items() if isinstance(value, int | float | None)} for row in epochs
    ]


def loss_figure(rows: Sequence[dict[str, Any]]) -> Figure:
    """Return a panel per term over epochs from 1, training and, where there is one, validation.

    A value that was not finite is a gap.
    """
    figure = Figure(figsize=(12, 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    terms = [key.removeprefix("train_") for key in (rows[0] if rows else {}) if key.startswith("train_")]
    for axes, term in zip(figure.subplots(1, _PANELS), [*terms, *[""] * _PANELS], strict=False):
        for key, label in (("train", "training"), ("val", "validation")):
            points = [(row["epoch"] + 1, row[f"{key}_{term}"]) for row in rows if f"{key}_{term}" in row]
            if points:
                values = [math.nan if value is None else value for _, value in points]
                axes.plot([epoch for epoch, _ in points], values, marker=".", label=label)
        axes.set_title("loss, as weights are judged by it" if term == "total" else term.replace("_", " "))
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
