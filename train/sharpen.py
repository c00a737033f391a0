"""The sharpening phase: an adversary judges what the model reconstructs and what it draws from its prior.

A likelihood pays for every pixel by itself and so prefers a blur to a texture in the wrong place. Late in a run, when
the latents hold what they should, a discriminator of patches tells real texture from made, and the model learns from it
what the likelihood cannot say (2012.09841); from draws too, which no likelihood ever sees.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor

from nlbs.cvae.diff_augment import Changes, diff_augment, draw_changes
from nlbs.cvae.layers import DeconvBlock
from nlbs.cvae.model import ConditionalVAE
from nlbs.cvae.patch_gan import PatchDiscriminator, adaptive_weight, discriminator_loss, generator_loss
from nlbs.errors import ConfigError
from nlbs.train.clipping import clip_gradients
from nlbs.train.config import TrainConfig
from nlbs.train.precision import autocast
from nlbs.train.ranks import Ranks
from nlbs.train.state import restore_moments

#: What a step of the phase reports beside the objective's terms: the adversarial loss before its weights, the adaptive
#: weight, and the discriminator's loss and gradient norm.
TERMS = ("adversarial", "adversarial_weight", "discriminator", "discriminator_norm")

_BETAS = (0.5, 0.9)  #: of Adam; its usual memory is too long for an opponent that moves


class _Drawn(NamedTuple):
    """What is random in a step, this process's part."""

    noise: list[Tensor]  #: of the prior, (B, *shape) for each level of latents
    changes: Changes  #: of DiffAugment, the same for real, reconstructed and drawn images


