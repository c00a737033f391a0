"""Judging weights by the validation split."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from nlbs.models.contract import Clock, GenerativeModel, HasPrior, Noise, Turn
from nlbs.models.device import with_float64
from nlbs.models.drawing import draw_noise
from nlbs.models.latent_use import active_units
from nlbs.models.pixels import FITS
from nlbs.train.config import TrainConfig
from nlbs.train.data.feed import to_device
from nlbs.train.data.stream import Batch, PatchStream
from nlbs.train.optimisation import laid_out, passes
from nlbs.train.ranks.ranks import Ranks
from nlbs.train.turns import together

_COUNTED_BY = 512  #: patches at least, or all: active units


class Judge:
    """Gives the mean of each term of a model over the whole split: each patch once, with the same noise each time."""

    def __init__(self, config: TrainConfig, stream: PatchStream, ranks: Ranks | None = None) -> None:
        """Take the split.

        Args:
            config: resolved.
            stream: of the split; with several processes, this one's part of each batch.
            ranks: the processes that judge together; None: this one alone.
        """
        self.config, self.stream, self.ranks = config, stream, ranks or Ranks()

    def judge(
        self, model: GenerativeModel, clock: Clock, is_leaving: Callable[[], bool]
    ) -> dict[str, float] | None:
        """Return the means, the total as the model is judged by; None where the run was to leave first.

        Args:
            model: left in eval mode.
            clock: where the run is.
            is_leaving: asked after each batch, in every process.

        Raises:
            NlbsError: a patch cannot be read, here or in another process.
        """
        turns = model.turns()
        count = sum(len(turn.terms) for turn in turns)
        sums = torch.zeros(count, dtype=torch.float64, device=with_float64(model.device))
        model.eval()
        batches = iter(self.stream)
        for _ in range(len(self.stream)):
            with self.ranks.reporting():
                self._add(model, clock, next(batches), sums)
            if is_leaving():
                return None
        left = iter((self.ranks.sum(sums) / self.stream.num_patches).tolist())
        means = together(turns, {turn.name: [{term: next(left) for term in turn.terms}] for turn in turns})
        return as_judged(model, means)

    @torch.no_grad()
    def count_active_units(self, model: GenerativeModel) -> list[int]:
        """Return of each latent how many units vary with the patch, by some of this process's part of the split.

        Args:
            model: in eval mode; of one without a prior, nothing is counted.

        Raises:
            ShardError: a patch cannot be read.
        """
        if not isinstance(model, HasPrior):
            return []
        shifts: list[list[Tensor]] = []
        for number in range(min(len(self.stream), -(-_COUNTED_BY // self.stream.batch_size))):
            batch = to_device(self.stream.read(0, number).only_valid(), model.device)
            if len(batch):
                pixels = FITS[self.config.data.fit](batch.pixels, self.config.data.resolution, None)
                shifts.append([level.cpu() for level in model.shifts(pixels, batch.conditions)])
        if sum(len(some[0]) for some in shifts) < 2:
            return []
        return [active_units(torch.cat(level).numpy()).active for level in zip(*shifts, strict=True)]

    @torch.no_grad()
    def _add(self, model: GenerativeModel, clock: Clock, batch: Batch, sums: Tensor) -> None:
        """Add the terms of a batch's patches; of several processes, some may have none of the last batch."""
        valid = batch.only_valid()
        on_device = to_device(valid, model.device)
        if not len(on_device):
            return
        training = self.config.training
        pixels = FITS[self.config.data.fit](on_device.pixels, self.config.data.resolution, None)
        pixels = laid_out(training, pixels)
        found: list[Tensor] = []
        for turn in model.turns():
            with passes(training, model.device):
                noise = self._noise(turn, valid, model.device)
                terms = model.terms(turn.name, pixels, on_device.conditions, noise, clock)
            found += [terms[name] for name in turn.terms]
        sums += torch.stack(found).to(sums.device) * len(pixels)

    def _noise(self, turn: Turn, batch: Batch, device: torch.device) -> Noise:
        """Return the noise of patches, a function of the run's seed and of each patch's row alone."""
        if not turn.judging_noise:
            return []
        drawn = [draw_noise(self.config.training.seed, int(row), turn.judging_noise) for row in batch.rows]
        return [torch.from_numpy(np.stack(level)).to(device) for level in zip(*drawn, strict=True)]


def as_judged(model: GenerativeModel, means: dict[str, float]) -> dict[str, float]:
    """Return means of the terms with the total that ranks checkpoints; as they are where nothing ranks them."""
    total = model.judged(means)
    return means if total is None else {**means, "total": total}
