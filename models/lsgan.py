"""A least-squares GAN (Mao et al., 1611.04076) of DCGAN's shape (1511.06434), as published on chest X-rays, and mended.

``lsgan-published``, to the letter. Its faults, kept: the discriminator is shown real images in [0, 1] and made ones in
[-1, 1], so that a negative pixel gives a made one away; three steps of the generator on each of the discriminator;
2,048 uniform numbers for each image, most of which no generator of this size uses; it was shown images without a
finding alone, and is compared with models of all 14 labels; nothing but single samples, each stretched to its own
range, was ever looked at.

The mended ones (``lsgan``, ``lsgan-small``) show both in [-1, 1], step in turn, average the generator's weights, and
see conditions by the schema (the discriminator by projection, 1802.05637). In place of BatchNorm, which makes a patch's
score depend on those beside it, the discriminator has biases and pays for its slope at real images (R1, Eq. 9 of
1801.04406), which lets both learn at five times the rate. With spectral norms instead, as first mended, the generator
draws one shape: docs/decisions/0030.

Nothing judges the weights of a GAN: the newest averaged ones are kept.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from nlbs.config import STRICT
from nlbs.errors import ConfigError
from nlbs.manifests.schema import Schema
from nlbs.models.conditioning import ConditionEncoder
from nlbs.models.contract import Clock, Conditions, GenerativeModel, Noise, Shapes, Turn, full_precision
from nlbs.models.family import AS_THEY_ARE, AVERAGED, FLIPPED, PLAIN_ADAM, Family, ImageSpec, NoOptions
from nlbs.models.guidance import Guidance, as_guidance

_FIRST_EDGE = 4  #: of the maps that noise becomes
_LEAK = 0.2
_TOLD_APART = 0.02  #: a discriminator's squared errors below this teach a generator nothing

Width = Annotated[int, Field(ge=1, le=16_384)]


@dataclass(frozen=True)
class LsganConfig:
    """What it is made of. The defaults are those of ``lsgan``."""

    __pydantic_config__ = STRICT
    # Uniform numbers in (-1, 1) that an image is made of.
    latent_dim: Annotated[int, Field(ge=1, le=65_536)] = 256
    # Features of the generator's maps of 4, 8, 16, ... pixels; the discriminator goes backwards.
    widths: Annotated[tuple[Width, ...], Field(min_length=1, max_length=12)] = (512, 256, 128, 64, 32)
    # Of the conditions, which both networks see; 0: the model has none.
    condition_embed_dim: Annotated[int, Field(ge=0, le=16_384)] = 32
    # Steps of the generator on each of the discriminator.
    generator_steps: Annotated[int, Field(ge=1, le=100)] = 1
    # Of the discriminator's squared slope at real images, per root mean square change of one (R1); 0: none.
    slope_penalty: Annotated[float, Field(ge=0, le=1e12)] = 1e-4
    # BatchNorm after all but the first and last of the discriminator's convolutions, as published; False: biases.
    batch_norm: bool = False
    # Real images are shown in [0, 1], made ones in [-1, 1], as published; draws are then read from [0, 1].
    mixed_ranges: bool = False


class Generator(nn.Module):
    """Uniform noise and an embedding become an image: (B, latent_dim), (B, D) -> (B, C, R, R) in [-1, 1]."""

    def __init__(self, config: LsganConfig, channels: int, schema: Schema) -> None:
        super().__init__()
        embed_dim, widths = config.condition_embed_dim, config.widths
        self.condition_encoder = ConditionEncoder(embed_dim, schema) if embed_dim else None
        layers: list[nn.Module] = [
            nn.ConvTranspose2d(config.latent_dim + embed_dim, widths[0], _FIRST_EDGE, bias=False)
        ]
        for before, width in pairwise((*widths, channels)):
            layers += [nn.BatchNorm2d(before), nn.ReLU()]
            layers.append(nn.ConvTranspose2d(before, width, 4, 2, 1, bias=False))
        self.layers = nn.Sequential(*layers)

    def embedded(self, conditions: Conditions) -> Tensor:
        """Return (B, D) of conditions, of none where the model sees none."""
        if self.condition_encoder is not None:
            embedding: Tensor = self.condition_encoder(conditions)
            return embedding
        some = next(iter(conditions.values()))
        return torch.zeros(len(some), 0, device=some.device)

    def forward(self, noise: Tensor, embedding: Tensor) -> Tensor:
        """Return images of noise from N(0, I), which its distribution function makes uniform."""
        uniform = torch.erf(noise / math.sqrt(2))
        images: Tensor = self.layers(torch.cat([uniform, embedding], dim=1)[:, :, None, None])
        return torch.tanh(images.float())


class Discriminator(nn.Module):
    """Scores images, real 1 and made 0: (B, C, R, R) -> (B,)."""

    def __init__(self, config: LsganConfig, channels: int, schema: Schema) -> None:
        super().__init__()
        embed_dim, widths = config.condition_embed_dim, config.widths[::-1]
        bias = not config.batch_norm
        layers: list[nn.Module] = []
        for number, (before, width) in enumerate(pairwise((channels, *widths))):
            layers.append(nn.Conv2d(before, width, 4, 2, 1, bias=bias))
            layers += [nn.BatchNorm2d(width)] if number and config.batch_norm else []
            layers.append(nn.LeakyReLU(_LEAK))
        self.layers = nn.Sequential(*layers)
        self.score = nn.Conv2d(widths[-1], 1, _FIRST_EDGE, bias=bias)
        self.condition_encoder = ConditionEncoder(embed_dim, schema) if embed_dim else None
        self.project = nn.Linear(embed_dim, widths[-1], bias=False) if embed_dim else None

    def forward(self, images: Tensor, conditions: Conditions) -> Tensor:
        """Return scores: of the features, and of how they agree with the conditions."""
        features = self.layers(images)
        scores: Tensor = self.score(features).flatten()
        if self.condition_encoder is None or self.project is None:
            return scores.float()
        wanted = self.project(self.condition_encoder(conditions))
        agreement: Tensor = (features.mean(dim=(2, 3)) * wanted).sum(dim=1)
        return (scores + agreement).float()


class Lsgan(GenerativeModel):
    """Two turns: the discriminator tells real patches from made ones, the generator makes some that it cannot tell."""

    family: ClassVar[str] = "lsgan"

    def __init__(self, config: LsganConfig, image: ImageSpec, schema: Schema, loss: Any = None) -> None:
        """Make a model with fresh weights.

        Raises:
            ConfigError: its maps do not double to the size of its images.
        """
        super().__init__(image, schema)
        check_sections(config, loss, image.edge)
        self.config = config
        self.generator = Generator(config, image.channels, schema)
        self.discriminator = Discriminator(config, image.channels, schema)

    def turns(self) -> Sequence[Turn]:
        """Return the discriminator's turn and the generator's, with Adam's betas as published."""
        shapes, betas = self.drawing_noise, (0.5, 0.999)
        critic, maker = tuple(self.discriminator.parameters()), tuple(self.generator.parameters())
        return (
            Turn("discriminator", critic, self._critic_terms, shapes, shapes, betas=betas),
            Turn("generator", maker, ("total",), shapes, shapes, self.config.generator_steps, betas=betas),
        )

    def terms(
        self, turn: str, pixels: Tensor, conditions: Conditions, noise: Noise, clock: Clock
    ) -> dict[str, Tensor]:
        """Return the squared errors of scores, half of which either side minimises (Eq. 9 of 1611.04076).

        The discriminator minimises half of the penalty, too, which is 0 where weights are judged.
        """
        if turn == "generator":
            made = self.generator(noise[0], self.generator.embedded(conditions))
            return {"total": squared_error(self.discriminator(made, conditions), 1) / 2}
        with torch.no_grad():
            made = self.generator(noise[0], self.generator.embedded(conditions))
        shown = (pixels + 1) / 2 if self.config.mixed_ranges else pixels
        penalised = self.config.slope_penalty > 0 and self.training
        shown = shown.detach().requires_grad_(penalised)
        # What torch.compile makes cannot be differentiated twice, as the penalty is.
        judge = self.discriminator.forward if penalised else self.discriminator
        real_scores = judge(shown, conditions)
        real, fake = squared_error(real_scores, 1), squared_error(self.discriminator(made, conditions), 0)
        penalty = self.config.slope_penalty * squared_slope(real_scores, shown) if penalised else 0 * real
        terms = ((real + fake + penalty) / 2, real, fake, penalty)
        return dict(zip(self._critic_terms, terms, strict=False))

    @property
    def _critic_terms(self) -> tuple[str, ...]:
        return ("total", "real", "made", "slope")[: 4 if self.config.slope_penalty else 3]

    def warnings(self, means: Mapping[str, float], clock: Clock) -> list[str]:
        """Say where the discriminator tells all apart, so that the generator learns nothing more."""
        errors = [means.get(f"discriminator_{name}", 1.0) for name in ("real", "made")]
        if not max(errors) < _TOLD_APART:
            return []
        return [
            "The discriminator tells real patches from made ones nearly always, and the generator learns little from "
            "that. What helps: more patches, or a lower --learning-rate."
        ]

    @property
    def drawing_noise(self) -> Shapes:
        """Normal numbers, which become the uniform ones of an image."""
        return ((self.config.latent_dim,),)

    def draw(self, noise: Noise, conditions: Conditions, guidance: float | Guidance = 1) -> Tensor:
        """Return images (B, C, R, R) in [-1, 1]; guidance moves the embedding of the conditions."""
        codes = self.checked(conditions)
        (embedding,) = as_guidance(guidance).follow(codes, lambda some, _: [self.generator.embedded(some)])
        made: Tensor = self.generator(noise[0], embedding)
        return (2 * made - 1).clamp(-1, 1) if self.config.mixed_ranges else made


