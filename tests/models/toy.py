"""A family in one file: a generator judged by the energy score, mean |x - y| - mean |y - y'| / 2, of its draws y."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from nlbs.config import STRICT
from nlbs.manifests.schema import Schema
from nlbs.models.conditioning import ConditionEncoder
from nlbs.models.contract import Clock, Conditions, GenerativeModel, ImageSpec, Noise, Shapes, Turn
from nlbs.models.family import Family
from nlbs.models.guidance import Guidance, as_guidance


@dataclass(frozen=True)
class ToyConfig:
    """What it is made of."""

    __pydantic_config__ = STRICT
    width: int = 8
    noise: int = 4


class Toy(GenerativeModel):
    """Draws 4 x 4 blocks of a map that noise and conditions become."""

    family = "toy"

    def __init__(self, config: ToyConfig, image: ImageSpec, schema: Schema) -> None:
        super().__init__(image, schema)
        self.config, self._edge = config, image.edge // 4
        self.condition_encoder = ConditionEncoder(config.width, schema)
        self.enter = nn.Linear(config.width + config.noise, config.width * self._edge**2)
        self.norm = nn.BatchNorm2d(config.width)
        self.leave = nn.ConvTranspose2d(config.width, image.channels, 4, stride=4)

    def forward(self, noise: Tensor, embedding: Tensor) -> Tensor:
        maps = self.enter(torch.cat([embedding, noise], dim=1)).unflatten(1, (-1, self._edge, self._edge))
        images: Tensor = self.leave(torch.relu(self.norm(maps))).float().tanh()
        return images

    def turns(self) -> Sequence[Turn]:
        shapes = ((self.config.noise,),) * 2
        return [Turn("toy", list(self.parameters()), ("total", "error", "spread"), shapes, shapes)]

    def terms(
        self, turn: str, pixels: Tensor, conditions: Conditions, noise: Noise, clock: Clock
    ) -> dict[str, Tensor]:
        embedding = self.condition_encoder(conditions)
        one, other = (self(some, embedding) for some in noise)
        error, spread = (one - pixels).abs().mean(), (one - other).abs().mean()
        total = error - self.scheduled(clock)["share of spread"] * spread
        return {"total": total, "error": error, "spread": spread}

    def judged(self, means: Mapping[str, float]) -> float:
        return means["error"] - means["spread"] / 2

    def scheduled(self, clock: Clock) -> dict[str, float]:
        return {"share of spread": min(1.0, 2 * clock.share) / 2}

    @property
    def drawing_noise(self) -> Shapes:
        return ((self.config.noise,),)

    def draw(self, noise: Noise, conditions: Conditions, guidance: float | Guidance = 1) -> Tensor:
        codes = self.checked(conditions)
        (embedding,) = as_guidance(guidance).follow(codes, lambda some, _: [self.condition_encoder(some)])
        return self(noise[0], embedding)


PRESETS = {"toy": {"training": {"epochs": 2, "learning_rate": 0.01, "ema_decay": 0.5, "log_every_steps": 1},
                   "data": {"resolution": 32, "batch_size": 8}}}  # fmt: skip
FAMILY = Family("toy", ToyConfig, lambda options, image, schema, loss: Toy(options, image, schema), PRESETS)
