"""Fits a flow to the latents of a trained model, and a weak one: the last part of a run. Continues where it stopped."""

import hashlib
import json
import math
import os
import time
from collections.abc import Iterator
from pathlib import Path
from threading import Event
from typing import Any

import click
import torch

from nlbs.errors import CheckpointError, NlbsError
from nlbs.files import atomic_file
from nlbs.models.checkpoint import check_weights
from nlbs.models.companions.choice import flow_path, weak_flow_path
from nlbs.models.companions.file import weights_digest
from nlbs.models.companions.flow import LatentFlow, flow_loss, load_flow, open_flow, save_flow
from nlbs.models.conditioning import hidden
from nlbs.models.contract import GenerativeModel, encoding
from nlbs.models.registry import load_checkpoint
from nlbs.train.companions.latents import Encoded, EncodedPatches, identity_of, is_there
from nlbs.train.config import FlowTraining, TrainConfig
from nlbs.train.data.stream import PatchStream
from nlbs.train.log import duration
from nlbs.train.optimisation import Average, autocast, clip_gradients
from nlbs.train.run_folder import RunFolder
from nlbs.train.state import (
    check_numbers,
    checked_counts,
    checked_optimizer,
    load_state,
    restore_moments,
    section,
    tensor_bytes,
)
from nlbs.train.step import MAX_SKIPPED_IN_ROW, OPTIMIZERS, step_seed

_STREAM = 0x666C6F77  #: keeps the random numbers of this part apart from those of the training before it
_SAVE_EVERY_S, _LINE_EVERY_S = 120.0, 30.0
_POOL_BATCHES = 16  #: encoded at a time; of the first ones, the latents' means and deviations are taken
_MAX_GRAD_NORM = 1.0
_TIMES_THE_WEIGHTS = 8  #: of a state's tensors: weights, their average and two moments, and as much again


def fit_flow(
    config: TrainConfig, stream: PatchStream, run_folder: RunFolder, device: torch.device, interrupted: Event
) -> Path | None:
    """Fit a flow to the best model of a finished run and write it beside that; a weak one too, if there is to be one.

    Args:
        config: resolved, with a ``flow``, and with ``autoguidance`` for a weak one.
        stream: of the training split, its batches of ``flow.batch_size``.
        run_folder: with best_model.safetensors.
        device: of this process.
        interrupted: set when the fit is to save and leave.

    Returns:
        The file of the flow; None where there is no best model.

    Raises:
        KeyboardInterrupt: interrupted; everything is saved.
        NlbsError: a checkpoint cannot be read or written, or the model has no such latents.
    """
    if config.flow is None or not run_folder.best_model.exists():
        return None
    model = load_checkpoint(run_folder.best_model, device).requires_grad_(False)
    path, weak_path = flow_path(run_folder.best_model), weak_flow_path(run_folder.best_model)
    fit = LatentFlowFit(config, config.flow, model, stream, run_folder.path / "flow_state.pt")
    if not fit.is_written(path):
        weak_path.unlink(missing_ok=True)  # it stood beside another flow
        fit.write(path, interrupted)
    if config.autoguidance is None:
        if weak_path.exists():
            click.echo(
                f"{weak_path} stays, and draws go away from it: draw with --autoguidance 1, or delete it"
            )
        return path
    weak, beside = config.autoguidance.weak(config.flow), load_flow(path, model)
    fit = LatentFlowFit(config, weak, model, stream, run_folder.path / "weak_flow_state.pt", beside)
    if not fit.is_written(weak_path):
        fit.write(weak_path, interrupted)
    click.echo(f"weak flow: {weak_path}")
    return path


