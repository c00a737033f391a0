"""The stages of a run whose epochs are over: each is fitted to the best model, where it is not there yet."""

import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from threading import Event
from typing import Any

import click
import torch

from nlbs.errors import CheckpointError
from nlbs.files import only_one
from nlbs.models.checkpoint import read_metadata
from nlbs.models.contract import GenerativeModel
from nlbs.models.registry import load_checkpoint
from nlbs.models.stages.fitted import load_stage, open_stage, save_stage
from nlbs.models.stages.stage import LatentTraining, Stage, stages
from nlbs.shards.reading.mixed_sets import Source
from nlbs.system_calls import interrupts
from nlbs.train.config import TrainConfig
from nlbs.train.data.stream import PatchStream, rows_of
from nlbs.train.log import note_stage
from nlbs.train.run_folder import RunFolder
from nlbs.train.setup import training_stream, validation_stream
from nlbs.train.stages.judged import judged
from nlbs.train.stages.measured import MeasuredFit
from nlbs.train.stages.trained import LatentFit


def run_stages(config: TrainConfig, shards: Source, run_folder: RunFolder, device: torch.device) -> None:
    """Fit the stages of a run to its best model, where there is one.

    Raises:
        NlbsError: as :func:`fit_stage`.
        KeyboardInterrupt: interrupted; the same command continues.
    """
    checkpoint, fitted = run_folder.best_model, dict(config.stages)
    if not checkpoint.exists():
        return
    for stage in stages():
        if stage in fitted:
            options = _fewer(stage, fitted[stage], config, shards)
            learns = isinstance(options, LatentTraining)
            size = options.batch_size if learns else config.data.batch_size
            stream = training_stream(config, shards, size, device.type == "cuda")
            held_out = validation_stream(config, shards) if learns and stage.beside is None else None
            model = load_checkpoint(checkpoint, device).requires_grad_(False)
            with only_one(run_folder.path, "nlbs-train"), interrupts() as interrupted:
                path = fit_stage(config, stage, options, model, stream, run_folder, interrupted, held_out)
            click.echo(f"{stage.words}: {path}")
        elif stage.path(checkpoint).exists():
            click.echo(
                f"{stage.path(checkpoint)} stays, and is drawn with: {stage.instead}, or delete the file"
            )


def fit_stage(
    config: TrainConfig,
    stage: Stage,
    options: Any,
    model: GenerativeModel,
    stream: PatchStream,
    run_folder: RunFolder,
    interrupted: Event,
    held_out: PatchStream | None = None,
) -> Path:
    """Fit a stage to the best model of a run and write it beside that, unless just that is there already.

    Args:
        config: resolved.
        stage: to be fitted.
        options: how; see :meth:`nlbs.models.stages.stage.Stage.fitting_of`.
        model: the best one, without gradients.
        stream: of the training split.
        run_folder: with the checkpoint of the model.
        interrupted: set when the fit is to save and leave.
        held_out: stream of the validation split, to find one that learns by heart; None: it is not looked for.

    Returns:
        The file of the stage.

    Raises:
        KeyboardInterrupt: interrupted; everything is saved.
        NlbsError: a checkpoint cannot be read or written, or the model cannot have such a stage.
    """
    checkpoint, path = run_folder.best_model, stage.path(run_folder.best_model)
    fit: MeasuredFit | LatentFit
    if stage.measure is not None:
        fit = MeasuredFit(config, stage.words, stage.measure, options, model, stream)
    else:
        strong = [load_stage(checkpoint, one, model) for one in stages() if one.name == stage.beside]
        state = run_folder.path / f"{stage.name.replace('-', '_')}_state.pt"
        fit = LatentFit(config, stage, options, model, stream, state, *strong)
    if not _is_there(stage, checkpoint, model, fit.identity):
        for weak in stages():
            if weak.beside == stage.name:  # it stood beside another one
                weak.path(checkpoint).unlink(missing_ok=True)
        first, begun = fit.step, time.monotonic()
        try:
            fitted, about = fit.run(interrupted)
        finally:
            step = read_metadata(checkpoint)["training"].get("step", 0)
            note_stage(run_folder, step, stage.name, first, time.monotonic() - begun)
        if held_out is not None:
            found = judged(config, fitted, model, stream, held_out)
            for line in found.lines(stage, config.data.val_split, fitted):
                click.echo(line)
            about |= {"train_loss": found.train, "val_loss": found.val}
        save_stage(checkpoint, stage, fitted, model, about | fit.identity)
    return path


def _is_there(stage: Stage, checkpoint: Path, model: GenerativeModel, identity: Mapping[str, Any]) -> bool:
    """Return whether a stage is there just as it would be fitted; where it is another, say that it is fitted anew."""
    if not stage.path(checkpoint).exists():
        return False
    try:
        before = open_stage(checkpoint, stage, model)[1]
    except CheckpointError as error:
        click.echo(f"{error}; it is fitted anew")
        return False
    same = all(before.get(key) == value for key, value in identity.items())
    if not same:
        click.echo(f"the {stage.words} was fitted with other options or to other patches; it is fitted anew")
    return same


def _fewer(stage: Stage, options: Any, config: TrainConfig, shards: Source) -> Any:
    """Return the options with smaller batches where the split has fewer patches: no reason to refuse."""
    rows = len(rows_of(shards, config.data.train_split, config.data.where))
    if not isinstance(options, LatentTraining) or rows >= options.batch_size:
        return options
    click.echo(
        f"{stage.words}: batches of {rows} patches, as the split {config.data.train_split!r} has no more"
    )
    return replace(options, batch_size=rows)
