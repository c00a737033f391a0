"""Starting a run, or continuing it: everything the loop needs, put together once."""

import signal
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from types import FrameType

import click
import torch
from torch.optim.swa_utils import AveragedModel

from nlbs.cvae.model import ConditionalVAE
from nlbs.files import only_one
from nlbs.shards.balance import Balance
from nlbs.shards.mixture import MixedSource, sets_of
from nlbs.shards.strata import proportions
from nlbs.shards.window import Window
from nlbs.train.average import averaged, restore
from nlbs.train.config import TrainConfig, check_against_shards
from nlbs.train.curve import write_curve
from nlbs.train.log import Log, duration
from nlbs.train.loop import OPTIMIZERS, Trainer
from nlbs.train.memory import memory_line
from nlbs.train.precision import loss_scaler
from nlbs.train.resident import keep_on_device
from nlbs.train.run import Progress, RunFolder
from nlbs.train.source import Source
from nlbs.train.stream import PatchStream, rows_of

_PICTURE_COLUMNS = 8
_SHARES_SHOWN = 40  # lines

#: Training, validation (None: the split is empty), and the few patches of the pictures.
Streams = tuple[PatchStream, PatchStream | None, PatchStream]


def train(config: TrainConfig, shards: Source, run_folder: RunFolder, device: torch.device) -> Progress:
    """Trains a run to its end, from where it stands.

    Returns:
        Where it stands then.

    Raises:
        NlbsError: the folder belongs to another run, the shard set does not fit, training fails.
        KeyboardInterrupt: interrupted; everything is saved.
    """
    for one in sets_of(shards):
        check_against_shards(config, one.parameters, str(one.folder))
    streams = open_streams(config, shards, pin_memory=device.type == "cuda")
    with only_one(run_folder.path, "nlbs-train"):
        model, optimizer = build(config, device)
        click.echo(
            f"model: {model.num_parameters:,} parameters, {model.resolution} x {model.resolution} pixels"
        )
        decay = config.training.ema_decay
        average = None if decay is None else averaged(model, decay)
        scaler = loss_scaler(config.training, device)
        progress = _resume(config, shards, run_folder, model, optimizer, average, scaler)
        progress = progress or Progress(steps_per_epoch=len(streams[0]))
        if progress.is_finished(config):
            more = "--epochs or --max-steps"
            if progress.is_stopped_early(config):
                more += " or training.early_stop_epochs"
            click.echo(f"{run_folder.path} is finished; raise {more} to train it further")
        else:
            _announce(config, shards, run_folder, streams, device, progress)
            run_folder.write_config(config)
            for stream in filter(None, streams[:2]):
                if keep_on_device(stream, config.data.resident, device):
                    click.echo(f"pixels: the split {stream.split!r} stays on {device.type}")
            if config.training.compile:
                model.compile()  # in place: the names of its weights stay
            metadata = {
                "dataset_id": shards.dataset_id,
                "patch_px": shards.resolution,
                "fit": config.data.fit,
                "where": config.data.where,
                "balance": list(config.data.balance),
            }
            with closing(Log(run_folder, progress.total_steps)) as log, interrupts() as interrupted:
                Trainer(
                    config,
                    model,
                    optimizer,
                    streams,
                    run_folder,
                    progress,
                    metadata,
                    log,
                    interrupted,
                    scaler,
                    average,
                ).run()
            if progress.is_finished(config):
                write_curve(run_folder.curve, run_folder.metrics)
        _summarise(run_folder, progress, streams[0].batch_size)
    return progress


def build(config: TrainConfig, device: torch.device) -> tuple[ConditionalVAE, torch.optim.Optimizer]:
    """Gives a fresh model, whose weights depend on the seed alone, and its optimiser."""
    training = config.training
    torch.manual_seed(training.seed)
    model = ConditionalVAE(config.model, config.data.resolution).to(device)
    if training.channels_last:
        model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # missing in the stubs
    optimizer = OPTIMIZERS[training.optimizer](
        model.parameters(),
        lr=training.learning_rate,
        betas=training.betas,
        weight_decay=training.weight_decay,
    )
    return model, optimizer


