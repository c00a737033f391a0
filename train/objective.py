"""What training minimises, and what judges it: the one place that knows the loss of a model."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from nlbs.cvae.config import ModelConfig
from nlbs.cvae.losses import charged_kl, guide_loss
from nlbs.cvae.model import ModelOutput
from nlbs.train.config import LossConfig


def _alone(values: Tensor) -> Tensor:
    return values


@dataclass(frozen=True)
class Objective:
    """The guide's loss. Another model brings another of these, with the same four members.

    ``gathered`` gives rows of this process as those of all: a term that is no mean over patches needs it.
    """

    loss: LossConfig
    gathered: Callable[[Tensor], Tensor] = field(default=_alone)
    names: tuple[str, ...] = ("total", "reconstruction", "kl", "edge")  #: of the terms, "total" first

    def terms(self, output: ModelOutput, pixels: Tensor, beta: float) -> dict[str, Tensor]:
        """Gives what :attr:`names` says, scalars: the loss, what it is the sum of, and what else the log shows.

        All but the total are before their weights, and means over the patches.
        """
        loss, charged = self.loss, None
        if loss.free_bits:
            charged = charged_kl(self.gathered(output.mu), self.gathered(output.logvar), loss.free_bits)
        weights = (loss.reconstruction_weight, beta, loss.edge_weight)
        return guide_loss(output.reconstruction, pixels, output.kl, *weights, charged)._asdict()

    def judged(self, means: Mapping[str, float]) -> dict[str, float]:
        """Gives means of the terms with another total: at the final KL weight, and without free bits.

        While beta rises, the same weights would look worse each epoch, and the first epoch best.
        """
        loss = self.loss
        total = (
            loss.reconstruction_weight * means["reconstruction"]
            + loss.kl_weight * means["kl"]
            + loss.edge_weight * means["edge"]
        )
        return {**means, "total": total}

    @staticmethod
    def noise(model: ModelConfig, count: int, device: torch.device) -> Tensor:
        """Gives what the model's forward pass takes as noise for ``count`` patches, from torch's global generator."""
        return torch.randn(count, model.latent_dim, device=device)
