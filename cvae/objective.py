"""What training minimises, and what judges it: the terms of the guide's loss, or of a likelihood."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from nlbs.cvae.config import LossConfig
from nlbs.cvae.losses import charged_kl, guide_loss, kl_divergence, laplace_loss


class ModelOutput(NamedTuple):
    """What one pass through the model gives."""

    reconstruction: Tensor  #: (B, C, R, R), aimed at [-1, 1], not clamped
    mu: Tensor  #: (B, latent_dim)
    logvar: Tensor  #: (B, latent_dim)
    kl: Tensor  #: (B,) nats, summed over all latents
    kl_levels: Tensor  #: (B, levels) nats of each level, the coarsest first
    scale: Tensor | None  #: b of the likelihood Laplace(reconstruction, b); None: the model has none


def in_float32(output: ModelOutput) -> ModelOutput:
    """Return the output of a pass in half precision in float32, with the KL divergence of its latents taken in float32.

    bfloat16 has three digits, and the divergence sums exponentials.
    """
    mu, logvar = output.mu.float(), output.logvar.float()
    reconstruction = output.reconstruction.float()
    if output.mu.dtype == torch.float32:  # a conditional prior: the model takes its divergences in float32
        return output._replace(reconstruction=reconstruction, mu=mu, logvar=logvar)
    kl = kl_divergence(mu, logvar)
    levels = torch.cat([kl[:, None], output.kl_levels[:, 1:]], dim=1)
    return ModelOutput(reconstruction, mu, logvar, levels.sum(dim=1), levels, output.scale)


@dataclass(frozen=True)
class Objective:
    """The loss of a model: the guide's, or its terms as a likelihood where the model has a scale."""

    loss: LossConfig
    numbers: int  #: of an image of the model: pixels times channels
    levels: int  #: of latents
    likely: bool  #: the model has a learned scale

    @property
    def names(self) -> tuple[str, ...]:
        """The terms: "total" first, and what else the log shows."""
        levels = tuple(f"kl_{level}" for level in range(self.levels)) if self.levels > 1 else ()
        return ("total", "reconstruction", "kl", "edge", *(("scale",) if self.likely else ()), *levels)

    def terms(
        self,
        output: ModelOutput,
        pixels: Tensor,
        betas: Sequence[float],
        gathered: Callable[[Tensor], Tensor] = lambda rows: rows,
    ) -> dict[str, Tensor]:
        """Return what :attr:`names` says, scalars: the loss, what it is the sum of, and what else the log shows.

        All but the total are before their weights, and means over the patches.

        Args:
            output: of the model.
            pixels: (B, C, R, R) in [-1, 1].
            betas: the KL weight of each level.
            gathered: return rows of this process as those of all: free bits are no mean over patches.
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
                charged = charged_kl(gathered(output.mu), gathered(output.logvar), loss.free_bits)
            found = guide_loss(
                output.reconstruction, pixels, output.kl, weights[0], betas[0], weights[1], charged
            )
        if self.levels > 1:
            more |= {f"kl_{level}": kl for level, kl in enumerate(output.kl_levels.mean(dim=0).unbind())}
        return found._asdict() | more

    def judged(self, means: Mapping[str, float]) -> float:
        """Return the total of means of the terms at the final KL weights, and without free bits.

        While beta rises, the same weights would look worse each epoch, and the first epoch best.
        """
        loss = self.loss
        error = loss.reconstruction_weight * means["reconstruction"] + loss.edge_weight * means["edge"]
        kl = loss.kl_weight * means["kl"]
        if not self.likely:
            return error + kl
        scale = means["scale"]
        if not scale > 0:
            return math.nan
        return math.log(2 * scale) + error / scale + kl / self.numbers
