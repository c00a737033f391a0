"""The conditional VAE: q(z | x, c), p(x | z, c) and a prior; the guide's, and what makes it generate, by switches."""

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from nlbs.cvae.conditioning import ConditionEncoder, checked_conditions, repeated
from nlbs.cvae.config import ModelConfig, model_preset
from nlbs.cvae.guidance import Guidance, as_guidance
from nlbs.cvae.ladder import (
    LOGVAR_RANGE,
    Choice,
    Gaussian,
    Posterior,
    Prior,
    Shifts,
    StochasticSkip,
    gaussian,
    kl_between,
    shift,
)
from nlbs.cvae.layers import ConvBlock, DeconvBlock, FiLM, Head
from nlbs.cvae.losses import kl_divergence
from nlbs.errors import ConfigError

#: The scale of the likelihood is exp(_SCALE_SPEED * parameter): Adam moves every parameter by about its rate,
#: and the scale has to follow the reconstruction error down faster than that.
_SCALE_SPEED = 10.0
_FIRST_LOG_SCALE, _SMALLEST_SCALE = -2.0, 0.004  # half a grey level of 256 is 0.004 on [-1, 1]


class ModelOutput(NamedTuple):
    """What one pass through the model gives."""

    reconstruction: Tensor  #: (B, 1, R, R), aimed at [-1, 1], not clamped
    mu: Tensor  #: (B, latent_dim)
    logvar: Tensor  #: (B, latent_dim)
    kl: Tensor  #: (B,) nats, summed over all latents
    kl_levels: Tensor  #: (B, levels) nats of each level, the coarsest first
    scale: Tensor | None  #: b of the likelihood Laplace(reconstruction, b); None: the model has none


