"""The autoencoder of latent diffusion.

Also covers: models/latent_diffusion.py.
"""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from nlbs.errors import ConfigError
from nlbs.manifests.schema import NLBS
from nlbs.models.contract import Clock
from nlbs.models.family import ImageSpec
from nlbs.models.kl_autoencoder import KlAutoencoder, cosines, discriminator
from nlbs.models.latent_diffusion import LatentDiffusionConfig, LatentDiffusionLoss
from nlbs.models.stages.flow_stage import FLOW
from nlbs.models.vae import laplace_with_air
from nlbs.train.config import preset, resolved_config
from nlbs.train.needs import networks

EARLY, LATE = Clock(0, 10, 0, 0.0), Clock(99, 10, 9, 1.0)


def tiny(**loss: float) -> KlAutoencoder:
    torch.manual_seed(0)
    config = LatentDiffusionConfig(width=8, blocks=1, latent_channels=2, adversary_width=8)
    return KlAutoencoder(config, ImageSpec(1, 32), NLBS, LatentDiffusionLoss(**loss))


def given(count: int = 4) -> tuple[Tensor, dict[str, Tensor], list[Tensor]]:
    generator = torch.Generator().manual_seed(1)
    pixels = torch.rand(count, 1, 32, 32, generator=generator) * 1.8 - 0.9
    codes = {name: torch.from_numpy(values) for name, values in NLBS.unknown(count).items()}
    return pixels, codes, [torch.randn(count, 2, 4, 4, generator=generator)]


class Leaf(KlAutoencoder):
    """An autoencoder whose decoder's maps are numbers of their own, no pixel of which is air."""

    def passed(self, *given: Any) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        if "maps" not in vars(self):
            self.maps = torch.cat([0.3 * torch.randn(4, 1, 32, 32), torch.full((4, 1, 32, 32), -5.0)], dim=1)
        return self.maps.requires_grad_(), torch.zeros(()), torch.zeros(()), torch.zeros(4)


def test_latents_begin_as_the_lowest_frequencies_of_blocks() -> None:
    """Against SciPy's transform: an image of such frequencies alone comes back."""
    from scipy.fft import idctn

    model, rng = tiny(), np.random.default_rng(0)
    frequencies = np.zeros((8, 8))
    frequencies[0, 0], frequencies[0, 1] = rng.normal(size=2)
    block = torch.from_numpy(idctn(frequencies, norm="ortho")).float()
    pixels, codes = block.repeat(4, 4)[None, None].clamp(-0.99, 1), NLBS.unknown(1)
    (latent,) = model.infer(pixels, {name: torch.from_numpy(values) for name, values in codes.items()})
    expected = torch.tensor([frequencies[0, 0], frequencies[0, 1]]).float()
    torch.testing.assert_close(latent[0, :, 1, 2], expected)
    again = model.render([latent], {name: torch.from_numpy(values) for name, values in codes.items()})
    torch.testing.assert_close(again, pixels)
    flat = cosines(8, 64).flatten(1)
    torch.testing.assert_close(flat @ flat.T, torch.eye(64), atol=1e-5, rtol=0)


@pytest.mark.parametrize("weight", [0.5, 2.0])
def test_the_adversary_pulls_at_images_so_many_times_as_hard_as_the_reconstruction_term(
    weight: float,
) -> None:
    pixels, codes, noise = given()
    model = tiny(adversary_weight=weight, detail_weight=0.0)
    model.__class__ = Leaf
    gradients = []
    for clock in (EARLY, LATE):
        total = model.terms("autoencoder", pixels, codes, noise, clock)["total"]
        gradients.append(torch.autograd.grad(total, model.maps)[0][:, :1])
    pull = gradients[1] - gradients[0]
    assert pull.norm().item() == pytest.approx(weight * gradients[0].norm().item(), rel=1e-4)
    # Uphill in what the discriminator says of them.
    images = model.maps[:, :1].detach().requires_grad_()
    (uphill,) = torch.autograd.grad(model.discriminator(images).mean(), images)
    cosine = torch.cosine_similarity(pull.flatten(), -uphill.flatten(), dim=0)
    assert cosine.item() == pytest.approx(1, abs=0.01)


