"""The conditional VAE: q(z | x, c), p(x | z, c) and a prior; the guide's, and what makes it generate, by switches."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from nlbs.cvae.config import LossConfig, ModelConfig, model_preset
from nlbs.cvae.ladder import Gaussian, Posterior, Prior, Shifts, kl_between, shift
from nlbs.cvae.losses import kl_divergence
from nlbs.cvae.network import Network
from nlbs.cvae.objective import ModelOutput, Objective, in_float32
from nlbs.cvae.schedules import annealed, kl_weights
from nlbs.errors import CheckpointError, ConfigError
from nlbs.manifests.schema import NLBS, Schema
from nlbs.models.conditioning import repeated
from nlbs.models.contract import Clock, Conditions, Doubts, Noise, Shapes, Turn, full_precision
from nlbs.models.family import ImageSpec
from nlbs.models.guidance import Guidance, as_guidance
from nlbs.models.latent_use import latent_use
from nlbs.text import shown

__all__ = ["ConditionalVAE", "ModelOutput", "load_checkpoint"]

_TURN = "model"


class ConditionalVAE(Network):
    """The network of the guide's sections 5 and 6, and by switches of the configuration what it lacks.

    With skip connections the decoder adds the features of encoder block i to its block of the
    same size. They are values of one call and stay nowhere: an image that is sampled has none,
    so zeros stand in their place, never the features of an image that was encoded before.
    With stochastic skips (:mod:`nlbs.cvae.ladder`) small latents take their place.

    The guide names no output activation, so there is none: ``forward`` and ``decode`` give
    what the last FiLM gives, and ``sample`` alone clamps it to [-1, 1]. The clean head ends in tanh.
    """

    family: ClassVar[str] = "cvae"

    def __init__(
        self,
        config: ModelConfig,
        resolution: int,
        loss: LossConfig | None = None,
        schema: Schema = NLBS,
        channels: int = 1,
    ) -> None:
        """Make a model with fresh weights.

        Args:
            config: what it is made of.
            resolution: edge of its images in pixels.
            loss: the weights of its terms and their schedules, for training; None: the guide's.
            schema: its conditions.
            channels: 1 of grey images, 3 of coloured ones.

        Raises:
            ConfigError: the encoder's blocks cannot halve that resolution.
        """
        super().__init__(config, ImageSpec(channels, resolution), schema)
        self.loss = LossConfig() if loss is None else loss
        numbers = channels * resolution**2
        self.objective = Objective(self.loss, numbers, len(self.latent_shapes), self.log_scale is not None)

    @classmethod
    def from_preset(cls, name: str) -> "ConditionalVAE":
        """Return a fresh model of a preset, "nlbs" for example.

        Raises:
            ConfigError: there is no preset of that name.
        """
        return cls(*model_preset(name))

    @classmethod
    def load_from_checkpoint(cls, path: str | Path, device: str | torch.device = "cpu") -> "ConditionalVAE":
        """Return the model of a checkpoint, in eval mode.

        Raises:
            CheckpointError: missing, damaged, not a checkpoint of ours, or of another architecture.
        """
        return load_checkpoint(Path(path), device)

    # The contract.

    def turns(self) -> Sequence[Turn]:
        """Return the one turn: all weights, by the guide's loss or the likelihood."""
        return (Turn(_TURN, tuple(self.parameters()), self.objective.names, noise=((self.num_latents,),)),)

    def terms(
        self, turn: str, pixels: Tensor, conditions: Conditions, noise: Noise, clock: Clock
    ) -> dict[str, Tensor]:
        """Return the terms of the loss; judged with the latents at their means."""
        output = self(pixels, conditions, noise[0] if noise else None)
        betas = kl_weights(self.loss, self.objective.levels, clock.epoch, clock.share)
        with full_precision(pixels.device):
            if self.training:
                return self.objective.terms(in_float32(output), pixels, betas, self.gathered)
            return self.objective.terms(in_float32(output), pixels, betas)

    def judged(self, means: Mapping[str, float]) -> float:
        """Return the total at the final KL weights: while beta rises, the same weights would look worse each epoch."""
        return self.objective.judged(means)

    def scheduled(self, clock: Clock) -> dict[str, float]:
        """Return beta."""
        return {"beta": annealed(self.loss, clock.epoch, clock.share)}

    def warnings(self, means: Mapping[str, float], clock: Clock) -> list[str]:
        """Say where the latent, or a level of it, holds nothing of the patches (Bowman et al., 1511.06349)."""
        names = (
            [f"kl_{level}" for level in range(self.objective.levels)] if self.objective.levels > 1 else ["kl"]
        )
        nats = {name: np.array([means[name]]) for name in names}
        if not all(np.isfinite(values).all() for values in nats.values()):
            return []
        use = latent_use(nats)
        # While fine levels still pay more than their share, a dead one may yet come to life.
        settled = not self.loss.level_weights or clock.share >= self.loss.level_share
        if use.collapsed:
            return [
                f"{use.sentence} What helps: --preset nlbs, whose likelihood finds its own scale; or a lower "
                "training.loss.kl_weight, a longer kl_anneal_epochs, or free_bits above 0"
            ]
        if settled and any(level.dead for level in use.levels):
            return [f"{use.sentence} What helps: higher training.loss.level_weights of the others at first"]
        return []

    @property
    def drawing_noise(self) -> Shapes:
        """Epsilon of all latents."""
        return self.latent_shapes

    @property
    def doubts(self) -> Doubts:
        """What skip connections do, which sampling leaves out."""
        if not self.config.decoder.use_skip_connections:
            return Doubts()
        return Doubts(
            "this model was trained with skip connections; a sample has no image to take them from, so they are "
            "zeros, which the model never saw in training.",
            "This model rebuilds through skip connections, which a sample does not have: its reconstructions flatter.",
        )

    def reconstruct(self, pixels: Tensor, conditions: Conditions) -> Tensor:
        """Return what the model makes of images, (B, C, R, R), in eval mode from the means of the latents."""
        return self.bound(pixels, conditions)[0]

    def bound(self, pixels: Tensor, conditions: Conditions) -> tuple[Tensor, Tensor]:
        """Return the same, and (B, levels) nats of each level's KL divergence."""
        output: ModelOutput = self(pixels, conditions)
        return output.reconstruction, output.kl_levels

    # What the family has beside it.

    def encode(self, pixels: Tensor, conditions: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Return mu and logvar of q(z | x, c), each (B, latent_dim).

        Args:
            pixels: (B, C, R, R) float in [-1, 1].
            conditions: codes, (B,) integers each, -1 unknown.

        Raises:
            ConfigError: pixels of another shape, or conditions that are missing or out of range.
        """
        self._check_pixels(pixels)
        codes = self.checked(conditions)
        posterior, _ = self._encode(pixels, self.condition_encoder(codes))
        return posterior.mean, posterior.logvar

    def decode(self, z: Tensor, conditions: Mapping[str, Tensor]) -> Tensor:
        """Return images (B, C, R, R), aimed at [-1, 1], of latents (B, latent_dim) alone: without skips.

        Stochastic skips are at their prior means.

        Raises:
            ConfigError: conditions that are missing or out of range.
        """
        embedding = self.condition_encoder(self.checked(conditions))
        return self._decode(z, embedding, (), Prior((), None))

    def infer(
        self, pixels: Tensor, conditions: Mapping[str, Tensor], noise: Sequence[Tensor] | None = None
    ) -> list[Tensor]:
        """Return the latents of images, one tensor (B, *shape) for each of :attr:`latent_shapes`.

        Args:
            pixels: (B, C, R, R) float in [-1, 1].
            conditions: codes, (B,) integers each, -1 unknown.
            noise: epsilon of q(z | x, c), shaped as the latents, from N(0, I); None: the means.

        Raises:
            ConfigError: pixels of another shape, or conditions that are missing or out of range.
        """
        self._check_pixels(pixels)
        embedding = self.condition_encoder(self.checked(conditions))
        posterior, features = self._encode(pixels, embedding)
        z = posterior.mean if noise is None else posterior.draw(noise[0])
        levels = Posterior(self._features_of_levels(pixels, features), noise[1:] if noise else None)
        if self.skips:
            self._decode(z, embedding, features, levels)
        return [z, *levels.latents]

    def shifts(self, pixels: Tensor, conditions: Mapping[str, Tensor]) -> list[Tensor]:
        """Return how far the latents' means lie from the prior's, in the prior's standard deviations.

        What varies here varies with the image, and not with its conditions or with coarser latents: what active units
        are counted by (:func:`nlbs.models.latent_use.active_units`).

        Args:
            pixels: (B, C, R, R) float in [-1, 1].
            conditions: codes, (B,) integers each, -1 unknown.

        Returns:
            One tensor (B, *shape) for each of :attr:`latent_shapes`.

        Raises:
            ConfigError: pixels of another shape, or conditions that are missing or out of range.
        """
        self._check_pixels(pixels)
        embedding = self.condition_encoder(self.checked(conditions))
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
        """Return the images (B, C, R, R) in [-1, 1] of latents as :meth:`infer` gives them.

        Args:
            latents: of all levels, or of the coarsest ones; the others then come from the prior.
            conditions: codes, (B,) integers each, -1 unknown.
            noise: from N(0, I), shaped as the latents of all levels, for those that are not given; None:
                they are the prior's means.

        Raises:
            ConfigError: conditions that are missing or out of range.
        """
        embedding = self.condition_encoder(self.checked(conditions))
        levels = Prior(latents[1:], noise[1:] if noise else None)
        return self._decode(latents[0], embedding, (), levels).clamp(-1, 1)

    def draw(
        self,
        noise: Sequence[Tensor],
        conditions: Mapping[str, Tensor],
        guidance: float | Guidance = 1,
    ) -> Tensor:
        """Return images (B, C, R, R) in [-1, 1] drawn from the prior.

        Args:
            noise: from N(0, I), one tensor (B, *shape) for each of :attr:`latent_shapes`.
            conditions: codes, (B,) integers each, -1 unknown.
            guidance: as for :meth:`coarse_prior`.

        Raises:
            ConfigError: conditions that are missing or out of range.
        """
        return self.render([self.coarse_prior(conditions, guidance).draw(noise[0])], conditions, noise)

    def coarse_prior(self, conditions: Mapping[str, Tensor], guidance: float | Guidance = 1) -> Gaussian:
        """Return p(z | c) of the coarsest latent, (B, latent_dim) each; N(0, I) where the model has no conditional one.

        Args:
            conditions: codes, (B,) integers each, -1 unknown.
            guidance: of the mean; a number is that of all conditions at once.

        Raises:
            ConfigError: conditions that are missing or out of range, a guidance below 0.
        """
        codes = self.checked(conditions)
        logvar = self._prior(self.condition_encoder(codes)).logvar
        (mean,) = as_guidance(guidance).follow(
            codes, lambda some, _: [self._prior(self.condition_encoder(some)).mean]
        )
        return Gaussian(mean, logvar)

    def forward(
        self, pixels: Tensor, conditions: Mapping[str, Tensor], noise: Tensor | None = None
    ) -> ModelOutput:
        """Encode, draws the latents (the means in eval mode) from torch's global generator, and decodes.

        The hot path of training: codes out of range are for the caller to refuse.

        Args:
            pixels: (B, C, R, R) float in [-1, 1].
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
        """Return images drawn from p(x | z, c) with z from the prior, (n, C, R, R) in [-1, 1].

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
        codes = repeated(self.checked(conditions), num_samples)
        drawn_on = "cpu" if generator is None else generator.device
        noise = [
            torch.randn((len(next(iter(codes.values()))), *shape), generator=generator, device=drawn_on).to(
                device
            )
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
        expected = (self.image.channels, self.resolution, self.resolution)
        if pixels.ndim != 4 or tuple(pixels.shape[1:]) != expected or not pixels.is_floating_point():
            shape = "x".join(str(size) for size in pixels.shape)
            raise ConfigError(
                f"the pixels are {pixels.dtype} of shape {shape}; expected floats in [-1, 1] of shape "
                f"Bx{'x'.join(str(size) for size in expected)}"
            )


def load_checkpoint(path: Path, device: str | torch.device = "cpu") -> ConditionalVAE:
    """Return the conditional VAE of a checkpoint, in eval mode.

    Raises:
        CheckpointError: missing, damaged, not a checkpoint of ours, of another format version or family,
            of another architecture than its own metadata says, or with weights that are no numbers.
    """
    from nlbs.cvae.family import FAMILY
    from nlbs.models.checkpoint import load_model, read_metadata

    values: Mapping[str, Any] = read_metadata(path)
    if (family := values.get("family", FAMILY.name)) != FAMILY.name:
        raise CheckpointError(
            f"{path} holds a model of the family {shown(family)}, no conditional VAE; load it with "
            "nlbs.models.registry.load_checkpoint"
        )
    model = load_model(path, values, FAMILY, device)
    assert isinstance(model, ConditionalVAE)  # noqa: S101  # for mypy: the family makes nothing else
    return model