class ConditionalVAE(nn.Module):
    """The network of the guide's sections 5 and 6, and by switches of the configuration what it lacks.

    With skip connections the decoder adds the features of encoder block i to its block of the
    same size. They are values of one call and stay nowhere: an image that is sampled has none,
    so zeros stand in their place, never the features of an image that was encoded before.
    With stochastic skips (:mod:`nlbs.cvae.ladder`) small latents take their place.

    The guide names no output activation, so there is none: ``forward`` and ``decode`` give
    what the last FiLM gives, and ``sample`` alone clamps it to [-1, 1]. The clean head ends in tanh.
    """

    def __init__(self, config: ModelConfig, resolution: int) -> None:
        """Makes a model with fresh weights for images of ``resolution`` x ``resolution`` pixels.

        Raises:
            ConfigError: the encoder's blocks cannot halve that resolution.
        """
        super().__init__()
        config.check_resolution(resolution)
        self.config = config
        self.resolution = resolution
        embed_dim, encoder = config.condition_embed_dim, config.encoder
        norm = (encoder.use_group_norm, encoder.groups)
        widths = (1, *encoder.channels)
        self._map_shape = (widths[-1], resolution // config.shrink, resolution // config.shrink)
        flat = widths[-1] * (resolution // config.shrink) ** 2

        self.condition_encoder = ConditionEncoder(embed_dim)
        self.encoder = nn.ModuleList(ConvBlock(a, b, *norm) for a, b in pairwise(widths))
        self.to_mu = nn.Linear(flat, config.latent_dim)
        self.to_logvar = nn.Linear(flat, config.latent_dim)
        self.posterior_bias: nn.Module | None = None
        if config.use_posterior_bias:
            self.posterior_bias = nn.Linear(embed_dim, 2 * config.latent_dim)
        self.prior: nn.Linear | None = None
        if config.conditional_prior:
            self.prior = nn.Linear(embed_dim, 2 * config.latent_dim)
            nn.init.zeros_(self.prior.weight)
            nn.init.zeros_(self.prior.bias)
        self.from_latent = nn.Linear(config.latent_dim, flat)
        self._make_decoder(norm)
        if config.decoder.film_starts_neutral:
            for film in (layer for layer in self.modules() if isinstance(layer, FiLM)):
                film.start_neutral()
        self.log_scale: nn.Parameter | None = None
        if config.learned_scale:
            self.log_scale = nn.Parameter(torch.tensor(_FIRST_LOG_SCALE / _SCALE_SPEED))

    def _make_decoder(self, norm: tuple[bool, int]) -> None:
        config, decoder = self.config, self.config.decoder
        film_dim = config.condition_embed_dim + (config.latent_dim if config.latent_in_film else 0)
        widths = decoder.channels[:-1] if decoder.clean_head else decoder.channels
        self.decoder = nn.ModuleList(DeconvBlock(a, b, film_dim, *norm) for a, b in pairwise(widths))
        latents = decoder.stochastic_skips
        has_full = len(latents) == len(self.encoder)
        sizes = list(decoder.channels[1:])
        if has_full:
            sizes[-1] = decoder.head_channels
        features = [*reversed(config.encoder.channels[:-1]), decoder.head_channels]
        self.skips = nn.ModuleList(
            StochasticSkip(width, feature, latent, film_dim, decoder.residual_blocks, *norm)
            for width, feature, latent in zip(sizes, features, latents, strict=False)
        )
        self.head: Head | None = None
        if decoder.clean_head:
            self.head = Head(decoder.channels[-2], sizes[-1], film_dim)
        self.stem, self.output = None, None
        if has_full:
            self.stem = nn.Conv2d(1, decoder.head_channels, kernel_size=3, padding=1)
            self.output = nn.Conv2d(decoder.head_channels, 1, kernel_size=3, padding=1)

    @classmethod
    def from_preset(cls, name: str) -> "ConditionalVAE":
        """Gives a fresh model of a preset: "guide" or "guide-small".

        Raises:
            ConfigError: there is no preset of that name.
        """
        return cls(*model_preset(name))

    @classmethod
    def load_from_checkpoint(cls, path: str | Path, device: str | torch.device = "cpu") -> "ConditionalVAE":
        """Gives the model of a checkpoint, in eval mode.

        Raises:
            CheckpointError: missing, damaged, not a checkpoint of ours, or of another architecture.
        """
        from nlbs.cvae.checkpoint import load_checkpoint

        return load_checkpoint(Path(path), device)

    @property
    def num_parameters(self) -> int:
        """How many numbers training adjusts."""
        return sum(parameter.numel() for parameter in self.parameters())

    @property
    def samples_without_skips(self) -> bool:
        """Whether sampling leaves out skip connections that training had.

        Such a model draws from what it was not trained on, and a command says so.
        """
        return self.config.decoder.use_skip_connections

    def encode(self, pixels: Tensor, conditions: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Gives mu and logvar of q(z | x, c), each (B, latent_dim).

        Args:
            pixels: (B, 1, R, R) float in [-1, 1].
            conditions: codes, (B,) integers each, -1 unknown.

        Raises:
            ConfigError: pixels of another shape, or conditions that are missing or out of range.
        """
        self._check_pixels(pixels)
        codes = checked_conditions(conditions, pixels.device)
        posterior, _ = self._encode(pixels, self.condition_encoder(codes))
        return posterior.mean, posterior.logvar

    def decode(self, z: Tensor, conditions: Mapping[str, Tensor]) -> Tensor:
        """Gives images (B, 1, R, R), aimed at [-1, 1], of latents (B, latent_dim) alone: without skips.

        Stochastic skips are at their prior means.

        Raises:
            ConfigError: conditions that are missing or out of range.
        """
        embedding = self.condition_encoder(checked_conditions(conditions, z.device))
        return self._decode(z, embedding, (), Prior((), None))

    @property
    def latent_shapes(self) -> tuple[tuple[int, ...], ...]:
        """The shapes of one image's latents, the coarsest first."""
        size = self._map_shape[1]
        levels = enumerate(self.config.decoder.stochastic_skips, start=1)
        return ((self.config.latent_dim,), *((c, size << level, size << level) for level, c in levels))

    @property
    def num_latents(self) -> int:
        """How many latent numbers one image has, over all levels."""
        return sum(math.prod(shape) for shape in self.latent_shapes)

    @property
    def scale(self) -> Tensor | None:
        """The scale b of the likelihood Laplace(reconstruction, b) of a pixel in [-1, 1]; None: there is none."""
        if self.log_scale is None:
            return None
        return (_SCALE_SPEED * self.log_scale).exp().clamp(min=_SMALLEST_SCALE)

    def infer(
        self, pixels: Tensor, conditions: Mapping[str, Tensor], noise: Sequence[Tensor] | None = None
    ) -> list[Tensor]:
        """Gives the latents of images, one tensor (B, *shape) for each of :attr:`latent_shapes`.

        Args:
            pixels: (B, 1, R, R) float in [-1, 1].
            conditions: codes, (B,) integers each, -1 unknown.
            noise: epsilon of q(z | x, c), shaped as the latents, from N(0, I); None: the means.

        Raises:
            ConfigError: pixels of another shape, or conditions that are missing or out of range.
        """
        self._check_pixels(pixels)
        embedding = self.condition_encoder(checked_conditions(conditions, pixels.device))
        posterior, features = self._encode(pixels, embedding)
        z = posterior.mean if noise is None else posterior.draw(noise[0])
        levels = Posterior(self._features_of_levels(pixels, features), noise[1:] if noise else None)
        if self.skips:
            self._decode(z, embedding, features, levels)
        return [z, *levels.latents]

    def shifts(self, pixels: Tensor, conditions: Mapping[str, Tensor]) -> list[Tensor]:
        """Gives how far the latents' means lie from the prior's, in the prior's standard deviations.

        What varies here varies with the image, and not with its conditions or with coarser latents: what active units
        are counted by (:func:`nlbs.cvae.latent_use.active_units`).

        Args:
            pixels: (B, 1, R, R) float in [-1, 1].
            conditions: codes, (B,) integers each, -1 unknown.

        Returns:
            One tensor (B, *shape) for each of :attr:`latent_shapes`.

        Raises:
            ConfigError: pixels of another shape, or conditions that are missing or out of range.
        """
        self._check_pixels(pixels)
        embedding = self.condition_encoder(checked_conditions(conditions, pixels.device))
        posterior, features = self._encode(pixels, embedding)
        levels = Shifts(self._features_of_levels(pixels, features))
        if self.skips:
            self._decode(posterior.mean, embedding, features, levels)
        return [shift(posterior, self._prior(embedding)), *levels.found]

    def render(
        self,
        latents: Sequence[Tensor],
        conditions: Mapping[str, Tensor],
        noise: Sequence[Tensor] | None = None,
    ) -> Tensor:
        """Gives the images (B, 1, R, R) in [-1, 1] of latents as :meth:`infer` gives them.

        Args:
            latents: of all levels, or of the coarsest ones; the others then come from the prior.
            conditions: codes, (B,) integers each, -1 unknown.
            noise: from N(0, I), shaped as the latents of all levels, for those that are not given; None:
                they are the prior's means.

        Raises:
            ConfigError: conditions that are missing or out of range.
        """
        embedding = self.condition_encoder(checked_conditions(conditions, latents[0].device))
        levels = Prior(latents[1:], noise[1:] if noise else None)
        return self._decode(latents[0], embedding, (), levels).clamp(-1, 1)

    def draw(
        self,
        noise: Sequence[Tensor],
        conditions: Mapping[str, Tensor],
        temperature: float = 1,
        guidance: float | Guidance = 1,
    ) -> Tensor:
        """Gives images (B, 1, R, R) in [-1, 1] drawn from the prior.

        Args:
            noise: from N(0, I), one tensor (B, *shape) for each of :attr:`latent_shapes`.
            conditions: codes, (B,) integers each, -1 unknown.
            temperature: factor of the prior's standard deviations; 1 is the prior.
            guidance: as for :meth:`coarse_prior`.

        Raises:
            ConfigError: conditions that are missing or out of range.
        """
        scaled = [temperature * level for level in noise]
        return self.render([self.coarse_prior(conditions, guidance).draw(scaled[0])], conditions, scaled)

    def coarse_prior(self, conditions: Mapping[str, Tensor], guidance: float | Guidance = 1) -> Gaussian:
        """Gives p(z | c) of the coarsest latent, (B, latent_dim) each; N(0, I) where the model has no conditional one.

        Args:
            conditions: codes, (B,) integers each, -1 unknown.
            guidance: of the mean; a number is that of all conditions at once.

        Raises:
            ConfigError: conditions that are missing or out of range, a guidance below 0.
        """
        codes = checked_conditions(conditions, self.from_latent.weight.device)
        logvar = self._prior(self.condition_encoder(codes)).logvar
        (mean,) = as_guidance(guidance).follow(
            codes, lambda some, _: [self._prior(self.condition_encoder(some)).mean]
        )
        return Gaussian(mean, logvar)

    def forward(
        self, pixels: Tensor, conditions: Mapping[str, Tensor], noise: Tensor | None = None
    ) -> ModelOutput:
        """Encodes, draws the latents (the means in eval mode) from torch's global generator, and decodes.

        The hot path of training: codes out of range are for the caller to refuse.

        Args:
            pixels: (B, 1, R, R) float in [-1, 1].
            conditions: codes, (B,) int64 each on the device of the pixels, -1 unknown.
            noise: epsilon of all levels in a row, (B, num_latents) from N(0, I); drawn here for None. Not used in
                eval mode.
        """
        embedding = self.condition_encoder(conditions)
        posterior, features = self._encode(pixels, embedding)
        of_level: list[Tensor] | None = None
        if self.training:
            drawn = (
                torch.randn(len(pixels), self.num_latents, device=pixels.device) if noise is None else noise
            )
            of_level = self._by_level(drawn)
        z = posterior.mean if of_level is None else posterior.draw(of_level[0])
        levels = Posterior(self._features_of_levels(pixels, features), of_level[1:] if of_level else None)
        reconstruction = self._decode(z, embedding, features, levels)
        kl = (
            kl_divergence(*posterior) if self.prior is None else kl_between(posterior, self._prior(embedding))
        )
        kls = torch.stack([kl, *levels.kl], dim=1)
        return ModelOutput(reconstruction, *posterior, kls.sum(dim=1), kls, self.scale)

    def sample(
        self,
        conditions: Mapping[str, Tensor],
        num_samples: int = 1,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Gives images drawn from p(x | z, c) with z from the prior, (n, 1, R, R) in [-1, 1].

        The latents are drawn on the generator's device (the CPU without one), so that a seed
        gives the same images wherever the model is.

        Args:
            conditions: codes, integers, -1 unknown. Of size 1: ``num_samples`` images of it.
                Of size n: one image each, ``num_samples`` left alone or n.
            num_samples: how many images.
            generator: where the randomness comes from; torch's global one for None.

        Raises:
            ConfigError: conditions that are missing, out of range or of sizes that do not fit.
        """
        if num_samples < 1:
            raise ConfigError(f"{num_samples} samples are asked for; expected 1 or more")
        device = self.from_latent.weight.device
        codes = repeated(checked_conditions(conditions, device), num_samples)
        drawn_on = "cpu" if generator is None else generator.device
        noise = [
            torch.randn((len(codes["view"]), *shape), generator=generator, device=drawn_on).to(device)
            for shape in self.latent_shapes
        ]
        was_training = self.training
        self.eval()
        try:
            with torch.no_grad():
                return self.draw(noise, codes)
        finally:
            self.train(was_training)

    def _encode(self, pixels: Tensor, embedding: Tensor) -> tuple[Gaussian, list[Tensor]]:
        features = [pixels]
        for block in self.encoder:
            features.append(block(features[-1]))
        flat = features[-1].flatten(start_dim=1)
        mu, logvar = self.to_mu(flat), self.to_logvar(flat)
        if self.posterior_bias is not None:
            mu_bias, logvar_bias = self.posterior_bias(embedding).chunk(2, dim=1)
            mu, logvar = mu + mu_bias, logvar + logvar_bias
        if self.prior is None:
            return Gaussian(mu, logvar), features[1:]
        prior = self._prior(embedding)
        shifted = (prior.logvar + logvar.float()).clamp(*LOGVAR_RANGE)
        return Gaussian(prior.mean + mu.float(), shifted), features[1:]

    def _by_level(self, noise: Tensor) -> list[Tensor]:
        """Gives noise (B, num_latents) as one tensor for each level."""
        parts = torch.split(noise, [math.prod(shape) for shape in self.latent_shapes], dim=1)
        return [
            part.reshape(len(part), *shape) for part, shape in zip(parts, self.latent_shapes, strict=True)
        ]

    def _prior(self, embedding: Tensor) -> Gaussian:
        """Gives p(z | c) of the coarsest latent."""
        if self.prior is not None:
            return gaussian(self.prior(embedding))
        zeros = embedding.new_zeros(len(embedding), self.config.latent_dim)
        return Gaussian(zeros, zeros)

    def _features_of_levels(self, pixels: Tensor, features: Sequence[Tensor]) -> list[Tensor]:
        """Gives the encoder's features of the size of each stochastic skip."""
        if not self.skips:
            return []
        # Decoder block 1 is as large as the last encoder block but one, block 2 as the one before, ...
        matching = list(reversed(features[:-1]))
        return matching if self.stem is None else [*matching, self.stem(pixels)]

    def _decode(self, z: Tensor, embedding: Tensor, features: Sequence[Tensor], latent_of: Choice) -> Tensor:
        """Gives images; ``features`` are those of every encoder block, for skip connections, or none at all."""
        film = torch.cat([embedding, z], dim=1) if self.config.latent_in_film else embedding
        x: Tensor = self.from_latent(z).unflatten(1, self._map_shape)
        matching = list(reversed(features[:-1])) if self.config.decoder.use_skip_connections else []
        blocks = [*self.decoder, *([] if self.head is None else [self.head])]
        for number, block in enumerate(blocks):
            x = block(x, film)
            if number < len(matching):
                x = x + matching[number]
            if number < len(self.skips):
                skip = cast(StochasticSkip, self.skips[number])
                x = skip.merge(x, latent_of(number, skip, x), film)
        if self.output is not None:
            x = self.output(functional.silu(x))
        return x if self.head is None else torch.tanh(x.float())

    def _check_pixels(self, pixels: Tensor) -> None:
        expected = (1, self.resolution, self.resolution)
        if pixels.ndim != 4 or tuple(pixels.shape[1:]) != expected or not pixels.is_floating_point():
            shape = "x".join(str(size) for size in pixels.shape)
            raise ConfigError(
                f"the pixels are {pixels.dtype} of shape {shape}; expected floats in [-1, 1] of shape "
                f"Bx{'x'.join(str(size) for size in expected)}"
            )
