"""Starting a run, or continuing it: everything the loop needs, put together once."""

import dataclasses
from contextlib import ExitStack, closing
from functools import partial
from typing import Any

import click
import torch

from nlbs.errors import ConfigError, NlbsError
from nlbs.files import only_one
from nlbs.manifests.conditions import UNKNOWN
from nlbs.models.checkpoint import read_metadata
from nlbs.models.contract import GenerativeModel
from nlbs.models.seen import SEEN
from nlbs.shards.order.balance import Balance
from nlbs.shards.order.window import Window
from nlbs.shards.reading.mixed_sets import Source, earlier_generations, sets_of
from nlbs.system_calls import interrupts
from nlbs.train.config import TrainConfig, check_against_shards
from nlbs.train.data.resident import keep_on_device
from nlbs.train.data.stream import PatchStream, rows_of
from nlbs.train.handshake import facts_of, place_of, shake_hands
from nlbs.train.log import Log, SilentLog
from nlbs.train.loop import Trainer
from nlbs.train.memory import memory_line
from nlbs.train.messages import Streams, announce, sampling_lines, summarise
from nlbs.train.needs import check_disk, check_needs, networks
from nlbs.train.optimisation import Average, loss_scaler, with_precision
from nlbs.train.ranks.ranks import Ranks
from nlbs.train.run_folder import Progress, RunFolder, State
from nlbs.train.state import restore_moments
from nlbs.train.step import Step, optimizers_of
from nlbs.train.turns import fresh_model

_PICTURE_COLUMNS = 8
_OF_A_GPU = 50_000_000  #: parameters, from which on a processor takes days


def train(
    config: TrainConfig,
    shards: Source,
    run_folder: RunFolder,
    device: torch.device,
    ranks: Ranks | None = None,
) -> Progress:
    """Train a run to its end, from where it stands; return where it stands then.

    Args:
        config: resolved.
        shards: what to train on.
        run_folder: where the run is kept; of several processes, only the first uses it.
        device: of this process.
        ranks: the processes that train together; None: this one alone.

    Raises:
        NlbsError: the folder belongs to another run, the shard set does not fit, training fails, the
            processes do not agree, or one of them is lost.
        KeyboardInterrupt: interrupted; everything is saved.
    """
    ranks = ranks or Ranks()
    say = click.echo if ranks.is_first else _say_nothing
    config = _at_one_precision(config, run_folder, device, ranks)
    streams = ranks.each(lambda: _checked_streams(config, shards, device, ranks))
    patches = [0 if stream is None else stream.num_patches for stream in streams[:2]]
    shake_hands(ranks, facts_of(ranks, config, shards.dataset_id, patches))
    with ExitStack() as stack:
        ranks.from_first(lambda: stack.enter_context(only_one(run_folder.path, "nlbs-train")))
        ranks.each(lambda: check_needs(config, device))
        model, optimizers = build(config, device)
        for line in _lines_on(model, device):
            say(line)
        decay = config.training.ema_decay
        average = None if decay is None else Average(model, decay, config.training.ema_warms_up)
        scaler = loss_scaler(config.training, device)
        generations, steps = earlier_generations(shards), len(streams[0])
        state = ranks.from_first(lambda: run_folder.load_state(config, shards.dataset_id, generations, steps))
        progress = Progress(steps) if state is None else state.progress
        if state is not None:
            restore(state, model, optimizers, average, scaler)
            ranks.each(lambda: check_files(model, run_folder))
        shake_hands(ranks, place_of(progress))
        if progress.is_finished(config):
            more = " or training.early_stop_epochs" if progress.is_stopped_early(config) else ""
            say(f"{run_folder.path} is finished; raise --epochs or --max-steps{more} to train it further")
            replaced = 0
        else:
            ranks.from_first(lambda: check_disk(config, run_folder.path))
            if ranks.is_first:
                announce(config, shards, run_folder, streams, device, progress, ranks)
            ranks.from_first(lambda: run_folder.write_config(config))
            for stream in _kept_on_device(config, streams, device, ranks):
                say(f"pixels: the split {stream.split!r} stays on {device.type}")
            log = Log(run_folder, progress.total_steps) if ranks.is_first else SilentLog()
            stack.enter_context(closing(log))
            step = Step(config, model, optimizers, scaler, average, ranks)
            with interrupts() as interrupted:
                trainer = Trainer(
                    config, step, streams, run_folder, progress, _metadata(config, shards), log, interrupted
                )
                trainer.run()
            replaced = trainer.count_replaced()
        ranks.from_first(lambda: check_outcome(progress, config, run_folder))
        if ranks.is_first:
            summarise(run_folder, progress, streams[0].batch_size, replaced)
    return progress


