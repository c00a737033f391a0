"""What a run says: console, TensorBoard and metrics.jsonl."""

import json
import math
import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import click
import numpy as np
import numpy.typing as npt
from torch.utils.tensorboard import SummaryWriter
from tqdm.auto import tqdm

from nlbs.errors import NlbsError
from nlbs.files import atomic_file, make_folder, refuse_link
from nlbs.json_text import parse_json
from nlbs.system_calls import PLAIN, open_regular, sync
from nlbs.text import duration
from nlbs.train.run_folder import RunFolder

_MOST_ROW_CHARS = 1 << 20  # of metrics.jsonl; a real one has some hundred
_LINE_EVERY_S = 30.0  #: between progress lines where there is no terminal


class Log:
    """The three places a run reports to. Steps are counted from the start of the run."""

    def __init__(self, run: RunFolder, first_step: int) -> None:
        """Open the logs; what they hold of ``first_step`` and later, from a run cut off there, goes."""
        for folder in (run.samples, run.tensorboard):  # pictures replace one another there
            refuse_link(folder)
            make_folder(folder)
        _cut(run.metrics, first_step)
        self._metrics = _appended(run.metrics)  # see close
        self._board = SummaryWriter(str(run.tensorboard), purge_step=first_step + 1 if first_step else None)
        self._bar: Any = None
        self._last_line = time.monotonic()
        self._pace = Pace()

    def close(self) -> None:
        """Close the files."""
        self.end_epoch()
        self._metrics.close()
        self._board.close()

    def line(self, text: str) -> None:
        """Say something on the console, above the progress bar if there is one."""
        if self._bar is None:
            click.echo(text)
        else:
            self._bar.write(text)

    def start_epoch(
        self, name: str, done: int, total: int, batch_size: int, left_in_run: int | None = None
    ) -> None:
        """Begin to show an epoch.

        Args:
            name: of it.
            done: patches of it that were seen before.
            total: patches of it.
            batch_size: patches per step.
            left_in_run: patches until the run ends, those of this epoch too; None: this epoch alone.
        """
        self._name, self._total, self._batch_size = name, total, batch_size
        self._pace.start_epoch(done, total - done if left_in_run is None else left_in_run)
        if sys.stderr.isatty():
            self._bar = tqdm(total=total, initial=done, desc=name, unit="patch", leave=False, file=sys.stderr)

    def progress(self, terms: Mapping[str, float], waited_s: float = 0.0) -> None:
        """Show one more batch, its loss terms, and the seconds in which it was waited for."""
        pace = self._pace
        pace.add(self._batch_size, waited_s)
        shown = " ".join(f"{name} {value:.4g}" for name, value in terms.items())
        if self._bar is not None:
            more = f"waiting {pace.waiting:.1%}, run {duration(pace.left_s)} left"
            self._bar.set_postfix_str(f"{shown}, {more}", refresh=False)
            self._bar.update(self._batch_size)
        elif time.monotonic() - self._last_line > _LINE_EVERY_S:
            self.line(
                f"{self._name}: {pace.seen:,} of {self._total:,} patches, {pace.rate:.0f} patches/s, "
                f"{pace.waiting:.1%} of the time waiting for data, {duration(pace.left_s)} left in the run; {shown}"
            )
            self._last_line = time.monotonic()

    @property
    def rate(self) -> float:
        """Patches per second in this epoch."""
        return self._pace.rate

    @property
    def waiting(self) -> float:
        """The share of this epoch in which the run waited for data."""
        return self._pace.waiting

    def end_epoch(self) -> None:
        """Stop the epoch's clock, and take the progress bar away."""
        self._pace.end_epoch()
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def values(self, kind: str, step: int, epoch: int, values: Mapping[str, float]) -> None:
        """Write one row of metrics.jsonl, and the same to TensorBoard as kind/name."""
        row: dict[str, Any] = {"kind": kind, "step": step, "epoch": epoch}
        row |= {name: value if math.isfinite(value) else None for name, value in values.items()}
        self._metrics.write(json.dumps(row, allow_nan=False) + "\n")
        self._metrics.flush()
        for name, value in values.items():
            self._board.add_scalar(f"{kind}/{name}", value, step)

    def speed(self, step: int, epoch: int) -> None:
        """Write how fast it goes: a row of its own, as no other depends on the clock."""
        self.values("speed", step, epoch, {"patches_per_s": self.rate, "waiting": self.waiting})

    def picture(self, page: npt.NDArray[np.uint8], step: int) -> None:
        """Show a page, uint8 (H, W, 3), in TensorBoard."""
        self._board.add_image("samples", page, step, dataformats="HWC")

    def flush(self) -> None:
        """See to it that what was said is on disk before a checkpoint that counts on it."""
        sync(self._metrics.fileno())
        self._board.flush()


