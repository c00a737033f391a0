"""Diffusion models: what the network is asked, what is made of its answer, and the published arithmetic.

Also covers: models/diffusion.py.
"""

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from nlbs.errors import ConfigError
from nlbs.manifests.schema import NLBS
from nlbs.models.conditioning import zeros_of
from nlbs.models.contract import Clock
from nlbs.models.denoiser import DiffusionModel
from nlbs.models.diffusion import PRESETS, DiffusionConfig
from nlbs.models.family import SOLVERS, ImageSpec
from nlbs.train.config import preset, resolved_config
from nlbs.train.turns import fresh_model

CLOCK = Clock(step=0, steps_per_epoch=1, epoch=0, share=0.0)
SMALL: dict[str, Any] = {"widths": (8, 16), "blocks": 1, "embed_dim": 16}
PUBLISHED: dict[str, Any] = {**SMALL, "prediction": "score", "unshuffle": 1, "attention": 0}
OPTIONS: dict[str, dict[str, Any]] = {
    "edm": SMALL,
    "v": {**SMALL, "prediction": "v", "unshuffle": 1},
    "score": PUBLISHED,
}


def made(options: dict[str, Any], channels: int = 1, edge: int = 16) -> DiffusionModel:
    torch.manual_seed(0)
    return DiffusionModel(DiffusionConfig(**options), ImageSpec(channels, edge), NLBS).eval()


class Ideal(DiffusionModel):
    """Knows that images are all 0.25, and answers as a network that has learned this without a fault."""

    def forward(self, x: Tensor, t: Tensor, conditions: Any) -> Tensor:
        signal, deviation = (
            part(t)[:, None, None, None].float() for part in (self.schedule.signal, self.schedule.deviation)
        )
        if self.is_published:
            return (signal * 0.25 - x) / deviation**2
        sigma, found = self.schedule.sigma(t)[:, None, None, None].float(), torch.zeros_like(x)
        for d, band in ((2.0, means_of(x)), (0.05, x - means_of(x))) if self.has_bands else ((1.0, x),):
            total = (sigma**2 + d**2).sqrt()
            image = 0.25 if d >= 1 else 0.0  # as all pixels are alike, there are no details
            found += (image - (d / total) ** 2 * (band * total)) * total / (sigma * d)
        return found

    has_bands = True


def means_of(images: Tensor) -> Tensor:
    """Blocks of 4 x 4 pixels, each pixel the mean of its block."""
    blocks = images.unflatten(2, (-1, 4)).unflatten(4, (-1, 4)).mean(dim=(3, 5))
    return blocks.repeat_interleave(4, dim=2).repeat_interleave(4, dim=3)


@pytest.mark.parametrize("name", OPTIONS)
def test_a_network_without_a_fault_has_no_loss_and_finds_the_image(name: str) -> None:
    model = Ideal(DiffusionConfig(**OPTIONS[name]), ImageSpec(1, 16), NLBS)
    model.has_bands = name == "edm"
    generator = torch.Generator().manual_seed(0)
    noise = [torch.randn(8, *shape, generator=generator) for shape in model.turns()[0].noise]
    noise[0] = noise[0].clamp(-2.5, 1.5)  # float32 at the very ends
    images = torch.full((8, 1, 16, 16), 0.25)
    terms = model.terms("denoiser", images, {}, noise, CLOCK)
    assert float(terms["total"]) == pytest.approx(0, abs=1e-3)
    sigma = torch.tensor([0.02, 0.5, 3.0], dtype=torch.float64)
    noisy = images[:3] + sigma[:, None, None, None].float() * noise[1][:3]
    np.testing.assert_allclose(model.denoise(noisy, sigma, {}), images[:3], atol=2e-4)


