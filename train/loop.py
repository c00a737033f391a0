"""The training loop: one epoch after another, straight down the page."""

import dataclasses
import math
import time
from collections.abc import Mapping
from pathlib import Path
from threading import Event
from typing import Any

import torch

from nlbs.errors import NlbsError
from nlbs.models.contract import GenerativeModel, Prepares
from nlbs.models.pixels import FITS
from nlbs.models.seen import SEEN
from nlbs.pictures import write_png
from nlbs.shards.reading.mixed_sets import sets_of
from nlbs.train.condition_stages import begin_stage, count_told, met, told
from nlbs.train.config import TrainConfig
from nlbs.train.data.feed import DeviceBatch, Feed, to_device
from nlbs.train.data.stream import PatchStream
from nlbs.train.log import Log
from nlbs.train.messages import report_epoch, report_step
from nlbs.train.needs import cost_of_stages
from nlbs.train.optimisation import learning_rate
from nlbs.train.pictures import sample_page, write_curve
from nlbs.train.ranks.ranks import Ranks
from nlbs.train.run_folder import Progress, RunFolder
from nlbs.train.step import MAX_SKIPPED_IN_ROW, Step, Stepped
from nlbs.train.validation import Judge, as_judged

SAVE_EVERY_S = 30.0  #: at the ends of short epochs, no more often
SAVE_AT_LEAST_EVERY_S = 600.0  #: within long epochs


