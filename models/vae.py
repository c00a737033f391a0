"""Convolutional VAEs: of whole mammograms (VinDr-Mammo) and of chest X-rays, as published and mended.

``vindr-vae-published``, to the letter. Its faults, kept: no prior draw is ever taken (what is called generated are
varied reconstructions of training images), and the KL at a tenth of its weight leaves the latents far from N(0, I);
cross-entropy of grey values is no likelihood, and its floor is the entropy of each image; the black background is most
of what is rebuilt; nothing is measured but two means of 20 images each.

``cxr-vae-published``, to the letter. Its faults, kept: the error is a mean over pixels and the KL a sum, over the
batch as well, so the KL weighs some 2,000 times what it does in a likelihood of unit squared errors: the latent
empties, and every draw is one blurred mean; the means and log-variances pass a LeakyReLU, so both hardly fall below 0;
what it reports as validation loss is that of the last training batch.

The mended ones (``vindr-vae``, ``cxr-vae`` and their ``-small``) keep the networks, and have a likelihood: whether a
pixel is air, and where it is none a Laplace distribution whose scale is learned; conditions by the schema; draws from
the prior, and a KL at its own weight once it has risen.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from nlbs.config import STRICT
from nlbs.errors import ConfigError
from nlbs.manifests.schema import Schema
from nlbs.models.contract import Clock, Doubts
from nlbs.models.family import AS_THEY_ARE, MENDED, PLAIN_ADAM, Family, ImageSpec
from nlbs.models.gaussian_latent import OneTurnModel
from nlbs.models.latent_use import latent_use
from nlbs.models.layers import Layers

_FIRST_LOG_SCALE, _SMALLEST_SCALE = -2.0, 0.004  # half a grey level of 256 is 0.004 on [-1, 1]
_SCALE_SPEED = 10.0  #: the scale has to follow the error down faster than weights move
LOGVAR_RANGE = (-14.0, 8.0)  #: of mended models: half precision and first steps leave no infinite KL

Width = Annotated[int, Field(ge=1, le=16_384)]


@dataclass(frozen=True)
class VaeConfig:
    """What it is made of. The defaults are those of ``vindr-vae``."""

    __pydantic_config__ = STRICT
    # Features after each stage of the encoder, which halves the map; the decoder goes backwards.
    widths: Annotated[tuple[Width, ...], Field(min_length=1, max_length=12)] = (32, 64, 128, 256)
    # 3 x 3 convolutions of a stage, before its pooling.
    convolutions: Annotated[int, Field(ge=1, le=16)] = 1
    # Slope of the encoder's LeakyReLU below 0; 0: ReLU.
    leak: Annotated[float, Field(ge=0, le=1)] = 0.0
    # The means and log-variances pass the LeakyReLU too.
    leaky_heads: bool = False
    latent_dim: Annotated[int, Field(ge=1, le=65_536)] = 1024
    # Edge of the decoder's transposed convolutions, of stride 2.
    kernel: Literal[3, 4] = 3
    # BatchNorm after each but the last of them.
    decoder_norm: bool = False
    # Of the conditions, which encoder heads and decoder see; 0: the model has none.
    condition_embed_dim: Annotated[int, Field(ge=0, le=16_384)] = 32
    # What the decoder's maps say of the pixels, a name of LIKELIHOODS.
    likelihood: Literal["laplace", "bernoulli", "square"] = "laplace"


@dataclass(frozen=True)
class VaeLoss:
    """Weight of the KL divergence."""

    __pydantic_config__ = STRICT
    # Of the KL summed over the latent, in the units of the reconstruction term; laplace: 1 is the likelihood's own.
    kl_weight: Annotated[float, Field(ge=0, le=1e12)] = 1.0
    # The weight rises from 0, straight, over this share of the run; 0: at once.
    kl_anneal_share: Annotated[float, Field(ge=0, lt=1)] = 0.2


@dataclass(frozen=True)
class Likelihood:
    """How a decoder's maps are read."""

    maps: int  #: for each channel of an image
    #: Return the image (B, C, R, R), aimed at [-1, 1], of maps (B, maps * C, R, R).
    image: Callable[[Tensor], Tensor]
    #: Return the reconstruction term, a scalar, of maps, pixels in [-1, 1] and the scale.
    error: Callable[[Tensor, Tensor, Tensor], Tensor]
    per_pixel: bool = False  #: the KL is divided by the pixels, as the error is a mean over them


