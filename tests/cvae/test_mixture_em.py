"""Expectation-maximisation: against a planted mixture, scipy's densities, and the closed form of one normal."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy.special import logsumexp
from scipy.stats import norm
from torch import Tensor

from nlbs.cvae.mixture_em import Parameters, fit_mixture, log_density, mean_log_likelihood
from nlbs.errors import ConfigError

PLANTED = Parameters(
    torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64),
    torch.tensor([[0.0, 0.0, 0.0], [4.0, -3.0, 0.0], [-4.0, 0.0, 5.0]], dtype=torch.float64),
    torch.tensor([[1.0, 0.25, 1.0], [0.5, 1.0, 2.0], [0.1, 1.5, 0.5]], dtype=torch.float64),
)


def draws_of(mixture: Parameters, count: int, seed: int = 0) -> Tensor:
    """By numpy: another generator than the one under test."""
    generator = np.random.default_rng(seed)
    picked = generator.choice(len(mixture.weights), count, p=mixture.weights.numpy())
    mean, deviation = mixture.means.numpy()[picked], mixture.variances.sqrt().numpy()[picked]
    return torch.from_numpy(mean + deviation * generator.standard_normal(mean.shape))


def test_the_density_is_that_of_scipy() -> None:
    x = draws_of(PLANTED, 20) + 1
    weights, means, variances = (values.numpy() for values in PLANTED)
    each = norm.logpdf(x.numpy()[:, None], means, np.sqrt(variances)).sum(axis=2)
    np.testing.assert_allclose(log_density(x, PLANTED).numpy(), each + np.log(weights), rtol=1e-12)
    expected = logsumexp(each, b=weights, axis=1).mean()
    assert mean_log_likelihood(x, PLANTED) == pytest.approx(expected, rel=1e-12)


def test_a_planted_mixture_is_found() -> None:
    """To within four standard errors of each figure, which the planted components tell."""
    count = 12_000
    found = fit_mixture(draws_of(PLANTED, count), components=3, seed=1).parameters
    order = [int((found.means - mean).square().sum(dim=1).argmin()) for mean in PLANTED.means]
    assert sorted(order) == [0, 1, 2]
    own = count * PLANTED.weights
    weights_error = (PLANTED.weights * (1 - PLANTED.weights) / count).sqrt()
    assert ((found.weights[order] - PLANTED.weights).abs() < 4 * weights_error).all()
    means_error = (PLANTED.variances / own[:, None]).sqrt()
    assert ((found.means[order] - PLANTED.means).abs() < 4 * means_error).all()
    variances_error = PLANTED.variances * (2 / own[:, None]).sqrt()
    assert ((found.variances[order] - PLANTED.variances).abs() < 4 * variances_error).all()


@pytest.mark.parametrize("pseudo_draws", [0.0, 10.0])
def test_what_is_maximised_never_falls(pseudo_draws: float) -> None:
    trace = fit_mixture(draws_of(PLANTED, 5000), 8, seed=2, pseudo_draws=pseudo_draws, max_steps=60).trace
    assert len(trace) > 5
    assert all(after >= before - 1e-9 for before, after in pairwise(trace))


def test_without_a_prior_it_is_the_log_likelihood_that_is_maximised() -> None:
    draws = draws_of(PLANTED, 500)
    fitted = fit_mixture(draws, 3, seed=0)
    assert fitted.trace[-1] == pytest.approx(mean_log_likelihood(draws, fitted.parameters), abs=1e-9)


def test_one_component_is_the_mean_and_variance_of_the_draws() -> None:
    draws = draws_of(PLANTED, 300)
    found = fit_mixture(draws, 1, seed=0).parameters
    np.testing.assert_allclose(found.means[0].numpy(), draws.numpy().mean(axis=0), rtol=1e-9)
    np.testing.assert_allclose(found.variances[0].numpy(), draws.numpy().var(axis=0), rtol=1e-9)
    assert found.weights.tolist() == [1.0]


def test_a_component_of_a_single_draw_stays_nearly_as_wide_as_all() -> None:
    """Variance (S + a s) / (N + a) with scatter S = 0, N = 1, a = 10: 10/11 of that of all; with a = 0 it shrinks."""
    draws = torch.cat([draws_of(PLANTED, 200), torch.tensor([[60.0, 60.0, 60.0]], dtype=torch.float64)])
    spread = draws.var(dim=0, correction=0)
    for pseudo_draws, share in ((10.0, 10 / 11), (0.0, 1e-6)):
        found = fit_mixture(draws, 4, seed=0, pseudo_draws=pseudo_draws).parameters
        alone = int(found.means.sum(dim=1).argmax())
        assert found.weights[alone].item() == pytest.approx(1 / 201, rel=0.05)
        torch.testing.assert_close(found.variances[alone], share * spread, rtol=0.02, atol=0)


def test_a_seed_gives_the_same_mixture_and_another_one_another() -> None:
    draws = draws_of(PLANTED, 400)
    first, again, other = (fit_mixture(draws, 6, seed).parameters for seed in (3, 3, 4))
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first.means, other.means)


def test_draws_that_are_all_alike_are_fitted_too() -> None:
    found = fit_mixture(torch.full((20, 2), 3.0), 4, seed=0).parameters
    torch.testing.assert_close(found.means, torch.full((4, 2), 3.0, dtype=torch.float64))
    assert (found.variances > 0).all()
    assert found.weights.sum().item() == pytest.approx(1)


@pytest.mark.parametrize("components", [0, 6])
def test_more_components_than_draws_are_refused(components: int) -> None:
    with pytest.raises(ConfigError, match="is to be fitted to 5 latents"):
        fit_mixture(torch.zeros(5, 2), components, seed=0)
