"""The contract of every generative model: what the trainer, nlbs-generate and nlbs-evaluate ask of it.

A family subclasses :class:`GenerativeModel`, and keeps the capabilities below that it has. A model never steps: the
trainer zeroes, freezes, clips, scales, exchanges, averages and skips. See docs/decisions/0018.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, Protocol, TypeVar, runtime_checkable

import torch
from torch import Tensor, nn

from nlbs.errors import ConfigError
from nlbs.manifests.schema import NLBS, Schema
from nlbs.models.conditioning import checked_conditions
from nlbs.models.family import ImageSpec
from nlbs.models.guidance import Guidance
from nlbs.models.schedules import Schedule
from nlbs.pictures import table_html

Shapes = Sequence[tuple[int, ...]]
#: condition -> its values of B patches, as :mod:`nlbs.manifests.schema` says: (B,) int64 codes, -1 unknown, for example
Conditions = Mapping[str, Tensor]
#: (B, *shape) each, as :data:`Shapes` says
Noise = Sequence[Tensor]


class Clock(NamedTuple):
    """Where a run is: what every schedule is a function of."""

    step: int  #: batches since the start of the run
    steps_per_epoch: int
    epoch: int  #: the one under way, from 0
    share: float  #: of all epochs that is over, 0 to 1


class Doubts(NamedTuple):
    """What a person should know of a model; empty: nothing."""

    draws: str = ""
    reconstructions: str = ""
    own_draws: str = ""  #: of draws by the model itself, that no stage makes


@dataclass(frozen=True, eq=False)
class Turn:
    """One of the optimisations that take turns on each batch: most models have one, a GAN has two."""

    name: str
    #: Whose gradients are wanted; those of all other turns are frozen meanwhile.
    parameters: Sequence[nn.Parameter]
    #: Names of what ``terms`` returns, in its order; "total" first, which is minimised.
    terms: Sequence[str]
    #: Noise of a patch, drawn anew for each step.
    noise: Shapes = ()
    #: Noise of a patch when weights are judged: the same at each judgement.
    judging_noise: Shapes = ()
    #: Optimiser steps on each batch.
    steps: int = 1
    #: Factor of the run's learning rate.
    rate: float = 1.0
    #: Of Adam; None: those of the run.
    betas: tuple[float, float] | None = None


def _alone(values: Tensor) -> Tensor:
    return values


class Trainable(nn.Module, ABC):
    """What the trainer steps: a model of patches, or what a later stage trains on the latents of one."""

    #: What it is made of, a dataclass; stands in its file.
    config: Any

    def __init__(self) -> None:
        super().__init__()
        #: Return the rows of all processes that train together, for a term that is no mean over patches; with a
        #: gradient. The trainer sets it; to be called in training mode alone, and by all processes alike.
        self.gathered: Callable[[Tensor], Tensor] = _alone

    @property
    def num_parameters(self) -> int:
        """How many numbers training adjusts."""
        return sum(parameter.numel() for parameter in self.parameters())

    @property
    def device(self) -> torch.device:
        """Where its weights are."""
        return next(self.parameters()).device

    @abstractmethod
    def turns(self) -> Sequence[Turn]:
        """Return what takes turns on each batch, in that order."""

    @abstractmethod
    def terms(
        self, turn: str, inputs: Any, conditions: Conditions, noise: Noise, clock: Clock
    ) -> dict[str, Tensor]:
        """Return the terms of a turn by the names that it says, scalars, means over the patches.

        In training mode to be minimised; in eval mode to judge weights by. Called under autocast where the run has
        half precision: :func:`full_precision` leaves it for what has to be exact.

        Args:
            turn: name of the turn.
            inputs: of a model, pixels (B, C, R, R) float32 in [-1, 1]; of a later stage, latents (B, *shape) each.
            conditions: on the device of the inputs; not checked, as this is the hot path.
            noise: as the turn asks for it.
            clock: where the run is.
        """


class GenerativeModel(Trainable):
    """A model that learns from patches with conditions, and draws such patches."""

    #: Its name in the registry; stands in each checkpoint.
    family: ClassVar[str]

    def __init__(self, image: ImageSpec, schema: Schema = NLBS) -> None:
        """Take what its images are like, and which conditions it has."""
        super().__init__()
        self.image, self.schema = image, schema

    @property
    def resolution(self) -> int:
        """The edge of its images in pixels."""
        return self.image.edge

    def checked(self, conditions: Conditions) -> dict[str, Tensor]:
        """Return its conditions where its weights are; raise ConfigError as ``checked_conditions`` does."""
        if torch.compiler.is_exporting():  # a graph has no values to look at
            return dict(conditions)
        return checked_conditions(conditions, self.device, self.schema)

    def __repr__(self) -> str:
        """Return a line; the layers are those of ``named_modules()``."""
        return (
            f"{type(self).__name__}({', '.join(f'{name} {value}' for name, value in self._facts().items())})"
        )

    def _repr_html_(self) -> str:
        values = {condition.label: condition.expected.removeprefix("one of ") for condition in self.schema}
        return table_html(type(self).__name__, {**self._facts(), **values})

    def _facts(self) -> dict[str, str]:
        edge = f"{self.resolution}x{self.resolution}"
        images = (
            f"{edge} pixels"
            if self.image.channels == 1
            else f"{edge} pixels in {self.image.channels} channels"
        )
        names = ", ".join(condition.label for condition in self.schema)
        return {"images": images, "parameters": f"{self.num_parameters:,}", "conditions": names}

    # Training.

    def judged(self, means: Mapping[str, float]) -> float | None:
        """Return what ranks checkpoints, less is better, from the means of all terms on patches that are held out.

        None: nothing does (a GAN), and the newest weights are kept.

        Args:
            means: by the names of the terms; with several turns ``TURN_NAME``, and "total" the sum of their totals.
        """
        return None

    def scheduled(self, clock: Clock) -> dict[str, float]:
        """Return what changes by the clock, for the log: a weight that rises, for example."""
        return {}

    def warnings(self, means: Mapping[str, float], clock: Clock) -> list[str]:
        """Return sentences about what has gone wrong and what helps, from the means of an epoch."""
        return []

    # Drawing.

    @property
    @abstractmethod
    def drawing_noise(self) -> Shapes:
        """The noise that one patch is drawn from, all of it, also where drawing takes many steps."""

    @abstractmethod
    def draw(self, noise: Noise, conditions: Conditions, guidance: float | Guidance = 1) -> Tensor:
        """Return patches (B, C, R, R) in [-1, 1]; patch i depends on row i of noise and conditions alone.

        Args:
            noise: (B, *shape) for each of :attr:`drawing_noise`.
            conditions: of the same B patches.
            guidance: how far to follow the conditions; 1 is as learned.

        Raises:
            ConfigError: conditions that are missing or out of range, or a guidance that the model does not have.
        """

    @property
    def doubts(self) -> Doubts:
        """What a person should know of its draws and reconstructions."""
        return Doubts()


# Capabilities: what some models can beside that. A command or a section asks by isinstance, and says what is lacking.


@runtime_checkable
class Reconstructs(Protocol):
    """Rebuilds images from what it encodes them to."""

    def reconstruct(self, pixels: Tensor, conditions: Conditions) -> Tensor:
        """Return what it makes of images (B, C, R, R) in [-1, 1], of the same shape, not clamped; in eval mode."""
        ...


@runtime_checkable
class Bounds(Protocol):
    """Rebuilds images, and says what encoding them costs: a bound on their likelihood."""

    def bound(self, pixels: Tensor, conditions: Conditions) -> tuple[Tensor, Tensor]:
        """Return reconstructions, as Reconstructs has them, and (B, levels) nats of KL, the coarsest level first."""
        ...


@runtime_checkable
class Encodes(Protocol):
    """Encodes images to latents, and renders latents."""

    @property
    def latent_shapes(self) -> Shapes:
        """The shapes of one image's latents, the coarsest first."""
        ...

    @property
    def coarsest_edge(self) -> int:
        """Edge of the map on which the coarsest latent, a vector, is laid where a network looks at latents."""
        ...

    def infer(self, pixels: Tensor, conditions: Conditions, noise: Noise | None = None) -> list[Tensor]:
        """Return the latents of images, (B, *shape) each; drawn by noise of the same shapes, or None: the means."""
        ...

    def render(self, latents: Sequence[Tensor], conditions: Conditions, noise: Noise | None = None) -> Tensor:
        """Return the images (B, C, R, R) in [-1, 1] of latents, of all levels or of the coarsest ones."""
        ...


