"""The network: its parts, as a configuration says, and what goes through them."""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from nlbs.cvae.config import ModelConfig
from nlbs.cvae.ladder import LOGVAR_RANGE, Choice, Gaussian, StochasticSkip, gaussian
from nlbs.manifests.schema import Schema
from nlbs.models.conditioning import ConditionEncoder
from nlbs.models.contract import GenerativeModel
from nlbs.models.family import ImageSpec
from nlbs.models.layers import ConvBlock, DeconvBlock, FiLM, Head

#: and the scale has to follow the reconstruction error down faster than that.
_SCALE_SPEED = 10.0
_FIRST_LOG_SCALE, _SMALLEST_SCALE = -2.0, 0.004  # half a grey level of 256 is 0.004 on [-1, 1]


class Network(GenerativeModel):
    """Encoder, latents and decoder. What they are for: :class:`nlbs.cvae.ConditionalVAE`."""

    def __init__(self, config: ModelConfig, image: ImageSpec, schema: Schema) -> None:
        """Make a model with fresh weights for such images.

        Raises:
            ConfigError: the encoder's blocks cannot halve that resolution.
        """
        super().__init__(image, schema)
        resolution = image.edge
        config.check_resolution(resolution)
        self.config: ModelConfig = config
        embed_dim, encoder = config.condition_embed_dim, config.encoder
        norm = (encoder.use_group_norm, encoder.groups)
        widths = (image.channels, *encoder.channels)
        self._map_shape = (widths[-1], resolution // config.shrink, resolution // config.shrink)
        flat = widths[-1] * (resolution // config.shrink) ** 2

        self.condition_encoder = ConditionEncoder(embed_dim, schema)
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
        # The last width of the configuration stands for the image, whatever its channels.
        inner, channels = decoder.channels[:-1], self.image.channels
        widths = inner if decoder.clean_head else (*inner, channels)
        self.decoder = nn.ModuleList(DeconvBlock(a, b, film_dim, *norm) for a, b in pairwise(widths))
        latents = decoder.stochastic_skips
        has_full = len(latents) == len(self.encoder)
        sizes = [*inner[1:], channels]
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
            self.stem = nn.Conv2d(channels, decoder.head_channels, kernel_size=3, padding=1)
            self.output = nn.Conv2d(decoder.head_channels, channels, kernel_size=3, padding=1)

    @property
    def latent_shapes(self) -> tuple[tuple[int, ...], ...]:
        """The shapes of one image's latents, the coarsest first."""
        size = self._map_shape[1]
        levels = enumerate(self.config.decoder.stochastic_skips, start=1)
        return ((self.config.latent_dim,), *((c, size << level, size << level) for level, c in levels))

    @property
    def coarsest_edge(self) -> int:
        """Edge of the encoder's last map, from which the coarsest latent is taken."""
        return self._map_shape[1]

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
        """Return noise (B, num_latents) as one tensor for each level."""
        parts = torch.split(noise, [math.prod(shape) for shape in self.latent_shapes], dim=1)
        return [
            part.reshape(len(part), *shape) for part, shape in zip(parts, self.latent_shapes, strict=True)
        ]

    def _prior(self, embedding: Tensor) -> Gaussian:
        """Return p(z | c) of the coarsest latent."""
        if self.prior is not None:
            return gaussian(self.prior(embedding))
        zeros = embedding.new_zeros(len(embedding), self.config.latent_dim)
        return Gaussian(zeros, zeros)

    def _features_of_levels(self, pixels: Tensor, features: Sequence[Tensor]) -> list[Tensor]:
        """Return the encoder's features of the size of each stochastic skip."""
        if not self.skips:
            return []
        # Decoder block 1 is as large as the last encoder block but one, block 2 as the one before, ...
        matching = list(reversed(features[:-1]))
        return matching if self.stem is None else [*matching, self.stem(pixels)]

    def _decode(self, z: Tensor, embedding: Tensor, features: Sequence[Tensor], latent_of: Choice) -> Tensor:
        """Return images; ``features`` are those of every encoder block, for skip connections, or none at all."""
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