def _at_one_precision(
    config: TrainConfig, run_folder: RunFolder, device: torch.device, ranks: Ranks
) -> TrainConfig:
    """Return a configuration that says its precision: what the first process takes, or the run has so far."""
    kept = ranks.from_first(lambda: with_precision(config, device, run_folder.precision()).training.precision)
    return with_precision(config, device, kept)


def _lines_on(model: GenerativeModel, device: torch.device) -> list[str]:
    """Return how large a model is, and that it is too large for a processor, where it is to learn on one."""
    lines = [f"model: {model.num_parameters:,} parameters, {model.resolution} x {model.resolution} pixels"]
    if device.type == "cpu" and model.num_parameters >= _OF_A_GPU:
        lines.append(
            "that is a model for a GPU: on a processor, --preset auto or nlbs-small learns in minutes to hours; "
            "--bench tells how long this one takes"
        )
    return lines


def check_files(model: GenerativeModel, run_folder: RunFolder) -> None:
    """Refuse to go on with other files, such as the weights of frozen features, than a run began with.

    Raises:
        ConfigError: the digest of one is another.
    """
    if not run_folder.last_model.exists():
        return
    before, now = read_metadata(run_folder.last_model)["model"], dataclasses.asdict(model.config)
    for name, digest in before.items():
        if name.endswith("_sha256") and digest and now.get(name) != digest:
            raise ConfigError(
                f"{run_folder.path} was begun with another file of model.{name.removesuffix('_sha256')}_weights: its "
                f"SHA-256 was {digest}, and is {now.get(name)} now; give that one, or take another --run"
            )


def check_outcome(progress: Progress, config: TrainConfig, run_folder: RunFolder) -> None:
    """Refuse a run that has come to its end and to nothing.

    Raises:
        NlbsError: no step was applied, or no weights had a finite loss.
    """
    if not progress.is_finished(config) or not progress.total_steps:
        return
    again = "start another --run with a lower --learning-rate, and look at the patches with nlbs-preprocess preview"
    if progress.skipped >= progress.total_steps:
        raise NlbsError(
            f"{run_folder.path} is no model: from step 1 on, each of the {progress.total_steps:,} steps gave a loss or "
            f"gradient that is not finite (NaN or infinity), and none was applied; {again}"
        )
    if progress.best_loss is None and not run_folder.best_model.exists():
        since = progress.total_steps - progress.skipped_in_row
        raise NlbsError(
            f"{run_folder.path} has no best model: the loss that judges weights was never finite, and the last step "
            f"that was applied is {since:,} of {progress.total_steps:,}; {again}"
        )


def build(config: TrainConfig, device: torch.device) -> tuple[GenerativeModel, list[torch.optim.Optimizer]]:
    """Return a fresh model, whose weights depend on the seed alone, and the optimizer of each of its turns."""
    training = config.training
    torch.manual_seed(training.seed)
    model = fresh_model(config).to(device)
    if training.channels_last:
        model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # missing in the stubs
    return model, optimizers_of(model, training)


def training_stream(
    config: TrainConfig,
    shards: Source,
    batch_size: int,
    pin_memory: bool = False,
    rank: int = 0,
    world_size: int = 1,
) -> PatchStream:
    """Return the stream of the training split, in batches of a size."""
    data = config.data
    return PatchStream(
        shards,
        batch_size,
        config.training.seed,
        data.train_split,
        data.order,
        pin_memory=pin_memory,
        where=data.where,
        balance=Balance(data.balance, data.balance_power, data.balance_cap) if data.balance else None,
        window=Window(data.streams, data.window_shards),
        rank=rank,
        world_size=world_size,
        schema=config.schema,
    )


