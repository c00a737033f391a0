"""``nlbs-train --bench``: the loader alone, the step alone, both together, and what holds them up."""

import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import closing, redirect_stdout
from dataclasses import replace
from pathlib import Path
from threading import Event
from typing import Any

import click
import torch

from nlbs.errors import ConfigError
from nlbs.remote import RemotePath
from nlbs.shards.mixture import sets_of
from nlbs.train.average import Average
from nlbs.train.bench_report import Measured, as_mapping, as_text
from nlbs.train.bottleneck import Rates, Setting, bottleneck
from nlbs.train.config import NO_AUGMENT, TrainConfig
from nlbs.train.feed import to_device
from nlbs.train.log import Log
from nlbs.train.loop import Trainer
from nlbs.train.precision import forward, loss_scaler
from nlbs.train.resident import keep_on_device
from nlbs.train.run import Progress, RunFolder
from nlbs.train.source import Source
from nlbs.train.start import build, open_streams
from nlbs.train.step import Step
from nlbs.train.stream import Batch, PatchStream
from nlbs.train.watched import WatchedStream

SECONDS = 3.0  #: at least, for each part
_WARM_UP = 2  # steps, before each part
_FEWEST = 4  # steps, for each part
_TRIAL_S = 1.0
_FEWEST_IN_TRIAL = 2
_NO_RATE = 1e-12  #: of learning
_ROUNDS = 2  # of trials, in turn

#: What may quicken a step and is tried, words -> changes of the configuration.
_TRIALS: dict[str, dict[str, Any]] = {
    "--precision bfloat16": {"precision": "bfloat16"},
    "training.channels_last: true in a --config": {"channels_last": True},
    "--precision bfloat16 with training.channels_last: true": {
        "precision": "bfloat16",
        "channels_last": True,
    },
}


class BenchTrainer:
    """A trainer whose parts can be called one by one; its learning rate is too small to change a weight."""

    def __init__(self, trainer: Trainer) -> None:
        self.trainer, self.config = trainer, trainer.config
        self.model, self.optimizer = trainer.step.model, trainer.step.optimizer
        self.device, self.run_folder, self.objective = (
            trainer.step.device,
            trainer.run_folder,
            trainer.objective,
        )
        self._betas = [self.config.training.loss.kl_weight] * self.objective.levels

    def take(self, batch: Batch) -> None:
        """Does a whole step, from the host's memory to the optimiser."""
        self.trainer.step.take(to_device(batch, self.device), 0, self._betas, _NO_RATE)

    def prepare(self, batch: Batch) -> None:
        """Does only what makes a model's input of a batch: copy, floats, size, augmentation."""
        self.inputs(batch)
        self.synchronise()

    def inputs(self, batch: Batch) -> tuple[torch.Tensor, dict[str, torch.Tensor], torch.Tensor]:
        """Gives what the model takes of a batch: pixels, conditions, noise."""
        return self.trainer.step.prepared(to_device(batch, self.device), 0)

    def copy(self, batch: Batch) -> None:
        """Copies the pixels of a batch to the device."""
        batch.pixels.to(self.device, non_blocking=True)
        self.synchronise()

    def bare(self, pixels: torch.Tensor, conditions: dict[str, torch.Tensor], noise: torch.Tensor) -> None:
        """Does forward, loss, backward and the optimiser's step of the same model, and nothing else."""
        self.optimizer.zero_grad(set_to_none=True)
        output = forward(self.config.training, self.model, pixels, conditions, noise)
        self.objective.terms(output, pixels, self._betas)["total"].backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()

    def train_watched(self, watched: WatchedStream, epochs: int = 10**9) -> None:
        """Trains through a stream to its end, or so many times, with the logs of a run; validates and saves nothing."""
        trainer, progress = self.trainer, self.trainer.progress
        trainer.stream = watched  # type: ignore[assignment]  # it does all that a stream does
        with closing(Log(trainer.run_folder, 0)) as trainer.log:
            while epochs and not watched.is_over:
                trainer.train_epoch()
                progress.epoch, progress.step, progress.sums = progress.epoch + 1, 0, {}
                epochs -= 1

    def synchronise(self) -> None:
        """Waits for the device."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


def report(
    config: TrainConfig,
    shards: Source,
    device: torch.device,
    preset: str,
    as_json: bool = False,
) -> str:
    """Gives what a person reads about the speed of training, or the same as JSON; says meanwhile what is measured.

    Raises:
        NlbsError: the shards cannot be read, or do not fill a batch.
    """
    with redirect_stdout(sys.stderr):
        measured = measure(config, shards, device, preset)
    return as_text(measured) if not as_json else json.dumps(as_mapping(measured))


def measure(
    config: TrainConfig, shards: Source, device: torch.device, preset: str, seconds: float | None = None
) -> Measured:
    """Measures each part for some seconds, after a warm-up, and tries what may quicken the step if that is it.

    Raises:
        ConfigError: as part of several processes.
        NlbsError: the shards cannot be read, or do not fill a batch.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise ConfigError("--bench measures one process; run it without torchrun, on one of the machines")
    config, seconds = harmless(config), SECONDS if seconds is None else seconds
    stream = open_streams(config, shards, pin_memory=device.type == "cuda")[0]
    resident = keep_on_device(stream, config.data.resident, device)
    _say(f"the loader alone, {seconds:g} s")
    loader, batches_read, batch = _loader_rate(stream, seconds)
    with tempfile.TemporaryDirectory(prefix="nlbs-bench-") as folder:
        trainer = make_trainer(config, stream, device, Path(folder))
        _say(f"the step alone, {seconds:g} s" + (", after compiling" if config.training.compile else ""))
        step = rate(trainer, trainer.take, batch, seconds)
        used = torch.cuda.max_memory_allocated(device) if device.type == "cuda" else None
        preparing = rate(trainer, trainer.prepare, batch, seconds / 4)
        copy = rate(trainer, trainer.copy, batch, seconds / 4) if device.type == "cuda" else None
        _say(f"both together, as a run does it, {seconds:g} s")
        together, waiting = run_together(trainer, stream, seconds)
        rates = Rates(loader, step, together, waiting, preparing, copy)
        trials = _tried(config, trainer, stream, batch) if bottleneck(rates) == "step" else ()
    setting = _setting(config, shards, device, preset, resident, used, trials)
    return Measured(rates, setting, batches_read, len(stream), trainer.model.num_parameters)


