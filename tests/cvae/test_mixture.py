"""The sampler over a mixture: densities and draws against scipy, and what it leaves to the model."""

import numpy as np
import pytest
import torch
from scipy.special import logsumexp
from scipy.stats import kstest, norm
from torch import Tensor

from nlbs.cvae import ConditionalVAE
from nlbs.cvae.mixture import LatentMixture, MixtureSampler
from nlbs.cvae.mixture_em import Parameters
from nlbs.cvae.samplers import BATCH, PriorSampler, draw_patches
from nlbs.errors import ConfigError
from tests.cvae.conftest import codes, tiny
from tests.cvae.test_ladder import FIVE, ladder

LATENT_DIM = 4
STANDARD = Parameters(torch.ones(1), torch.zeros(1, LATENT_DIM), torch.ones(1, LATENT_DIM))  # N(0, I)


def mixture() -> LatentMixture:
    """Three components, each far from the others in its own dimension."""
    return LatentMixture(
        Parameters(
            torch.tensor([0.5, 0.3, 0.2]),
            10 * torch.eye(3, LATENT_DIM),
            torch.tensor([[1.0, 0.25, 4.0, 1.0], [0.5, 1.0, 1.0, 2.0], [0.1, 2.0, 1.0, 0.5]]),
        )
    )


@pytest.fixture
def model() -> ConditionalVAE:
    return ladder(latent_dim=LATENT_DIM).eval()


def noise_for(sampler: MixtureSampler | PriorSampler, count: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(4)
    return [torch.randn(count, *shape, generator=generator) for shape in sampler.noise_shapes]


def test_the_density_is_that_of_scipy() -> None:
    made = mixture()
    u = 5 * torch.randn(30, LATENT_DIM, generator=torch.Generator().manual_seed(0))
    weights, means, variances = (v.double().numpy() for v in (made.weights, made.means, made.variances))
    each = norm.logpdf(u.double().numpy()[:, None], means, np.sqrt(variances)).sum(axis=2)
    np.testing.assert_allclose(made.log_prob(u).numpy(), logsumexp(each, b=weights, axis=1), rtol=1e-9)


def test_components_are_drawn_as_often_as_their_weights_say_and_normally() -> None:
    made, count = mixture(), 20_000
    generator = np.random.default_rng(0)
    choice, noise = (torch.from_numpy(generator.standard_normal(s)) for s in ((count,), (count, LATENT_DIM)))
    u = made.draw(choice, noise).numpy()
    picked = u[:, :3].argmax(axis=1)  # 10 is ten deviations from 0
    for number, weight in enumerate([0.5, 0.3, 0.2]):
        assert abs((picked == number).mean() - weight) < 4 * np.sqrt(weight * (1 - weight) / count)
        scaled = (u[picked == number] - made.means[number].numpy()) / made.variances[number].sqrt().numpy()
        for dimension in range(LATENT_DIM):
            assert kstest(scaled[:, dimension], "norm").pvalue > 1e-3


def test_the_quantile_of_a_number_picks_the_component_up_to_both_ends() -> None:
    """Weights .5, .3, .2: the borders are at the quantiles 0 and .8416 of N(0, 1)."""
    choice = torch.tensor([-40.0, -0.001, 0.001, 0.841, 0.842, 40.0])
    u = mixture().draw(choice, torch.zeros(6, LATENT_DIM))
    assert u[:, :3].argmax(dim=1).tolist() == [0, 0, 1, 1, 2, 2]


def test_a_component_of_weight_0_is_never_drawn() -> None:
    empty = LatentMixture(Parameters(torch.tensor([0.0, 1.0, 0.0]), mixture().means, mixture().variances))
    u = empty.draw(torch.tensor([-40.0, 0.0, 40.0]), torch.zeros(3, LATENT_DIM))
    assert u[:, :3].argmax(dim=1).tolist() == [1, 1, 1]


@pytest.mark.parametrize("guidance", [1.0, 2.5])
@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_the_mixture_that_is_the_prior_draws_what_the_prior_draws(
    model: ConditionalVAE, temperature: float, guidance: float
) -> None:
    sampler = MixtureSampler(model, LatentMixture(STANDARD), temperature, guidance)
    noise = noise_for(sampler, 5)
    expected = PriorSampler(model, temperature, guidance).draw(noise[:-1], FIVE)
    torch.testing.assert_close(sampler.draw(noise, FIVE), expected)


def test_latents_are_moved_and_scaled_by_the_prior_of_their_conditions(model: ConditionalVAE) -> None:
    sampler = MixtureSampler(model, mixture())
    noise = noise_for(sampler, 5)
    embedding = model.condition_encoder(FIVE)
    assert model.prior is not None
    mean, logvar = model.prior(embedding).chunk(2, dim=1)
    u = mixture().draw(noise[-1][:, 0], noise[0])
    torch.testing.assert_close(sampler.latent(noise, FIVE), mean + (0.5 * logvar).exp() * u)
    assert (mean[0] - mean[1]).abs().max() > 0.01


def test_without_a_conditional_prior_the_mixture_is_one_of_the_latent_itself() -> None:
    torch.manual_seed(0)
    plain = ConditionalVAE(tiny(), 16)
    sampler = MixtureSampler(plain, mixture())
    noise = noise_for(sampler, 5)
    u = mixture().draw(noise[-1][:, 0], noise[0])
    assert torch.equal(sampler.latent(noise, FIVE), u)
    torch.testing.assert_close(sampler.draw(noise, FIVE), plain.decode(u, FIVE).clamp(-1, 1))


def test_the_finer_levels_come_from_the_models_prior(model: ConditionalVAE) -> None:
    sampler = MixtureSampler(model, mixture())
    noise = noise_for(sampler, 5)
    z = sampler.latent(noise, FIVE)
    torch.testing.assert_close(sampler.draw(noise, FIVE), model.render([z], FIVE, noise[:-1]))
    still = MixtureSampler(model, mixture(), temperature=0)
    means = still.latent(noise, FIVE)
    torch.testing.assert_close(still.draw(noise, FIVE), model.render([means], FIVE))
    other = [torch.zeros_like(level) for level in noise[:-1]]
    assert torch.equal(still.latent([*other, noise[-1]], FIVE), means)


def test_a_patch_depends_on_the_seed_and_its_number_alone(model: ConditionalVAE) -> None:
    sampler = MixtureSampler(model, mixture())
    wanted = {name: code.numpy() for name, code in codes(*([1] * (BATCH + 5) for _ in range(5))).items()}
    few = {name: code[:3] for name, code in wanted.items()}
    many = list(draw_patches(sampler, wanted, 7))
    np.testing.assert_array_equal(list(draw_patches(sampler, few, 7)), many[:3])
    np.testing.assert_array_equal(list(draw_patches(sampler, wanted, 7, first=BATCH + 2)), many[BATCH + 2 :])
    assert (many[0] != many[1]).any()


def test_a_temperature_below_0_is_refused(model: ConditionalVAE) -> None:
    with pytest.raises(ConfigError, match="temperature is -1"):
        MixtureSampler(model, mixture(), -1)
