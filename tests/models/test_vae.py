"""The VAEs: published arithmetic against closed forms and numpy, the mended likelihood against what a density is.

Also covers: models/gaussian_latent.py.
"""

import math
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from nlbs.errors import ConfigError
from nlbs.manifests.schema import NLBS
from nlbs.models.contract import Clock
from nlbs.models.drawing import OwnSampler, draw_patches
from nlbs.models.family import ImageSpec
from nlbs.models.gaussian_latent import kl_divergence
from nlbs.models.vae import (
    FAMILY,
    LIKELIHOODS,
    Vae,
    VaeConfig,
    VaeLoss,
    laplace_with_air,
    mean_square,
    summed_cross_entropy,
)
from nlbs.train.config import preset, resolved_config
from nlbs.train.turns import fresh_model
from tests.conftest import some

START = Clock(step=0, steps_per_epoch=5, epoch=0, share=0.0)
END = Clock(step=99, steps_per_epoch=5, epoch=19, share=0.99)


def small(name: str, edge: int = 32) -> Vae:
    """Return a preset's model, narrow."""
    torch.manual_seed(0)
    model: dict[str, Any] = {"widths": (4, 6, 8), "latent_dim": 5}
    found = fresh_model(resolved_config(name, None, {"model": model, "data": {"resolution": edge}}))
    assert isinstance(found, Vae)
    return found


def batch(count: int, edge: int = 32) -> tuple[Tensor, dict[str, Tensor], Tensor]:
    generator = torch.Generator().manual_seed(1)
    pixels = 2 * torch.rand(count, 1, edge, edge, generator=generator) - 1
    codes = {c.name: torch.randint(-1, len(c.values), (count,), generator=generator) for c in NLBS}
    return pixels, codes, torch.randn(count, 5, generator=generator)


@pytest.mark.parametrize(
    ("name", "millions"),
    [
        ("vindr-vae-published", 51.1),
        ("cxr-vae-published", 32.7),
        ("vindr-vae-small", 4.1),
        ("cxr-vae-small", 1.3),
    ],
)
def test_a_preset_has_so_many_parameters(name: str, millions: float) -> None:
    with torch.device("meta"):
        model = fresh_model(preset(name))
    assert round(model.num_parameters / 1e6, 1) == millions


def test_the_published_mammogram_vae_has_the_parameters_of_its_layers() -> None:
    widths, flat, latent = [1, 32, 64, 128, 256], 256 * 8 * 8, 1024
    there = sum(9 * a * b + b for a, b in pairwise(widths))
    back = sum(9 * a * b + b for a, b in pairwise(widths[::-1]))
    with torch.device("meta"):
        model = fresh_model(preset("vindr-vae-published"))
    assert model.num_parameters == there + 2 * (flat * latent + latent) + (latent * flat + flat) + back


def test_the_published_settings_are_those_of_the_seeds() -> None:
    for name, rate, size, epochs in (
        ("vindr-vae-published", 1e-3, 32, 60),
        ("cxr-vae-published", 1e-4, 64, 10),
    ):
        config = preset(name)
        training = config.training
        assert (training.learning_rate, training.min_learning_rate) == (rate, rate)
        assert (training.optimizer, training.weight_decay, training.betas) == ("adam", 0, (0.9, 0.999))
        assert (config.data.batch_size, training.epochs, config.data.resolution) == (size, epochs, 128)
        assert training.max_grad_norm > 1e9
        assert not any(vars(training.augment).values())


def values(terms: dict[str, Tensor]) -> dict[str, float]:
    return {name: float(term.detach()) for name, term in terms.items()}


def encoded(model: Vae, pixels: Tensor, codes: dict[str, Tensor], noise: Tensor) -> tuple[np.ndarray, ...]:
    """Return the maps, mu and logvar of a model in float64."""
    embedding = model.embedded(codes)
    mu, logvar = model.encoded(pixels, embedding)
    maps = model.decoded(mu + (logvar / 2).exp() * noise, embedding)
    return tuple(values.detach().double().numpy() for values in (maps, mu, logvar))


