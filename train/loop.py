"""The training loop: one epoch after another, straight down the page."""

import math
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel

from nlbs.cvae.losses import LossTerms, charged_kl, guide_loss
from nlbs.cvae.model import ConditionalVAE, ModelOutput
from nlbs.errors import NlbsError
from nlbs.pictures import write_png
from nlbs.train.augment import augment, draw_parameters
from nlbs.train.average import state_of, weights_of
from nlbs.train.config import TrainConfig
from nlbs.train.fit import FITS, to_float
from nlbs.train.log import Log
from nlbs.train.precision import forward
from nlbs.train.run import Progress, RunFolder
from nlbs.train.samples import sample_page
from nlbs.train.schedule import kl_weight, learning_rate
from nlbs.train.stream import Batch, PatchStream

MAX_SKIPPED_IN_ROW = 10
SAVE_EVERY_S = 30.0  #: at the ends of short epochs, no more often
SAVE_AT_LEAST_EVERY_S = 600.0  #: within long epochs

#: The ways of training.optimizer. Fused: one pass over the weights, twelve times quicker on a CPU.
OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "adam": partial(torch.optim.Adam, fused=True),
    "adamw": partial(torch.optim.AdamW, fused=True),
}


class Trainer:
    """A run under way: a model, an optimiser, the streams, and where it is."""

    def __init__(
        self,
        config: TrainConfig,
        model: ConditionalVAE,
        optimizer: torch.optim.Optimizer,
        streams: tuple[PatchStream, PatchStream | None, PatchStream],
        run: RunFolder,
        progress: Progress,
        metadata: Mapping[str, Any],
        log: Log,
        interrupted: Event,
        scaler: torch.amp.GradScaler,
        average: AveragedModel | None = None,
    ) -> None:
        """Takes what a run consists of.

        Args:
            config: resolved.
            model: on its device.
            optimizer: of the model's parameters.
            streams: training, validation (None: there is none), and that of the pictures.
            run: where the files go.
            progress: where to start.
            metadata: what each checkpoint says beside the weights.
            log: where to report.
            interrupted: set when the run is to save and leave.
            scaler: of the loss; one that does nothing except at float16.
            average: of the weights, to be judged, shown and kept in their place; None: there is none.
        """
        self.config = config
        self.model = model
        self.optimizer = optimizer
        self.stream, self.validation, self.pictures = streams
        self.run_folder = run
        self.progress = progress
        self.metadata = metadata
        self.log = log
        self.interrupted = interrupted
        self.scaler = scaler
        self.average = average
        self.judged_model = model if average is None else weights_of(average)
        self.device = next(model.parameters()).device
        self._forward = partial(forward, config.training)
        self._clock = time.monotonic()
        self._saved = time.monotonic()
        self._deadline = math.inf

    def run(self) -> None:
        """Trains until epochs, steps or minutes are used up, or the loss falls no more.

        Raises:
            KeyboardInterrupt: interrupted; everything is saved.
            NlbsError: the loss is not finite any more, or a checkpoint cannot be written.
        """
        minutes = self.config.training.max_minutes
        self._deadline = math.inf if minutes is None else self._clock + 60 * minutes
        while not self.progress.is_finished(self.config):
            self._train_epoch()
            whole = self.progress.step == self.progress.steps_per_epoch
            saved = None if self._is_leaving() else self._evaluate()
            if whole and saved is not None:
                self.progress.epoch, self.progress.step, self.progress.sums = self.progress.epoch + 1, 0, {}
            files = list(saved or [])
            finished, waited = self.progress.is_finished(self.config), time.monotonic() - self._saved
            leaving = self._is_leaving()
            if finished or waited > SAVE_EVERY_S or leaving:
                self._save_last()
                files.append(self.run_folder.last_state)
            if files:
                self.log.line(f"  saved {', '.join(str(file) for file in files)}")
            if self.interrupted.is_set():
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

    def _is_leaving(self) -> bool:
        """Whether the run is to save and leave before its end: an interrupt, or its time is over."""
        return self.interrupted.is_set() or time.monotonic() > self._deadline

    def _train_epoch(self) -> None:
        """Trains on the rest of the epoch; returns early where a limit is reached or the run is to leave."""
        progress, training = self.progress, self.config.training
        if progress.step == progress.steps_per_epoch:
            return
        batch_size = self.stream.batch_size
        name = f"epoch {progress.epoch + 1}/{training.epochs}"
        self.log.start_epoch(name, progress.step * batch_size, len(self.stream) * batch_size, batch_size)
        self.model.train()
        self.stream.seek(progress.epoch, progress.step)
        for batch in self.stream:
            terms = self._step(batch)
            progress.step += 1
            self.log.progress({name: terms[name] for name in LossTerms._fields})
            if progress.total_steps % training.log_every_steps == 0:
                self.log.values("train", progress.total_steps, progress.epoch, terms)
            if self._is_time_to_save():
                self._save_last()
            if training.samples_every_steps and progress.total_steps % training.samples_every_steps == 0:
                self._picture()
            if progress.is_finished(self.config) or self._is_leaving():
                break
        self.log.end_epoch()

    def _step(self, batch: Batch) -> dict[str, float]:
        """Trains on one batch. Gives the loss terms and what else the log shows."""
        progress, training = self.progress, self.config.training
        # 1. Randomness: a function of seed and step alone, so that a resumed run repeats it.
        torch.manual_seed(_step_seed(training.seed, progress.total_steps))
        beta = kl_weight(training.loss, progress.epoch)
        rate = learning_rate(training, progress.total_steps, progress.steps_per_epoch)
        # 2. Pixels: to the device, to floats, to the model's size, changed at random.
        parameters = draw_parameters(
            training.augment, len(batch.rows), training.seed, batch.epoch, batch.step
        )
        pixels, conditions = self._on_device(batch, parameters.corners)
        pixels, conditions = augment(pixels, conditions, parameters, training.augment)
        # 3. Forward and backward.
        statistics = [buffer.clone() for buffer in self.model.buffers()]
        self.optimizer.zero_grad(set_to_none=True)
        terms = self._backward(pixels, conditions, beta)
        self.scaler.unscale_(self.optimizer)
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), training.max_grad_norm)
        # 4. The step, unless something is not finite.
        *values, grad_norm = torch.stack([*terms, norm]).detach().tolist()
        if math.isfinite(values[0]) and math.isfinite(grad_norm):
            for group in self.optimizer.param_groups:
                group["lr"] = rate
            self.scaler.step(self.optimizer)
            if self.average is not None:
                self.average.update_parameters(self.model)
            self._count(values)
        else:
            for buffer, before in zip(self.model.buffers(), statistics, strict=True):
                buffer.copy_(before)  # BatchNorm's running statistics have seen the batch
            self._skip(values, grad_norm)
        self.scaler.update()  # lower where something was not finite, higher after long peace
        named = dict(zip(LossTerms._fields, values, strict=True))
        return named | {
            "beta": beta,
            "learning_rate": rate,
            "grad_norm": grad_norm,
            "skipped": progress.skipped,
        }

    def _backward(self, pixels: Tensor, conditions: dict[str, Tensor], beta: float) -> LossTerms:
        """Adds the gradients of a batch, taken whole or in parts, to those there are. Gives its loss terms.

        Every term is a mean over patches, so that parts which weigh by their patches add up to the
        whole. Only BatchNorm and free bits see the difference: their means are of each part by itself.
        """
        parts = self.config.training.accumulate
        if parts == 1:
            terms = self._loss(self._forward(self.model, pixels, conditions), pixels, beta)
            self.scaler.scale(terms.total).backward()  # type: ignore[no-untyped-call]
            return terms
        noise = torch.randn(len(pixels), self.config.model.latent_dim, device=self.device)  # as for the whole
        sums = [torch.zeros((), device=self.device) for _ in LossTerms._fields]
        for rows in torch.arange(len(pixels), device=self.device).tensor_split(parts):
            codes = {name: code[rows] for name, code in conditions.items()}
            part = self._loss(self._forward(self.model, pixels[rows], codes, noise[rows]), pixels[rows], beta)
            share = len(rows) / len(pixels)
            self.scaler.scale(part.total * share).backward()  # type: ignore[no-untyped-call]
            sums = [total + term.detach() * share for total, term in zip(sums, part, strict=True)]
        return LossTerms(*sums)

    def _evaluate(self) -> list[Path] | None:
        """Judges the weights, keeps them if they are the best yet, and reports.

        Always with the final KL weight: while beta rises, the same weights would look worse
        each epoch, and the first epoch best. Where there is no validation split, the
        training loss of the epoch judges.

        Returns:
            The files that were saved; None where the run was to leave before all was judged.
        """
        progress = self.progress
        batches = max(progress.sums.get("batches", 0), 1)
        train = self._judged({name: progress.sums.get(name, math.nan) / batches for name in _TERMS})
        judged = train if self.validation is None else self._validate(self.validation)
        if judged is None:
            return None
        loss = judged["total"]
        is_best = math.isfinite(loss) and (progress.best_loss is None or loss < progress.best_loss)
        if is_best:
            progress.best_loss, progress.best_epoch = loss, progress.epoch + 1
            self.run_folder.save_best(self.judged_model, self._metadata())
        self._report(train, None if self.validation is None else judged)
        if self.config.training.samples_every_steps is None:
            self._picture()
        return [self.run_folder.best_model] if is_best else []

    def _report(self, train: dict[str, float], validation: dict[str, float] | None) -> None:
        progress, training = self.progress, self.config.training
        beta = kl_weight(training.loss, progress.epoch)
        values = {f"train_{name}": value for name, value in train.items()}
        values |= {f"val_{name}": value for name, value in (validation or {}).items()}
        self.log.values("epoch", progress.total_steps, progress.epoch, values)
        parts = [f"train {_shown(train)}"] + ([f"val {_shown(validation)}"] if validation else [])
        skipped = f", {progress.skipped} steps skipped" if progress.skipped else ""
        self.log.line(
            f"epoch {progress.epoch + 1}/{training.epochs}, step {progress.total_steps:,}: "
            f"{'; '.join(parts)}; beta {beta:.3g}, {self.log.rate:.0f} patches/s{skipped}"
        )

    def _validate(self, stream: PatchStream) -> dict[str, float] | None:
        """Gives the mean of each loss term over the whole split, each patch once, z at its mean.

        None where the run was to leave first.
        """
        sums = torch.zeros(len(_TERMS), dtype=torch.float64, device=self.device)
        self.judged_model.eval()
        with torch.no_grad():
            for batch in stream:
                pixels, conditions = self._on_device(batch.only_valid(), corners=None)
                if len(pixels):
                    terms = self._loss(self._forward(self.judged_model, pixels, conditions), pixels, beta=0.0)
                    sums += torch.stack([getattr(terms, name) for name in _TERMS]) * len(pixels)
                if self._is_leaving():
                    return None
        return self._judged(dict(zip(_TERMS, (sums / stream.num_patches).tolist(), strict=True)))

    def _judged(self, terms: dict[str, float]) -> dict[str, float]:
        """Gives the terms and their sum at the final KL weight."""
        loss = self.config.training.loss
        weights = (loss.reconstruction_weight, loss.kl_weight, loss.edge_weight)
        total = sum(weight * terms[name] for name, weight in zip(_TERMS, weights, strict=True))
        return {"total": total, **terms}

    def _loss(self, output: ModelOutput, pixels: Tensor, beta: float) -> LossTerms:
        loss = self.config.training.loss
        charged = charged_kl(output.mu, output.logvar, loss.free_bits) if loss.free_bits else None
        weights = (loss.reconstruction_weight, beta, loss.edge_weight)
        return guide_loss(output.reconstruction, pixels, output.kl, *weights, charged)

    def _on_device(self, batch: Batch, corners: Any) -> tuple[Tensor, dict[str, Tensor]]:
        pixels = to_float(batch.pixels.to(self.device, non_blocking=True))
        conditions = {
            name: code.to(self.device, non_blocking=True) for name, code in batch.conditions.items()
        }
        data = self.config.data
        return FITS[data.fit](pixels, data.resolution, corners), conditions

    def _count(self, values: list[float]) -> None:
        progress = self.progress
        progress.skipped_in_row = 0
        named = dict(zip(LossTerms._fields, values, strict=True)) | {"batches": 1}
        for name in (*_TERMS, "batches"):
            progress.sums[name] = progress.sums.get(name, 0) + named[name]

    def _skip(self, values: list[float], grad_norm: float) -> None:
        progress = self.progress
        progress.skipped += 1
        progress.skipped_in_row += 1
        if progress.skipped_in_row < MAX_SKIPPED_IN_ROW:
            return
        found = ", ".join(f"{n} {value:g}" for n, value in zip(LossTerms._fields, values, strict=True))
        raise NlbsError(
            f"{MAX_SKIPPED_IN_ROW} steps in a row gave a loss or gradient that is not finite (epoch "
            f"{progress.epoch + 1}, step {progress.total_steps + 1}: {found}, gradient norm {grad_norm:g}); "
            f"none was applied and the checkpoints in {self.run_folder.path} are as before; start another "
            "--run with a lower --learning-rate"
        )

    def _picture(self) -> None:
        """Puts a page of real, reconstructed and drawn patches into samples/."""
        progress = self.progress
        batch = self.pictures.read(0, 0)
        pixels, conditions = self._on_device(batch, corners=None)
        title = f"epoch {progress.epoch + 1}, step {progress.total_steps:,}"
        page = sample_page(self.judged_model, pixels, conditions, title, seed=self.config.training.seed)
        write_png(self.run_folder.samples / f"step-{progress.total_steps:08d}.png", page)
        self.log.picture(page, progress.total_steps)

    def _is_time_to_save(self) -> bool:
        every = self.config.training.save_every_steps
        if every and self.progress.total_steps % every == 0:
            return True
        return time.monotonic() - self._saved > SAVE_AT_LEAST_EVERY_S

    def _save_last(self) -> None:
        now = time.monotonic()
        self.progress.seconds += now - self._clock
        self._clock = self._saved = now
        self.log.flush()
        more = {} if self.average is None else {"average": state_of(self.average)}
        if self.scaler.is_enabled():
            more["scaler"] = self.scaler.state_dict()
        self.run_folder.save_last(
            self.model, self.optimizer, self.progress, self.config, self._metadata(), more
        )

    def _metadata(self) -> dict[str, Any]:
        progress = self.progress
        return dict(self.metadata) | {
            "epoch": progress.epoch,
            "step": progress.total_steps,
            "best_loss": progress.best_loss,
        }


_TERMS = ("reconstruction", "kl", "edge")  #: the order of their weights in _judged


def _shown(terms: Mapping[str, float]) -> str:
    return "loss " + " ".join(f"{'' if n == 'total' else n + ' '}{v:.4g}" for n, v in terms.items())


def _step_seed(seed: int, step: int) -> int:
    """Gives a seed for each step, unrelated to those of its neighbours."""
    return int(np.random.SeedSequence([seed, step]).generate_state(1, np.uint64)[0])
