"""Pictures of a run: a page of real, reconstructed and drawn patches, and the curve of its losses."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from torch import Tensor

from nlbs.files import write_with
from nlbs.json_text import parse_json
from nlbs.manifests.captions import caption
from nlbs.manifests.schema import Schema
from nlbs.models.contract import GenerativeModel, Reconstructs, Uncertain
from nlbs.models.drawing import to_uint8, uncertainty_tiles
from nlbs.pictures import contact_sheet


def sample_page(
    model: GenerativeModel, pixels: Tensor, conditions: Mapping[str, Tensor], title: str, seed: int = 0
) -> npt.NDArray[np.uint8]:
    """Return a page with rows of the same conditions; it leaves model and random state as they were.

    A model whose own draws are not what it is for, as a stage makes them, has no row of them.

    Args:
        model: on the device of the pixels.
        pixels: (B, 1, R, R) in [-1, 1], the real patches of the first row.
        conditions: theirs.
        title: a line at the top.
        seed: of the noise of the drawn row: the same each time, so that pages can be compared.

    Returns:
        uint8, (H, W, 3) RGB.
    """
    generator = torch.Generator().manual_seed(seed)
    noise = [
        torch.randn(len(pixels), *shape, generator=generator).to(model.device)
        for shape in model.drawing_noise
    ]
    labels = describe(conditions, model.schema)
    rows, captions = [pixels], [f"real\n{label}" for label in labels]
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            if isinstance(model, Reconstructs):
                rows.append(model.reconstruct(pixels, conditions))
                captions += ["reconstructed"] * len(labels)
            if isinstance(model, Uncertain):
                tiles, words = uncertainty_tiles(model.uncertainty(pixels, conditions))
                rows.append(tiles)
                captions += [words] * len(labels)
            if not model.doubts.own_draws:
                rows.append(model.draw(noise, conditions))
                captions += [f"drawn\n{label}" for label in labels]
    finally:
        model.train(was_training)
    # What is not a number is shown as air: a picture ends no run, its loss does.
    images = [image for row in rows for image in to_uint8(torch.nan_to_num(row, nan=-1.0))]
    return contact_sheet(images, captions, columns=len(pixels), tile_px=128, title=title)


def describe(conditions: Mapping[str, Tensor], schema: Schema) -> list[str]:
    """Return each sample's conditions in words, in lines: "CC L 56-65", "cancer"."""
    columns = {name: values.cpu().numpy() for name, values in conditions.items()}
    count = len(next(iter(columns.values())))
    return [caption(schema.words(schema.values_of(columns, place)), schema) for place in range(count)]


_PANELS = 3  # the loss, and the first terms of it


def epoch_rows(metrics: Path) -> list[dict[str, Any]]:
    """Return the rows of metrics.jsonl that judge epochs, in order."""
    rows = [parse_json(line) for line in metrics.read_text(encoding="utf-8").splitlines()]
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
    """Write the loss curve of a run as PNG, once there is an epoch to show."""
    rows = epoch_rows(metrics)
    if not rows:
        return
    figure = loss_figure(rows)
    write_with(path, lambda file: figure.savefig(file, format="png", dpi=100))
