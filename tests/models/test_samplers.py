"""Samplers against closed forms: images N(mu, s^2 I), whose denoiser is (s^2 x + sigma^2 mu) / (s^2 + sigma^2)."""

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from nlbs.errors import ConfigError
from nlbs.manifests.conditions import UNKNOWN
from nlbs.manifests.schema import NLBS
from nlbs.models.conditioning import zeros_of
from nlbs.models.contract import Clock, Conditions, GenerativeModel, Noise, Shapes, Turn
from nlbs.models.drawing import draw_noise, draw_patches
from nlbs.models.family import SOLVERS, ImageSpec
from nlbs.models.guidance import Guidance
from nlbs.models.samplers import KEY, SOLVE, DenoisingSampler, edited_noise, numbered_noise
from nlbs.models.schedules import SCHEDULES, published_schedule, schedule
from tests.models.toy import Toy, ToyConfig

EDGE, PATCHES = 16, 32
MEAN, DEVIATION = -0.2, 0.15  # five deviations inside [-1, 1]


class Gaussian(GenerativeModel):
    """Knows that images are N(mu, s^2 I), and of cancer that mu is more by 0.4."""

    family = "gaussian"

    def __init__(self, name: str = "cosine", deviation: float = DEVIATION) -> None:
        super().__init__(ImageSpec(1, EDGE))
        self.schedule, self.deviation = schedule(name), deviation
        self.mean = nn.Parameter(torch.tensor(MEAN))
        self.asked = 0

    def denoise(self, noisy: Tensor, sigma: Tensor, conditions: Conditions) -> Tensor:
        self.asked += 1
        known, noise = self.deviation**2, sigma.to(torch.float32).square()[:, None, None, None]
        mean = self.mean + 0.4 * (conditions["cancer"] == 1)[:, None, None, None]
        return (known * noisy + noise * mean) / (known + noise)

    def turns(self) -> Sequence[Turn]:
        raise NotImplementedError

    def terms(
        self, turn: str, pixels: Tensor, conditions: Conditions, noise: Noise, clock: Clock
    ) -> dict[str, Tensor]:
        raise NotImplementedError

    @property
    def drawing_noise(self) -> Shapes:
        return ((1, EDGE, EDGE),)

    def draw(self, noise: Noise, conditions: Conditions, guidance: float | Guidance = 1) -> Tensor:
        raise NotImplementedError


def noise_of(shapes: Shapes, count: int, seed: int = 0) -> list[Tensor]:
    rows = [draw_noise(seed, index, shapes) for index in range(count)]
    return [torch.from_numpy(np.stack(level)) for level in zip(*rows, strict=True)]


def drawn(sampler: DenoisingSampler, count: int = PATCHES, **known: int) -> Tensor:
    conditions = zeros_of(NLBS, count) | {name: torch.full((count,), value) for name, value in known.items()}
    with torch.no_grad():
        return sampler.draw(noise_of(sampler.noise_shapes, count), conditions)


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("solver", SOLVERS)
def test_mean_and_deviation_of_a_gaussian_come_out(solver: str, name: str) -> None:
    found = drawn(DenoisingSampler(Gaussian(name), solver)).double()
    # 8,192 pixels: the standard error of the mean is 0.011 deviations, of the deviation 0.008.
    # The quadratic schedule ends at sigma = 29, where images have left a little of themselves.
    assert float(found.mean()) == pytest.approx(MEAN, abs=0.04 * DEVIATION + (name == "quadratic") * 0.002)
    assert float(found.std()) == pytest.approx(DEVIATION, rel=0.03 if solver != "ode" else 0.05)


@pytest.mark.parametrize(("name", "share"), [("cosine", 1.0), ("linear", 0.84), ("quadratic", 0.83)])
def test_what_the_published_schedules_cost_a_network_without_a_fault(name: str, share: float) -> None:
    model = Gaussian(name)
    model.schedule = published_schedule(name)
    found = drawn(DenoisingSampler(model, "sde"))
    assert float(found.std()) == pytest.approx(share * DEVIATION, rel=0.03)


@pytest.mark.parametrize("solver", ["ode", "dpm"])
def test_an_ode_maps_noise_to_images_as_the_closed_form_does(solver: str) -> None:
    """dx/dsigma = (x - D) / sigma is linear: x - mu shrinks by s / sqrt(s^2 + sigma^2) from first to last."""
    model = Gaussian()
    sampler = DenoisingSampler(model, solver, steps=200)
    sigma = model.schedule.sigmas(200)[0]
    start = noise_of(sampler.noise_shapes, PATCHES)[0]
    expected = MEAN + (sigma * start - MEAN) * DEVIATION / np.hypot(DEVIATION, sigma)
    np.testing.assert_allclose(drawn(sampler).numpy(), expected.numpy(), atol=2e-3)


def test_more_steps_come_nearer_and_heun_is_of_second_order() -> None:
    ideal = drawn(DenoisingSampler(Gaussian(), "ode", 640))
    errors = [
        float((drawn(DenoisingSampler(Gaussian(), "ode", n)) - ideal).abs().mean()) for n in (20, 40, 80)
    ]
    assert errors[0] / errors[1] == pytest.approx(4, rel=0.35)
    assert errors[1] / errors[2] == pytest.approx(4, rel=0.35)


