"""A stage that is trained on the latents of a trained model, by the trainer's own step. Continues where it stopped."""

import hashlib
import json
import math
import os
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from threading import Event
from typing import Any

import click
import torch
from torch import Tensor

from nlbs.errors import CheckpointError, NlbsError
from nlbs.files import atomic_file
from nlbs.models.checkpoint import check_weights
from nlbs.models.conditioning import hidden
from nlbs.models.contract import Clock, GenerativeModel, Noise
from nlbs.models.distortion import TOLD
from nlbs.models.stages.fitted import Fitted, weights_digest
from nlbs.models.stages.stage import LatentTraining, Stage
from nlbs.text import duration
from nlbs.train.config import TrainConfig
from nlbs.train.data.stream import PatchStream
from nlbs.train.optimisation import Average, loss_scaler
from nlbs.train.run_folder import saving
from nlbs.train.stages.encoded import Encoded, EncodedPatches, identity_of
from nlbs.train.state import (
    check_numbers,
    checked_counts,
    checked_moments,
    load_state,
    moments_of,
    restore_moments,
    section,
    tensor_bytes,
)
from nlbs.train.step import MAX_SKIPPED_IN_ROW, Step, optimizers_of, step_seed
from nlbs.train.turns import drawn

_STREAM = 0x666C6F77  #: keeps the random numbers of this part apart from those of the training before it
_SAVE_EVERY_S, _LINE_EVERY_S = 120.0, 30.0
_POOL_BATCHES = 16  #: encoded at a time; of the first ones, a stage takes its scale
_MAX_GRAD_NORM = 1.0
_TIMES_THE_WEIGHTS = 8  #: of a state's tensors: weights, their average and two moments, and as much again


class LatentStep(Step[Fitted]):
    """A step on a batch of latents, some of whose conditions are hidden at random."""

    def __init__(
        self, config: TrainConfig, options: LatentTraining, fitted: Fitted, average: Average[Fitted]
    ) -> None:
        """Take what it moves, and how."""
        before = config.training
        training = replace(
            before,
            optimizer="adamw",
            # No scaler scales these losses: at float16 a stage is trained in float32.
            precision="float32" if before.precision == "float16" else before.precision,
            learning_rate=options.learning_rate,
            min_learning_rate=0,
            betas=(0.9, 0.99),
            weight_decay=options.weight_decay,
            max_grad_norm=_MAX_GRAD_NORM,
            accumulate=1,
            compile=False,
        )
        config = replace(config, training=training)
        scaler = loss_scaler(training, fitted.device)
        super().__init__(config, fitted, optimizers_of(fitted, training), scaler, average)
        self._options = options

    def prepared(self, batch: Encoded, clock: Clock) -> tuple[Any, dict[str, Tensor], list[Noise]]:  # type: ignore[override]
        """Return latents, their conditions, and the noise of each step."""
        size, options = len(batch), self._options
        torch.manual_seed(step_seed(self.config.training.seed, clock.step, _STREAM))
        all_hidden = torch.rand(size, device=self.device) < options.unknown_rate
        codes = {name: values for name, values in batch.conditions.items() if name != TOLD}
        one_hidden = torch.rand(len(codes), size, device=self.device) < options.each_unknown_rate
        codes = hidden(codes, dict(zip(codes, all_hidden | one_hidden, strict=True)))
        codes |= {TOLD: batch.conditions[TOLD]} if TOLD in batch.conditions else {}
        order = [turn for turn in self.turns for _ in range(turn.steps)]
        return batch.levels, codes, [drawn(turn.noise, size, self.device, slice(size)) for turn in order]


