"""One batch of training: for each turn forward, backward and the optimizer's step, unless something is not finite."""

import contextlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from nlbs.models.contract import Clock, Noise, Trainable, Turn
from nlbs.models.pixels import FITS
from nlbs.train.condition_stages import told
from nlbs.train.config import TrainConfig, TrainingConfig
from nlbs.train.data.augment import augment, draw_parameters, hidden
from nlbs.train.data.feed import DeviceBatch
from nlbs.train.optimisation import Average, clip_gradients, laid_out, passes
from nlbs.train.ranks.ranks import Ranks
from nlbs.train.turns import drawn, names, only, together

Model = TypeVar("Model", bound=Trainable)

OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "adam": partial(torch.optim.Adam, fused=True),
    "adamw": partial(torch.optim.AdamW, fused=True),
}


def optimizers_of(model: Trainable, training: TrainingConfig) -> list[torch.optim.Optimizer]:
    """Return the optimizer of each turn of a model."""
    return [
        OPTIMIZERS[training.optimizer](
            turn.parameters,
            lr=training.learning_rate * turn.rate,
            betas=turn.betas or training.betas,
            weight_decay=training.weight_decay,
        )
        for turn in model.turns()
    ]


MAX_SKIPPED_IN_ROW = 10  #: steps that were not applied; after so many a run ends


@dataclass(frozen=True)
class Stepped:
    """What came of a step: the same in every process."""

    terms: dict[str, float]  #: of all turns, means over the whole batch
    grad_norm: float  #: of several steps, the largest
    applied: bool  #: False: something was not finite, and the weights of that turn are as before
    sums: list[float]  #: over the processes, of what ``meanwhile`` gave


@dataclass(frozen=True)
class _Took:
    """What came of one step of one turn."""

    terms: dict[str, float]
    grad_norm: float
    applied: bool
    sums: list[float]


