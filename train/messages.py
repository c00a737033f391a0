"""What a run says at its start, of a step, of an epoch, and at its end."""

from collections.abc import Mapping, Sequence

import click
import torch

from nlbs.shards.order.strata import proportions
from nlbs.shards.reading.mixed_sets import MixedSource, Source
from nlbs.text import duration
from nlbs.train.config import TrainConfig
from nlbs.train.data.stream import PatchStream
from nlbs.train.log import Log
from nlbs.train.optimisation import learning_rate
from nlbs.train.ranks.ranks import Ranks
from nlbs.train.run_folder import Progress, RunFolder
from nlbs.train.step import Stepped


def report_step(
    log: Log, config: TrainConfig, progress: Progress, stepped: Stepped, scheduled: Mapping[str, float]
) -> None:
    """Write the rows of the step that was just counted, with what the model's schedules say."""
    training = config.training
    more = {
        **scheduled,
        "learning_rate": learning_rate(training, progress.total_steps - 1, progress.steps_per_epoch),
        "grad_norm": stepped.grad_norm,
        "skipped": progress.skipped,
    }
    log.values("train", progress.total_steps, progress.epoch, stepped.terms | more)
    log.speed(progress.total_steps, progress.epoch)


def report_epoch(
    log: Log,
    config: TrainConfig,
    progress: Progress,
    train: Mapping[str, float],
    validation: Mapping[str, float] | None,
    replaced: int,
    active: Sequence[int],
    scheduled: Mapping[str, float],
) -> None:
    """Write the rows of an epoch, and say them in a line.

    Args:
        log: where to.
        config: resolved.
        progress: at the end of the epoch, or where ``max_steps`` ends it.
        train, validation: means of the terms; None: there is no validation split.
        replaced: damaged patches that others stood in for.
        active: units of each latent that vary with the patch, see :mod:`nlbs.models.latent_use`; (): not counted.
        scheduled: what the model's schedules say.
    """
    values = {f"train_{name}": value for name, value in train.items()}
    values |= {f"val_{name}": value for name, value in (validation or {}).items()}
    values |= {f"active_units_{level}": count for level, count in enumerate(active)}
    log.values("epoch", progress.total_steps, progress.epoch, values)
    log.speed(progress.total_steps, progress.epoch)
    parts = [f"train {_shown(train)}"] + ([f"val {_shown(validation)}"] if validation else [])
    notes = [f"{progress.skipped} steps skipped"] if progress.skipped else []
    notes += [f"active units {', '.join(map(str, active))}"] if active else []
    notes += [f"damaged patches replaced: {replaced}"] if replaced else []
    schedules = "".join(f"{name} {value:.3g}, " for name, value in scheduled.items())
    log.line(
        f"epoch {progress.epoch + 1}/{config.training.epochs}, step {progress.total_steps:,}: {'; '.join(parts)}; "
        f"{schedules}{log.rate:.0f} patches/s, "
        f"{log.waiting:.1%} waiting for data{''.join(f', {note}' for note in notes)}"
    )


def _shown(terms: Mapping[str, float]) -> str:
    return "loss " + " ".join(f"{'' if n == 'total' else n + ' '}{v:.4g}" for n, v in terms.items())


#: Training, validation (None: the split is empty), and the few patches of the pictures.
Streams = tuple[PatchStream, PatchStream | None, PatchStream]

_SHARES_SHOWN = 40  # lines


def announce(
    config: TrainConfig,
    shards: Source,
    run_folder: RunFolder,
    streams: Streams,
    device: torch.device,
    progress: Progress,
    ranks: Ranks,
) -> None:
    """Say what begins, on what, and where."""
    training, validation, _ = streams
    data = config.data
    how = {"downsample": "area-averaged", "crop": "cropped"}[data.fit]
    fit = "" if shards.resolution == data.resolution else f", {how} to {data.resolution} x {data.resolution}"
    where = shards.name if isinstance(shards, MixedSource) else shards.folder
    click.echo(
        f"data: {where}: {training.num_patches:,} {data.train_split} and "
        f"{validation.num_patches if validation else 0:,} {data.val_split} patches of {shards.resolution} x "
        f"{shards.resolution}{fit}"
    )
    for line in sampling_lines(config, training):
        click.echo(line)
    if validation is None:
        click.echo(
            f"no {'such ' if data.where else ''}patches in the split {data.val_split!r}: the training loss chooses "
            "the best checkpoint"
        )
    verb = f"continues at step {progress.total_steps:,}" if progress.total_steps else "starts"
    click.echo(
        f"run: {run_folder.path} {verb} on {device.type} at {config.training.precision}; "
        f"{config.training.epochs} epochs of {progress.steps_per_epoch:,} steps, {data.batch_size} patches each"
        f"{f', divided among {ranks.world_size} processes' if ranks.world_size > 1 else ''}"
    )


def sampling_lines(config: TrainConfig, training: PatchStream) -> list[str]:
    """Return what a run shows of its patches, and in which order, where that is not all alike at random."""
    data = config.data
    lines = [] if data.where is None else [f"filter: {data.where}"]
    if data.order == "window":
        lines.append(f"order: window, {data.streams} streams of {data.window_shards} shards at a time")
    elif data.order != "global":
        lines.append(f"order: {data.order}")
    if stages := config.training.condition_stages:
        numbers = ", then ".join(map(str, stages))
        lines.append(f"conditions: {numbers} of {len(config.schema.parts)} told, each for as many epochs")
    if training.strata is not None:
        shares = proportions(training.strata.strata)
        lines += [f"share: {line}" for line in shares[:_SHARES_SHOWN]]
        if len(shares) > _SHARES_SHOWN:
            lines.append(f"share: and {len(shares) - _SHARES_SHOWN} classes more")
    return lines


def summarise(run_folder: RunFolder, progress: Progress, batch_size: int, replaced: int) -> None:
    """Say what a run came to."""
    patches = progress.total_steps * batch_size
    waited = progress.waited_s / max(progress.training_s, 1e-9)
    click.echo(
        f"done: {progress.epoch} epochs, {progress.total_steps:,} steps, {patches:,} patches in "
        f"{duration(progress.seconds)}, {min(waited, 1):.1%} of the training waiting for data; "
        f"{progress.skipped} steps skipped{f', damaged patches replaced: {replaced}' if replaced else ''}"
    )
    if progress.best_loss is not None:
        chosen = f"epoch {progress.best_epoch}, loss {progress.best_loss:.4g}"
        click.echo(f"best: {run_folder.best_model} ({chosen})")
    elif run_folder.best_model.exists():
        why = (
            "no epoch is complete to compare"
            if not progress.best_epoch
            else "nothing ranks those of such a model"
        )
        click.echo(f"best: {run_folder.best_model} (the last weights: {why})")
    else:
        click.echo("no checkpoint was chosen as the best: no loss was finite")
        return
    if run_folder.curve.exists():
        click.echo(f"loss curve: {run_folder.curve}")
    click.echo(f"samples: {run_folder.samples}    curves: tensorboard --logdir {run_folder.tensorboard}")