def _laplace_image(maps: Tensor) -> Tensor:
    mean, air = maps.chunk(2, dim=1)
    return torch.where(air > 0, -1.0, mean)


def laplace_with_air(maps: Tensor, pixels: Tensor, scale: Tensor) -> Tensor:
    """Return -log p of pixels, nats per pixel: of being air or not, and of tissue log 2b + |x - mean| / b.

    Air is -1 exactly, as stored patches have it; it tells nothing of the scale b.
    """
    mean, air = maps.chunk(2, dim=1)
    is_air = (pixels <= -1).to(maps.dtype)
    nats = (2 * scale).log() + (pixels - mean).abs() / scale
    return ((1 - is_air) * nats).mean() + functional.binary_cross_entropy_with_logits(air, is_air)


def summed_cross_entropy(maps: Tensor, pixels: Tensor, scale: Tensor) -> Tensor:
    """Return -sum (x log y + (1 - x) log (1 - y)) of an image, x and y in [0, 1], y the sigmoid of the maps."""
    total = functional.binary_cross_entropy_with_logits(maps, (pixels + 1) / 2, reduction="sum")
    return total / len(pixels)


def mean_square(maps: Tensor, pixels: Tensor, scale: Tensor) -> Tensor:
    """Return the mean of (x - y)^2, x in [0, 1], y the maps as they are."""
    return functional.mse_loss(maps, (pixels + 1) / 2)


def stretched_square(maps: Tensor, pixels: Tensor, scale: Tensor) -> Tensor:
    """Return the mean of (x - y)^2, y the sigmoid of the maps, x from 0, the batch's darkest, to 1, its whitest."""
    low, high = pixels.amin(), pixels.amax()
    return functional.mse_loss(maps.sigmoid(), (pixels - low) / (high - low).clamp(min=1e-6))


LIKELIHOODS = {
    "laplace": Likelihood(2, _laplace_image, laplace_with_air, per_pixel=True),
    "bernoulli": Likelihood(1, lambda maps: 2 * maps.sigmoid() - 1, summed_cross_entropy),
    "square": Likelihood(1, lambda maps: 2 * maps - 1, mean_square),
    "sigmoid": Likelihood(1, lambda maps: 2 * maps.sigmoid() - 1, stretched_square),
}