class SilentLog(Log):
    """What all processes of a run but the first have: it keeps the time, and reports nowhere."""

    def __init__(self) -> None:
        self._pace = Pace()

    def close(self) -> None:
        """Do nothing, as the methods below."""

    def line(self, text: str) -> None: ...

    def start_epoch(
        self, name: str, done: int, total: int, batch_size: int, left_in_run: int | None = None
    ) -> None:
        """Start the epoch's clock."""
        self._batch_size = batch_size
        self._pace.start_epoch(done, total - done)

    def progress(self, terms: Mapping[str, float], waited_s: float = 0.0) -> None:
        """Count one more batch."""
        self._pace.add(self._batch_size, waited_s)

    def end_epoch(self) -> None:
        """Stop the epoch's clock."""
        self._pace.end_epoch()

    def values(self, kind: str, step: int, epoch: int, values: Mapping[str, float]) -> None: ...
    def picture(self, page: npt.NDArray[np.uint8], step: int) -> None: ...
    def flush(self) -> None: ...


def note_stage(run: RunFolder, step: int, stage: str, first: int, seconds: float) -> None:
    """Write a row of metrics.jsonl: how long a part of the fit of a stage took.

    Args:
        run: whose epochs are over.
        step: of the weights that it is fitted to.
        stage: its name.
        first: step of the fit at which the part began; 0: it is fitted from the start.
        seconds: of the part.
    """
    row = {"kind": "stage", "step": step, "stage": stage, "first": first, "seconds": round(seconds, 3)}
    with _appended(run.metrics) as file:
        file.write(json.dumps(row) + "\n")


def _appended(metrics: Path) -> IO[str]:
    descriptor = os.open(metrics, os.O_WRONLY | os.O_APPEND | os.O_CREAT | PLAIN, 0o644)
    return open(descriptor, "a", encoding="utf-8", newline="\n")


def _cut(path: Path, last_step: int) -> None:
    """Keep of metrics.jsonl the whole rows up to a step."""
    if not path.exists():
        return
    try:
        descriptor = open_regular(path)
    except OSError as error:
        raise NlbsError(
            f"cannot read {path} ({error.strerror}): move it away, and the same command goes on"
        ) from None
    with (
        open(descriptor, encoding="utf-8", errors="replace", newline="\n") as old,
        atomic_file(path, "w", encoding="utf-8") as new,
    ):
        while text := old.readline(_MOST_ROW_CHARS):
            try:
                row = parse_json(text)
            except ValueError:
                continue  # the last row of a run that was killed while it wrote, or none of ours
            if isinstance(row, dict) and type(row.get("step")) is int and row["step"] <= last_step:
                new.write(text.rstrip("\r\n") + "\n")


class Pace:
    """Counts patches and seconds, of an epoch and of the run. All times are those of the host."""

    def __init__(self) -> None:
        self.seen = 0  #: patches of the epoch
        self._before = 0  #: of these before this part of the run
        self._waited_s = 0.0
        self._started = time.monotonic()
        self._ended: float | None = None
        self._run_started: float | None = None
        self._in_run = 0
        self._left = 0

    def start_epoch(self, done: int, left_in_run: int) -> None:
        """Begin an epoch of which some patches were seen before."""
        self.seen = self._before = done
        self._waited_s, self._left = 0.0, left_in_run
        self._started, self._ended = time.monotonic(), None
        if self._run_started is None:
            self._run_started = self._started

    def add(self, patches: int, waited_s: float) -> None:
        """Count a batch."""
        self.seen += patches
        self._in_run += patches
        self._left -= patches
        self._waited_s += waited_s

    def end_epoch(self) -> None:
        """Stop the clock of the epoch."""
        self._ended = self._ended or time.monotonic()

    @property
    def elapsed_s(self) -> float:
        """Seconds of the epoch, until now or its end."""
        return max((self._ended or time.monotonic()) - self._started, 1e-9)

    @property
    def rate(self) -> float:
        """Patches per second in the epoch."""
        return (self.seen - self._before) / self.elapsed_s

    @property
    def waiting(self) -> float:
        """The share of the epoch in which it waited for data, 0 to 1."""
        return min(self._waited_s / self.elapsed_s, 1.0)

    @property
    def waited_s(self) -> float:
        """Seconds of the epoch in which it waited for data."""
        return self._waited_s

    @property
    def left_s(self) -> float:
        """Seconds until the run ends, if it goes on as since its start: with validation, pictures and saving."""
        if self._run_started is None or not self._in_run:
            return 0.0
        return max(self._left, 0) * (time.monotonic() - self._run_started) / self._in_run
