"""The spatial CVAE as published: its loss against numpy, and its faults as they are told."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from nlbs.errors import ConfigError
from nlbs.manifests.schema import NLBS
from nlbs.models.contract import Clock
from nlbs.models.spatial_mlp import FAMILY, SpatialMlp, SpatialMlpConfig, pixel_places
from nlbs.train.config import resolved_config
from nlbs.train.turns import fresh_model


def small() -> SpatialMlp:
    torch.manual_seed(0)
    model: dict[str, Any] = {"hidden": 24, "latent_dim": 5}
    found = fresh_model(
        resolved_config("spatial-cvae-published", None, {"model": model, "data": {"resolution": 8}})
    )
    assert isinstance(found, SpatialMlp)
    return found.eval()


def batch(count: int = 6) -> tuple[Tensor, dict[str, Tensor], Tensor]:
    generator = torch.Generator().manual_seed(1)
    pixels = 2 * torch.rand(count, 1, 8, 8, generator=generator) - 1
    codes = {c.name: torch.randint(-1, len(c.values), (count,), generator=generator) for c in NLBS}
    return pixels, codes, torch.randn(count, 5, generator=generator)


def clock(share: float) -> Clock:
    return Clock(0, 5, 0, share)


@torch.no_grad()
def test_the_loss_is_that_of_the_seed() -> None:
    model = small()
    pixels, codes, noise = batch()
    terms = model.terms("model", pixels, codes, [noise], clock(1 / 6))
    embedding = model.embedded(codes)
    mu, logvar = (values.double().numpy() for values in model.encoded(pixels, embedding))
    z = torch.from_numpy(mu + np.exp(logvar / 2) * noise.numpy()).float()
    apart = (pixels.double().numpy() + 1) / 2 - model.decoded(z, embedding).double().numpy()
    kl = -0.5 * (1 + logvar - mu**2 - np.exp(logvar)).sum(axis=1).mean()
    expected = (apart**2).mean() + 0.25 * kl + 0.01 * np.abs(mu).mean()
    assert float(terms["total"]) == pytest.approx(expected, rel=1e-5)


def test_beta_goes_from_nothing_to_a_half_in_each_of_three_cycles() -> None:
    shares = (0, 1 / 6, 1 / 3 - 1e-9, 1 / 3, 0.5, 1 - 1e-9)
    assert [small().scheduled(clock(share))["beta"] for share in shares] == pytest.approx(
        [0, 0.25, 0.5, 0, 0.25, 0.5], abs=1e-6
    )


@torch.no_grad()
def test_bounds_are_never_charged_as_a_sigmoid_comes_first() -> None:
    model = small()
    model.factor.fill_(1e6)
    pixels, codes, noise = batch()
    assert float(model.terms("model", pixels, codes, [noise], clock(0))["bounds"]) == 0


@torch.no_grad()
def test_its_attentions_are_linear_maps_of_the_places() -> None:
    model = small()
    h, beside = torch.randn(2, 24), torch.randn(2, 16)
    added = model.attention(h, beside) - h
    torch.testing.assert_close(added, model.attention(3 * h + 1, beside) - (3 * h + 1), atol=1e-5, rtol=1e-4)


def test_a_clamped_log_variance_has_no_gradient() -> None:
    model = small()
    pixels, codes, _ = batch()
    with torch.no_grad():
        model.to_logvar.bias.fill_(50.0)
    _, logvar = model.encoded(pixels, model.embedded(codes))
    assert bool((logvar == 2).all())
    logvar.sum().backward()
    assert model.to_logvar.bias.grad is not None
    assert not model.to_logvar.bias.grad.any()


@torch.no_grad()
def test_conditions_change_nothing_and_it_says_so() -> None:
    model = small()
    _, codes, noise = batch()
    other = {name: torch.zeros_like(code) for name, code in codes.items()}
    assert torch.equal(model.draw([noise], codes), model.draw([noise], other))
    assert "sees no conditions" in model.doubts.draws


def test_places_are_centres_row_by_row() -> None:
    assert pixel_places(2).tolist() == [[-0.5, 0.5, -0.5, 0.5], [-0.5, -0.5, 0.5, 0.5]]


def test_patches_too_large_for_an_mlp_are_refused() -> None:
    with pytest.raises(ConfigError, match="has billions of weights"):
        FAMILY.check(SpatialMlpConfig(), None, 512)