def kl_of(mu: np.ndarray, logvar: np.ndarray) -> np.ndarray:
    """-1/2 sum (1 + logvar - mu^2 - exp(logvar)), as the seeds write it."""
    found: np.ndarray = -0.5 * (1 + logvar - mu**2 - np.exp(logvar)).sum(axis=1)
    return found


def test_the_mammogram_loss_is_summed_cross_entropy_and_a_tenth_of_the_kl() -> None:
    model = small("vindr-vae-published")
    pixels, codes, noise = batch(6)
    terms = values(model.terms("model", pixels, codes, [noise], START))
    maps, mu, logvar = encoded(model, pixels, codes, noise)
    x, y = (pixels.double().numpy() + 1) / 2, 1 / (1 + np.exp(-maps))
    entropy = -(x * np.log(y) + (1 - x) * np.log(1 - y)).sum() / 6
    kl = kl_of(mu, logvar).mean()
    assert terms["reconstruction"] == pytest.approx(entropy, rel=1e-5)
    assert terms["total"] == pytest.approx(entropy + 0.1 * kl, rel=1e-5)


def test_the_chest_loss_is_a_mean_square_and_the_kl_summed_over_the_batch() -> None:
    model = small("cxr-vae-published").eval()
    pixels, codes, noise = batch(64)
    terms = values(model.terms("model", pixels, codes, [noise], START))
    maps, mu, logvar = encoded(model, pixels, codes, noise)
    error = (((pixels.double().numpy() + 1) / 2 - maps) ** 2).mean()
    assert terms["total"] == pytest.approx(error + 2e-3 * kl_of(mu, logvar).sum(), rel=1e-5)


def test_published_chest_heads_pass_a_leaky_rectifier() -> None:
    model = small("cxr-vae-published").eval()
    with torch.no_grad():
        for head in (model.to_mu, model.to_logvar):
            head.weight.zero_()
            head.bias.fill_(-1.0)
    pixels, codes, _ = batch(2)
    mu, logvar = model.encoded(pixels, model.embedded(codes))
    torch.testing.assert_close(mu, torch.full_like(mu, -0.2))
    torch.testing.assert_close(logvar, torch.full_like(logvar, -0.2))


def test_kl_equals_that_of_torch_distributions() -> None:
    mu, logvar = torch.randn(3, 7, dtype=torch.float64), torch.randn(3, 7, dtype=torch.float64)
    normal = torch.distributions.Normal
    expected = torch.distributions.kl_divergence(normal(mu, (logvar / 2).exp()), normal(0.0, 1.0)).sum(dim=1)
    torch.testing.assert_close(kl_divergence(mu, logvar), expected)


def test_the_mended_likelihood_adds_up_to_one() -> None:
    air_logit, mean, scale = 0.7, 0.1, torch.tensor(0.05)
    maps = torch.tensor([mean, air_logit], dtype=torch.float64).reshape(1, 2, 1, 1)
    grid = torch.linspace(-0.999, 1.2, 20_001, dtype=torch.float64)
    density = [math.exp(-float(laplace_with_air(maps, x.reshape(1, 1, 1, 1), scale))) for x in grid]
    air = math.exp(-float(laplace_with_air(maps, torch.full((1, 1, 1, 1), -1.0, dtype=torch.float64), scale)))
    assert air == pytest.approx(1 / (1 + math.exp(-air_logit)))
    assert air + float(np.trapezoid(density, grid.numpy())) == pytest.approx(1, abs=1e-4)


def test_the_likeliest_scale_is_the_mean_error_on_tissue_alone() -> None:
    maps, pixels = torch.randn(4, 2, 8, 8), torch.rand(4, 1, 8, 8) - 0.5
    pixels[:, :, :5] = -1
    log_scale = torch.zeros((), requires_grad=True)
    best = (pixels - maps[:, :1])[pixels > -1].abs().mean()
    laplace_with_air(maps, pixels, best * log_scale.exp()).backward()
    assert log_scale.grad is not None
    assert abs(float(log_scale.grad)) < 1e-6


def test_where_a_pixel_is_rather_air_the_image_is_air() -> None:
    maps = torch.tensor([[[[0.3, 0.3]], [[2.0, -2.0]]]])
    assert LIKELIHOODS["laplace"].image(maps).flatten().tolist() == pytest.approx([-1.0, 0.3])