class Step(Generic[Model]):
    """Takes steps on one model, in one process or several.

    What is random is drawn for the whole batch, and each process takes its part: a step is the same
    (but for rounding) in any number of processes.
    """

    def __init__(
        self,
        config: TrainConfig,
        model: Model,
        optimizers: Sequence[torch.optim.Optimizer],
        scaler: torch.amp.GradScaler,
        average: Average[Model] | None = None,
        ranks: Ranks | None = None,
    ) -> None:
        """Take what it moves.

        Args:
            config: resolved.
            model: on its device.
            optimizers: of the parameters of each of the model's turns.
            scaler: of the loss; one that does nothing except at float16.
            average: of the weights; None: there is none.
            ranks: the processes that train together; None: this one alone.
        """
        self.config, self.model, self.optimizers = config, model, optimizers
        self.scaler, self.average, self.ranks = scaler, average, ranks or Ranks()
        self.device = model.device
        if self.ranks.world_size > 1:
            model.gathered = self.ranks.gathered
        self.turns, self._networks = self.ranks.wrapped(model, config.training.compile)
        self.names = names(self.turns)

    def take(
        self,
        batch: Any,
        clock: Clock,
        rate: float,
        meanwhile: Callable[[], list[float]] = list,
    ) -> Stepped:
        """Train on one batch.

        Args:
            batch: this process's part of it.
            clock: where the run is; its step decides, with the seed, what is random.
            rate: the learning rate.
            meanwhile: called once the device has its work; what it gives is summed over the processes.

        Raises:
            LostRankError: another process ended, or does not answer.
        """
        took: dict[str, list[_Took]] = {turn.name: [] for turn in self.turns}
        with self.ranks.waiting(f"the others in step {clock.step + 1:,}"):
            inputs, conditions, noises = self.prepared(batch, clock)
            order = [turn for turn in self.turns for _ in range(turn.steps)]
            for place, (turn, noise) in enumerate(zip(order, noises, strict=True)):
                last = place == len(order) - 1
                work = partial(self._backward, turn, inputs, conditions, noise, clock)
                took[turn.name].append(self._take(turn, work, rate, meanwhile if last else list))
        every = [one for steps in took.values() for one in steps]
        if self.average is not None and any(one.applied for one in every):
            self.average.update(self.model)
        terms = together(self.turns, {name: [one.terms for one in steps] for name, steps in took.items()})
        norms = [one.grad_norm for one in every]
        norm = max(norms) if all(map(math.isfinite, norms)) else math.nan
        return Stepped(
            terms, norms[0] if len(norms) == 1 else norm, all(one.applied for one in every), every[-1].sums
        )

    def _take(
        self,
        turn: Turn,
        backward: Callable[[], dict[str, Tensor]],
        rate: float,
        meanwhile: Callable[[], list[float]],
    ) -> _Took:
        """Take one step of one turn."""
        optimizer = self.optimizers[self.turns.index(turn)]
        statistics = [buffer.clone() for buffer in self.model.buffers()]
        optimizer.zero_grad(set_to_none=True)
        with only(turn, self.model, self.turns):
            terms = backward()
        self.scaler.unscale_(optimizer)
        norm = clip_gradients(turn.parameters, self.config.training.max_grad_norm)
        means, sums = self._agreed(torch.stack([*terms.values(), norm]).detach(), meanwhile())
        *values, grad_norm = means
        found = dict(zip(terms, values, strict=True))
        applied = math.isfinite(found["total"]) and math.isfinite(grad_norm)
        if applied:
            for group in optimizer.param_groups:
                group["lr"] = rate * turn.rate
            self.scaler.step(optimizer)
        else:
            for buffer, before in zip(self.model.buffers(), statistics, strict=True):
                buffer.copy_(before)  # BatchNorm's running statistics have seen the batch
        self.scaler.update()  # lower where something was not finite, higher after long peace
        return _Took(found, grad_norm, applied, sums)

    def prepared(self, batch: DeviceBatch, clock: Clock) -> tuple[Any, dict[str, Tensor], list[Noise]]:
        """Return pixels at the model's size and changed at random, their conditions, and the noise of each step."""
        training, data, number = self.config.training, self.config.data, clock.step
        own = self.ranks.part(data.batch_size)
        # A function of seed and step alone, so that a resumed run repeats it.
        torch.manual_seed(step_seed(training.seed, number))
        chosen = draw_parameters(
            training.augment, data.batch_size, training.seed, batch.epoch, batch.step, len(self.config.schema)
        )
        parameters = chosen.part(own)
        pixels = FITS[data.fit](batch.pixels, data.resolution, parameters.corners)
        speckle = None
        if training.augment.noise:
            speckle = torch.randn(data.batch_size, *pixels.shape[1:], device=self.device)[own]
        pixels, conditions = augment(
            pixels, batch.conditions, parameters, training.augment, speckle, self.config.schema
        )
        conditions = told(conditions, self.config, number, clock.steps_per_epoch)
        conditions = hidden(conditions, training.null_token_rate, chosen.hiding[own])
        noises: list[Noise] = [
            drawn(turn.noise, data.batch_size, self.device, own)
            for turn in self.turns
            for _ in range(turn.steps)
        ]
        if self.ranks.rank:  # whatever a model draws itself, dropout say, is not to be alike in all
            torch.manual_seed(step_seed(training.seed, number, self.ranks.rank))
        return laid_out(training, pixels), conditions, noises

    def _backward(
        self, turn: Turn, inputs: Any, conditions: dict[str, Tensor], noise: Noise, clock: Clock
    ) -> dict[str, Tensor]:
        """Add the gradients of a batch, taken whole or in parts, to those there are. Return its loss terms.

        Every term is a mean over patches, so that parts which weigh by their patches add up to the
        whole. Only BatchNorm and free bits see the difference: their means are of each part by itself.
        """
        parts, training = self.config.training.accumulate, self.config.training
        network = self._networks[self.turns.index(turn)]
        if parts == 1:
            with passes(training, self.device):
                terms: dict[str, Tensor] = network(inputs, conditions, noise, clock)
            self.scaler.scale(terms["total"]).backward()  # type: ignore[no-untyped-call]
            return terms
        sums = dict.fromkeys(turn.terms, torch.zeros((), device=self.device))
        codes = {name: code.tensor_split(parts) for name, code in conditions.items()}
        levels = [level.tensor_split(parts) for level in noise]
        for part, some in enumerate(inputs.tensor_split(parts)):
            share = len(some) / len(inputs)
            own_codes = {name: split[part] for name, split in codes.items()}
            with _exchanging(network, part == parts - 1):
                with passes(training, self.device):
                    terms = network(some, own_codes, [level[part] for level in levels], clock)
                self.scaler.scale(terms["total"] * share).backward()  # type: ignore[no-untyped-call]
            sums = {name: sums[name] + term.detach() * share for name, term in terms.items()}
        return sums

    def _agreed(self, values: Tensor, flags: list[float]) -> tuple[list[float], list[float]]:
        """Return the means of values over the processes, and the sums of flags. The one wait for the device."""
        if not self.ranks.joined:
            return values.tolist(), flags
        # Together: a value that is not finite anywhere is not finite everywhere, and so all skip the step.
        sums = self.ranks.sum(torch.cat([values, torch.tensor(flags).to(self.device, non_blocking=True)]))
        every = sums.tolist()
        means = [value / self.ranks.world_size for value in every[: len(values)]]
        return means, every[len(values) :]


def _exchanging(network: torch.nn.Module, gradients: bool) -> contextlib.AbstractContextManager[None]:
    """Let the processes exchange gradients in the last part of a batch alone."""
    if gradients or not isinstance(network, DistributedDataParallel):
        return contextlib.nullcontext()
    return network.no_sync()


def step_seed(seed: int, step: int, *more: int) -> int:
    """Return a seed for each step, unrelated to those of its neighbours."""
    return int(np.random.SeedSequence([seed, step, *more]).generate_state(1, np.uint64)[0])
