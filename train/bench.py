"""``nlbs-train --bench``: the loader alone, the step alone, both together, and which of them holds up the rest."""

import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import closing, redirect_stdout
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from threading import Event
from typing import Any

import click
import torch

from nlbs.errors import ConfigError
from nlbs.models.contract import Noise
from nlbs.shards.reading.mixed_sets import Source
from nlbs.train.config import TrainConfig
from nlbs.train.data.feed import to_device
from nlbs.train.data.resident import keep_on_device
from nlbs.train.data.stream import Batch, PatchStream
from nlbs.train.log import Log
from nlbs.train.loop import Trainer
from nlbs.train.optimisation import Average, loss_scaler, passes
from nlbs.train.run_folder import Progress, RunFolder
from nlbs.train.setup import build, open_streams
from nlbs.train.step import Step
from nlbs.train.timed_stream import WatchedStream
from nlbs.train.turns import only

SECONDS = 3.0  #: at least, for each part
_WARM_UP = 2  # steps, before each part
_FEWEST = 4  # steps, for each part
_NO_RATE = 1e-12  #: of learning
_WAITING = 0.05  # from this share of a run's time on, waiting for data is worth a change
_CLEARLY = 0.85  # of the step's rate alone: below it the step is slower beside the loader

#: bottleneck -> what a person reads
BOTTLENECKS = {
    "loader": (
        "The loader holds up the step, which could take {step_over_loader:.1f} times as many patches: store them "
        "uncompressed and no larger than the model's images, on a local disk, or read them with --order window"
    ),
    "processor": (
        "Loader and step share the processor's cores, and each is quick enough alone: leave the loader a core by "
        "OMP_NUM_THREADS, and look for other processes"
    ),
    "step": (
        "The step holds up the loader, which could feed {loader_over_step:.1f} times as many patches: what helps is a "
        "GPU, a smaller preset, or --precision bfloat16 where the processor or card knows it"
    ),
}


@dataclass(frozen=True)
class Measured:
    """What a bench measured: patches per second, unless said otherwise."""

    loader: float  #: batches that nobody uses
    step: float  #: the same batch again and again, from the host's memory to the optimiser's step
    together: float  #: as a run does it
    waiting: float  #: share of the time together that is spent waiting for the loader
    parameters: int
    resolution: int  #: edge of the model's images in pixels
    batch_size: int
    precision: str
    device: str

    @property
    def bottleneck(self) -> str:
        """Which of :data:`BOTTLENECKS` holds up the rest."""
        # Where the device has work while the host waits, as good as nothing of the waiting is lost.
        lost = self.together < self.step * (1 - self.waiting / 2)
        if self.waiting >= _WAITING and lost:
            return "loader" if self.loader < self.step / _CLEARLY else "processor"
        return "processor" if self.together < _CLEARLY * self.step else "step"

    @property
    def sentence(self) -> str:
        """The bottleneck in words, with its figures and the usual remedy."""
        return BOTTLENECKS[self.bottleneck].format(
            step_over_loader=self.step / self.loader, loader_over_step=self.loader / self.step
        )

    def as_json(self) -> str:
        """Return one line for machines."""
        more = {"bottleneck": self.bottleneck, "says": self.sentence, "torch": torch.__version__}
        return json.dumps(asdict(self) | more)

    def as_text(self) -> str:
        """Return a table for a person."""
        rows = (
            ("loader alone", self.loader, ""),
            ("step alone", self.step, "   the same batch again and again"),
            ("together, as a run does it", self.together, f"   {self.waiting:.1%} of it waiting for data"),
        )
        return "\n".join(
            (
                f"{self.parameters:,} parameters, {self.resolution} x {self.resolution} pixels, batches of "
                f"{self.batch_size} at {self.precision} on {self.device}",
                "",
                f"{'':<28}{'patches/s':>12}{'ms a batch':>12}",
                *(
                    f"{name:<28}{rate:>12,.1f}{1000 * self.batch_size / rate:>12.1f}{note}"
                    for name, rate, note in rows
                ),
                "",
                self.sentence,
            )
        )


