"""The conditional VAE: q(z | x, c), p(x | z, c) and a prior; the guide's, and what makes it generate, by switches."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from nlbs.cvae.conditioning import checked_conditions, repeated
from nlbs.cvae.config import model_preset
from nlbs.cvae.guidance import Guidance, as_guidance
from nlbs.cvae.ladder import Gaussian, Posterior, Prior, Shifts, kl_between, shift
from nlbs.cvae.losses import kl_divergence
from nlbs.cvae.network import Network
from nlbs.errors import ConfigError


class ModelOutput(NamedTuple):
    """What one pass through the model gives."""

    reconstruction: Tensor  #: (B, 1, R, R), aimed at [-1, 1], not clamped
    mu: Tensor  #: (B, latent_dim)
    logvar: Tensor  #: (B, latent_dim)
    kl: Tensor  #: (B,) nats, summed over all latents
    kl_levels: Tensor  #: (B, levels) nats of each level, the coarsest first
    scale: Tensor | None  #: b of the likelihood Laplace(reconstruction, b); None: the model has none


class ConditionalVAE(Network):
    """The network of the guide's sections 5 and 6, and by switches of the configuration what it lacks.

    With skip connections the decoder adds the features of encoder block i to its block of the
    same size. They are values of one call and stay nowhere: an image that is sampled has none,
    so zeros stand in their place, never the features of an image that was encoded before.
    With stochastic skips (:mod:`nlbs.cvae.ladder`) small latents take their place.

    The guide names no output activation, so there is none: ``forward`` and ``decode`` give
    what the last FiLM gives, and ``sample`` alone clamps it to [-1, 1]. The clean head ends in tanh.
    """

    @classmethod
    def from_preset(cls, name: str) -> "ConditionalVAE":
        """Gives a fresh model of a preset, "nlbs" for example.

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

    def _check_pixels(self, pixels: Tensor) -> None:
        expected = (1, self.resolution, self.resolution)
        if pixels.ndim != 4 or tuple(pixels.shape[1:]) != expected or not pixels.is_floating_point():
            shape = "x".join(str(size) for size in pixels.shape)
            raise ConfigError(
                f"the pixels are {pixels.dtype} of shape {shape}; expected floats in [-1, 1] of shape "
                f"Bx{'x'.join(str(size) for size in expected)}"
            )