def test_before_its_share_of_the_run_the_discriminator_does_not_move_and_is_not_heard() -> None:
    pixels, codes, noise = given()
    model = tiny(adversary_share=0.5)
    early = model.terms("autoencoder", pixels, codes, noise, EARLY)
    assert float(early["adversary"]) == 0
    model.terms("discriminator", pixels, codes, noise, EARLY)["total"].backward()
    assert all(not p.grad.any() for p in model.discriminator.parameters() if p.grad is not None)
    # It learns before it is heard.
    begun = EARLY._replace(share=0.5)
    assert model.scheduled(begun)["adversary_weight"] == 0
    assert float(model.terms("discriminator", pixels, codes, noise, begun)["total"].detach()) > 0


def test_the_discriminator_learns_to_tell_rebuilt_patches_from_real_ones() -> None:
    pixels, codes, noise = given()
    model = tiny()
    optimizer = torch.optim.Adam(model.discriminator.parameters(), 0.01)
    for _ in range(30):
        terms = model.terms("discriminator", pixels, codes, noise, LATE)
        optimizer.zero_grad()
        terms["total"].backward()
        optimizer.step()
    assert float(terms["total"].detach()) < 0.5  # 2 where it cannot tell
    assert [p.grad for p in model.decoder.parameters() if p.grad is not None] == []


def test_the_terms_are_the_likelihood_and_the_divergence_of_what_is_drawn() -> None:
    pixels, codes, noise = given()
    model = tiny(kl_weight=0.5, detail_weight=0.0)
    terms = model.terms("autoencoder", pixels, codes, noise, EARLY)
    mu, logvar = model.encoded(pixels, model.embedded(codes))
    maps = model.decoded(mu + (logvar / 2).exp() * noise[0], model.embedded(codes))
    expected = laplace_with_air(maps, pixels, torch.exp(torch.tensor(-2.0)))
    posterior = torch.distributions.Normal(mu, (logvar / 2).exp())
    prior = torch.distributions.Normal(torch.zeros_like(mu), 1.0)
    kl = torch.distributions.kl_divergence(posterior, prior).sum(dim=(1, 2, 3)).mean()
    torch.testing.assert_close(terms["reconstruction"], expected)
    torch.testing.assert_close(terms["kl"], kl)
    torch.testing.assert_close(terms["total"], expected + 0.5 * kl / 1024)


def test_weights_are_ranked_by_the_bound_where_there_is_no_adversary_alone() -> None:
    means = {"autoencoder_reconstruction": 1.0, "autoencoder_kl": 512.0}
    assert tiny().judged(means) is None
    assert tiny(adversary_weight=0.0).judged(means) == 1.5


def test_a_score_sees_38_pixels() -> None:
    model, images = discriminator(1, 8), torch.zeros(1, 1, 128, 128, requires_grad=True)
    scores = model(images)
    assert scores.shape == (1, 1, 16, 16)
    (seen,) = torch.autograd.grad(scores[0, 0, 8, 8], images)
    rows = seen[0, 0].abs().sum(dim=1).nonzero()
    assert int(rows[-1] - rows[0]) + 1 == 38


def test_draws_without_a_flow_say_that_one_is_needed() -> None:
    assert "draw from the flow" in tiny().doubts.own_draws


@pytest.mark.parametrize(
    ("name", "shape", "millions"),
    [("latent-diffusion", (32, 16, 16), (8.1, 5.4)), ("latent-diffusion-small", (16, 8, 8), (1.2, 2.8))],
)
def test_presets_have_a_flow_over_one_map(
    name: str, shape: tuple[int, ...], millions: tuple[float, float]
) -> None:
    config = preset(name)
    model, fitted = networks(config)
    flow = next(one for (stage, _), one in zip(config.stages, fitted, strict=True) if stage == FLOW)
    assert flow.shapes == [shape]
    assert (model.num_parameters / 1e6, flow.num_parameters / 1e6) == pytest.approx(millions, abs=0.05)


def test_a_resolution_that_blocks_do_not_divide_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"cannot be divided by model.unshuffle 8"):
        resolved_config("latent-diffusion-small", None, {"data": {"resolution": 60}})
