"""Gaussian-mixture VAEs of chest X-rays on features of a network that others trained, as published and mended.

The prior is K diagonal Gaussians of equal weight, all learned; labels, where the model has them (``fs-gmvae``), enter
encoder and decoder. ``gmvae-published`` and ``fs-gmvae-published``, to the letter. Their faults, kept:

- The error is a mean over the numbers of an image, 150,528 of 3 x 224 x 224, and the KL a sum: the KL weighs 150,528
  times what it does in a likelihood of unit squared errors. The latent empties, which alone explains the blur.
- The rate of its configuration, 1e-4, is never read: Adam runs at 5e-3.
- The features that it calls frozen are trained, at that rate: nothing takes their gradients away.
- Maps pass BatchNorm and ELU before a sigmoid makes pixels of them, and are above -1: no pixel is darker than 0.27 of
  white, and the air around a body is grey.
- Images are stretched between the darkest and the whitest pixel of their batch: a loss depends on a patch's neighbours.
- The K means begin 0.2 from each other, with deviations of 0.83: one Gaussian, and at that weight they stay one.
- It trains for 1,500 steps, and what it reports as validation loss is the training loss.

So its conclusions on K, z and transition layers were not tested. It has three equal channels where ours has the one of
the patches: means over both are the same.

The mended ones (``gmvae``, ``fs-gmvae`` and their ``-small``) have the likelihood of :mod:`nlbs.models.vae` with the KL
at its own weight once it has risen, maps that reach black, features that are frozen, and computed once for each patch,
and a mixture that takes the place of N(0, I) where the latents have their clusters (docs/decisions/0025).
"""

import math
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Annotated, Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from nlbs.config import STRICT
from nlbs.errors import ConfigError
from nlbs.manifests.schema import Schema
from nlbs.models.conditioning import ConditionEncoder
from nlbs.models.contract import Clock, Conditions, Doubts, Noise, Shapes, full_precision
from nlbs.models.family import AS_THEY_ARE, MENDED, Family, ImageSpec
from nlbs.models.frozen_features import CHANNELS, SHRINK, FeatureNetwork, FrozenFeatures, loaded_network
from nlbs.models.layers import Layers
from nlbs.models.vae import LOGVAR_RANGE, ElboModel, VaeLoss, Width, halving_stages

_LEAST_VARIANCE = 1e-8
_PLACED_BY = 2048  #: patches
_OWN_VARIANCE = 4.0  #: patches that the variance of all clusters counts as, in that of one
#: The published decoders -> their widths: hidden layers of the MLP, else features before each doubling.
DECODERS = {"mlp": (300, 300, 784, 1568), "small": (14, 6, 3, 3), "transposed": (128, 64, 32, 16)}


@dataclass(frozen=True)
class GmvaeConfig:
    """What it is made of. The defaults are those of ``gmvae``."""

    __pydantic_config__ = STRICT
    # What is encoded: maps of a trained network (docs/zoo.md), or none: of stages of its own, of these widths.
    features: Literal["none", "vgg16", "densenet121"] = "vgg16"
    widths: Annotated[tuple[Width, ...], Field(min_length=1, max_length=12)] = (32, 64, 128, 128)
    # The file of the network's weights; checkpoints say the digest. Where it is given, no other file is taken.
    feature_weights: str | None = None
    feature_sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")] | None = None
    # Whether they stay as they are; else they are trained, and part of the model.
    frozen: bool = True
    # Channels of a 1 x 1 convolution of the maps, whose largest value of each is taken; none: the maps as they are.
    transition: Annotated[int, Field(ge=1, le=16_384)] | None = 300
    latent_dim: Annotated[int, Field(ge=1, le=65_536)] = 1000
    # Gaussians of the prior, K.
    components: Annotated[int, Field(ge=1, le=65_536)] = 50
    # Of the conditions, in encoder and decoder: their codes side by side, an embedding of so many numbers, or none.
    labels: Literal["none", "codes", "embedded"] = "none"
    condition_embed_dim: Annotated[int, Field(ge=1, le=16_384)] = 32
    decoder: Literal["mlp", "small", "transposed"] = "transposed"
    # Of its layers; none: those that were published.
    decoder_widths: Annotated[tuple[Width, ...], Field(min_length=1, max_length=12)] | None = None
    # What the maps say of the pixels, see nlbs.models.vae; sigmoid: as published, BatchNorm and ELU before it.
    likelihood: Literal["laplace", "sigmoid"] = "laplace"


