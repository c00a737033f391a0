"""What the tests of flows share: an untrained model with a ladder of latents, and a flow over it."""

from collections.abc import Mapping, Sequence

import pytest
import torch
from torch import Tensor

from nlbs.cvae import ConditionalVAE
from nlbs.manifests.schema import NLBS
from nlbs.models.contract import Encodes
from nlbs.models.family import ImageSpec
from nlbs.models.kl_autoencoder import KlAutoencoder
from nlbs.models.latent_diffusion import LatentDiffusionConfig, LatentDiffusionLoss
from nlbs.models.stages.flow import LatentFlow
from nlbs.models.stages.flow_stage import FlowConfig
from tests.cvae.conftest import codes
from tests.cvae.test_ladder import ladder

NETWORK = FlowConfig(widths=(16, 8), blocks=1, attention=1)


@pytest.fixture
def model() -> ConditionalVAE:
    return ladder(latent_dim=32).eval()  # two numbers at each place of the coarsest map, 4 x 4


@pytest.fixture
def flow(model: ConditionalVAE) -> LatentFlow:
    return untrained_flow(model)


def untrained_flow(model: Encodes, seed: int = 1) -> LatentFlow:
    """Return a flow that has learnt nothing, and says something other than 0."""
    torch.manual_seed(seed)
    made = LatentFlow(NETWORK, model)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter += 0.05 * torch.randn_like(parameter)
    return made.eval()


def latent_noise(model: ConditionalVAE, count: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(4)
    return [torch.randn(count, *shape, generator=generator) for shape in model.latent_shapes]


def alike(count: int) -> dict[str, Tensor]:
    return codes(*([1] * count for _ in range(5)))


class Field(LatentFlow):
    """A flow whose velocity is known: 2t, plus 1 where the view is known."""

    def forward(self, x: Sequence[Tensor], t: Tensor, conditions: Mapping[str, Tensor]) -> list[Tensor]:
        known = (conditions["view"] >= 0).float()
        return [torch.ones_like(level) * (2 * t + known)[:, None, None, None] for level in x]


def autoencoder() -> KlAutoencoder:
    """Return a model whose one latent is a map, 3 x 8 x 8."""
    config = LatentDiffusionConfig(unshuffle=4, width=8, blocks=1, latent_channels=3, adversary_width=8)
    return KlAutoencoder(config, ImageSpec(1, 32), NLBS, LatentDiffusionLoss()).eval()