class BenchTrainer:
    """A trainer whose parts can be called one by one; its learning rate is too small to change a weight."""

    def __init__(self, trainer: Trainer) -> None:
        self.trainer, self.config = trainer, trainer.config
        self.model, self.optimizers = trainer.step.model, trainer.step.optimizers
        self.device, self.run_folder = trainer.step.device, trainer.run_folder
        self._clock = trainer.progress.clock(trainer.config)._replace(step=0)

    def take(self, batch: Batch) -> None:
        """Do a whole step, from the host's memory to the optimiser."""
        self.trainer.step.take(to_device(batch, self.device), self._clock, _NO_RATE)

    def prepare(self, batch: Batch) -> None:
        """Do only what makes a model's input of a batch: copy, floats, size, augmentation."""
        self.inputs(batch)
        self.synchronise()

    def inputs(self, batch: Batch) -> tuple[torch.Tensor, dict[str, torch.Tensor], list[Noise]]:
        """Return what the model takes of a batch: pixels, conditions, noise of each step."""
        return self.trainer.step.prepared(to_device(batch, self.device), self._clock)

    def bare(self, pixels: torch.Tensor, conditions: dict[str, torch.Tensor], noises: list[Noise]) -> None:
        """Do forward, loss, backward and the optimiser's step of the same model, and nothing else."""
        left, turns = iter(noises), self.trainer.step.turns
        for turn, optimizer in zip(turns, self.optimizers, strict=True):
            for _ in range(turn.steps):
                optimizer.zero_grad(set_to_none=True)
                with only(turn, self.model, turns):
                    with passes(self.config.training, self.device):
                        terms = self.model.terms(turn.name, pixels, conditions, next(left), self._clock)
                    terms["total"].backward()  # type: ignore[no-untyped-call]
                optimizer.step()

    def train_watched(self, watched: WatchedStream, epochs: int = 10**9) -> None:
        """Train through a stream to its end, or so many times, with the logs of a run; validates and save nothing."""
        trainer, progress = self.trainer, self.trainer.progress
        trainer.stream = watched  # type: ignore[assignment]  # it does all that a stream does
        with closing(Log(trainer.run_folder, 0)) as trainer.log:
            while epochs and not watched.is_over:
                trainer.train_epoch()
                progress.epoch, progress.step, progress.sums = progress.epoch + 1, 0, {}
                epochs -= 1

    def synchronise(self) -> None:
        """Wait for the device."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


def report(config: TrainConfig, shards: Source, device: torch.device, as_json: bool = False) -> str:
    """Return what a person reads about the speed of training, or one line of JSON; say meanwhile what is measured.

    Raises:
        ConfigError: as part of several processes.
        NlbsError: the shards cannot be read, or do not fill a batch.
    """
    with redirect_stdout(sys.stderr):
        measured = measure(config, shards, device)
    return measured.as_json() if as_json else measured.as_text()


def measure(
    config: TrainConfig, shards: Source, device: torch.device, seconds: float | None = None
) -> Measured:
    """Measure each part for some seconds, after a warm-up.

    Raises:
        ConfigError: as part of several processes.
        NlbsError: the shards cannot be read, or do not fill a batch.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise ConfigError("--bench measures one process; run it without torchrun, on one of the machines")
    config, seconds = harmless(config), SECONDS if seconds is None else seconds
    stream = open_streams(config, shards, pin_memory=device.type == "cuda")[0]
    keep_on_device(stream, config.data.resident, device)
    _say(f"the loader alone, {seconds:g} s")
    loader, batch = _loader_rate(stream, seconds)
    with tempfile.TemporaryDirectory(prefix="nlbs-bench-") as folder:
        trainer = make_trainer(config, stream, device, Path(folder))
        _say(f"the step alone, {seconds:g} s" + (", after compiling" if config.training.compile else ""))
        step = rate(trainer, trainer.take, batch, seconds)
        _say(f"both together, as a run does it, {seconds:g} s")
        together, waiting = run_together(trainer, stream, seconds)
    data, parameters = config.data, trainer.model.num_parameters
    return Measured(
        *(loader, step, together, waiting, parameters),
        *(data.resolution, data.batch_size, config.training.precision, device.type),
    )


def _say(what: str) -> None:
    click.echo(f"measuring {what}", err=True)


def harmless(config: TrainConfig) -> TrainConfig:
    """Return a configuration that costs the same, but ends at no limit, draws nothing and moves no weight.

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
    """Return a trainer of a fresh model, or of that of another, whose logs go into ``folder``."""
    model, optimizers = build(config, device) if like is None else (like.model, like.optimizers)
    decay = config.training.ema_decay
    average = None if decay is None else Average(model, decay)
    step = Step(config, model.train(), optimizers, loss_scaler(config.training, device), average)
    # Not the epoch that the loader was measured in: in a large set, its patches are known by now.
    progress = Progress(steps_per_epoch=len(stream), epoch=stream.epoch + 1)
    # No log: only an epoch reports.
    log: Any = None
    return BenchTrainer(
        Trainer(config, step, (stream, None, stream), RunFolder(folder), progress, {}, log, Event())
    )


def _loader_rate(stream: PatchStream, seconds: float) -> tuple[float, Batch]:
    """Return patches per second, and the last batch that was read."""
    watched = WatchedStream(stream, seconds)
    while not watched.is_over:
        for batch in watched:
            last = batch
    return watched.patches / watched.seconds, last


def rate(
    trainer: BenchTrainer,
    work: Callable[[Batch], None],
    batch: Batch,
    seconds: float,
    fewest: int = _FEWEST,
) -> float:
    """Return patches per second of a piece of work, done for some seconds at least."""
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
    """Return patches per second of training, and the share of the time that waits for the loader."""
    watched = WatchedStream(stream, seconds)
    trainer.train_watched(watched)
    trainer.synchronise()
    return watched.patches / watched.seconds, watched.waited / watched.seconds
