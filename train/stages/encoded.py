"""Training patches as a trained model's latents: encoded some batches at a time, each used several times over."""

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from nlbs.models.contract import Encodes, GenerativeModel, capable
from nlbs.models.distortion import TOLD
from nlbs.models.pixels import FITS
from nlbs.train.config import TrainConfig
from nlbs.train.data.augment import augment, draw_parameters, on_device
from nlbs.train.data.distort import distorted, draw_distortions
from nlbs.train.data.feed import DeviceBatch, to_device
from nlbs.train.data.stream import PatchStream
from nlbs.train.optimisation import autocast
from nlbs.train.step import step_seed

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

_STREAM = 0x656E63  #: keeps these random numbers apart from others of the same seed


def as_trained_on(config: TrainConfig, batch: DeviceBatch) -> tuple[Tensor, dict[str, Tensor]]:
    """Return pixels (b, 1, R, R) and codes of a whole batch, changed at random as a run of that configuration does.

    Noise on pixels, where the run has it, comes from torch's global generator.
    """
    training, data = config.training, config.data
    drawn = draw_parameters(training.augment, len(batch), training.seed, batch.epoch, batch.step)
    pixels = FITS[data.fit](batch.pixels, data.resolution, drawn.corners)
    return augment(pixels, batch.conditions, drawn, training.augment, schema=config.schema)


def endless(stream: PatchStream, device: torch.device) -> Iterator[DeviceBatch]:
    """Yield the batches of one epoch after the other, without end."""
    epoch = 0
    while True:
        stream.seek(epoch)
        for batch in stream:
            yield to_device(batch, device)
        epoch += 1


@dataclass(frozen=True)
class Encoded:
    """Latents of some patches."""

    levels: list[Tensor]  #: (n, *shape) float32 each, coarsest first
    #: (n,) codes, the sides swapped where a patch was flipped; and TOLD, where patches are distorted
    conditions: dict[str, Tensor]

    def __len__(self) -> int:
        return len(self.levels[0])

    def take(self, rows: Tensor) -> "Encoded":
        """Return some of them."""
        return Encoded(
            [level[rows] for level in self.levels],
            {name: code[rows] for name, code in self.conditions.items()},
        )

    @staticmethod
    def joined(parts: "list[Encoded]") -> "Encoded":
        """Return parts as one."""
        levels = [torch.cat(level) for level in zip(*(part.levels for part in parts), strict=True)]
        names = parts[0].conditions
        return Encoded(levels, {name: torch.cat([part.conditions[name] for part in parts]) for name in names})


class EncodedPatches:
    """The patches of a stream, epoch after epoch, as pools of latents: pool k holds the k-th so many batches.

    Encoding a patch costs as much as a step on its latents; the noise and the times of a step are new each time, so a
    pool serves several.
    """

    def __init__(
        self,
        config: TrainConfig,
        model: GenerativeModel,
        stream: PatchStream,
        batches: int,
        distort: float = 0.0,
    ) -> None:
        """Take what makes the latents.

        Args:
            config: resolved.
            model: trained, in eval mode.
            stream: of the training split.
            batches: in a pool.
            distort: how often each way of distorting changes a patch (:mod:`nlbs.train.data.distort`).
        """
        self._config, self._stream, self._batches, self._distort = config, stream, batches, distort
        self._model, self._encoder = model, capable(model, Encodes, "what is fitted to latents")
        self._device = model.device

    def as_they_are(self) -> "EncodedPatches":
        """Return the same without distortions."""
        return EncodedPatches(self._config, self._model, self._stream, self._batches)

    def pools(self, first: int) -> Iterator[Encoded]:
        """Yield pool after pool, without end, from a number on."""
        number = first * self._batches  # of a batch since the start
        parts: list[Encoded] = []
        while True:
            self._stream.seek(number // len(self._stream), number % len(self._stream))
            for batch in self._stream:
                parts.append(self.encoded(to_device(batch, self._device), number))
                number += 1
                if len(parts) == self._batches:
                    yield Encoded.joined(parts)
                    parts = []

    @torch.no_grad()
    def encoded(self, batch: DeviceBatch, number: int) -> Encoded:
        """Return latents drawn from the posterior of a batch that is changed as in training, and distorted."""
        training = self._config.training
        torch.manual_seed(step_seed(training.seed, number, _STREAM))
        pixels, conditions = as_trained_on(self._config, batch)
        told: dict[str, Tensor] = {}
        if self._distort:
            numbers = draw_distortions(self._distort, len(batch), training.seed, number)
            pixels, told = distorted(pixels, numbers), {TOLD: on_device(numbers, pixels)}
        noise = [
            torch.randn(len(batch), *shape, device=self._device) for shape in self._encoder.latent_shapes
        ]
        with autocast(training, self._device):
            latents = self._encoder.infer(pixels, conditions, noise)
        return Encoded([level.float() for level in latents], conditions | told)


def identity_of(options: "DataclassInstance", stream: PatchStream) -> dict[str, Any]:
    """Return by what a fit is known again: its options, and its patches from the start of the stream."""
    return {"options": dataclasses.asdict(options), "stream": stream.state() | {"epoch": 0, "step": 0}}