class LatentFit:
    """The steps of a fit, from where a state left it."""

    def __init__(
        self,
        config: TrainConfig,
        stage: Stage,
        options: LatentTraining,
        model: GenerativeModel,
        stream: PatchStream,
        state_path: Path,
        beside: Fitted | None = None,
    ) -> None:
        """Take up a fit where its state left it.

        Args:
            config: resolved.
            stage: that is fitted.
            options: how it is fitted.
            model: whose latents it is fitted to.
            stream: of the training split, its batches of ``options.batch_size``.
            state_path: what a stopped fit continues from.
            beside: what this one is to be the weak one of; None: it is one of its own.
        """
        self.seed, self.kind, self.name, self.options = config.training.seed, stage.kind, stage.words, options
        self.beside = beside
        self.steps = -(-options.patches // options.batch_size)
        self.pool_batches = min(_POOL_BATCHES, -(-self.steps // options.reuse))
        self.state_path = state_path
        torch.manual_seed(step_seed(self.seed, 0, _STREAM))
        self.fitted = stage.fresh(options, model).to(model.device)
        self.patches = EncodedPatches(config, model, stream, self.pool_batches, self.fitted.distort)
        self.average = Average(self.fitted, options.ema_decay, warms_up=True)
        self.one_step = LatentStep(config, options, self.fitted, self.average)
        self.step, self.mean_loss = 0, math.nan
        self.skipped_in_row = 0  #: steps that were not applied
        belongs_to = [weights_digest(one) for one in (model, beside) if one is not None]
        self._identity = json.dumps([*identity_of(options, stream).values(), *belongs_to])
        #: By which it is known again.
        self.identity = {"identity": hashlib.sha256(self._identity.encode()).hexdigest()}
        self._restore()

    def run(self, interrupted: Event) -> tuple[Fitted, dict[str, Any]]:
        """Take the steps that are left. Return what came of them, and what its file says beside that.

        Raises:
            KeyboardInterrupt: interrupted; everything is saved.
            NlbsError: it came to nothing, or cannot be saved.
        """
        if self.step < self.steps:
            verb = f"continues at step {self.step:,}" if self.step else "starts"
            click.echo(
                f"{self.name}: {self.fitted.num_parameters:,} parameters, {verb}; {self.steps:,} steps, "
                f"{self.options.batch_size} patches each"
            )
            if not self.step and self.beside is None:
                self.fitted.begin(next(self.patches.as_they_are().pools(0)).levels)
            elif not self.step and self.beside is not None:  # a weak one sees the latents at the same scale
                self.fitted.load_state_dict(dict(self.beside.named_buffers()), strict=False)
            self._take_steps(interrupted)
            if not self.average.steps:
                raise NlbsError(self._not_finite(self.steps))
            self.save()
        return self.average.model, {"patches": self.options.patches, "loss": self.mean_loss}

    def _take_steps(self, interrupted: Event) -> None:
        started, first, said, saved = time.monotonic(), self.step, time.monotonic(), time.monotonic()
        for batch in self.batches():
            self._take(batch)
            self.step += 1
            now = time.monotonic()
            if now - said > _LINE_EVERY_S:
                left = (now - started) / (self.step - first) * (self.steps - self.step)
                where = f"step {self.step:,} of {self.steps:,}"
                click.echo(f"{self.name}: {where}, loss {self.mean_loss:.4f}, {duration(left)} left")
                said = now
            if self.step >= self.steps:
                return
            if interrupted.is_set() or now - saved > _SAVE_EVERY_S:
                self.save()
                saved = now
            if interrupted.is_set():
                click.echo(f"stopped at step {self.step:,} of the {self.name}; the same command continues")
                raise KeyboardInterrupt

    def _take(self, batch: Encoded) -> None:
        """Take a step, count it, and end a fit that has come to nothing.

        Raises:
            NlbsError: too many steps in a row were not applied.
        """
        clock = Clock(self.step, self.steps, 0, self.step / self.steps)
        stepped = self.one_step.take(batch, clock, self._rate())
        if not stepped.applied:
            self.skipped_in_row += 1
            if self.skipped_in_row >= MAX_SKIPPED_IN_ROW:
                raise NlbsError(self._not_finite(self.skipped_in_row))
            return
        self.skipped_in_row, loss = 0, stepped.terms["total"]
        self.mean_loss = (
            loss if math.isnan(self.mean_loss) else self.mean_loss + 0.02 * (loss - self.mean_loss)
        )

    def _rate(self) -> float:
        cosine = (1 + math.cos(math.pi * self.step / self.steps)) / 2
        warm = min(1.0, (self.step + 1) / (self.options.warmup_steps + 1))
        return self.options.learning_rate * cosine * warm

    def _not_finite(self, steps: int) -> str:
        return (
            f"the {self.name} cannot be fitted: {steps} steps in a row, up to step {self.step:,} of {self.steps:,}, "
            "gave a loss or gradient that is not finite, and none of them was applied; delete "
            f"{self.state_path} if it is there, and run the same command with a lower learning_rate in its section"
        )

    def batches(self) -> Iterator[Encoded]:
        """Yield batches of latents from where the fit is: all of a pool in a new order, then all again."""
        size, reuse = self.options.batch_size, self.options.reuse
        number, done = divmod(self.step, self.pool_batches * reuse)
        for pool in self.patches.pools(number):
            generator = torch.Generator().manual_seed(step_seed(self.seed, number, _STREAM))
            orders = [torch.randperm(len(pool), generator=generator) for _ in range(reuse)]
            for rows in torch.split(torch.cat(orders), size)[done:]:
                yield pool.take(rows.to(self.one_step.device))
            number, done = number + 1, 0

    def save(self) -> None:
        """Write what the fit continues from."""
        state = {
            "identity": self._identity,
            "step": self.step,
            "mean_loss": None if math.isnan(self.mean_loss) else self.mean_loss,
            "skipped_in_row": self.skipped_in_row,
            self.kind: self.fitted.state_dict(),
            "average": self.average.state(),
            **moments_of(self.one_step.optimizers),
        }
        with saving(self.state_path), atomic_file(self.state_path) as file:
            torch.save(state, file)

    def _restore(self) -> None:
        """Go back to where the fit was left, if it was one of the same model, patches and options."""
        path, kind = self.state_path, self.kind
        if not os.path.lexists(path):
            return
        try:
            state: Any = load_state(path, _TIMES_THE_WEIGHTS * tensor_bytes(self.fitted))
            if not isinstance(state, dict) or state.get("identity") != self._identity:
                click.echo(f"{path} is of another model or of other options: the {self.name} begins anew")
                return
            state = {"skipped_in_row": 0, "mean_loss": None, "more": {}, **state}  # of an earlier release
            average = section(path, state, "average", {"model", "steps"})
            checked_counts(path, kind, state, {"step": self.steps, "skipped_in_row": MAX_SKIPPED_IN_ROW})
            checked_counts(path, "average", average, {"steps": self.steps})
            mean_loss = state["mean_loss"]
            check_numbers(path, kind, {} if mean_loss is None else {"mean_loss": mean_loss})
            weights = check_weights(path, self.fitted, state.get(kind, {}))
            check_weights(path, self.fitted, average["model"])
            moments = checked_moments(path, state, self.fitted, average["steps"], self.steps)
        except CheckpointError as error:
            click.echo(f"{error}; the {self.name} is fitted anew")
            return
        self.fitted.load_state_dict(weights)
        self.average.restore(average)
        for optimizer, some in zip(self.one_step.optimizers, moments, strict=True):
            restore_moments(optimizer, some)
        self.step, self.mean_loss = state["step"], math.nan if mean_loss is None else mean_loss
        self.skipped_in_row = state["skipped_in_row"]