@runtime_checkable
class HasPrior(Protocol):
    """Has a prior that its latents can be held against."""

    def shifts(self, pixels: Tensor, conditions: Conditions) -> list[Tensor]:
        """Return how far the means of latents lie from the prior's, in its standard deviations, (B, *shape) each."""
        ...


@runtime_checkable
class Uncertain(Protocol):
    """Says of each pixel that it rebuilds how far off it may be."""

    def uncertainty(self, pixels: Tensor, conditions: Conditions) -> Tensor:
        """Return the expected |x - reconstruction| of images (B, C, R, R), of the same shape, on [-1, 1]."""
        ...


@runtime_checkable
class Clusters(Protocol):
    """Sorts images into groups that nobody named."""

    def responsibilities(self, pixels: Tensor, conditions: Conditions) -> Tensor:
        """Return how likely each image (B, C, R, R) is of each group, (B, groups), rows that sum to 1."""
        ...


@runtime_checkable
class Prepares(Protocol):
    """Looks at patches before some epochs, to set weights that gradients would not find."""

    def patches_wanted(self, clock: Clock) -> int:
        """Return how many patches it is to see before the epoch at whose start the clock is; mostly 0."""
        ...

    def prepare(self, pixels: Tensor, conditions: Conditions) -> None:
        """Set such weights by images (B, C, R, R) in [-1, 1]; in eval mode, in all processes by the same ones."""
        ...


