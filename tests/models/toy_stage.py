"""A stage in one file: a normal distribution of all latents for each view, fitted by its likelihood."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from nlbs.models.contract import Clock, Conditions, Encodes, GenerativeModel, Noise, Turn, capable
from nlbs.models.drawing import ModelSampler
from nlbs.models.guidance import Guidance
from nlbs.models.stages.choice import SamplerChoice
from nlbs.models.stages.fitted import Fitted
from nlbs.models.stages.stage import LatentTraining, Stage


class Gaussian(Fitted):
    """Means and deviations of latents, of each view and of an unknown one."""

    def __init__(self, model: Encodes) -> None:
        super().__init__()
        self.shapes = model.latent_shapes
        self.numbers = nn.Embedding(3, 2 * sum(map(math.prod, self.shapes)))

    def of(self, conditions: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        mean, log_deviation = self.numbers(conditions["view"] + 1).chunk(2, dim=1)
        return mean, log_deviation.exp() + 0.01

    def turns(self) -> Sequence[Turn]:
        return [Turn("gaussian", list(self.parameters()), ("total",))]

    def terms(
        self, turn: str, inputs: Sequence[Tensor], conditions: Conditions, noise: Noise, clock: Clock
    ) -> dict[str, Tensor]:
        mean, deviation = self.of(conditions)
        flat = torch.cat([level.flatten(1) for level in inputs], dim=1)
        return {"total": (((flat - mean) / deviation).square() / 2 + deviation.log()).mean()}


class GaussianSampler(ModelSampler):
    """Draws all latents from it, and renders them."""

    def __init__(self, model: GenerativeModel, gaussian: Gaussian, choice: SamplerChoice) -> None:
        super().__init__(model, choice.temperature)
        self.gaussian, self._latents = gaussian, capable(model, Encodes, "drawing from a gaussian")

    def draw(self, noise: Sequence[Tensor], conditions: Mapping[str, Tensor]) -> Tensor:
        mean, deviation = self.gaussian.of(conditions)
        flat = mean + self.temperature * deviation * torch.cat([level.flatten(1) for level in noise], dim=1)
        parts = flat.split([math.prod(shape) for shape in self.gaussian.shapes], dim=1)
        shaped = zip(parts, self.gaussian.shapes, strict=True)
        return self._latents.render([part.reshape(-1, *shape) for part, shape in shaped], conditions)


def sampler(
    model: GenerativeModel, gaussian: Any, weak: Any, choice: SamplerChoice, guidance: Guidance
) -> Any:
    return GaussianSampler(model, gaussian, choice)


def make(network: None, model: GenerativeModel) -> Gaussian:
    return Gaussian(capable(model, Encodes, "a gaussian"))


GAUSSIAN = Stage("gaussian", "gaussian", LatentTraining, make, sampler=sampler)