class ElboModel(OneTurnModel):
    """A model that learns by a likelihood of pixels and a weighted KL. A family gives its networks."""

    loss: VaeLoss

    def __init__(
        self,
        image: ImageSpec,
        schema: Schema,
        latent_dim: int,
        embed_dim: int,
        likelihood: str,
        loss: VaeLoss,
    ) -> None:
        """Take what the base takes, the name of a likelihood of :data:`LIKELIHOODS`, and the weight of the KL."""
        super().__init__(image, schema, (latent_dim,), embed_dim)
        self.loss, self.likelihood = loss, LIKELIHOODS[likelihood]
        self.log_scale: nn.Parameter | None = None
        if self.likelihood.per_pixel:
            self.log_scale = nn.Parameter(torch.tensor(_FIRST_LOG_SCALE / _SCALE_SPEED))

    @property
    def scale(self) -> Tensor:
        """The scale b of the likelihood of a pixel in [-1, 1]; 1 where it has none."""
        if self.log_scale is None:
            return torch.ones((), device=self.device)
        return (_SCALE_SPEED * self.log_scale).exp().clamp(min=_SMALLEST_SCALE)

    @property
    def term_names(self) -> Sequence[str]:
        """The names of the terms of the evidence lower bound."""
        return ("total", "reconstruction", "kl", *(("scale",) if self.log_scale is not None else ()))

    def weighed(self, maps: Tensor, mu: Tensor, kl: Tensor, pixels: Tensor, clock: Clock) -> Sequence[Tensor]:
        """Return the loss and what it is the sum of; the KL in nats, before its weight."""
        scale = self.scale
        error = self.likelihood.error(maps, pixels, scale)
        total = error + self.scheduled(clock)["beta"] * kl / self._shares
        return (total, error, kl, scale)[: len(self.term_names)]

    def judged(self, means: Mapping[str, float]) -> float:
        """Return the total at the final weight of the KL, as while it rises weights would look worse each epoch."""
        return means["reconstruction"] + self.loss.kl_weight * means["kl"] / self._shares

    def scheduled(self, clock: Clock) -> dict[str, float]:
        """Return beta, the weight of the KL."""
        rising = self.loss.kl_anneal_share
        return {"beta": self.loss.kl_weight * (min(1.0, clock.share / rising) if rising else 1.0)}

    def warnings(self, means: Mapping[str, float], clock: Clock) -> list[str]:
        """Say where the latent holds nothing of the patches."""
        nats = np.array([means["kl"]])
        if not np.isfinite(nats).all() or not (use := latent_use({"kl": nats})).collapsed:
            return []
        return [f"{use.sentence} What helps: a lower training.loss.kl_weight, or model.likelihood: laplace."]

    @property
    def doubts(self) -> Doubts:
        """What the published losses do to draws."""
        if self.log_scale is not None:
            return Doubts()
        return Doubts(
            "this model's loss is no likelihood: its latents lie far from the prior, or hold nothing. What was "
            "published as generated are variations of real images: nlbs-generate vary."
        )

    @property
    def _shares(self) -> int:
        """What the KL is divided by: the pixels of an image, where the error is a mean over them."""
        return self.image.channels * self.resolution**2 if self.likelihood.per_pixel else 1

    def shown(self, maps: Tensor) -> Tensor:
        """Return what maps show."""
        return self.likelihood.image(maps)


class Vae(ElboModel):
    """q(z | x, c) by stages of convolutions and pooling, p(x | z, c) by transposed convolutions."""

    family: ClassVar[str] = "vae"

    def __init__(self, config: VaeConfig, image: ImageSpec, schema: Schema, loss: VaeLoss) -> None:
        """Make a model with fresh weights.

        Raises:
            ConfigError: the stages cannot halve its images.
        """
        embed_dim = config.condition_embed_dim
        super().__init__(image, schema, config.latent_dim, embed_dim, config.likelihood, loss)
        check_sections(config, loss, image.edge)
        self.config = config
        self.coarsest_edge = image.edge >> len(config.widths)
        self._map_shape = (config.widths[-1], self.coarsest_edge, self.coarsest_edge)
        flat = math.prod(self._map_shape)
        self.encoder = halving_stages(image.channels, config.widths, config.convolutions, config.leak)
        self.to_mu = nn.Linear(flat + embed_dim, config.latent_dim)
        self.to_logvar = nn.Linear(flat + embed_dim, config.latent_dim)
        self.from_latent = nn.Linear(config.latent_dim + embed_dim, flat)
        self.decoder = _decoder(config, self.likelihood.maps * image.channels)

    def encoded(self, pixels: Tensor, embedding: Tensor) -> tuple[Tensor, Tensor]:
        """Return mu and logvar of pixels in [-1, 1], which the network sees in [0, 1]."""
        flat = torch.cat([self.encoder((pixels + 1) / 2).flatten(1), embedding], dim=1)
        mu, logvar = self.to_mu(flat), self.to_logvar(flat)
        if self.config.leaky_heads:
            mu, logvar = (functional.leaky_relu(head, self.config.leak) for head in (mu, logvar))
        return (mu, logvar) if self.log_scale is None else (mu, logvar.clamp(*LOGVAR_RANGE))

    def decoded(self, z: Tensor, embedding: Tensor) -> Tensor:
        """Return the decoder's maps."""
        flat = self.from_latent(torch.cat([z, embedding], dim=1))
        maps: Tensor = self.decoder(flat.unflatten(1, self._map_shape))
        return maps