def validation_stream(
    config: TrainConfig, shards: Source, pin_memory: bool = False, rank: int = 0, world_size: int = 1
) -> PatchStream | None:
    """Return the stream of the validation split, in order and once an epoch; None where no patch is in it."""
    data = config.data
    if not len(rows_of(shards, data.val_split, data.where)):
        return None
    return PatchStream(
        shards,
        data.batch_size,
        config.training.seed,
        data.val_split,
        order="sequential",
        drop_last=False,
        pin_memory=pin_memory,
        where=data.where,
        rank=rank,
        world_size=world_size,
        schema=config.schema,
    )


def open_streams(
    config: TrainConfig, shards: Source, pin_memory: bool = False, rank: int = 0, world_size: int = 1
) -> Streams:
    """Return the streams of a run, or the part of them that one of several processes has.

    Raises:
        NlbsError: the training split is empty or smaller than a batch, or cannot be divided.
    """
    data, seed = config.data, config.training.seed
    training = training_stream(config, shards, data.batch_size, pin_memory, rank, world_size)
    validation = validation_stream(config, shards, pin_memory, rank, world_size)
    shown = data.train_split if validation is None else data.val_split
    pictures = PatchStream(
        shards, _PICTURE_COLUMNS, seed, shown, drop_last=False, where=data.where, schema=config.schema
    )
    return training, validation, pictures


def restore(
    state: State,
    model: GenerativeModel,
    optimizers: list[torch.optim.Optimizer],
    average: Average[GenerativeModel] | None,
    scaler: torch.amp.GradScaler,
) -> None:
    """Put model, optimizers, average and scaler where the run was left."""
    model.load_state_dict(state.model)
    for optimizer, moments in zip(optimizers, state.optimizers, strict=True):
        restore_moments(optimizer, moments)
    if average is not None:
        average.restore(state.more["average"])
    if scaler.is_enabled():
        scaler.load_state_dict(state.more["scaler"])


def _checked_streams(config: TrainConfig, shards: Source, device: torch.device, ranks: Ranks) -> Streams:
    for one in sets_of(shards):
        check_against_shards(config, one.parameters, str(one.folder))
    streams = open_streams(config, shards, device.type == "cuda", ranks.rank, ranks.world_size)
    size = config.data.batch_size // ranks.world_size
    if config.training.accumulate > size:
        raise ConfigError(
            f"training.accumulate ({config.training.accumulate}) is above the {size} patches of a batch that each "
            f"of {ranks.world_size} processes has; lower it, or raise --batch-size"
        )
    return streams


def _kept_on_device(
    config: TrainConfig, streams: Streams, device: torch.device, ranks: Ranks
) -> list[PatchStream]:
    """Let the streams that the configuration says keep their pixels on the device; return those."""
    return [
        stream
        for stream in filter(None, streams[:2])
        if ranks.each(partial(keep_on_device, stream, config.data.resident, device))
    ]


def _metadata(config: TrainConfig, shards: Source) -> dict[str, Any]:
    """Return what each checkpoint says about its data."""
    return {
        "dataset_id": shards.dataset_id,
        "patch_px": shards.resolution,
        "fit": config.data.fit,
        "where": config.data.where,
        "balance": list(config.data.balance),
        SEEN: _met(config, shards),
    }


def _met(config: TrainConfig, shards: Source) -> dict[str, list[int]]:
    """Return the codes of each condition that training meets, hidden and flipped ones among them."""
    training = config.training
    met = shards.occurring(config.data.train_split, config.data.where, config.schema)
    if training.null_token_rate:
        met = {name: codes | {UNKNOWN} for name, codes in met.items()}
    if training.augment.horizontal_flip:
        for condition in config.schema:
            codes = met[condition.name]
            if condition.kind != "continuous" and condition.mirrored:
                codes |= {condition.mirrored[code] for code in codes - {UNKNOWN}}
    return {name: sorted(codes) for name, codes in met.items()}


def _say_nothing(text: str) -> None:
    """Speak in all processes but the first."""


def dry_run(config: TrainConfig, shards: Source) -> str:
    """Return what a run would be, in comments below its YAML."""
    model, _ = networks(config)
    training, validation, _ = open_streams(config, shards)
    patches = (
        f"{training.num_patches:,} training and {validation.num_patches if validation else 0:,} validation"
    )
    said = f"{model.num_parameters:,} parameters; {patches} patches; {len(training):,} steps per epoch"
    return "\n".join(f"# {line}" for line in (said, memory_line(config), *sampling_lines(config, training)))