def test_published_maps_are_read_from_zero_to_one() -> None:
    assert LIKELIHOODS["bernoulli"].image(torch.tensor([0.0])).item() == 0
    assert LIKELIHOODS["square"].image(torch.tensor([0.0, 1.0])).tolist() == [-1, 1]
    level = torch.zeros(1, 1, 2, 2)
    assert float(summed_cross_entropy(level, level, level)) == pytest.approx(4 * math.log(2))
    assert float(mean_square(level, level, level)) == pytest.approx(0.25)


def test_beta_rises_and_weights_are_judged_at_its_end() -> None:
    model = small("vindr-vae-small")
    assert [model.scheduled(clock)["beta"] for clock in (START, END)] == [0, 1]
    assert model.scheduled(Clock(0, 5, 0, 0.1))["beta"] == pytest.approx(0.5)
    pixels, codes, noise = batch(4)
    terms = values(model.terms("model", pixels, codes, [noise], END))
    assert model.judged(terms) == pytest.approx(terms["total"])
    assert terms["total"] == pytest.approx(terms["reconstruction"] + terms["kl"] / 32**2)


@torch.no_grad()
def test_what_is_rebuilt_is_what_the_means_render() -> None:
    model = small("vindr-vae-small").eval()
    pixels, codes, noise = batch(3)
    rebuilt, nats = model.bound(pixels, codes)
    latents = model.infer(pixels, codes)
    torch.testing.assert_close(rebuilt.clamp(-1, 1), model.render(latents, codes))
    assert nats.shape == (3, 1)
    drawn = model.infer(pixels, codes, [noise])[0]
    assert not torch.equal(drawn, latents[0])


@torch.no_grad()
def test_conditions_act_in_mended_models_alone() -> None:
    _, codes, noise = batch(4)
    other = {name: torch.zeros_like(code) for name, code in codes.items()}
    for name, acts in (("vindr-vae-small", True), ("vindr-vae-published", False)):
        model = small(name).eval()
        assert torch.equal(model.draw([noise], codes), model.draw([noise], other)) != acts
    with pytest.raises(ConfigError, match="the condition 'view' is missing"):
        model.draw([noise], {})


def test_a_patch_depends_on_seed_and_number_alone() -> None:
    sampler = OwnSampler(small("cxr-vae-small"))
    few, many = (list(draw_patches(sampler, NLBS.unknown(count), seed=3)) for count in (2, 19))
    assert all(np.array_equal(a, b) for a, b in some(zip(few, many, strict=False)))


def test_an_empty_latent_is_warned_of_and_published_draws_are_doubted() -> None:
    model = small("cxr-vae-published")
    (sentence,) = model.warnings({"kl": 0.01}, END)
    assert "collapsed" in sentence
    assert model.warnings({"kl": 30.0}, END) == model.warnings({"kl": math.nan}, END) == []
    assert "nlbs-generate vary" in model.doubts.draws
    assert not small("cxr-vae-small").doubts.draws


def test_a_size_that_cannot_be_halved_is_refused() -> None:
    with pytest.raises(ConfigError, match="a resolution of 60 cannot be halved by each of the 4 stages"):
        Vae(VaeConfig(), ImageSpec(1, 60), NLBS, VaeLoss())
    with pytest.raises(ConfigError, match="take a multiple of 16"):
        FAMILY.check(VaeConfig(), VaeLoss(), 60)


def test_it_learns_a_patch_by_heart() -> None:
    model = small("vindr-vae-small", 16)
    pixels, codes, noise = batch(2, 16)
    pixels[:, :, :, :6] = -1
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    found = []
    for _ in range(150):
        optimizer.zero_grad()
        terms = model.terms("model", pixels, codes, [noise], START)
        terms["total"].backward()
        optimizer.step()
        found.append(values(terms)["total"])
    assert found[-1] < found[0] - 0.5
    again = model.eval().reconstruct(pixels, codes)
    assert bool((again[:, :, :, :6] == -1).float().mean() > 0.95)