def test_a_fresh_network_has_the_loss_of_what_it_has_to_find() -> None:
    """F is 0 with fresh weights, and what it has to find of images N(0, d^2) is N(0, 1) at each noise."""
    model = made({**SMALL, "data_deviation": 0.5, "detail_deviation": None})
    generator = torch.Generator().manual_seed(1)
    noise = [torch.randn(256, *shape, generator=generator) for shape in model.turns()[0].noise]
    images = 0.5 * torch.randn(256, 1, 16, 16, generator=generator)
    with torch.no_grad():
        terms = model.terms("denoiser", images, zeros_of(NLBS, 256), noise, CLOCK)
    assert float(terms["total"]) == pytest.approx(1, abs=0.02)
    assert float(terms["little_noise"]) == pytest.approx(0.5, abs=0.08)


def test_before_it_has_learned_anything_it_filters_means_and_details_as_well_as_linear_filters_can() -> None:
    """d^2 / (d^2 + sigma^2) of each band; the noise of a mean of 16 pixels is sigma / 4, and 0.5 its own deviation."""
    model = made(SMALL)
    noisy = torch.randn(3, 1, 16, 16, generator=torch.Generator().manual_seed(2))
    sigma = torch.tensor([0.02, 0.4, 8.0], dtype=torch.float64)
    with torch.no_grad():
        found = model.denoise(noisy, sigma, zeros_of(NLBS, 3))
    means, strength = means_of(noisy), sigma[:, None, None, None].float()
    expected = means * 0.25 / (0.25 + (strength / 4) ** 2)
    expected += (noisy - means) * 0.0025 / (0.0025 + strength**2)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_errors_of_images_count_as_they_do_with_a_single_band() -> None:
    """|D - image|^2 (sigma^2 + d^2) / (sigma d)^2, the weight of EDM (Table 1), whatever the bands."""
    generator = torch.Generator().manual_seed(4)
    for detail in (None, 0.05):
        model = made({**SMALL, "detail_deviation": detail})
        for parameter in model.parameters():  # fresh weights begin at 0 in places
            torch.nn.init.normal_(parameter, std=0.1, generator=generator)
        noise = [torch.randn(4, *shape, generator=generator) for shape in model.turns()[0].noise]
        images, codes = torch.randn(4, 1, 16, 16, generator=generator), zeros_of(NLBS, 4)
        with torch.no_grad():
            total = model.terms("denoiser", images, codes, noise, CLOCK)["total"]
            share = torch.special.ndtr(noise[0][:, 0].double())
            sigma = model.schedule.sigma(
                model.schedule.least + (model.schedule.most - model.schedule.least) * share
            )
            strength = sigma[:, None, None, None].float()
            error = model.denoise(images + strength * noise[1], sigma, codes) - images
        expected = (error.square() * (strength**2 + 0.25) / (strength * 0.5) ** 2).mean()
        assert float(total) == pytest.approx(float(expected), rel=1e-3)


def test_v_is_that_of_the_paper() -> None:
    """Of x = signal image + deviation noise and v = signal noise - deviation image: image = signal x - deviation v."""
    model = made(OPTIONS["v"])
    model.forward = lambda x, t, conditions: torch.full_like(x, 0.3)  # type: ignore[method-assign]  # -v
    t = torch.tensor([0.2, 0.6], dtype=torch.float64)
    signal, deviation = (
        part(t)[:, None, None, None].float() for part in (model.schedule.signal, model.schedule.deviation)
    )
    x = torch.randn(2, 1, 16, 16, generator=torch.Generator().manual_seed(2))
    found = model.denoise(x / signal, model.schedule.sigma(t), {})
    torch.testing.assert_close(found, signal * x - deviation * -0.3, rtol=1e-5, atol=1e-5)


def test_conditions_and_time_change_what_is_found_but_not_as_published() -> None:
    noisy = torch.randn(2, 1, 16, 16, generator=torch.Generator().manual_seed(3))
    sigma = torch.full((2,), 0.7, dtype=torch.float64)
    codes = zeros_of(NLBS, 2) | {"cancer": torch.tensor([0, 1])}
    for name, options in OPTIONS.items():
        model = made(options)
        for parameter in model.parameters():  # fresh weights begin at 0 in places
            torch.nn.init.normal_(parameter, std=0.2)
        with torch.no_grad():
            one, other = model.denoise(noisy[:1].expand(2, -1, -1, -1), sigma, codes)
        assert torch.equal(one, other) == (name == "score")
        assert bool(model.doubts.draws) == (name == "score")


