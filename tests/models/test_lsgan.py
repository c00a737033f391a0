"""The least-squares GAN: published arithmetic against closed forms and numpy, and what mending changes."""

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from nlbs.errors import ConfigError
from nlbs.manifests.schema import NLBS
from nlbs.models.contract import Clock
from nlbs.models.drawing import OwnSampler, draw_patches
from nlbs.models.lsgan import FAMILY, Lsgan, LsganConfig, squared_slope
from nlbs.train.config import preset, resolved_config
from nlbs.train.turns import fresh_model
from tests.conftest import some

CLOCK = Clock(step=0, steps_per_epoch=5, epoch=0, share=0.0)


def small(name: str) -> Lsgan:
    """Return a preset's model, narrow, of 16 pixels."""
    torch.manual_seed(0)
    model: dict[str, Any] = {"widths": (8, 6), "latent_dim": 5}
    found = fresh_model(resolved_config(name, None, {"model": model, "data": {"resolution": 16}}))
    assert isinstance(found, Lsgan)
    return found


def batch(count: int = 6) -> tuple[Tensor, dict[str, Tensor], Tensor]:
    generator = torch.Generator().manual_seed(1)
    pixels = 2 * torch.rand(count, 1, 16, 16, generator=generator) - 1
    codes = {c.name: torch.randint(-1, len(c.values), (count,), generator=generator) for c in NLBS}
    return pixels, codes, torch.randn(count, 5, generator=generator)


def test_the_published_one_has_the_parameters_of_its_layers() -> None:
    widths = [512, 256, 128, 64, 32]
    between = sum(16 * a * b for a, b in pairwise(widths))
    generator = 16 * 2048 * 512 + between + 16 * 32 + 2 * sum(widths)
    discriminator = 16 * 32 + between + 16 * 512 + 2 * sum(widths[:-1])
    with torch.device("meta"):
        model = fresh_model(preset("lsgan-published"))
    assert model.num_parameters == generator + discriminator
    assert round(model.num_parameters / 1e6, 1) == 22.4


def test_the_published_settings_are_those_of_the_seed() -> None:
    config = preset("lsgan-published")
    assert (config.training.learning_rate, config.training.min_learning_rate) == (2e-4, 2e-4)
    assert (config.data.batch_size, config.training.epochs, config.data.resolution) == (64, 10, 128)
    with torch.device("meta"):
        turns = fresh_model(config).turns()
    assert [(turn.name, turn.steps, turn.betas) for turn in turns] == [
        ("discriminator", 1, (0.5, 0.999)),
        ("generator", 3, (0.5, 0.999)),
    ]
    assert [turn.steps for turn in small("lsgan-small").turns()] == [1, 1]


def test_normal_noise_reaches_the_generator_uniform() -> None:
    model, seen = small("lsgan-published"), []
    model.generator.layers.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    noise = torch.randn(4000, 5, generator=torch.Generator().manual_seed(0))
    codes = {name: code.repeat(1000)[:4000] for name, code in batch()[1].items()}
    with torch.no_grad():
        model.generator(noise, model.generator.embedded(codes))
    found = seen[0].flatten().numpy()
    assert found == pytest.approx(2 * stats.norm.cdf(noise.flatten().double().numpy()) - 1, abs=1e-6)
    assert stats.kstest(found, stats.uniform(-1, 2).cdf).pvalue > 0.01


@pytest.mark.parametrize("name", ["lsgan-published", "lsgan-small"])
def test_losses_are_half_the_squared_errors_from_the_targets(name: str) -> None:
    model = small(name).eval()
    pixels, codes, noise = batch()
    made = model.generator(noise, model.generator.embedded(codes))
    shown = (pixels + 1) / 2 if name == "lsgan-published" else pixels
    with torch.no_grad():
        real, fake = (model.discriminator(some, codes).double().numpy() for some in (shown, made))
        critic = model.terms("discriminator", pixels, codes, [noise], CLOCK)
        maker = model.terms("generator", pixels, codes, [noise], CLOCK)
    assert float(critic["real"]) == pytest.approx(np.mean((real - 1) ** 2), rel=1e-5)
    assert float(critic["made"]) == pytest.approx(np.mean(fake**2), rel=1e-5)
    assert float(critic["total"]) == pytest.approx(
        (np.mean((real - 1) ** 2) + np.mean(fake**2)) / 2, rel=1e-5
    )
    assert float(maker["total"]) == pytest.approx(np.mean((fake - 1) ** 2) / 2, rel=1e-5)


