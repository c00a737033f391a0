"""The guide's conditional VAE: q(z | x, c), p(x | z, c) and a prior N(0, I)."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from nlbs.cvae.conditioning import ConditionEncoder, checked_conditions, repeated
from nlbs.cvae.config import ModelConfig, model_preset
from nlbs.cvae.layers import ConvBlock, DeconvBlock, FiLM
from nlbs.cvae.losses import kl_divergence
from nlbs.errors import ConfigError


class ModelOutput(NamedTuple):
    """What one pass through the model gives."""

    reconstruction: Tensor  #: (B, 1, R, R), aimed at [-1, 1], not clamped
    mu: Tensor  #: (B, latent_dim)
    logvar: Tensor  #: (B, latent_dim)
    kl: Tensor  #: (B,) nats, summed over the latent


class ConditionalVAE(nn.Module):
    """The network of the guide's sections 5 and 6.

    With skip connections the decoder adds the features of encoder block i to its block of the
    same size. They are values of one call and stay nowhere: an image that is sampled has none,
    so zeros stand in their place, never the features of an image that was encoded before.

    The guide names no output activation, so there is none: ``forward`` and ``decode`` give
    what the last FiLM gives, and ``sample`` alone clamps it to [-1, 1].
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
        self.from_latent = nn.Linear(config.latent_dim, flat)
        widths = config.decoder.channels
        self.decoder = nn.ModuleList(DeconvBlock(a, b, embed_dim, *norm) for a, b in pairwise(widths))
        if config.decoder.film_starts_neutral:
            for film in (layer for layer in self.decoder.modules() if isinstance(layer, FiLM)):
                film.start_neutral()

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
        mu, logvar, _ = self._encode(pixels, self.condition_encoder(codes))
        return mu, logvar

    def decode(self, z: Tensor, conditions: Mapping[str, Tensor]) -> Tensor:
        """Gives images (B, 1, R, R), aimed at [-1, 1], of latents (B, latent_dim) alone: without skips.

        Raises:
            ConfigError: conditions that are missing or out of range.
        """
        codes = checked_conditions(conditions, z.device)
        return self._decode(z, self.condition_encoder(codes), skips=())

    @property
    def latent_shapes(self) -> tuple[tuple[int, ...], ...]:
        """The shapes of one image's latents, the coarsest first."""
        return ((self.config.latent_dim,),)

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
        mu, logvar = self.encode(pixels, conditions)
        return [mu if noise is None else mu + torch.exp(0.5 * logvar) * noise[0]]

    def render(self, latents: Sequence[Tensor], conditions: Mapping[str, Tensor]) -> Tensor:
        """Gives the images (B, 1, R, R) in [-1, 1] of latents as :meth:`infer` gives them.

        Raises:
            ConfigError: conditions that are missing or out of range.
        """
        return self.decode(latents[0], conditions).clamp(-1, 1)

    def draw(
        self, noise: Sequence[Tensor], conditions: Mapping[str, Tensor], temperature: float = 1
    ) -> Tensor:
        """Gives images (B, 1, R, R) in [-1, 1] drawn from the prior.

        Args:
            noise: from N(0, I), one tensor (B, *shape) for each of :attr:`latent_shapes`.
            conditions: codes, (B,) integers each, -1 unknown.
            temperature: factor of the prior's standard deviations; 1 is the prior.

        Raises:
            ConfigError: conditions that are missing or out of range.
        """
        return self.render([temperature * noise[0]], conditions)

    def forward(
        self, pixels: Tensor, conditions: Mapping[str, Tensor], noise: Tensor | None = None
    ) -> ModelOutput:
        """Encodes, draws z (the mean in eval mode) from torch's global generator, and decodes.

        The hot path of training: codes out of range are for the caller to refuse.

        Args:
            pixels: (B, 1, R, R) float in [-1, 1].
            conditions: codes, (B,) int64 each on the device of the pixels, -1 unknown.
            noise: epsilon, (B, latent_dim) from N(0, I); drawn here for None. Not used in eval mode.
        """
        embedding = self.condition_encoder(conditions)
        mu, logvar, features = self._encode(pixels, embedding)
        # Eq. 10 of 1312.6114: z = mu + sigma * eps
        z = mu
        if self.training:
            z = mu + torch.exp(0.5 * logvar) * (torch.randn_like(mu) if noise is None else noise)
        skips = features if self.config.decoder.use_skip_connections else ()
        return ModelOutput(self._decode(z, embedding, skips), mu, logvar, kl_divergence(mu, logvar))

    def sample(
        self,
        conditions: Mapping[str, Tensor],
        num_samples: int = 1,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Gives images drawn from p(x | z, c) with z ~ N(0, I), (n, 1, R, R) in [-1, 1].

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
        shape = (len(codes["view"]), self.config.latent_dim)
        drawn_on = "cpu" if generator is None else generator.device
        z = torch.randn(shape, generator=generator, device=drawn_on).to(device)
        was_training = self.training
        self.eval()
        try:
            with torch.no_grad():
                return self._decode(z, self.condition_encoder(codes), skips=()).clamp(-1, 1)
        finally:
            self.train(was_training)

    def _encode(self, pixels: Tensor, embedding: Tensor) -> tuple[Tensor, Tensor, list[Tensor]]:
        features = [pixels]
        for block in self.encoder:
            features.append(block(features[-1]))
        flat = features[-1].flatten(start_dim=1)
        mu, logvar = self.to_mu(flat), self.to_logvar(flat)
        if self.posterior_bias is not None:
            mu_bias, logvar_bias = self.posterior_bias(embedding).chunk(2, dim=1)
            mu, logvar = mu + mu_bias, logvar + logvar_bias
        return mu, logvar, features[1:]

    def _decode(self, z: Tensor, embedding: Tensor, skips: Sequence[Tensor]) -> Tensor:
        """Gives images; ``skips`` are the features of every encoder block, or none at all."""
        x: Tensor = self.from_latent(z).unflatten(1, self._map_shape)
        # Decoder block 1 is as large as the last encoder block but one, block 2 as the one before, ...
        matching = list(reversed(skips[:-1]))
        for number, block in enumerate(self.decoder):
            x = block(x, embedding)
            if number < len(matching):
                x = x + matching[number]
        return x

    def _check_pixels(self, pixels: Tensor) -> None:
        expected = (1, self.resolution, self.resolution)
        if pixels.ndim != 4 or tuple(pixels.shape[1:]) != expected or not pixels.is_floating_point():
            shape = "x".join(str(size) for size in pixels.shape)
            raise ConfigError(
                f"the pixels are {pixels.dtype} of shape {shape}; expected floats in [-1, 1] of shape "
                f"Bx{'x'.join(str(size) for size in expected)}"
            )