@dataclass(frozen=True)
class GmvaeLoss(VaeLoss):
    """Weight of the KL divergence, and when the prior becomes a mixture."""

    __pydantic_config__ = STRICT
    # Until this share of the run is over, the prior is N(0, I); then the mixture moves to where latents have clusters,
    # and learns. 0: it learns from the first step, and begins as published.
    mixture_share: Annotated[float, Field(ge=0, lt=1)] = 0.3


class GaussianMixture(nn.Module):
    """p(z): K diagonal Gaussians of equal weight."""

    def __init__(self, components: int, latent_dim: int, standard: bool) -> None:
        """Make one of random Gaussians close to each other, as published, or N(0, I), which learns once placed."""
        super().__init__()
        first = torch.randn(2, components, latent_dim) / math.sqrt(components * latent_dim)
        if standard:
            first = torch.tensor([0, math.log(math.e - 1)]).reshape(2, 1, 1).expand_as(first)
        self.raw_means = nn.Parameter(first[0].clone())
        # The variance is softplus of these.
        self.raw_variances = nn.Parameter(first[1].clone())
        self.placed: Tensor
        self.register_buffer("placed", torch.tensor(not standard))

    @torch.no_grad()
    def place(self, means: Tensor, variances: Tensor) -> None:
        """Take means and variances of the components, (K, latent_dim) each; they learn from now on."""
        self.raw_means.copy_(means)
        self.raw_variances.copy_(inverse_softplus(variances))
        self.placed.fill_(True)

    def _learned(self, weights: Tensor) -> Tensor:
        return torch.where(self.placed, weights, weights.detach()).float()

    @property
    def means(self) -> Tensor:
        """Of each component, (K, latent_dim)."""
        return self._learned(self.raw_means)

    @property
    def variances(self) -> Tensor:
        """Of each component, (K, latent_dim)."""
        return functional.softplus(self._learned(self.raw_variances)) + _LEAST_VARIANCE

    def log_prob(self, z: Tensor) -> Tensor:
        """Return log p(z) of z, (B, latent_dim) float32, in nats, (B,)."""
        logs = log_normal(z.unsqueeze(1), self.means, self.variances.log())
        return logs.logsumexp(dim=1) - math.log(len(self.raw_means))

    def divergences(self, mu: Tensor, logvar: Tensor) -> Tensor:
        """Return KL(N(mu, exp(logvar)) || each component), (B, K), in nats; all float32."""
        mu, logvar, variances = mu.unsqueeze(1), logvar.unsqueeze(1), self.variances
        squares = (mu - self.means).square() + logvar.exp()
        return 0.5 * (squares / variances + variances.log() - logvar - 1).sum(dim=2)

    def drawn(self, component: Tensor, noise: Tensor) -> Tensor:
        """Return z, (B, latent_dim), of components, (B,) int64, by noise from N(0, I)."""
        return self.means[component] + self.variances.sqrt()[component] * noise

    def moments(self) -> tuple[Tensor, Tensor]:
        """Return mean and deviation of p(z) as a whole, (latent_dim,) each."""
        mean = self.means.mean(dim=0)
        squares = (self.variances + self.means.square()).mean(dim=0)
        return mean, (squares - mean.square()).clamp(min=_LEAST_VARIANCE).sqrt()


def log_normal(z: Tensor, mean: Tensor, log_variance: Tensor) -> Tensor:
    """Return log N(z; mean, exp(log_variance)), diagonal, summed over the last dimension."""
    squares = (z - mean).square() * (-log_variance).exp()
    return -0.5 * (squares + log_variance + math.log(2 * math.pi)).sum(dim=-1)