class LatentFlowFit:
    """The steps of a fit, from where a state left it."""

    def __init__(
        self,
        config: TrainConfig,
        flow_config: FlowTraining,
        model: GenerativeModel,
        stream: PatchStream,
        state_path: Path,
        beside: LatentFlow | None = None,
    ) -> None:
        """Take up a fit where its state left it.

        Args:
            config: resolved.
            flow_config: how this flow is fitted.
            model: whose latents it is fitted to.
            stream: of the training split, its batches of ``flow_config.batch_size``.
            state_path: what a stopped fit continues from.
            beside: the flow that this one is to be the weak one of; None: it is a flow of its own.
        """
        self.config, self.flow_config, self.model, self.beside = config, flow_config, model, beside
        self.name = "flow" if beside is None else "weak flow"
        self.device = model.device
        self.steps = -(-flow_config.patches // flow_config.batch_size)
        self.pool_batches = min(_POOL_BATCHES, -(-self.steps // flow_config.reuse))
        self.patches = EncodedPatches(config, model, stream, self.pool_batches)
        self.state_path = state_path
        torch.manual_seed(step_seed(config.training.seed, 0, _STREAM))
        self.flow = LatentFlow(flow_config.network, encoding(model, "a flow"), model.schema).to(self.device)
        self.average = Average(self.flow, flow_config.ema_decay, warms_up=True)
        self.optimizer = OPTIMIZERS["adamw"](
            self.flow.parameters(),
            lr=flow_config.learning_rate,
            betas=(0.9, 0.99),
            weight_decay=flow_config.weight_decay,
        )
        self.step, self.mean_loss = 0, math.nan
        self.skipped_in_row = 0  #: steps that were not applied
        self._identity = json.dumps(
            [
                *identity_of(flow_config, stream).values(),
                weights_digest(model),
                *([] if beside is None else [weights_digest(beside)]),
            ]
        )
        self._digest = hashlib.sha256(self._identity.encode()).hexdigest()
        self._restore()

    def is_written(self, path: Path) -> bool:
        """Whether just what this fit comes to is there already."""
        identity = {"identity": self._digest}
        return is_there(self.name, path, identity, lambda: open_flow(path, self.model)[1])

    def write(self, path: Path, interrupted: Event) -> None:
        """Take the steps that are left and write the flow.

        Raises:
            KeyboardInterrupt: interrupted; everything is saved.
        """
        self.run(interrupted)
        about = {"patches": self.flow_config.patches, "loss": self.mean_loss, "identity": self._digest}
        save_flow(path, self.average.model, self.model, about)
        self.save()

    def run(self, interrupted: Event) -> None:
        """Take the steps that are left. Raises KeyboardInterrupt where it is interrupted; all is saved."""
        if self.step >= self.steps:
            return
        verb = f"continues at step {self.step:,}" if self.step else "starts"
        click.echo(
            f"{self.name}: {sum(p.numel() for p in self.flow.parameters()):,} parameters over the "
            f"{len(self.flow.shapes)} coarsest levels, {verb}; {self.steps:,} steps, "
            f"{self.flow_config.batch_size} patches each"
        )
        if not self.step:
            self._set_scale()
        started, first, said, saved = time.monotonic(), self.step, time.monotonic(), time.monotonic()
        for batch in self.batches():
            self._note(self._take(batch))
            self.step += 1
            now = time.monotonic()
            if now - said > _LINE_EVERY_S:
                left = (now - started) / (self.step - first) * (self.steps - self.step)
                where = f"step {self.step:,} of {self.steps:,}"
                click.echo(f"{self.name}: {where}, loss {self.mean_loss:.4f}, {duration(left)} left")
                said = now
            if self.step >= self.steps:
                break
            if interrupted.is_set() or now - saved > _SAVE_EVERY_S:
                self.save()
                saved = now
            if interrupted.is_set():
                click.echo(f"stopped at step {self.step:,} of the {self.name}; the same command continues")
                raise KeyboardInterrupt

        if not self.average.steps:
            raise NlbsError(self._not_finite(self.steps))

    def _note(self, loss: float | None) -> None:
        """Count a step, and end a fit that has come to nothing.

        Raises:
            NlbsError: too many steps in a row were not applied.
        """
        if loss is None:
            self.skipped_in_row += 1
            if self.skipped_in_row >= MAX_SKIPPED_IN_ROW:
                raise NlbsError(self._not_finite(self.skipped_in_row))
            return
        self.skipped_in_row = 0
        self.mean_loss = (
            loss if math.isnan(self.mean_loss) else self.mean_loss + 0.02 * (loss - self.mean_loss)
        )

    def _not_finite(self, steps: int) -> str:
        return (
            f"the {self.name} cannot be fitted: {steps} steps in a row, up to step {self.step:,} of {self.steps:,}, "
            "gave a loss or gradient that is not finite, and none of them was applied; delete "
            f"{self.state_path} if it is there, and run the same command with a lower flow.learning_rate"
        )

    def _set_scale(self) -> None:
        if self.beside is None:
            maps = self.flow.as_maps(next(self.patches.pools(0)).levels)
            self.flow.set_scale(maps)
        else:
            self.flow.take_scale(self.beside)
        self.average.model.take_scale(self.flow)

    def save(self) -> None:
        """Write what the fit continues from."""
        state = {
            "identity": self._identity,
            "step": self.step,
            "mean_loss": None if math.isnan(self.mean_loss) else self.mean_loss,
            "skipped_in_row": self.skipped_in_row,
            "flow": self.flow.state_dict(),
            "average": self.average.state(),
            "optimizer": self.optimizer.state_dict(),
        }
        try:
            with atomic_file(self.state_path) as file:
                torch.save(state, file)
        except (OSError, RuntimeError) as error:  # torch.save turns a full disk into a RuntimeError
            raise CheckpointError(
                f"cannot save {self.state_path} ({error}); make room and run the same command again"
            ) from None

    def _restore(self) -> None:
        """Go back to where the fit was left, if it was one of the same model, patches and options."""
        if not os.path.lexists(self.state_path):
            return
        try:
            state: Any = load_state(self.state_path, _TIMES_THE_WEIGHTS * tensor_bytes(self.flow))
            if not isinstance(state, dict) or state.get("identity") != self._identity:
                click.echo(
                    f"{self.state_path} is of another model or of other options: the {self.name} begins anew"
                )
                return
            state = {"skipped_in_row": 0, **state}  # of an earlier release
            average = section(self.state_path, state, "average", {"model", "steps"})
            checked_counts(
                self.state_path, "flow", state, {"step": self.steps, "skipped_in_row": MAX_SKIPPED_IN_ROW}
            )
            checked_counts(self.state_path, "average", average, {"steps": self.steps})
            mean_loss = state.get("mean_loss")
            check_numbers(self.state_path, "flow", {} if mean_loss is None else {"mean_loss": mean_loss})
            weights = check_weights(self.state_path, self.flow, state.get("flow"))
            check_weights(self.state_path, self.flow, average["model"])
            taken = average["steps"]
            parameters = self.flow.parameters()
            moments = checked_optimizer(
                self.state_path, state.get("optimizer"), parameters, taken, self.steps
            )
        except CheckpointError as error:
            click.echo(f"{error}; the {self.name} is fitted anew")
            return
        self.flow.load_state_dict(weights)
        self.average.restore(average)
        restore_moments(self.optimizer, moments)
        self.step, self.mean_loss = state["step"], math.nan if mean_loss is None else mean_loss
        self.skipped_in_row = state["skipped_in_row"]

    def batches(self) -> Iterator[Encoded]:
        """Yield batches of latents from where the fit is: all of a pool in a new order, then all again."""
        size, reuse = self.flow_config.batch_size, self.flow_config.reuse
        number, done = divmod(self.step, self.pool_batches * reuse)
        for pool in self.patches.pools(number):
            generator = torch.Generator().manual_seed(step_seed(self.config.training.seed, number, _STREAM))
            orders = [torch.randperm(len(pool), generator=generator) for _ in range(reuse)]
            for rows in torch.split(torch.cat(orders), size)[done:]:
                yield pool.take(rows.to(self.device))
            number, done = number + 1, 0

    def _take(self, batch: Encoded) -> float | None:
        """Take a step; return its loss, None where it was not applied because something was not finite."""
        settings = self.flow_config
        torch.manual_seed(step_seed(self.config.training.seed, self.step, _STREAM))
        scaled = self.flow.scaled(batch.levels)
        all_hidden = torch.rand(len(batch), device=self.device) < settings.unknown_rate
        names = list(batch.conditions)
        one_hidden = torch.rand(len(names), len(batch), device=self.device) < settings.each_unknown_rate
        codes = hidden(batch.conditions, dict(zip(names, all_hidden | one_hidden, strict=True)))
        noise = [torch.randn_like(level) for level in scaled]
        # Times of the middle of the way more often: there the velocity is hardest (Esser et al., 2403.03206).
        t = torch.sigmoid(torch.randn(len(batch), device=self.device))
        self.optimizer.zero_grad(set_to_none=True)
        with autocast(self.config.training, self.device):
            loss = flow_loss(self.flow, scaled, noise, t, codes)
        loss.backward()  # type: ignore[no-untyped-call]
        norm = clip_gradients(self.flow.parameters(), _MAX_GRAD_NORM)
        value = float(loss.detach())
        if not (math.isfinite(float(norm)) and math.isfinite(value)):
            return None
        for group in self.optimizer.param_groups:
            group["lr"] = self._rate()
        self.optimizer.step()
        self.average.update(self.flow)
        return value

    def _rate(self) -> float:
        cosine = (1 + math.cos(math.pi * self.step / self.steps)) / 2
        return (
            self.flow_config.learning_rate
            * cosine
            * min(1.0, (self.step + 1) / (self.flow_config.warmup_steps + 1))
        )