@runtime_checkable
class Denoises(Protocol):
    """Removes noise of any strength: what samplers of diffusion models stand on."""

    @property
    def schedule(self) -> Schedule:
        """The noise that it was trained to remove, over time."""
        ...

    def denoise(self, noisy: Tensor, sigma: Tensor, conditions: Conditions) -> Tensor:
        """Return the expected images (B, C, R, R) of noisy ones, whose noise has the deviation sigma, (B,)."""
        ...


def lacks(model: object, ability: str) -> str:
    """Return in words that a model lacks an ability: "a toy does not encode images"."""
    return f"a model of the family {getattr(type(model), 'family', type(model).__name__)} does not {ability}"


Capability = TypeVar("Capability")
#: capability -> what is needed of it, and what a model without it does not do
_ABILITIES: dict[type[Any], tuple[str, str]] = {
    Encodes: ("latents", "encode images"),
    Reconstructs: ("reconstructions", "rebuild images"),
    Denoises: ("a model that denoises", "denoise"),
}


def capable(model: GenerativeModel, capability: type[Capability], use: str) -> Capability:
    """Return a model that has a capability.

    Args:
        model: any.
        capability: Encodes, Reconstructs or Denoises.
        use: what it is for, the start of a sentence.

    Raises:
        ConfigError: it has not.
    """
    if not isinstance(model, capability):
        needed, ability = _ABILITIES[capability]
        raise ConfigError(
            f"{use} needs {needed}, and {lacks(model, ability)}; take a checkpoint of another family"
        )
    return model


def full_precision(device: torch.device) -> AbstractContextManager[Any]:
    """Return a context that leaves autocast: what sums exponentials or small differences is taken in float32."""
    return nullcontext() if device.type == "meta" else torch.autocast(device.type, enabled=False)
