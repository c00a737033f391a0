"""Judging weights by the validation split."""

from collections.abc import Callable

import torch
from torch import Tensor

from nlbs.cvae.fit import FITS
from nlbs.cvae.latent_use import active_units
from nlbs.cvae.model import ConditionalVAE
from nlbs.train.config import TrainConfig
from nlbs.train.feed import to_device
from nlbs.train.objective import Objective
from nlbs.train.precision import forward
from nlbs.train.ranks import Ranks
from nlbs.train.stream import Batch, PatchStream

_COUNTED_BY = 512  #: patches at least, or all: active units


class Judge:
    """Gives the mean of each term of the objective over the whole split, each patch once, z at its mean."""

    def __init__(self, config: TrainConfig, stream: PatchStream, ranks: Ranks | None = None) -> None:
        """Takes the split.

        Args:
            config: resolved.
            stream: of the split; with several processes, this one's part of each batch.
            ranks: the processes that judge together; None: this one alone.
        """
        self.config, self.stream, self.ranks = config, stream, ranks or Ranks()
        self._loss = config.training.loss

    def judge(self, model: ConditionalVAE, is_leaving: Callable[[], bool]) -> dict[str, float] | None:
        """Gives the means, the total at the final KL weight; None where the run was to leave first.

        Args:
            model: left in eval mode.
            is_leaving: asked after each batch, in every process.

        Raises:
            NlbsError: a patch cannot be read, here or in another process.
        """
        objective = Objective.of(self._loss, model)  # of one process's patches: the sums are exchanged
        names = objective.names
        sums = torch.zeros(len(names), dtype=torch.float64, device=next(model.parameters()).device)
        model.eval()
        batches = iter(self.stream)
        for _ in range(len(self.stream)):
            with self.ranks.reporting():
                self._add(model, objective, next(batches), sums)
            if is_leaving():
                return None
        means = (self.ranks.sum(sums) / self.stream.num_patches).tolist()
        return objective.judged(dict(zip(names, means, strict=True)))

    @torch.no_grad()
    def count_active_units(self, model: ConditionalVAE) -> list[int]:
        """Gives of each latent how many units vary with the patch, by some of this process's part of the split.

        Args:
            model: in eval mode.

        Raises:
            ShardError: a patch cannot be read.
        """
        shifts: list[list[Tensor]] = []
        for number in range(min(len(self.stream), -(-_COUNTED_BY // self.stream.batch_size))):
            batch = to_device(self.stream.read(0, number).only_valid(), next(model.parameters()).device)
            if len(batch):
                pixels = FITS[self.config.data.fit](batch.pixels, self.config.data.resolution, None)
                shifts.append([level.cpu() for level in model.shifts(pixels, batch.conditions)])
        if sum(len(some[0]) for some in shifts) < 2:
            return []
        return [active_units(torch.cat(level).numpy()).active for level in zip(*shifts, strict=True)]

    @torch.no_grad()
    def _add(self, model: ConditionalVAE, objective: Objective, batch: Batch, sums: Tensor) -> None:
        """Adds the terms of a batch's patches; of several processes, some may have none of the last batch."""
        on_device = to_device(batch.only_valid(), sums.device)
        if not len(on_device):
            return
        pixels = FITS[self.config.data.fit](on_device.pixels, self.config.data.resolution, None)
        output = forward(self.config.training, model, pixels, on_device.conditions)
        terms = objective.terms(output, pixels, [0.0] * objective.levels)
        sums += torch.stack([terms[name] for name in objective.names]) * len(pixels)