class Gmvae(ElboModel):
    """q(z | x, c) of the features of a patch, p(z) a mixture, p(x | z, c) by one of :data:`DECODERS`."""

    family: ClassVar[str] = "gmvae"
    loss: GmvaeLoss

    def __init__(self, config: GmvaeConfig, image: ImageSpec, schema: Schema, loss: GmvaeLoss) -> None:
        """Make a model with fresh weights.

        Raises:
            ConfigError: the features or the decoder's maps do not fit its images.
            CheckpointError: the file of the features' weights is missing, or another than expected.
        """
        embedded = config.condition_embed_dim if config.labels == "embedded" else 0
        super().__init__(image, schema, config.latent_dim, embedded, config.likelihood, loss)
        check_sections(config, loss, image.edge)
        if config.labels == "codes":
            self.condition_encoder = ConditionEncoder(None, schema)
        width = self.condition_encoder.width if self.condition_encoder else 0
        own = config.features == "none"
        self.coarsest_edge = image.edge >> len(config.widths) if own else image.edge // SHRINK
        self.encoder = halving_stages(image.channels, config.widths, 1, 0.2) if own else None
        channels = config.widths[-1] if own else CHANNELS[config.features]
        self.network = None if own or config.frozen else FeatureNetwork(config.features)
        # Set by the training alone: a model that is read from a checkpoint lies on the meta device now.
        if not own and torch.empty(0).device.type != "meta":
            config = self._with_weights(config)
        self.config = config
        self._frozen = FrozenFeatures(config.features, config.feature_weights, config.feature_sha256)
        self.transition, flat = _transition(config, channels, self.coarsest_edge)
        self.heads = nn.Linear(flat + width, 2 * config.latent_dim)
        self.prior = GaussianMixture(config.components, config.latent_dim, loss.mixture_share > 0)
        self.decoder = _decoder(config, width, self.likelihood.maps * image.channels, image.edge)

    def _with_weights(self, config: GmvaeConfig) -> GmvaeConfig:
        """Return options with the digest of the features' file; where they are to be trained, read it."""
        if self.network is not None:
            found = loaded_network(config.features, config.feature_weights, config.feature_sha256)
            self.network.load_state_dict(found.state_dict())
        features = FrozenFeatures(config.features, config.feature_weights, config.feature_sha256)
        return replace(config, feature_sha256=features.digest())

    def patches_wanted(self, clock: Clock) -> int:
        """Return 0 but before the epoch in which the mixture takes the place of N(0, I)."""
        return _PLACED_BY if not self.prior.placed and clock.share >= self.loss.mixture_share else 0

    @torch.no_grad()
    def prepare(self, pixels: Tensor, conditions: Conditions) -> None:
        """Put the mixture where the latents of patches have their clusters.

        Else all components would be one Gaussian, which none has a reason to leave.
        """
        mu, logvar = self.encoded(pixels, self.embedded(conditions))
        centres, variances = clusters(mu, self.config.components)
        self.prior.place(centres, variances + logvar.exp().mean(dim=0))

    def encoded(self, pixels: Tensor, embedding: Tensor) -> tuple[Tensor, Tensor]:
        """Return mu and logvar of pixels in [-1, 1]."""
        if self.encoder is not None:
            maps = self.encoder((pixels + 1) / 2)
        else:
            maps = self._frozen(pixels) if self.network is None else self.network(pixels)
        found = self.heads(torch.cat([self.transition(maps), embedding], dim=1))
        mu, raw = found.chunk(2, dim=1)
        with full_precision(pixels.device):
            logvar = (functional.softplus(raw.float()) + _LEAST_VARIANCE).log()
        return mu, logvar if self.config.likelihood == "sigmoid" else logvar.clamp(*LOGVAR_RANGE)

    def decoded(self, z: Tensor, embedding: Tensor) -> Tensor:
        """Return the decoder's maps."""
        maps: Tensor = self.decoder(torch.cat([z, embedding], dim=1))
        return maps

    def kl(self, mu: Tensor, logvar: Tensor) -> Tensor:
        """Return -log of the mean of exp(-KL(q || each component)): no less than the KL from the mixture, (B,) nats.

        The KL itself has no closed form. This is the variational bound of Hershey and Olsen (ICASSP 2007) on it, so the
        evidence bound stays one; a single sample could be on either side.
        """
        with full_precision(mu.device):
            divergences = self.prior.divergences(mu.float(), logvar.float())
            return math.log(self.config.components) - (-divergences).logsumexp(dim=1)

    def estimated_kl(self, mu: Tensor, logvar: Tensor, z: Tensor) -> Tensor:
        """Return log q(z | x, c) - log p(z) of the one z, (B,): the KL in expectation."""
        return log_normal(z, mu, logvar) - self.prior.log_prob(z)

    def responsibilities(self, pixels: Tensor, conditions: Conditions) -> Tensor:
        """Return how much each component speaks for patches, (B, K), rows that sum to 1: exp(-KL(q || component))."""
        mu, logvar = self.encoded(pixels, self.embedded(self.checked(conditions)))
        return (-self.prior.divergences(mu.float(), logvar.float())).softmax(dim=1)

    @property
    def drawing_noise(self) -> Shapes:
        """Epsilon of the latent, and a number for each component: the largest one is that of the patch.

        All are equally likely to be, and still are where a temperature scales the noise.
        """
        return (*self.latent_shapes, (self.config.components,))

    def from_prior(self, noise: Noise) -> Tensor:
        """Return latents of the components that the noise chooses."""
        return self.prior.drawn(noise[1].argmax(dim=1), noise[0])

    def shifts(self, pixels: Tensor, conditions: Conditions) -> list[Tensor]:
        """Return how far means of latents lie from that of the whole mixture, in its deviations."""
        mean, deviation = self.prior.moments()
        return [(self.infer(pixels, conditions)[0] - mean) / deviation]

    @property
    def doubts(self) -> Doubts:
        """What the published loss does to draws."""
        if self.config.likelihood == "laplace":
            return Doubts()
        return Doubts(
            "this model's KL weighs as many times too much as an image has numbers, so its latents hold next to "
            "nothing of the patches; and no pixel of it is darker than 0.27 of white."
        )