def test_as_published_the_times_nearly_coincide() -> None:
    """Embeddings of 0.5 and 0.6, of which only the first of eight pairs of waves has a frequency near 1."""
    rates = 10_000.0 ** (-np.arange(8) / 7)
    waves = [np.concatenate([np.sin(t * rates), np.cos(t * rates)]) for t in (0.5, 0.6)]
    cosine = waves[0] @ waves[1] / np.linalg.norm(waves[0]) / np.linalg.norm(waves[1])
    assert cosine > 0.999
    network = made({**PUBLISHED, "embed_dim": 64}).published
    seen: list[Tensor] = []
    network.time.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0]))
    network(torch.zeros(2, 1, 16, 16), torch.tensor([0.5, 0.6]))
    np.testing.assert_allclose(seen[0].detach(), np.stack(waves), atol=1e-6)


def test_the_published_model_has_as_many_weights_as_its_code_says() -> None:
    """0.54 M where it says about 1 M. By hand: 16, 32, 64 features, a block a scale, two in the middle, 64 of time."""

    def conv(before: int, width: int, edge: int = 3) -> int:
        return before * width * edge**2 + width

    def block(before: int, width: int) -> int:
        past = conv(before, width, 1) if before != width else 0
        return conv(before, width) + conv(width, width) + 2 * 2 * width + (64 + 1) * 2 * width + past

    time = (16 + 1) * 64 + (64 + 1) * 64
    down = block(16, 16) + conv(16, 16) + block(16, 32) + conv(32, 32) + block(32, 64)
    middle = 2 * block(64, 64)
    up = block(128, 64) + conv(64, 64, 4) + block(96, 32) + conv(32, 32, 4) + block(48, 16)
    expected = time + conv(1, 16) + down + middle + up + 2 * 16 + conv(16, 1)
    with torch.device("meta"):
        assert fresh_model(preset("diffusion-published")).num_parameters == expected == 539_697


def test_presets_are_as_large_as_they_say() -> None:
    for name, millions in {"diffusion-small": 2.1, "diffusion": 63.0}.items():
        with torch.device("meta"):
            assert fresh_model(preset(name)).num_parameters / 1e6 == pytest.approx(millions, rel=0.03)
    assert len(PRESETS) == 3


def test_the_published_score_has_to_reach_156_where_there_is_least_noise() -> None:
    model = made(PUBLISHED)
    deviation = float(model.schedule.deviation(torch.tensor([model.schedule.least], dtype=torch.float64)))
    assert 1 / deviation == pytest.approx(156, rel=0.01)


def test_images_may_be_of_any_edge_and_colour() -> None:
    for channels, edge in ((3, 16), (1, 24)):
        model = made(SMALL, channels, edge)
        noise = [torch.randn(2, *shape) for shape in model.drawing_noise]
        with torch.no_grad():
            assert model.draw(noise, zeros_of(NLBS, 2)).shape == (2, channels, edge, edge)


def test_what_does_not_fit_together_is_refused() -> None:
    with pytest.raises(ConfigError, match="a resolution of 60 cannot be divided by 8"):
        resolved_config("diffusion-small", None, {"data": {"resolution": 60}})
    with pytest.raises(ConfigError, match="prediction score is the model as published"):
        resolved_config("diffusion-published", None, {"model": {"unshuffle": 4}})
    with pytest.raises(ConfigError, match="multiple of 8"):
        resolved_config("diffusion-small", None, {"model": {"widths": [60, 96]}})


def test_options_name_the_samplers_that_there_are() -> None:
    for solver in SOLVERS:
        assert DiffusionConfig(sampler=solver, steps=3).steps == 3  # type: ignore[arg-type]
    assert math.prod(made({**SMALL, "sampler": "sde"}).drawing_noise[1]) == 4
