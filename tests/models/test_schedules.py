"""Schedules against a numerical integral of beta, and closed forms."""

import math

import numpy as np
import pytest
import torch
from scipy.integrate import quad, solve_ivp

from nlbs.models.schedules import SCHEDULES, Schedule, published_schedule, schedule
from tests.conftest import some

NAMES = list(SCHEDULES)


def at(t: float) -> torch.Tensor:
    return torch.tensor([t], dtype=torch.float64)


def times(found: Schedule) -> np.ndarray:  # type: ignore[type-arg]
    return np.linspace(found.least, found.most, 7)


@pytest.mark.parametrize("shift", [1.0, 4.0])
@pytest.mark.parametrize("name", NAMES)
def test_noise_and_sde_agree_at_each_time(name: str, shift: float) -> None:
    found = schedule(name, shift)
    for t in some(times(found)):
        integral = quad(lambda s: float(found.beta(at(s))), 0, t, epsabs=1e-10, limit=200)[0]
        assert float(found.signal(at(t))) == pytest.approx(math.exp(-integral / 2), rel=1e-6)
        assert float(found.deviation(at(t))) ** 2 == pytest.approx(-math.expm1(-integral), rel=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_the_marginal_variance_is_that_of_the_sde(name: str) -> None:
    """Images of variance v have dV/dt = beta (1 - V), V(0) = v, under the SDE; signal^2 v + deviation^2 solves it."""
    found, variance = schedule(name), 0.3
    solved = solve_ivp(
        lambda t, v: float(found.beta(at(t))) * (1 - v), (0, found.most), [variance], t_eval=times(found),
        method="LSODA", rtol=1e-9, atol=1e-11,
    )  # fmt: skip
    for t, expected in zip(times(found), solved.y[0], strict=True):
        marginal = float(found.signal(at(t))) ** 2 * variance + float(found.deviation(at(t))) ** 2
        assert marginal == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("shift", [1.0, 4.0])
@pytest.mark.parametrize("name", NAMES)
def test_a_time_is_found_by_its_noise(name: str, shift: float) -> None:
    found = schedule(name, shift)
    t = torch.linspace(found.least, found.most, 50, dtype=torch.float64)
    np.testing.assert_allclose(found.time(found.sigma(t)), t, rtol=1e-8)
    np.testing.assert_allclose(found.sigma(t), found.deviation(t) / found.signal(t), rtol=1e-9)
    assert bool((found.sigma(t).diff() > 0).all())


def test_a_shift_multiplies_the_noise() -> None:
    t = torch.linspace(0.01, 0.9, 9, dtype=torch.float64)
    np.testing.assert_allclose(schedule("cosine", 4).sigma(t), 4 * schedule("cosine").sigma(t), rtol=1e-9)


def test_cosine_noise_is_that_of_the_paper() -> None:
    """Eq. 17 of 2102.09672, at t = 1/2: cos^2 of (1/2 + s) / (1 + s) of a right angle over that at 0."""
    share = (math.cos(0.508 / 1.008 * math.pi / 2) / math.cos(0.008 / 1.008 * math.pi / 2)) ** 2
    assert float(schedule("cosine").signal(at(0.5))) ** 2 == pytest.approx(share, rel=1e-12)


def test_steps_go_down_to_zero_evenly_in_the_logarithm() -> None:
    found = schedule("quadratic")
    high, low = (float(found.sigma(at(t))) for t in (found.most, found.least))
    assert found.sigmas(3) == pytest.approx([high, math.sqrt(high * low), low, 0])
    assert found.sigmas(1) == pytest.approx([high, 0])


def test_solvers_begin_where_an_image_is_lost_in_noise() -> None:
    assert schedule("cosine").sigmas(2)[0] == pytest.approx(100)
    assert schedule("cosine", shift=4).sigmas(2)[0] == pytest.approx(400)
    assert published_schedule("cosine").sigmas(2)[0] == 100


@pytest.mark.parametrize("name", ["linear", "quadratic"])
def test_as_published_images_are_noised_with_half_of_what_the_sde_is_solved_with(name: str) -> None:
    found = published_schedule(name)
    for t in (0.2, 0.7, 1.0):
        integral = quad(lambda s: float(found.beta(at(s))), 0, t)[0]
        assert float(found.integral(at(t))) == pytest.approx(integral / 2, rel=1e-6)


def test_as_published_the_cosine_is_cut_at_a_tenth_of_what_it_should_be() -> None:
    found, right = published_schedule("cosine"), schedule("cosine")
    assert float(found.beta(at(0.8))) == pytest.approx(float(right.beta(at(0.8))), rel=1e-3)
    for t, expected in ((0.91, 22.0), (0.99, 198.0)):
        assert float(right.beta(at(t))) == pytest.approx(expected, rel=0.02)
        assert float(found.beta(at(t))) == 20
    assert float(found.beta(at(1.0))) == pytest.approx(1e-4)  # and the first step does nothing at all