class Sharpener:
    """The adversary of a model: a discriminator and its optimizer."""

    def __init__(self, config: TrainConfig, model: ConditionalVAE, ranks: Ranks | None = None) -> None:
        """Makes one with fresh weights, which depend on the seed alone.

        Args:
            config: resolved, with the section training.sharpening.
            model: on its device.
            ranks: the processes that train together; None: this one alone.

        Raises:
            ConfigError: the configuration has no such section, or the images are too small.
        """
        if config.training.sharpening is None:
            raise ConfigError("there is no section training.sharpening; give it, or --sharpen")
        self.config, self.options = config.training, config.training.sharpening
        self.model, self.ranks = model, ranks or Ranks()
        self.batch_size, self.device = config.data.batch_size, next(model.parameters()).device
        self.last = last_weights(model)
        self.steps = 0  #: that it has taken
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.config.seed)
            embed_dim = config.model.condition_embed_dim
            network = PatchDiscriminator(model.resolution, self.options.channels, embed_dim)
        self.discriminator = network.to(self.device)
        if self.config.channels_last:
            self.discriminator.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.optimizer = torch.optim.Adam(
            self.discriminator.parameters(), lr=self.options.learning_rate, betas=_BETAS, fused=True
        )

    def backward(
        self, total: Tensor, reconstruction: Tensor, pixels: Tensor, conditions: dict[str, Tensor], seed: int
    ) -> dict[str, Tensor]:
        """Adds the gradients of loss and adversarial term to the model's, and makes those of the discriminator.

        Args:
            total: the objective's, a scalar with its graph.
            reconstruction: (B, 1, R, R) with its graph.
            pixels: (B, 1, R, R) in [-1, 1], the real images.
            conditions: codes, (B,) int64 each, -1 unknown.
            seed: of what is random.

        Returns:
            :data:`TERMS`, scalars.
        """
        drawn = self._drawn(seed)
        made, shares = [reconstruction], [1.0]
        if share := self.options.on_prior:
            made, shares = [reconstruction, self._from_prior(drawn.noise, conditions)], [1 - share, share]
        # The adversary's gradient goes as far as the images first: the last layer and the model share it.
        images = [image.detach().requires_grad_() for image in made]
        logits = self._judged(images, conditions, drawn.changes)
        adversarial = _shared([generator_loss(some) for some in logits], shares)
        pulls = torch.autograd.grad(adversarial, images)
        weight = self._weight(total, made, pulls)
        lead = self.options.lead_steps
        factor = self.options.weight * (min(1.0, self.steps / lead) if lead else 1.0)
        scaled = [factor * weight * pull for pull in pulls]
        torch.autograd.backward([total, *made], [None, *scaled])

        self.optimizer.zero_grad(set_to_none=True)
        real, *faked = self._judged(
            [pixels, *(image.detach() for image in images)], conditions, drawn.changes
        )
        loss = _shared([discriminator_loss(real, some) for some in faked], shares)
        loss.backward()  # type: ignore[no-untyped-call]
        self._average_gradients()
        norm = clip_gradients(self.discriminator.parameters(), self.config.max_grad_norm)
        found = (adversarial, weight, loss, norm)
        return {name: value.detach() for name, value in zip(TERMS, found, strict=True)}

    def step(self) -> None:
        """Moves the discriminator by the gradients that :meth:`backward` made."""
        self.optimizer.step()
        self.steps += 1

    @property
    def has_begun(self) -> bool:
        """Whether it has taken a step."""
        return self.steps > 0

    def state(self) -> dict[str, Any]:
        """Gives what :meth:`restore` takes."""
        return {
            "discriminator": self.discriminator.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "steps": self.steps,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Goes back to where :meth:`state` was asked."""
        self.discriminator.load_state_dict(state["discriminator"])
        restore_moments(self.optimizer, state["optimizer"])
        self.steps = int(state["steps"])

    def _drawn(self, seed: int) -> _Drawn:
        """Draws for the whole batch, so that any number of processes sees the same, and gives this one's part."""
        generator = torch.Generator(self.device).manual_seed(seed)
        own, size = self.ranks.part(self.batch_size), self.batch_size
        noise = [
            torch.randn((size, *shape), generator=generator, device=self.device)[own]
            for shape in self.model.latent_shapes
        ]
        return _Drawn(noise, draw_changes(size, self.model.resolution, generator).part(own))

    def _from_prior(self, noise: Sequence[Tensor], conditions: dict[str, Tensor]) -> Tensor:
        with autocast(self.config, self.device):
            return self.model.draw(noise, conditions).float()

    def _judged(
        self, images: Sequence[Tensor], conditions: dict[str, Tensor], changes: Changes
    ) -> tuple[Tensor, ...]:
        """Gives the logits of some batches of images, all of the same conditions, (B, h, w) each."""
        times = len(images)
        shown = diff_augment(torch.cat(list(images)), changes.repeated(times))
        codes = {name: code.repeat(times) for name, code in conditions.items()}
        with autocast(self.config, self.device):
            logits: Tensor = self.discriminator(shown, codes)
        return logits.chunk(times)

    def _weight(self, total: Tensor, made: Sequence[Tensor], pulls: Sequence[Tensor]) -> Tensor:
        """Gives the adaptive weight, of the gradients of the whole batch."""
        # Of the loss only the reconstruction depends on the last layer: its gradient there is Eq. 7's.
        of_loss = torch.autograd.grad(total, self.last, retain_graph=True)[0]
        of_adversary = torch.autograd.grad(made, self.last, pulls, retain_graph=True)[0]
        both = self.ranks.sum(torch.stack([of_loss, of_adversary]))
        return adaptive_weight(*both.unbind())

    def _average_gradients(self) -> None:
        """Gives every process the mean of the discriminator's gradients over all."""
        if not self.ranks.joined:
            return
        gradients = [weight.grad for weight in self.discriminator.parameters() if weight.grad is not None]
        together = self.ranks.sum(torch.cat([gradient.flatten() for gradient in gradients]))
        parts = torch.split(together / self.ranks.world_size, [gradient.numel() for gradient in gradients])
        for gradient, part in zip(gradients, parts, strict=True):
            gradient.copy_(part.view_as(gradient))


def last_weights(model: ConditionalVAE) -> Tensor:
    """Gives the weights of the layer that an image comes out of."""
    if model.output is not None:
        return model.output.weight
    if model.head is not None:
        return model.head.deconv.weight
    return cast(DeconvBlock, model.decoder[-1]).film.linear.weight


def _shared(losses: Sequence[Tensor], shares: Sequence[float]) -> Tensor:
    """Gives the mean of losses, each with its share."""
    return torch.stack([share * loss for share, loss in zip(shares, losses, strict=True)]).sum()
