"""What training minimises, and what judges it: the one place that knows the loss of a model."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from nlbs.cvae.losses import charged_kl, guide_loss, laplace_loss
from nlbs.cvae.model import ConditionalVAE, ModelOutput
from nlbs.train.config import LossConfig


def _alone(values: Tensor) -> Tensor:
    return values


@dataclass(frozen=True)
class Objective:
    """The loss of a model: the guide's, or its terms as a likelihood where the model has a scale.

    ``gathered`` gives rows of this process as those of all: a term that is no mean over patches needs it.
    """

    loss: LossConfig
    resolution: int  #: of the model's images
    latents: int  #: numbers of one image, over all levels
    levels: int  #: of latents
    likely: bool  #: the model has a learned scale
    gathered: Callable[[Tensor], Tensor] = field(default=_alone)

    @classmethod
    def of(
        cls, loss: LossConfig, model: ConditionalVAE, gathered: Callable[[Tensor], Tensor] = _alone
    ) -> "Objective":
        """Gives the objective of a model."""
        levels, likely = len(model.latent_shapes), model.log_scale is not None
        return cls(loss, model.resolution, model.num_latents, levels, likely, gathered)

    @property
    def names(self) -> tuple[str, ...]:
        """The terms: "total" first, and what else the log shows."""
        levels = tuple(f"kl_{level}" for level in range(self.levels)) if self.levels > 1 else ()
        return ("total", "reconstruction", "kl", "edge", *(("scale",) if self.likely else ()), *levels)

    def terms(self, output: ModelOutput, pixels: Tensor, betas: Sequence[float]) -> dict[str, Tensor]:
        """Gives what :attr:`names` says, scalars: the loss, what it is the sum of, and what else the log shows.

        All but the total are before their weights, and means over the patches.

        Args:
            output: of the model.
            pixels: (B, 1, R, R) in [-1, 1].
            betas: the KL weight of each level.
        """
        loss, charged = self.loss, None
        weights = (loss.reconstruction_weight, loss.edge_weight)
        more: dict[str, Tensor] = {}
        if output.scale is not None:
            found = laplace_loss(
                output.reconstruction, pixels, output.kl_levels, output.scale, betas, *weights
            )
            more["scale"] = output.scale
        else:
            if loss.free_bits:
                charged = charged_kl(self.gathered(output.mu), self.gathered(output.logvar), loss.free_bits)
            found = guide_loss(
                output.reconstruction, pixels, output.kl, weights[0], betas[0], weights[1], charged
            )
        if self.levels > 1:
            more |= {f"kl_{level}": kl for level, kl in enumerate(output.kl_levels.mean(dim=0).unbind())}
        return found._asdict() | more

    def judged(self, means: Mapping[str, float]) -> dict[str, float]:
        """Gives means of the terms with another total: at the final KL weights, and without free bits.

        While beta rises, the same weights would look worse each epoch, and the first epoch best.
        """
        loss = self.loss
        error = loss.reconstruction_weight * means["reconstruction"] + loss.edge_weight * means["edge"]
        kl = loss.kl_weight * means["kl"]
        if not self.likely:
            return {**means, "total": error + kl}
        scale = means["scale"]
        if not scale > 0:
            return {**means, "total": math.nan}
        return {**means, "total": math.log(2 * scale) + error / scale + kl / self.resolution**2}

    def noise(self, count: int, device: torch.device) -> Tensor:
        """Gives what the model's forward pass takes as noise for ``count`` patches, from torch's global generator."""
        return torch.randn(count, self.latents, device=device)