def _say(what: str) -> None:
    click.echo(f"measuring {what}", err=True)


def harmless(config: TrainConfig) -> TrainConfig:
    """Gives a configuration that costs the same, but ends at no limit, draws nothing and moves no weight.

    The weights of a step that is repeated at a real rate might run away.
    """
    changes = {
        "learning_rate": 1e-12, "min_learning_rate": 0.0, "epochs": 10**9, "max_steps": None, "max_minutes": None,
        "early_stop_epochs": None, "save_every_steps": None, "samples_every_steps": None,
    }  # fmt: skip
    return replace(config, training=replace(config.training, **changes))  # type: ignore[arg-type]


def make_trainer(
    config: TrainConfig,
    stream: PatchStream,
    device: torch.device,
    folder: Path,
    like: BenchTrainer | None = None,
) -> BenchTrainer:
    """Gives a trainer of a fresh model, or of that of another, whose logs go into ``folder``."""
    model, optimizer = build(config, device) if like is None else (like.model, like.optimizer)
    decay = config.training.ema_decay
    average = None if decay is None else Average(model, decay)
    step = Step(config, model.train(), optimizer, loss_scaler(config.training, device), average)
    # Not the epoch that the loader was measured in: in a large set, its patches are known by now.
    progress = Progress(steps_per_epoch=len(stream), epoch=stream.epoch + 1)
    # No log: only an epoch reports.
    log: Any = None
    return BenchTrainer(
        Trainer(config, step, (stream, None, stream), RunFolder(folder), progress, {}, log, Event())
    )


def _loader_rate(stream: PatchStream, seconds: float) -> tuple[float, int, Batch]:
    """Gives patches per second, how many batches were read for it, and the last of them."""
    watched = WatchedStream(stream, seconds)
    while not watched.is_over:
        for batch in watched:
            last = batch
    return watched.patches / watched.seconds, watched.batches, last


def rate(
    trainer: BenchTrainer,
    work: Callable[[Batch], None],
    batch: Batch,
    seconds: float,
    fewest: int = _FEWEST,
) -> float:
    """Gives patches per second of a piece of work, done for some seconds at least."""
    for _ in range(_WARM_UP):
        work(batch)
    trainer.synchronise()
    start, done = time.perf_counter(), 0
    while done < fewest or time.perf_counter() - start < seconds:
        work(batch)
        done += 1
    trainer.synchronise()
    return done * len(batch.rows) / (time.perf_counter() - start)


def run_together(trainer: BenchTrainer, stream: PatchStream, seconds: float) -> tuple[float, float]:
    """Gives patches per second of training, and the share of the time that waits for the loader."""
    watched = WatchedStream(stream, seconds)
    trainer.train_watched(watched)
    trainer.synchronise()
    return watched.patches / watched.seconds, watched.waited / watched.seconds


def _tried(
    config: TrainConfig, trainer: BenchTrainer, stream: PatchStream, batch: Batch
) -> tuple[tuple[str, float], ...]:
    """Gives how many times as quick a step is after each of some changes. Compiled models are left alone."""
    training = config.training
    changed = {words: replace(training, **changes) for words, changes in _TRIALS.items()}
    new = {words: other for words, other in changed.items() if other != training}
    if training.compile or not new:
        return ()
    _say(f"the step with {len(new)} changes that may quicken it")
    others = {
        words: make_trainer(replace(config, training=other), stream, trainer.device, trainer.run_folder.path)
        for words, other in new.items()
    }
    rates: dict[str, list[float]] = {words: [] for words in ("", *others)}
    for _ in range(_ROUNDS):  # in turn: whatever else the machine does, it does to all of them
        for words, one in {"": trainer, **others}.items():
            rates[words].append(rate(one, one.take, batch, _TRIAL_S, _FEWEST_IN_TRIAL))
    best = {words: max(found) for words, found in rates.items()}
    return tuple((words, best[words] / best[""]) for words in others)


def _setting(
    config: TrainConfig,
    shards: Source,
    device: torch.device,
    preset: str,
    resident: bool,
    used: int | None,
    trials: tuple[tuple[str, float], ...],
) -> Setting:
    data, training = config.data, config.training
    sets = sets_of(shards)
    return Setting(
        device=device.type,
        precision=training.precision,
        compiled=training.compile,
        batch_size=data.batch_size,
        patch_px=shards.resolution,
        resolution=data.resolution,
        dtype=str(shards.dtype),
        fit=data.fit,
        compression=next((one.compression for one in sets if one.compression != "none"), "none"),
        is_remote=any(isinstance(one.folder, RemotePath) for one in sets),
        is_resident=resident,
        preset=preset,
        augments=training.augment != NO_AUGMENT,
        cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        threads=torch.get_num_threads(),
        used_bytes=used,
        device_bytes=None if used is None else torch.cuda.get_device_properties(device).total_memory,
        trials=trials,
    )