def halving_stages(channels: int, widths: Sequence[int], convolutions: int, leak: float) -> Layers:
    """Return stages of 3 x 3 convolutions, LeakyReLU and pooling, of as many features as widths say."""
    layers: list[nn.Module] = []
    for before, width in pairwise((channels, *widths)):
        for number in range(convolutions):
            layers += [nn.Conv2d(width if number else before, width, 3, padding=1), nn.LeakyReLU(leak)]
        layers.append(nn.MaxPool2d(2))
    return Layers(*layers)


def _decoder(config: VaeConfig, maps: int) -> Layers:
    backwards, extra = config.widths[::-1], 1 if config.kernel == 3 else 0  # twice the size exactly
    layers: list[nn.Module] = []
    for before, width in pairwise((*backwards, maps)):
        layers.append(nn.ConvTranspose2d(before, width, config.kernel, 2, 1, output_padding=extra))
        layers += [nn.BatchNorm2d(width)] if config.decoder_norm else []
        layers.append(nn.ReLU())
    return Layers(*layers[: -2 if config.decoder_norm else -1])  # the last maps are as they are


def check_sections(config: VaeConfig, loss: Any, resolution: int) -> None:
    """Raise ConfigError where images of that edge cannot be halved by every stage."""
    shrink = 1 << len(config.widths)
    if resolution % shrink:
        raise ConfigError(
            f"a resolution of {resolution} cannot be halved by each of the {len(config.widths)} stages of "
            f"model.widths; take a multiple of {shrink}"
        )


_VINDR = {"widths": (32, 64, 128, 256), "latent_dim": 1024}
_CXR = {"widths": (32, 64, 128, 256, 512), "convolutions": 2, "leak": 0.2, "kernel": 4, "decoder_norm": True}
PRESETS: dict[str, dict[str, Any]] = {
    "vindr-vae-published": {
        "model": {**_VINDR, "condition_embed_dim": 0, "likelihood": "bernoulli"},
        "training": {
            **PLAIN_ADAM,
            "augment": AS_THEY_ARE,
            "learning_rate": 1e-3,
            "min_learning_rate": 1e-3,
            "epochs": 60,
            "loss": {"kl_weight": 0.1, "kl_anneal_share": 0.0},
        },
        "data": {"resolution": 128, "batch_size": 32},
    },
    "vindr-vae": {
        "model": _VINDR,
        "training": {**MENDED, "epochs": 200},
        "data": {"resolution": 128, "batch_size": 32},
    },
    "vindr-vae-small": {
        "model": {**_VINDR, "latent_dim": 256},
        "training": {**MENDED, "epochs": 200},
        "data": {"resolution": 64, "batch_size": 32},
    },
    "cxr-vae-published": {
        "model": {**_CXR, "leaky_heads": True, "condition_embed_dim": 0, "likelihood": "square"},
        "training": {
            **PLAIN_ADAM,
            "augment": AS_THEY_ARE,
            "learning_rate": 1e-4,
            "min_learning_rate": 1e-4,
            "epochs": 10,
            # 2e-3 of the KL summed over the batch, 64 patches, is 0.128 of its mean over them.
            "loss": {"kl_weight": 64 * 2e-3, "kl_anneal_share": 0.0},
        },
        "data": {"resolution": 128, "batch_size": 64},
    },
    "cxr-vae": {
        "model": _CXR,
        "training": {**MENDED, "epochs": 60},
        "data": {"resolution": 128, "batch_size": 64},
    },
    "cxr-vae-small": {
        "model": {**_CXR, "widths": (32, 32, 64, 128, 128), "latent_dim": 128},
        "training": {**MENDED, "epochs": 60},
        "data": {"resolution": 64, "batch_size": 64},
    },
}
FAMILY = Family(
    "vae", VaeConfig, Vae, PRESETS, VaeLoss, check_sections, sampler="prior", title="variational autoencoder"
)