@pytest.mark.parametrize(("name", "low"), [("lsgan-published", 0.0), ("lsgan-small", -1.0)])
def test_real_and_made_images_are_shown_in_one_range_but_for_the_published_one(name: str, low: float) -> None:
    model, shown = small(name), []
    model.discriminator.layers.register_forward_pre_hook(lambda _, inputs: shown.append(inputs[0]))
    pixels, codes, noise = batch()
    pixels[0] = -1
    model.terms("discriminator", pixels, codes, [noise], CLOCK)
    real, made = (images.detach() for images in shown)
    assert float(real.min()) == low
    assert float(made.min()) < 0


@torch.no_grad()
def test_published_draws_are_read_from_zero_to_one() -> None:
    model = small("lsgan-published").eval()
    _, codes, noise = batch()
    made = model.generator(noise, model.generator.embedded(codes))
    torch.testing.assert_close(model.draw([noise], codes), (2 * made - 1).clamp(-1, 1))


@torch.no_grad()
def test_conditions_act_in_mended_models_alone() -> None:
    pixels, codes, noise = batch()
    other = {name: torch.zeros_like(code) for name, code in codes.items()}
    for name, acts in (("lsgan-small", True), ("lsgan-published", False)):
        model = small(name).eval()
        assert torch.equal(model.draw([noise], codes), model.draw([noise], other)) != acts
        scores = [model.discriminator(pixels, some) for some in (codes, other)]
        assert torch.equal(*scores) != acts


def test_the_mended_discriminator_scores_each_patch_by_itself_and_not_by_its_contrast() -> None:
    model = small("lsgan-small")
    pixels, codes, _ = batch()
    scores = model.discriminator(pixels, codes)
    alone = model.discriminator(pixels[2:3], {name: code[2:3] for name, code in codes.items()})
    torch.testing.assert_close(alone[0], scores[2])
    assert scores.shape == (6,)
    features = model.discriminator.layers
    assert not torch.allclose(features(2 * pixels), 2 * features(pixels), rtol=1e-3)


def test_the_slope_is_that_of_finite_differences() -> None:
    model = small("lsgan-small").double()
    pixels = batch(2)[0].double().requires_grad_()
    found = squared_slope(model.discriminator.layers(pixels).sum(dim=(1, 2, 3)), pixels)
    expected = 0.0
    with torch.no_grad():
        for place in range(256):
            change = torch.zeros(1, 1, 256, dtype=torch.float64)
            change[..., place] = 1e-6
            moved = [
                model.discriminator.layers(pixels + sign * change.view(1, 1, 16, 16)) for sign in (1, -1)
            ]
            expected += float((((moved[0] - moved[1]).sum(dim=(1, 2, 3)) / 2e-6) ** 2).mean())
    assert float(found.detach()) == pytest.approx(256 * expected, rel=1e-4)


def test_the_penalty_trains_the_discriminator_alone_and_judges_nothing() -> None:
    model = small("lsgan-small")
    pixels, codes, noise = batch()
    steep = model.terms("discriminator", pixels, codes, [noise], CLOCK)
    total, real, made, slope = (float(term.detach()) for term in steep.values())
    assert total == pytest.approx((real + made + slope) / 2, rel=1e-6)
    assert slope > 0
    steep["slope"].backward()
    assert all(parameter.grad is None for parameter in model.generator.parameters())
    assert not pixels.requires_grad
    with torch.no_grad():
        judged = model.eval().terms("discriminator", pixels, codes, [noise], CLOCK)
    assert float(judged["slope"]) == 0
    assert "slope" not in small("lsgan-published").turns()[0].terms


def test_a_patch_depends_on_seed_and_number_alone() -> None:
    sampler = OwnSampler(small("lsgan-small"))
    few, many = (list(draw_patches(sampler, NLBS.unknown(count), seed=3)) for count in (2, 19))
    assert all(np.array_equal(a, b) for a, b in some(zip(few, many, strict=False)))


def test_a_discriminator_that_tells_all_apart_is_warned_of() -> None:
    model = small("lsgan-small")
    (sentence,) = model.warnings({"discriminator_real": 0.001, "discriminator_made": 0.002}, CLOCK)
    assert "the generator learns little" in sentence
    assert model.warnings({"discriminator_real": 0.2, "discriminator_made": 0.002}, CLOCK) == []
    assert model.judged({"total": 0.1}) is None


def test_widths_that_make_another_size_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"the 5 widths of model\.widths make images of 128 pixels"):
        FAMILY.check(LsganConfig(), None, 64)