def test_solvers_ask_as_often_as_they_say() -> None:
    for solver, asked in (("dpm", 20), ("ode", 39), ("sde", 501)):
        model = Gaussian()
        drawn(DenoisingSampler(model, solver), 1)
        assert model.asked == asked, solver
    assert set(SOLVE) == set(SOLVERS)


@pytest.mark.parametrize("solver", SOLVERS)
def test_a_patch_depends_on_seed_and_number_alone_also_where_each_step_has_noise(solver: str) -> None:
    sampler = DenoisingSampler(Gaussian(), solver, steps=12)
    some = {name: values.numpy() for name, values in zeros_of(NLBS, 21).items()}
    many = np.stack(list(draw_patches(sampler, some, seed=3)))
    few = np.stack(list(draw_patches(sampler, {name: values[:5] for name, values in some.items()}, seed=3)))
    late = np.stack(list(draw_patches(sampler, some, seed=3, first=18)))
    np.testing.assert_array_equal(few, many[:5])
    np.testing.assert_array_equal(late, many[18:])
    assert len({patch.tobytes() for patch in many}) == 21


def test_numbered_noise_is_a_function_of_key_and_number_and_is_normal() -> None:
    keys = noise_of((KEY,), 8)[0]
    one, again, other = (numbered_noise(keys, number, (1, 64, 64)) for number in (5, 5, 6))
    assert torch.equal(one, again)
    assert torch.equal(numbered_noise(keys[3:4], 5, (1, 64, 64))[0], one[3])
    everything = torch.stack([one, other]).double().flatten(2)
    assert float(everything.mean()) == pytest.approx(0, abs=0.02)
    assert float(everything.var()) == pytest.approx(1, abs=0.03)
    correlations = torch.corrcoef(everything.flatten(0, 1)) - torch.eye(16)
    assert float(correlations.abs().max()) < 0.08  # five standard errors


def test_guidance_follows_the_schema() -> None:
    def mean(guidance: float | Guidance, cancer: int = 1) -> float:
        return float(drawn(DenoisingSampler(Gaussian(), "ode", guidance=guidance), cancer=cancer).mean())

    assert mean(1) - mean(1, cancer=0) == pytest.approx(0.4, abs=0.01)
    assert mean(Guidance(1, {"cancer": 1.5})) - mean(1, cancer=UNKNOWN) == pytest.approx(0.6, abs=0.01)
    assert mean(0) == pytest.approx(mean(1, cancer=UNKNOWN), abs=1e-6)
    assert mean(Guidance(1, {"view": 3})) == pytest.approx(mean(1), abs=1e-6)


@pytest.mark.parametrize("passes", [1, 3])
def test_editing_keeps_what_is_known_and_draws_the_rest(passes: int) -> None:
    model = Gaussian()
    sampler = DenoisingSampler(model, steps=40)
    is_known = torch.zeros(1, 1, EDGE, EDGE, dtype=torch.bool)
    is_known[..., :4] = True
    known = torch.full((1, 1, EDGE, EDGE), 0.625)
    noise = noise_of(edited_noise(model), PATCHES)
    with torch.no_grad():
        found = sampler.edited(
            noise, zeros_of(NLBS, PATCHES), lambda image: torch.where(is_known, known, image), passes
        )
    assert bool((found[..., :4] == 0.625).all())
    free = found[..., 4:].double()
    assert float(free.mean()) == pytest.approx(MEAN, abs=0.05 * DEVIATION)
    assert float(free.std()) == pytest.approx(DEVIATION, rel=0.04)


def test_of_neighbours_that_are_alike_the_unknown_ones_follow_the_known_ones() -> None:
    """Images of one value, N(0, 0.3^2): D is the same everywhere, and half of the image is known."""

    class Flat(Gaussian):
        def denoise(self, noisy: Tensor, sigma: Tensor, conditions: Conditions) -> Tensor:
            noise = sigma.to(torch.float32).square()[:, None, None, None] / EDGE**2
            mean = noisy.mean(dim=(1, 2, 3), keepdim=True)
            return (0.3**2 / (0.3**2 + noise) * mean).expand_as(noisy)

    model = Flat()
    is_known = torch.arange(EDGE) < EDGE // 2
    found = {}
    for passes in (1, 10):
        with torch.no_grad():
            found[passes] = DenoisingSampler(model, steps=40).edited(
                noise_of(edited_noise(model), 4),
                zeros_of(NLBS, 4),
                lambda image: torch.where(is_known, torch.tensor(0.5), image),
                passes,
            )[..., EDGE // 2 :]
    errors = {passes: float((free - 0.5).abs().mean()) for passes, free in found.items()}
    assert errors[10] < 0.05
    assert errors[10] < errors[1]


def test_what_does_not_denoise_is_told_so() -> None:
    toy = Toy(ToyConfig(), ImageSpec(1, EDGE), NLBS)
    with pytest.raises(ConfigError, match="a model of the family toy does not denoise"):
        DenoisingSampler(toy)
    with pytest.raises(ConfigError, match="0 steps of the sampler"):
        DenoisingSampler(Gaussian(), "dpm", 0)
