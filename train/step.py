"""One step of training: forward, backward, and the optimizer's, unless something is not finite."""

import contextlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from nlbs.cvae.fit import FITS
from nlbs.cvae.model import ConditionalVAE
from nlbs.train.augment import augment, draw_parameters, hidden
from nlbs.train.average import Average
from nlbs.train.clipping import clip_gradients
from nlbs.train.config import TrainConfig
from nlbs.train.feed import DeviceBatch
from nlbs.train.objective import Objective
from nlbs.train.precision import forward
from nlbs.train.ranks import Ranks

#: The ways of training.optimizer. Fused: one pass over the weights, twelve times quicker on a CPU.
OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "adam": partial(torch.optim.Adam, fused=True),
    "adamw": partial(torch.optim.AdamW, fused=True),
}

MAX_SKIPPED_IN_ROW = 10  #: steps that were not applied; after so many a run ends


@dataclass(frozen=True)
class Stepped:
    """What came of a step: the same in every process."""

    terms: dict[str, float]  #: of the objective, means over the whole batch
    grad_norm: float
    applied: bool  #: False: something was not finite, and the weights are as before
    sums: list[float]  #: over the processes, of what ``meanwhile`` gave


class Step:
    """Takes steps on one model, in one process or several.

    What is random is drawn for the whole batch, and each process takes its part: a step is the same
    (but for rounding) in any number of processes.
    """

    def __init__(
        self,
        config: TrainConfig,
        model: ConditionalVAE,
        optimizer: torch.optim.Optimizer,
        scaler: torch.amp.GradScaler,
        average: Average[ConditionalVAE] | None = None,
        ranks: Ranks | None = None,
    ) -> None:
        """Takes what it moves.

        Args:
            config: resolved.
            model: on its device.
            optimizer: of the model's parameters.
            scaler: of the loss; one that does nothing except at float16.
            average: of the weights; None: there is none.
            ranks: the processes that train together; None: this one alone.
        """
        self.config, self.model, self.optimizer = config, model, optimizer
        self.scaler, self.average, self.ranks = scaler, average, ranks or Ranks()
        self.objective = Objective.of(config.training.loss, model, self.ranks.gathered)
        self.device = next(model.parameters()).device
        self._network = self.ranks.wrapped(model, config.training.compile)
        self._forward = partial(forward, config.training)

    def take(
        self,
        batch: DeviceBatch,
        number: int,
        betas: Sequence[float],
        rate: float,
        meanwhile: Callable[[], list[float]] = list,
    ) -> Stepped:
        """Trains on one batch.

        Args:
            batch: this process's part of it.
            number: of the step since the start of the run; decides, with the seed, what is random.
            betas: the KL weight of each level of latents.
            rate: the learning rate.
            meanwhile: called once the device has its work; what it gives is summed over the processes.

        Raises:
            LostRankError: another process ended, or does not answer.
        """
        with self.ranks.waiting(f"the others in step {number + 1:,}"):
            pixels, conditions, noise = self.prepared(batch, number)
            statistics = [buffer.clone() for buffer in self.model.buffers()]
            self.optimizer.zero_grad(set_to_none=True)
            terms = self._backward(pixels, conditions, noise, betas)
            self.scaler.unscale_(self.optimizer)
            norm = clip_gradients(self.model.parameters(), self.config.training.max_grad_norm)
            means, sums = self._agreed(torch.stack([*terms.values(), norm]).detach(), meanwhile())
        *values, grad_norm = means
        found = dict(zip(terms, values, strict=True))
        applied = math.isfinite(found["total"]) and math.isfinite(grad_norm)
        if applied:
            for group in self.optimizer.param_groups:
                group["lr"] = rate
            self.scaler.step(self.optimizer)
            if self.average is not None:
                self.average.update(self.model)
        else:
            for buffer, before in zip(self.model.buffers(), statistics, strict=True):
                buffer.copy_(before)  # BatchNorm's running statistics have seen the batch
        self.scaler.update()  # lower where something was not finite, higher after long peace
        return Stepped(found, grad_norm, applied, sums)

    def prepared(self, batch: DeviceBatch, number: int) -> tuple[Tensor, dict[str, Tensor], Tensor]:
        """Gives pixels at the model's size and changed at random, their conditions, and the latents' noise."""
        training, data = self.config.training, self.config.data
        own = self.ranks.part(data.batch_size)
        # A function of seed and step alone, so that a resumed run repeats it.
        torch.manual_seed(step_seed(training.seed, number))
        drawn = draw_parameters(training.augment, data.batch_size, training.seed, batch.epoch, batch.step)
        parameters = drawn.part(own)
        pixels = FITS[data.fit](batch.pixels, data.resolution, parameters.corners)
        speckle = None
        if training.augment.noise:
            speckle = torch.randn(data.batch_size, *pixels.shape[1:], device=self.device)[own]
        pixels, conditions = augment(pixels, batch.conditions, parameters, training.augment, speckle)
        conditions = hidden(conditions, training.null_token_rate, drawn.hiding[own])
        noise = self.objective.noise(data.batch_size, self.device)[own]
        if self.ranks.rank:  # whatever a model draws itself, dropout say, is not to be alike in all
            torch.manual_seed(step_seed(training.seed, number, self.ranks.rank))
        return pixels, conditions, noise

    def _backward(
        self, pixels: Tensor, conditions: dict[str, Tensor], noise: Tensor, betas: Sequence[float]
    ) -> dict[str, Tensor]:
        """Adds the gradients of a batch, taken whole or in parts, to those there are. Gives its loss terms.

        Every term is a mean over patches, so that parts which weigh by their patches add up to the
        whole. Only BatchNorm and free bits see the difference: their means are of each part by itself.
        """
        parts = self.config.training.accumulate
        if parts == 1:
            output = self._forward(self._network, pixels, conditions, noise)
            terms = self.objective.terms(output, pixels, betas)
            self.scaler.scale(terms["total"]).backward()  # type: ignore[no-untyped-call]
            return terms
        sums = dict.fromkeys(self.objective.names, torch.zeros((), device=self.device))
        pairs = zip(pixels.tensor_split(parts), noise.tensor_split(parts), strict=True)
        codes = {name: code.tensor_split(parts) for name, code in conditions.items()}
        for part, (some, own_noise) in enumerate(pairs):
            share = len(some) / len(pixels)
            with self._exchanging(part == parts - 1):
                own_codes = {name: split[part] for name, split in codes.items()}
                terms = self.objective.terms(
                    self._forward(self._network, some, own_codes, own_noise), some, betas
                )
                self.scaler.scale(terms["total"] * share).backward()  # type: ignore[no-untyped-call]
            sums = {name: sums[name] + term.detach() * share for name, term in terms.items()}
        return sums

    def _exchanging(self, gradients: bool) -> contextlib.AbstractContextManager[None]:
        """Lets the processes exchange gradients in the last part of a batch alone."""
        if gradients or not isinstance(self._network, DistributedDataParallel):
            return contextlib.nullcontext()
        return self._network.no_sync()

    def _agreed(self, values: Tensor, flags: list[float]) -> tuple[list[float], list[float]]:
        """Gives the means of values over the processes, and the sums of flags. The one wait for the device."""
        if not self.ranks.joined:
            return values.tolist(), flags
        # Together: a value that is not finite anywhere is not finite everywhere, and so all skip the step.
        sums = self.ranks.sum(torch.cat([values, torch.tensor(flags).to(self.device, non_blocking=True)]))
        every = sums.tolist()
        means = [value / self.ranks.world_size for value in every[: len(values)]]
        return means, every[len(values) :]


def step_seed(seed: int, step: int, *more: int) -> int:
    """Gives a seed for each step, unrelated to those of its neighbours."""
    return int(np.random.SeedSequence([seed, step, *more]).generate_state(1, np.uint64)[0])