def open_streams(config: TrainConfig, shards: Source, pin_memory: bool = False) -> Streams:
    """Gives the streams of a run.

    Raises:
        NlbsError: the training split is empty or smaller than a batch.
    """
    data, seed = config.data, config.training.seed
    training = PatchStream(
        shards,
        data.batch_size,
        seed,
        data.train_split,
        data.order,
        pin_memory=pin_memory,
        where=data.where,
        balance=Balance(data.balance, data.balance_power, data.balance_cap) if data.balance else None,
        window=Window(data.streams, data.window_shards),
    )
    validation = None
    if len(rows_of(shards, data.val_split, data.where)):
        validation = PatchStream(
            shards,
            data.batch_size,
            seed,
            data.val_split,
            order="sequential",
            drop_last=False,
            pin_memory=pin_memory,
            where=data.where,
        )
    shown = data.train_split if validation is None else data.val_split
    pictures = PatchStream(shards, _PICTURE_COLUMNS, seed, shown, drop_last=False, where=data.where)
    return training, validation, pictures


@contextmanager
def interrupts() -> Iterator[threading.Event]:
    """Gives an event that Ctrl-C (or SIGTERM) sets, so that a step is never cut in two. A second one raises."""
    event = threading.Event()

    def handle(number: int, frame: FrameType | None) -> None:
        if event.is_set():
            raise KeyboardInterrupt
        event.set()

    if threading.current_thread() is not threading.main_thread():
        yield event
        return
    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield event
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _resume(
    config: TrainConfig,
    shards: Source,
    run_folder: RunFolder,
    model: ConditionalVAE,
    optimizer: torch.optim.Optimizer,
    average: AveragedModel | None,
    scaler: torch.amp.GradScaler,
) -> Progress | None:
    """Puts model, optimiser and average where the run was left. Gives its progress; None where it is new."""
    state = run_folder.load_state(config, shards.dataset_id)
    if state is None:
        return None
    model.load_state_dict(state.model)
    optimizer.load_state_dict(state.optimizer)
    if average is not None:
        restore(average, state.more["average"])
    if scaler.is_enabled():
        scaler.load_state_dict(state.more["scaler"])
    return state.progress


def _announce(
    config: TrainConfig,
    shards: Source,
    run_folder: RunFolder,
    streams: Streams,
    device: torch.device,
    progress: Progress,
) -> None:
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
    for line in _sampling_lines(config, training):
        click.echo(line)
    if validation is None:
        click.echo(
            f"no {'such ' if data.where else ''}patches in the split {data.val_split!r}: the training loss chooses "
            "the best checkpoint"
        )
    verb = f"continues at step {progress.total_steps:,}" if progress.total_steps else "starts"
    click.echo(
        f"run: {run_folder.path} {verb} on {device.type}; {config.training.epochs} epochs of "
        f"{progress.steps_per_epoch:,} steps, {data.batch_size} patches each"
    )


def _sampling_lines(config: TrainConfig, training: PatchStream) -> list[str]:
    """Gives what a run shows of its patches, and in which order, where that is not all alike at random."""
    data = config.data
    lines = [] if data.where is None else [f"filter: {data.where}"]
    if data.order == "window":
        lines.append(f"order: window, {data.streams} streams of {data.window_shards} shards at a time")
    elif data.order != "global":
        lines.append(f"order: {data.order}")
    if training.strata is not None:
        shares = proportions(training.strata.strata)
        lines += [f"share: {line}" for line in shares[:_SHARES_SHOWN]]
        if len(shares) > _SHARES_SHOWN:
            lines.append(f"share: and {len(shares) - _SHARES_SHOWN} classes more")
    return lines


def _summarise(run_folder: RunFolder, progress: Progress, batch_size: int) -> None:
    patches = progress.total_steps * batch_size
    click.echo(
        f"done: {progress.epoch} epochs, {progress.total_steps:,} steps, {patches:,} patches in "
        f"{duration(progress.seconds)}; {progress.skipped} steps skipped"
    )
    if progress.best_loss is None:
        click.echo("no checkpoint was chosen as the best: no loss was finite")
        return
    click.echo(f"best: {run_folder.best_model} (epoch {progress.best_epoch}, loss {progress.best_loss:.4g})")
    if run_folder.curve.exists():
        click.echo(f"loss curve: {run_folder.curve}")
    click.echo(f"samples: {run_folder.samples}    curves: tensorboard --logdir {run_folder.tensorboard}")


def dry_run(config: TrainConfig, shards: Source) -> str:
    """Gives what a run would be, in comments below its YAML."""
    with torch.device("meta"):
        model = ConditionalVAE(config.model, config.data.resolution)
    training, validation, _ = open_streams(config, shards)
    patches = (
        f"{training.num_patches:,} training and {validation.num_patches if validation else 0:,} validation"
    )
    said = f"{model.num_parameters:,} parameters; {patches} patches; {len(training):,} steps per epoch"
    return "\n".join(f"# {line}" for line in (said, memory_line(config), *_sampling_lines(config, training)))