def inverse_softplus(values: Tensor) -> Tensor:
    """Return y with log(1 + exp(y)) = x, for x above 0."""
    return values + (-(-values).expm1()).log()


def clusters(points: Tensor, count: int, tries: int = 10, rounds: int = 20) -> tuple[Tensor, Tensor]:
    """Return centres and variances, (count, D) each, of points (N, D): the best of some runs of k-means++.

    Arthur and Vassilvitskii (SODA 2007). A cluster of few points has the variances of all clusters mixed in.
    """
    generator, best, chosen = torch.Generator().manual_seed(0), math.inf, points[:1]
    for _ in range(tries):
        centres = points[torch.randint(len(points), (1,), generator=generator)]
        for _ in range(count - 1):
            nearest = torch.cdist(points, centres).amin(dim=1).square().cpu() + 1e-12
            centres = torch.cat([centres, points[torch.multinomial(nearest, 1, generator=generator)]])
        for _ in range(rounds):
            own = functional.one_hot(torch.cdist(points, centres).argmin(dim=1), count).to(points.dtype)
            sums = own.T @ points
            centres = torch.where(
                own.sum(dim=0).unsqueeze(1) > 0, sums / own.sum(dim=0).clamp(min=1).unsqueeze(1), centres
            )
        spread = float(torch.cdist(points, centres).amin(dim=1).square().sum())
        if spread < best:
            best, chosen = spread, centres
    own = functional.one_hot(torch.cdist(points, chosen).argmin(dim=1), count).to(points.dtype)
    squares = (points - own @ chosen).square()
    overall = squares.mean(dim=0) + 1e-4
    return chosen, (own.T @ squares + _OWN_VARIANCE * overall) / (own.sum(dim=0).unsqueeze(1) + _OWN_VARIANCE)


