"""What a run says of itself in its model card: data, conditions, training."""

from collections.abc import Iterator
from typing import Any

import click
import numpy as np
import torch

from nlbs import __version__
from nlbs.card import Parts
from nlbs.errors import NlbsError
from nlbs.manifests.people.splits import SPLITS
from nlbs.models.card import identity, told_filter, update_card
from nlbs.models.registry import family, load_checkpoint
from nlbs.models.stages.fitted import open_stage
from nlbs.shards import ShardSet
from nlbs.shards.format.manifest import indices, one_array
from nlbs.shards.format.selection import AllRows, Selection
from nlbs.shards.reading.mixed_sets import MixedSource, Source, sets_of
from nlbs.text import counted
from nlbs.train.config import TrainConfig
from nlbs.train.run_folder import Progress, RunFolder

_ROWS_AT_ONCE = 1 << 22


def write_run_card(
    config: TrainConfig, source: Source, run_folder: RunFolder, progress: Progress, preset: str
) -> None:
    """Write the card of a run that has a best model; where that fails, a line says so, and the run goes on."""
    if not run_folder.best_model.exists():
        return
    try:
        facts = run_facts(config, source, run_folder, progress, preset)
        card = update_card(run_folder.best_model, family(config.family).title, facts)
    except (NlbsError, OSError) as error:
        click.echo(f"the model card was not written: {error}")
        return
    if card is not None:
        click.echo(f"model card: {card}")


def run_facts(
    config: TrainConfig, source: Source, run_folder: RunFolder, progress: Progress, preset: str
) -> Parts:
    """Return what a card tells of a run: counts and settings, and nothing that identifies.

    Args:
        config: resolved.
        source: what it was trained on.
        run_folder: with a best model.
        progress: at its end.
        preset: its name.
    """
    conditions = [("condition", "kind", "values")]
    conditions += [(c.label, c.kind, c.expected.removeprefix("one of ")) for c in config.schema]
    return {
        "Data": [("", ""), *_data(config, source)],
        "Conditions": conditions,
        "Training": dict(_training(config, run_folder, progress, preset)),
    }


def _data(config: TrainConfig, source: Source) -> Iterator[tuple[str, str]]:
    data, shares = config.data, source.shares if isinstance(source, MixedSource) else (1.0,)
    for one, share in zip(sets_of(source), shares, strict=True):
        mixed = "" if share == 1 else f", share {share:.4g} of each batch"
        synthetic = "" if one.synthetic is None else ", synthetic"
        yield f"shard set {one.dataset_id}", f"generation {one.generation}{synthetic}{mixed}"
        size = "x".join(map(str, one.patch_shape))
        yield "its patches", f"{size} {one.dtype}, stride {one.parameters.get('stride', 'unknown')}"
        for split in SPLITS:
            yield f"its {split} split", _counts(one, split, data.where)
    yield "filter", told_filter(data.where)
    yield "to the model's size", {"downsample": "averaged down", "crop": "a window of it"}[data.fit]
    if data.balance:
        yield "balanced by", ", ".join(data.balance)


def _counts(shards: ShardSet, split: str, where: str | None) -> str:
    rows = shards.selection(split, where)
    images, patients = (_count(shards, name, rows) for name in ("image", "patient"))
    of = f"{counted(images, 'image')} of {counted(patients, 'patient')}"
    return f"{counted(len(rows), 'patch', 'patches')} of {of}"


def _count(shards: ShardSet, name: str, rows: Selection | AllRows) -> int:
    """Return how many values a column has among some rows, which may be too many to list."""
    codes = one_array(indices(shards.manifest[name]))
    met = np.zeros(int(codes.max(initial=-1)) + 1, np.bool_)
    for start in range(0, len(rows), _ROWS_AT_ONCE):
        met[codes[rows[np.arange(start, min(start + _ROWS_AT_ONCE, len(rows)))]]] = True
    return int(met.sum())


def _training(
    config: TrainConfig, run_folder: RunFolder, progress: Progress, preset: str
) -> Iterator[tuple[str, Any]]:
    training, best = config.training, run_folder.best_model
    model = load_checkpoint(best)
    yield "model", identity(best)
    yield "family", family(config.family).title
    yield "preset", f"{preset}; config.yaml has every option"
    yield "parameters", f"{model.num_parameters:,}"
    yield (
        "images",
        f"{model.resolution}x{model.resolution} pixels, {counted(model.image.channels, 'channel')}",
    )
    yield "patches seen", f"{progress.total_steps * config.data.batch_size:,}"
    yield "epochs", f"{progress.epoch:,} of {training.epochs:,}, steps {progress.total_steps:,}"
    if progress.best_loss is not None:
        yield "best", f"epoch {progress.best_epoch}, loss {progress.best_loss:.4g}"
    for stage, options in config.stages:
        if stage.path(best).exists():
            fitted, about = open_stage(best, stage, model)
            yield stage.words, f"{fitted.num_parameters:,} parameters, fitted to {options.patches:,} patches"
            if "val_loss" in about:
                losses = f"{about['train_loss']:.3f} on training patches, {about['val_loss']:.3f} on validation patches"
                yield f"loss of the {stage.words}", losses
    yield "precision and seed", f"{training.precision}, {training.seed}"
    yield "made with", f"nlbs-cvae {__version__}, torch {torch.__version__}"