def squared_error(scores: Tensor, target: float) -> Tensor:
    """Return the mean of (score - target)^2, a scalar in float32."""
    with full_precision(scores.device):
        return (scores.float() - target).square().mean()


def squared_slope(scores: Tensor, images: Tensor) -> Tensor:
    """Return the mean over images of N |d score / d image|^2, N the pixels of an image: per root mean square change.

    Args:
        scores: (B,), each of its own image alone.
        images: (B, C, R, R) that they are a function of.
    """
    (slopes,) = torch.autograd.grad(scores.sum(), images, create_graph=True)
    with full_precision(images.device):
        return images[0].numel() * slopes.float().square().sum(dim=(1, 2, 3)).mean()


def check_sections(config: LsganConfig, loss: Any, resolution: int) -> None:
    """Raise ConfigError where the maps do not double to images of that edge."""
    edge = _FIRST_EDGE << len(config.widths)
    if resolution != edge:
        raise ConfigError(
            f"the {len(config.widths)} widths of model.widths make images of {edge} pixels, and data.resolution is "
            f"{resolution}; give a width more to double them, or one less to halve them"
        )


_ADAM = {**PLAIN_ADAM, "learning_rate": 2e-4, "min_learning_rate": 2e-4}
_MENDED = {
    **PLAIN_ADAM,
    **AVERAGED,
    "learning_rate": 1e-3,
    "min_learning_rate": 1e-4,
    "epochs": 60,
    "augment": FLIPPED,
}
PRESETS: dict[str, dict[str, Any]] = {
    "lsgan-published": {
        "model": {
            "latent_dim": 2048,
            "condition_embed_dim": 0,
            "generator_steps": 3,
            "slope_penalty": 0.0,
            "batch_norm": True,
            "mixed_ranges": True,
        },
        "training": {**_ADAM, "epochs": 10, "augment": AS_THEY_ARE},
        "data": {"resolution": 128, "batch_size": 64},
    },
    "lsgan": {"model": {}, "training": _MENDED, "data": {"resolution": 128, "batch_size": 64}},
    "lsgan-small": {
        "model": {"latent_dim": 128, "widths": (256, 128, 64, 32)},
        "training": {**_MENDED, "epochs": 100},
        "data": {"resolution": 64, "batch_size": 64},
    },
}
FAMILY = Family(
    "lsgan", LsganConfig, Lsgan, PRESETS, NoOptions, check_sections, title="generative adversarial network"
)