def _transition(config: GmvaeConfig, channels: int, edge: int) -> tuple[Layers, int]:
    """Return what makes a vector of maps, and how many numbers that has."""
    if config.transition is None:
        # Maps of a trained network have any scale; published, they came as they were.
        scaled = config.features != "none" and config.likelihood != "sigmoid"
        norm = [nn.BatchNorm2d(channels)] if scaled else []
        return Layers(*norm, nn.Flatten()), channels * edge * edge
    width = config.transition
    layers = [
        nn.Conv2d(channels, width, 1),
        nn.BatchNorm2d(width),
        nn.ReLU(),
        nn.MaxPool2d(edge),
        nn.Flatten(),
    ]
    return Layers(*layers), width


def _decoder(config: GmvaeConfig, labels: int, maps: int, edge: int) -> Layers:
    """Return the decoder: (B, latent_dim + labels) -> (B, maps, edge, edge)."""
    widths = config.decoder_widths or DECODERS[config.decoder]
    entry = config.latent_dim + labels
    layers: list[nn.Module] = []
    if config.decoder == "mlp":
        for before, width in pairwise((entry, *widths)):
            layers += [nn.Linear(before, width), nn.ELU()]
        return Layers(*layers, nn.Linear(widths[-1], maps * edge**2), nn.Unflatten(1, (maps, edge, edge)))
    start = edge >> len(widths)
    layers += [nn.Linear(entry, widths[0] * start**2), nn.ELU(), nn.Unflatten(1, (widths[0], start, start))]
    for before, width in pairwise((*widths, maps)):
        layers += [nn.ConvTranspose2d(before, width, 4, 2, 1), nn.BatchNorm2d(width), nn.ELU()]
    return Layers(*(layers if config.likelihood == "sigmoid" else layers[:-2]))


def check_sections(config: GmvaeConfig, loss: Any, resolution: int) -> None:
    """Raise ConfigError where features or decoder cannot have images of that edge."""
    down = 1 << len(config.widths) if config.features == "none" else SHRINK
    up = 1 if config.decoder == "mlp" else 1 << len(config.decoder_widths or DECODERS[config.decoder])
    if resolution % max(down, up):
        raise ConfigError(
            f"a resolution of {resolution} cannot be halved as often as model.features {config.features} and "
            f"model.decoder {config.decoder} do; take a multiple of {max(down, up)}"
        )


_PUBLISHED: dict[str, dict[str, Any]] = {
    "model": {"transition": None, "frozen": False, "likelihood": "sigmoid"},
    "training": {
        "learning_rate": 5e-3,
        "min_learning_rate": 5e-3,
        "weight_decay": 0.0,
        "max_grad_norm": 1e12,
        "augment": AS_THEY_ARE,
        "max_steps": 1500,
        "loss": {"kl_weight": 1.0, "kl_anneal_share": 0.0, "mixture_share": 0.0},
    },
    "data": {"resolution": 224, "batch_size": 64},
}
_TRAINING = {**MENDED, "epochs": 200}
_SMALL = {"features": "none", "transition": None, "latent_dim": 32, "components": 10}
_LABELS = {"labels": "embedded"}
PRESETS: dict[str, dict[str, Any]] = {
    "gmvae-published": _PUBLISHED,
    "fs-gmvae-published": {
        **_PUBLISHED,
        "model": {**_PUBLISHED["model"], "labels": "codes", "decoder": "small"},
    },
    "gmvae": {"training": _TRAINING, "data": {"resolution": 224, "batch_size": 64}},
    "fs-gmvae": {"model": _LABELS, "training": _TRAINING, "data": {"resolution": 224, "batch_size": 64}},
    "gmvae-small": {"model": _SMALL, "training": _TRAINING, "data": {"resolution": 64, "batch_size": 64}},
    "fs-gmvae-small": {
        "model": {**_SMALL, **_LABELS},
        "training": _TRAINING,
        "data": {"resolution": 64, "batch_size": 64},
    },
}
FAMILY = Family(
    "gmvae",
    GmvaeConfig,
    Gmvae,
    PRESETS,
    GmvaeLoss,
    check_sections,
    sampler="prior",
    title="Gaussian-mixture variational autoencoder",
)
