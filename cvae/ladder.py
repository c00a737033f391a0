"""Stochastic skips: small spatial latents between encoder and decoder, each with a posterior and a learned prior.

A skip connection hands the decoder features that a drawn image does not have. Here a few channels of
noise take their place, z_l ~ q(z_l | encoder, decoder) in training and z_l ~ p(z_l | decoder) when drawing, so that the
decoder meets the same kind of input in both (Sonderby et al., 1602.02282; Child, 2011.10650).
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from nlbs.models.layers import ResidualBlock, norm_layer

LOGVAR_RANGE = (-12.0, 6.0)


class Gaussian(NamedTuple):
    """A normal distribution with independent components."""

    mean: Tensor
    logvar: Tensor

    def draw(self, noise: Tensor) -> Tensor:
        """Return mean + sigma * noise: Eq. 10 of 1312.6114."""
        return self.mean + torch.exp(0.5 * self.logvar) * noise


def gaussian(values: Tensor) -> Gaussian:
    """Return the distribution whose means and log-variances a layer computed, half of dimension 1 each."""
    mean, logvar = values.float().chunk(2, dim=1)
    return Gaussian(mean, logvar.clamp(*LOGVAR_RANGE))


def kl_between(q: Gaussian, p: Gaussian) -> Tensor:
    """Return KL(q || p) of each sample, (B,), in nats, summed over all else."""
    ratio = (q.logvar - p.logvar).exp() + (q.mean - p.mean).square() * (-p.logvar).exp()
    return 0.5 * (p.logvar - q.logvar + ratio - 1).flatten(start_dim=1).sum(dim=1)


class StochasticSkip(nn.Module):
    """One level of the ladder, at one size of the decoder's maps."""

    def __init__(
        self, channels: int, feature_channels: int, latent_channels: int, condition_dim: int, blocks: int,
        use_group_norm: bool, groups: int,
    ) -> None:  # fmt: skip
        super().__init__()
        self.prior = nn.Sequential(
            norm_layer(channels, use_group_norm, groups), nn.SiLU(), nn.Conv2d(channels, channels, 3, padding=1),
            nn.SiLU(), nn.Conv2d(channels, 2 * latent_channels, 3, padding=1),
        )  # fmt: skip
        self.posterior = nn.Sequential(
            nn.Conv2d(channels + feature_channels, channels, 3, padding=1),
            norm_layer(channels, use_group_norm, groups), nn.SiLU(),
            nn.Conv2d(channels, 2 * latent_channels, 3, padding=1),
        )  # fmt: skip
        nn.init.zeros_(self.prior[-1].weight)  # type: ignore[arg-type]
        nn.init.zeros_(self.prior[-1].bias)  # type: ignore[arg-type]
        self.expand = nn.Conv2d(latent_channels, channels, 3, padding=1)
        self.blocks = nn.ModuleList(
            ResidualBlock(channels, condition_dim, use_group_norm, groups) for _ in range(blocks)
        )

    def infer(self, x: Tensor, features: Tensor) -> tuple[Gaussian, Gaussian]:
        """Return q(z_l | encoder, decoder) and p(z_l | decoder): maps (B, latent channels, H, W)."""
        prior = self.expected(x)
        change = self.posterior(torch.cat([x, features], dim=1)).float()
        mean, logvar = change.chunk(2, dim=1)
        return Gaussian(prior.mean + mean, (prior.logvar + logvar).clamp(*LOGVAR_RANGE)), prior

    def expected(self, x: Tensor) -> Gaussian:
        """Return p(z_l | decoder)."""
        return gaussian(self.prior(x))

    def merge(self, x: Tensor, z: Tensor, embedding: Tensor) -> Tensor:
        """Return the decoder's features with the latent (B, latent channels, H, W) in them."""
        x = x + self.expand(z)
        for block in self.blocks:
            x = block(x, embedding)
        return x


def shift(posterior: Gaussian, prior: Gaussian) -> Tensor:
    """Return how far the posterior's means lie from the prior's, in the prior's standard deviations."""
    return (posterior.mean - prior.mean) * torch.exp(-0.5 * prior.logvar)


#: Gives the latent of a level, from its skip and the decoder's features there.
Choice = Callable[[int, StochasticSkip, Tensor], Tensor]


class Posterior:
    """Latents of images: each level's from q(z_l | encoder, decoder), and what they cost."""

    def __init__(self, features: Sequence[Tensor], noise: Sequence[Tensor] | None) -> None:
        """Take the encoder's features of each level, and epsilon of each; None: the means."""
        self._features, self._noise = features, noise
        self.latents: list[Tensor] = []
        self.kl: list[Tensor] = []  #: (B,) nats of each level

    def __call__(self, level: int, skip: StochasticSkip, x: Tensor) -> Tensor:
        """Return a level's latent."""
        posterior, prior = skip.infer(x, self._features[level])
        self.kl.append(kl_between(posterior, prior))
        self.latents.append(posterior.mean if self._noise is None else posterior.draw(self._noise[level]))
        return self.latents[-1]


class Shifts:
    """Latents of images, each at its mean, and how far they lie from what the prior expects."""

    def __init__(self, features: Sequence[Tensor]) -> None:
        """Take the encoder's features of each level."""
        self._features = features
        self.found: list[Tensor] = []  #: of each level

    def __call__(self, level: int, skip: StochasticSkip, x: Tensor) -> Tensor:
        """Return a level's latent."""
        posterior, prior = skip.infer(x, self._features[level])
        self.found.append(shift(posterior, prior))
        return posterior.mean


class Prior:
    """Latents of no image: those given, and after them from p(z_l | decoder)."""

    def __init__(self, given: Sequence[Tensor], noise: Sequence[Tensor] | None) -> None:
        """Take the latents of the coarsest levels, and epsilon of every level; None: the means."""
        self._given, self._noise = given, noise

    def __call__(self, level: int, skip: StochasticSkip, x: Tensor) -> Tensor:
        """Return a level's latent."""
        if level < len(self._given):
            return self._given[level]
        prior = skip.expected(x)
        return prior.mean if self._noise is None else prior.draw(self._noise[level])
