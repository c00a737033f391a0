"""The spatial CVAE: its terms against numpy, what each switch leaves out, and the faults of the original, mended."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from nlbs.errors import ConfigError
from nlbs.manifests.schema import NLBS, POSITION, Schema
from nlbs.models.contract import Clock, Uncertain
from nlbs.models.drawing import OwnSampler, draw_patches
from nlbs.models.spatial_cvae import (
    FAMILY,
    KL_SCHEDULES,
    Enlarge,
    SpatialConfig,
    SpatialCvae,
    bounds_penalty,
    fourier,
    places,
    spatial_term,
)
from nlbs.train.config import resolved_config
from nlbs.train.turns import fresh_model
from tests.conftest import some

CLOCK = Clock(step=3, steps_per_epoch=5, epoch=0, share=0.3)
NARROW = {"widths": (8, 8, 16), "latent_dim": 6, "token_width": 8, "condition_embed_dim": 8}
SWITCHES: list[dict[str, Any]] = [
    {"scales": (1,)},
    {"self_attention": False},
    {"coordinates": False},
    {"cross_attention": False},
    {"pixel_scale": False},
    {"output_scale": False},
]


def small(**model: Any) -> SpatialCvae:
    torch.manual_seed(0)
    flags = {"model": {**NARROW, **model}, "data": {"resolution": 16}}
    found = fresh_model(resolved_config("spatial-cvae-small", None, flags))
    assert isinstance(found, SpatialCvae)
    return found


def batch(count: int = 4) -> tuple[Tensor, dict[str, Tensor], Tensor]:
    generator = torch.Generator().manual_seed(1)
    pixels = 2 * torch.rand(count, 1, 16, 16, generator=generator) - 1
    pixels[:, :, :, :5] = -1
    codes = {c.name: torch.randint(-1, len(c.values), (count,), generator=generator) for c in NLBS}
    codes["position"] = torch.rand(count, 2, generator=generator)
    return pixels, codes, torch.randn(count, 6, generator=generator)


@pytest.mark.parametrize("switch", [{}, *SWITCHES], ids=str)
def test_each_part_can_be_switched_off_and_all_weights_learn(switch: dict[str, Any]) -> None:
    model = small(**switch)
    assert (model.num_parameters < small().num_parameters) == bool(switch)
    pixels, codes, noise = batch()
    terms = model.terms("model", pixels, codes, [noise], CLOCK)
    terms["total"].backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
    drawn = model.eval().draw([noise], codes)
    assert drawn.shape == (4, 1, 16, 16)
    assert bool((drawn.abs() <= 1).all())


def test_the_total_is_the_weighted_sum_of_its_terms() -> None:
    model = small()
    pixels, codes, noise = batch()
    terms = {
        name: float(term.detach())
        for name, term in model.terms("model", pixels, codes, [noise], CLOCK).items()
    }
    beta, loss = model.scheduled(CLOCK)["beta"], model.loss
    expected = terms["reconstruction"] + beta * terms["kl"] / 256 + loss.bounds_weight * terms["bounds"]
    expected += loss.latent_l1_weight * terms["latent_l1"] + loss.spatial_weight * terms["spatial"]
    assert terms["total"] == pytest.approx(expected, rel=1e-5)
    assert model.judged(terms) == pytest.approx(terms["reconstruction"] + terms["kl"] / 256)


def test_the_spatial_term_compares_differences_of_neighbours_on_tissue() -> None:
    generator = np.random.default_rng(0)
    x, y = generator.uniform(-0.9, 1, (2, 3, 1, 6, 7))
    x[:, :, 2, 3:] = -1
    found = []
    for patch in range(3):
        for i in range(6):
            for j in range(7):
                for k, m in ((i + 1, j), (i, j + 1)):
                    if k < 6 and m < 7 and x[patch, 0, i, j] > -1 and x[patch, 0, k, m] > -1:
                        a, b = (
                            abs(y[patch, 0, i, j] - y[patch, 0, k, m]),
                            abs(x[patch, 0, i, j] - x[patch, 0, k, m]),
                        )
                        found.append(abs(a - b))
    assert float(spatial_term(torch.from_numpy(y), torch.from_numpy(x))) == pytest.approx(np.mean(found))


def test_the_spatial_term_rewards_the_image_and_not_a_blurred_one() -> None:
    pixels, _, _ = batch()
    assert float(spatial_term(pixels, pixels)) == 0
    assert float(spatial_term(torch.zeros_like(pixels), pixels)) > 0.1
    assert float(spatial_term(pixels, torch.full_like(pixels, -1.0))) == 0


def test_bounds_are_charged_before_anything_is_clamped() -> None:
    mean = torch.tensor([-3.0, 0.5, 1.0, 1.5], requires_grad=True)
    bounds_penalty(mean).backward()
    assert float(bounds_penalty(mean).detach()) == pytest.approx((4 + 0.25) / 4)
    assert mean.grad is not None
    assert mean.grad.tolist() == pytest.approx([-1.0, 0, 0, 0.25])


def test_schedules_rise_from_nothing_to_all_however_short_a_run_is() -> None:
    assert [
        KL_SCHEDULES["cyclical"](share, 3) for share in (0, 1 / 12, 1 / 6, 0.3, 1 / 3 + 1e-9, 1)
    ] == pytest.approx([0, 0.5, 1, 1, 0, 1], abs=1e-6)
    assert [KL_SCHEDULES["progressive"](share, 3) for share in (0, 0.25, 0.5, 0.75, 1)] == pytest.approx(
        [0, 1 / 3, 2 / 3, 1, 1]
    )
    assert [KL_SCHEDULES["linear"](share, 3) for share in (0, 0.5, 1)] == [0, 0.5, 1]
    for name, rising in KL_SCHEDULES.items():
        assert all(
            0 <= rising(share, cycles) <= 1 for cycles in (1, 2, 7) for share in np.linspace(0, 1, 50)
        ), name
    model = small()
    assert model.scheduled(Clock(0, 1, 0, 0.0))["beta"] == pytest.approx(0)
    assert model.scheduled(Clock(0, 1, 0, 0.9))["beta"] == 1


def test_places_are_centres_of_pixels_and_their_features_are_waves() -> None:
    where = places(4, torch.zeros(1))
    assert where[0, :, 0].tolist() == [-0.75, -0.25, 0.25, 0.75]
    assert where[:, 0, 1].tolist() == [-0.75, -0.25, 0.25, 0.75]
    features = fourier(torch.tensor([0.5, -0.25]))
    waves = [math.pi / 2 * x * 2**octave for x in (0.5, -0.25) for octave in range(5)]
    assert features.tolist() == pytest.approx([*map(math.sin, waves), *map(math.cos, waves)], abs=1e-6)


@torch.no_grad()
def test_every_pixel_is_made_by_as_many_weights_as_the_next() -> None:
    """Of a flat map an enlargement with equal weights makes a flat one; a transposed one of 3 x 3 a checkerboard."""
    larger, transposed = Enlarge(1, 1), torch.nn.ConvTranspose2d(1, 1, 3, 2, 1, output_padding=1)
    for layer in (larger.conv, transposed):
        layer.weight.fill_(1)
        layer.bias.zero_()
    flat = torch.ones(1, 1, 6, 6)
    assert len(larger(flat)[..., 2:-2, 2:-2].unique()) == 1
    assert len(transposed(flat)[..., 2:-2, 2:-2].unique()) == 3


@torch.no_grad()
def test_a_patch_is_drawn_by_its_place_in_the_breast() -> None:
    model = small().eval()
    _, codes, noise = batch()
    elsewhere = {**codes, "position": torch.full_like(codes["position"], 0.9)}
    unknown = {**codes, "position": torch.full_like(codes["position"], math.nan)}
    drawn = [model.draw([noise], some) for some in (codes, elsewhere, unknown)]
    assert not torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[1], drawn[2])
    assert model.schema == Schema((*NLBS, POSITION))


@torch.no_grad()
def test_uncertainty_is_the_scale_of_tissue_and_nothing_in_air() -> None:
    model = small().eval()
    assert isinstance(model, Uncertain)
    pixels, codes, _ = batch()
    found, rebuilt = model.uncertainty(pixels, codes), model.reconstruct(pixels, codes)
    assert found.shape == pixels.shape
    assert torch.equal(found == 0, rebuilt == -1)
    assert bool((found[found > 0] >= math.exp(-5.5) - 1e-6).all())


@torch.no_grad()
def test_attention_weighs_others_by_how_they_agree_where_that_of_a_single_token_is_linear() -> None:
    attention = small().encoder.attention
    assert attention is not None
    torch.manual_seed(3)
    x, a, b = torch.randn(3, 1, 5, 16)

    def told(others: Tensor) -> Tensor:
        found: Tensor = attention(x, others) - x
        return found

    one, other = a[:, :1], b[:, :1]  # the original: a weight of 1 whatever is asked
    torch.testing.assert_close(told((one + other) / 2), (told(one) + told(other)) / 2)
    assert not torch.allclose(told((a + b) / 2), (told(a) + told(b)) / 2, atol=1e-3)


def test_a_patch_depends_on_seed_and_number_alone() -> None:
    model = small()
    few, many = (list(draw_patches(OwnSampler(model), model.schema.unknown(n), seed=3)) for n in (2, 19))
    assert all(np.array_equal(a, b) for a, b in some(zip(few, many, strict=False)))


@pytest.mark.parametrize(
    ("config", "edge", "said"),
    [
        (SpatialConfig(), 60, "a resolution of 60 cannot be halved by each of the 3 stages"),
        (SpatialConfig(widths=(8, 8), scales=(1, 4)), 64, "expected each once, and below 4"),
        (SpatialConfig(scales=(1, 1)), 64, "expected each once"),
    ],
)
def test_sections_that_do_not_fit_together_are_refused(config: SpatialConfig, edge: int, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        FAMILY.check(config, None, edge)