class Trainer:
    """A run under way: a step to take, the streams, and where it is."""

    def __init__(
        self,
        config: TrainConfig,
        step: Step[GenerativeModel],
        streams: tuple[PatchStream, PatchStream | None, PatchStream],
        run: RunFolder,
        progress: Progress,
        metadata: Mapping[str, Any],
        log: Log,
        interrupted: Event,
    ) -> None:
        """Take what a run consists of.

        Args:
            config: resolved.
            step: of a model on its device; an average of its weights is judged, shown and kept in their place.
            streams: training, validation (None: there is none), and that of the pictures.
            run: where the files go; only the first of several processes writes them.
            progress: where to start.
            metadata: what each checkpoint says beside the weights.
            log: where to report.
            interrupted: set when the run is to save and leave.
        """
        self.config = config
        self.step = step
        self.stream, validation, self.pictures = streams
        self.run_folder = run
        self.progress = progress
        self.metadata = metadata
        self.log = log
        self.interrupted = interrupted
        self.ranks: Ranks = step.ranks
        self.judged_model: GenerativeModel = step.model if step.average is None else step.average.model
        self.judge = None if validation is None else Judge(config, validation, step.ranks)
        self._clock = time.monotonic()
        self._saved = time.monotonic()
        self._deadline = math.inf
        self._epoch_clock: float | None = None
        #: What any process wishes, as all have agreed: to be interrupted, or to leave (that, or the time is over).
        self._agreed = {"interrupt": False, "leave": False}
        self._feed: Feed
        self._after_epochs = 0  #: what the stages take, in patches of an epoch
        self._told_s = 0.0  #: of the feed's waiting, what the processes know
        self._batch: DeviceBatch | None = None

    def run(self) -> None:
        """Train until epochs, steps or minutes are used up, or the loss falls no more.

        Raises:
            KeyboardInterrupt: interrupted; everything is saved.
            NlbsError: the loss is not finite any more, a patch cannot be read, a checkpoint cannot be
                written, or another process failed or is lost.
        """
        minutes = self.config.training.max_minutes
        self._deadline = math.inf if minutes is None else self._clock + 60 * minutes
        self._after_epochs = round(cost_of_stages(self.config, self.progress.steps_per_epoch))
        while not self.progress.is_finished(self.config):
            self.train_epoch()
            whole = self.progress.step == self.progress.steps_per_epoch
            saved = None if self._agreed["leave"] else self._evaluate(whole)
            if whole and saved is not None:
                self.progress.epoch, self.progress.step, self.progress.sums = self.progress.epoch + 1, 0, {}
            leaving, files = self._is_leaving(), list(saved or [])
            finished, waited = self.progress.is_finished(self.config), time.monotonic() - self._saved
            if finished or waited > SAVE_EVERY_S or leaving:
                self._save_last()
                self._draw_curve()
                files.append(self.run_folder.last_state)
            self.ranks.agree({})  # that what is said to be saved is saved
            if files:
                self.log.line(f"  saved {', '.join(str(file) for file in files)}")
            if leaving and self._agreed["interrupt"]:
                self.log.line(f"stopped at step {self.progress.total_steps:,}")
                raise KeyboardInterrupt
            if leaving and not finished:
                self.log.line(
                    f"{minutes:g} minutes are over at step {self.progress.total_steps:,}; the same command continues"
                )
                return
        if self.progress.is_stopped_early(self.config):
            patience = self.config.training.early_stop_epochs
            self.log.line(f"stopped early: no better loss in {patience} epochs")

    def train_epoch(self) -> None:
        """Train on the rest of the epoch; return early where a limit is reached or the run is to leave."""
        progress, training = self.progress, self.config.training
        if progress.step == progress.steps_per_epoch:
            return
        self._start_epoch()
        while (batch := self._batch) is not None:
            if begins := begin_stage(self.config, progress.total_steps, progress.steps_per_epoch):
                self.log.line(begins)
                self.log.values("conditions", progress.total_steps + 1, progress.epoch, self._told(ahead=1))
            stepped = self._step(batch)
            if progress.total_steps % training.log_every_steps == 0:
                scheduled = self.step.model.scheduled(progress.clock(self.config)) | self._told()
                report_step(self.log, self.config, progress, stepped, scheduled)
            if self._is_time_to_save():
                self._save_last()
            if training.samples_every_steps and progress.total_steps % training.samples_every_steps == 0:
                self._picture()
            if self._agreed["leave"]:
                break
        self.log.end_epoch()
        self._account()
        self._epoch_clock = None

    def _start_epoch(self) -> None:
        progress, batch_size = self.progress, self.stream.batch_size
        name = f"epoch {progress.epoch + 1}/{self.config.training.epochs}"
        epoch = progress.steps_per_epoch * batch_size
        left = progress.steps_left(self.config) * batch_size + self._after_epochs
        self.log.start_epoch(name, progress.step * batch_size, epoch, batch_size, left)
        self._epoch_clock = time.monotonic()
        if not progress.step:
            self._prepare()
        self.step.model.train()
        self.stream.seek(progress.epoch, progress.step)
        self._feed, self._told_s = Feed(iter(self.stream), self.step.device), 0.0
        self._fetch()
        self._is_leaving()  # raises everywhere where a process has no first batch

    def _prepare(self) -> None:
        """Show the model as many patches of the epoch as it wants to see before it; its average then begins anew."""
        model, progress, data = self.step.model, self.progress, self.config.data
        wanted = model.patches_wanted(progress.clock(self.config)) if isinstance(model, Prepares) else 0
        if not wanted or not isinstance(model, Prepares):
            return
        model.eval()
        batches = min(-(-wanted // self.stream.batch_size), progress.steps_per_epoch)
        read = self.ranks.each(lambda: [self.stream.read(progress.epoch, step) for step in range(batches)])
        shown = [to_device(batch, self.step.device) for batch in read]
        pixels = torch.cat([FITS[data.fit](batch.pixels, data.resolution, None) for batch in shown])
        names = shown[0].conditions
        conditions = {name: torch.cat([batch.conditions[name] for batch in shown]) for name in names}
        gathered = self.ranks.gathered
        model.prepare(gathered(pixels), {name: gathered(values) for name, values in conditions.items()})
        if self.step.average is not None:
            self.step.average.model.load_state_dict(model.state_dict())

    def _step(self, batch: DeviceBatch) -> Stepped:
        """Take a step, counts it, and learns what the other processes wish."""
        progress, training = self.progress, self.config.training
        rate = learning_rate(training, progress.total_steps, progress.steps_per_epoch)
        stepped = self.step.take(batch, progress.clock(self.config), rate, self._meanwhile)
        if stepped.applied:
            self._count(stepped.terms)
        else:
            self._skip(stepped)
        progress.step += 1
        waited_s, *wishes = stepped.sums
        waited_s /= self.ranks.world_size
        progress.waited_s += waited_s
        self.log.progress(stepped.terms, waited_s)
        self._agreed = self.ranks.decided(self._agreed, wishes)
        return stepped

    def _meanwhile(self) -> list[float]:
        """Fetch the next batch while the device is at work. Return what the processes add up in a step.

        Before the step ends, so that all know together if one of them has no next batch.
        """
        wishes = self._wishes()
        self._batch = None
        last = dataclasses.replace(self.progress, step=self.progress.step + 1).is_finished(self.config)
        if not last and not wishes["leave"]:
            self._fetch()
        waited_s, self._told_s = self._feed.waited_s - self._told_s, self._feed.waited_s
        return [waited_s, *self.ranks.flags(wishes)]

    def _fetch(self) -> None:
        with self.ranks.reporting():
            self._batch = self._feed.next()

    def _wishes(self) -> dict[str, bool]:
        interrupt = self.interrupted.is_set()
        return {"interrupt": interrupt, "leave": interrupt or time.monotonic() > self._deadline}

    def _is_leaving(self) -> bool:
        """Whether the run is to save and leave before its end, as all processes agree here."""
        self._agreed = self.ranks.agree(self._wishes())
        return self._agreed["leave"]

    def _evaluate(self, whole: bool) -> list[Path] | None:
        """Judge the weights, keeps them if they are the best yet, and reports.

        Args:
            whole: the epoch is complete; otherwise ``max_steps`` ends the run within it.

        Returns:
            The files that were saved; None where the run was to leave before all was judged.
        """
        progress, model, clock = self.progress, self.judged_model, self.progress.clock(self.config)
        batches = max(progress.sums.get("batches", 0), 1)
        means = {name: progress.sums.get(name, math.nan) / batches for name in self.step.names}
        train = judged = as_judged(model, means)
        if self.judge is not None:
            found = self.judge.judge(model, clock, self._is_leaving)
            if found is None:
                return None
            judged = found
        is_best = self._is_newest(means) or self._is_best(judged["total"], whole)
        if is_best and self.ranks.is_first:
            with self.ranks.reporting():
                self.run_folder.save_best(model, self._metadata())
        validation = None if self.judge is None else judged
        active: list[int] = []
        if self.judge is not None and self.ranks.is_first:
            with self.ranks.reporting():
                active = self.judge.count_active_units(model)
        scheduled = model.scheduled(clock) | self._told()
        report_epoch(
            self.log, self.config, progress, train, validation, self.count_replaced(), active, scheduled
        )
        for warning in model.warnings(judged, clock):
            self.log.line(f"  warning: {warning}")
        if self.config.training.samples_every_steps is None:
            self._picture()
        return [self.run_folder.best_model] if is_best else []

    def _is_newest(self, means: Mapping[str, float]) -> bool:
        """Whether nothing judges such a model, so that its newest weights are best_model."""
        if self.judged_model.judged(means) is not None:
            return False
        self.progress.best_epoch = self.progress.epoch + 1
        return True

    def _is_best(self, loss: float, whole: bool) -> bool:
        """Whether the weights are to be best_model; notes their loss as the one to beat.

        The validation loss is that of these weights, on the same patches each time, wherever in an
        epoch they are. The training loss is a mean over the way through an epoch: that of a part of one
        cannot be compared. Where only such a part was trained, its weights are kept, but beat nothing.
        """
        progress = self.progress
        if not math.isfinite(loss) or (progress.best_loss is not None and loss >= progress.best_loss):
            return False
        if self.judge is None and not whole:
            return progress.best_loss is None
        progress.best_loss, progress.best_epoch = loss, progress.epoch + 1
        return True

    def count_replaced(self) -> int:
        """Return how many damaged patches others stood in for, in all processes since this part of the run began."""
        sets = enumerate(sets_of(self.stream.shards))
        found = self.ranks.gather([(number, row) for number, one in sets for row in one.replaced])
        return len(set().union(*found))

    def _count(self, terms: Mapping[str, float]) -> None:
        progress = self.progress
        progress.skipped_in_row = 0
        for name, value in {**terms, "batches": 1}.items():
            progress.sums[name] = progress.sums.get(name, 0) + value

    def _skip(self, stepped: Stepped) -> None:
        progress = self.progress
        progress.skipped += 1
        progress.skipped_in_row += 1
        if progress.skipped_in_row < MAX_SKIPPED_IN_ROW:
            return
        found = ", ".join(f"{name} {value:g}" for name, value in stepped.terms.items())
        raise NlbsError(
            f"{MAX_SKIPPED_IN_ROW} steps in a row gave a loss or gradient that is not finite (epoch "
            f"{progress.epoch + 1}, step {progress.total_steps + 1}: {found}, gradient norm {stepped.grad_norm:g}); "
            f"none was applied and the checkpoints in {self.run_folder.path} are as before; start another "
            "--run with a lower --learning-rate"
        )

    def _picture(self) -> None:
        """Put a page of real, reconstructed and drawn patches into samples/."""
        if not self.ranks.is_first:
            return
        progress, data = self.progress, self.config.data
        with self.ranks.reporting():
            batch = to_device(self.pictures.read(0, 0), self.step.device)
            pixels = FITS[data.fit](batch.pixels, data.resolution, None)
            title = f"epoch {progress.epoch + 1}, step {progress.total_steps:,}"
            step, seed = max(progress.total_steps - 1, 0), self.config.training.seed
            conditions = told(batch.conditions, self.config, step, progress.steps_per_epoch)
            page = sample_page(self.judged_model, pixels, conditions, title, seed)
            write_png(self.run_folder.samples / f"step-{progress.total_steps:08d}.png", page)
            self.log.picture(page, progress.total_steps)

    def _draw_curve(self) -> None:
        """Draw the losses of all epochs so far."""
        if self.ranks.is_first:
            with self.ranks.reporting():
                write_curve(self.run_folder.curve, self.run_folder.metrics)

    def _is_time_to_save(self) -> bool:
        every = self.config.training.save_every_steps
        if every and self.progress.total_steps % every == 0:
            return True
        return time.monotonic() - self._saved > SAVE_AT_LEAST_EVERY_S

    def _save_last(self) -> None:
        """Save the state; what goes wrong is raised at the next agreement, in all processes."""
        now = time.monotonic()
        self.progress.seconds += now - self._clock
        self._clock = self._saved = now
        self._account()
        if not self.ranks.is_first:
            return
        step = self.step
        more = {} if step.average is None else {"average": step.average.state()}
        if step.scaler.is_enabled():
            more["scaler"] = step.scaler.state_dict()
        self.log.flush()
        with self.ranks.reporting():
            self.run_folder.save_last(
                step.model, step.optimizers, self.progress, self.config, self._metadata(), more
            )

    def _account(self) -> None:
        """Add what has passed since it was last asked to the time of training, within an epoch."""
        if self._epoch_clock is not None:
            now = time.monotonic()
            self.progress.training_s += now - self._epoch_clock
            self._epoch_clock = now

    def _told(self, ahead: int = 0) -> dict[str, float]:
        """Return how many conditions were told in the last step, or one ahead, where a run tells them in stages."""
        if not self.config.training.condition_stages:
            return {}
        step = max(self.progress.total_steps - 1 + ahead, 0)
        return {"conditions_told": count_told(self.config, step, self.progress.steps_per_epoch)}

    def _metadata(self) -> dict[str, Any]:
        progress = self.progress
        step = max(progress.total_steps - 1, 0)
        seen = {SEEN: met(self.metadata[SEEN], self.config, step, progress.steps_per_epoch)}
        return (
            dict(self.metadata)
            | seen
            | {
                "epoch": progress.epoch,
                "step": progress.total_steps,
                "best_loss": progress.best_loss,
            }
        )
