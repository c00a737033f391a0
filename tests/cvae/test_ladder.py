"""Stochastic skips and what goes with them: each by its own switch."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.distributions import Normal, kl_divergence

from nlbs.cvae import ConditionalVAE
from nlbs.cvae.config import DecoderConfig, ModelConfig
from nlbs.cvae.ladder import Gaussian, Prior, ResidualBlock, StochasticSkip, kl_between
from nlbs.errors import ConfigError
from tests.cvae.conftest import codes, tiny

FIVE = codes([0, 1, 0, 1, -1], [0, 1, 1, 0, -1], [0, 1, 2, 3, -1], [0, 1, 0, 1, -1], [1, 0, 0, 0, -1])
DECODER: dict[str, Any] = {
    "channels": (16, 8, 1),
    "use_skip_connections": False,
    "film_starts_neutral": True,
    "stochastic_skips": (3, 2),
    "clean_head": True,
    "head_channels": 8,
}
SWITCHES = {
    "use_posterior_bias": False, "conditional_prior": True, "latent_in_film": True, "learned_scale": True
}  # fmt: skip


def ladder(decoder: dict[str, Any] | None = None, **changes: Any) -> ConditionalVAE:
    """A tiny model with every switch on, and with weights that are not at their start."""
    torch.manual_seed(0)
    config = tiny(decoder=DecoderConfig(**(DECODER | (decoder or {}))), **(SWITCHES | changes))
    model = ConditionalVAE(config, 16)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.05 * torch.randn_like(parameter)
    return model


def images(count: int = 5) -> Tensor:
    return 2 * torch.rand(count, 1, 16, 16, generator=torch.Generator().manual_seed(1)) - 1


def noise_of(model: ConditionalVAE, count: int, seed: int = 2) -> Tensor:
    return torch.randn(count, model.num_latents, generator=torch.Generator().manual_seed(seed))


def test_the_divergence_of_two_normals_is_that_of_torch() -> None:
    generator = torch.Generator().manual_seed(0)
    q, p = (Gaussian(*torch.randn(2, 3, 2, 4, 4, generator=generator, dtype=torch.float64)) for _ in range(2))
    normal = [Normal(g.mean, (0.5 * g.logvar).exp()) for g in (q, p)]
    expected = kl_divergence(*normal).sum(dim=(1, 2, 3))
    torch.testing.assert_close(kl_between(q, p), expected)


def test_a_residual_block_begins_as_the_identity() -> None:
    x = torch.randn(2, 8, 4, 4)
    assert torch.equal(ResidualBlock(8, 6, True, 8)(x, torch.randn(2, 6)), x)


def test_a_levels_prior_begins_as_the_standard_normal_and_its_posterior_follows_it() -> None:
    skip = StochasticSkip(8, 8, 2, 6, 1, True, 8)
    x, features = torch.randn(2, 8, 4, 4), torch.randn(2, 8, 4, 4)
    prior = skip.expected(x)
    assert torch.equal(prior.mean, torch.zeros(2, 2, 4, 4))
    assert torch.equal(prior.logvar, torch.zeros(2, 2, 4, 4))
    before, _ = skip.infer(x, features)
    torch.nn.init.constant_(skip.prior[-1].bias, 0.7)  # type: ignore[arg-type]
    after, _ = skip.infer(x, features)
    torch.testing.assert_close(after.mean, before.mean + 0.7)
    torch.testing.assert_close(after.logvar, before.logvar + 0.7)


def test_the_latents_are_the_global_one_and_a_map_at_each_size() -> None:
    model = ladder()
    assert model.latent_shapes == ((4,), (3, 8, 8), (2, 16, 16))
    assert model.num_latents == 4 + 3 * 64 + 2 * 256
    assert [tuple(level.shape) for level in model.infer(images(), FIVE)] == [
        (5, 4),
        (5, 3, 8, 8),
        (5, 2, 16, 16),
    ]


def test_a_reconstruction_is_the_rendering_of_the_inferred_means() -> None:
    model = ladder().eval()
    output = model(images(), FIVE)
    rendered = model.render(model.infer(images(), FIVE), FIVE)
    torch.testing.assert_close(rendered, output.reconstruction.clamp(-1, 1))


def test_in_training_each_level_is_drawn_from_its_part_of_the_noise() -> None:
    model = ladder().train()
    noise = noise_of(model, 5)
    parts = [part.reshape(5, *shape) for part, shape in
             zip(noise.split([4, 192, 512], dim=1), model.latent_shapes, strict=True)]  # fmt: skip
    drawn = model.infer(images(), FIVE, parts)
    torch.testing.assert_close(
        model.render(drawn, FIVE), model(images(), FIVE, noise).reconstruction.clamp(-1, 1)
    )
    assert not torch.allclose(drawn[2], model.infer(images(), FIVE)[2])


def test_the_divergence_is_the_sum_over_the_levels_and_none_is_below_0() -> None:
    output = ladder().train()(images(), FIVE)
    assert output.kl_levels.shape == (5, 3)
    torch.testing.assert_close(output.kl, output.kl_levels.sum(dim=1))
    assert (output.kl_levels > 0).all()


def test_a_sample_does_not_depend_on_what_was_encoded_before() -> None:
    model = ladder()
    first = model.sample(FIVE, generator=torch.Generator().manual_seed(3))
    model(images(), FIVE)
    model.encode(images(), FIVE)
    model.infer(images(), FIVE)
    assert torch.equal(first, model.sample(FIVE, generator=torch.Generator().manual_seed(3)))


def test_conditions_move_the_prior_and_the_posterior_together() -> None:
    model = ladder(latent_in_film=False)
    one, other = codes(0, 0, 0, 0, 0), codes(1, 1, 3, 1, 0)
    priors = [model._prior(model.condition_encoder(c)) for c in (one, other)]
    means = [model.encode(images(1), c)[0] for c in (one, other)]
    torch.testing.assert_close(means[1] - means[0], priors[1].mean - priors[0].mean)
    assert (means[0] != means[1]).any()


def test_levels_that_are_not_given_come_from_the_prior() -> None:
    model = ladder().eval()
    coarse = model.infer(images(), FIVE)[:2]
    mean = model.render(coarse, FIVE)
    noise = [torch.zeros(5, *shape) for shape in model.latent_shapes]
    assert torch.equal(mean, model.render(coarse, FIVE, noise))
    noise[2] += 1
    assert not torch.equal(mean, model.render(coarse, FIVE, noise))
    noise[0] += 1  # of levels that are given, noise has no say
    noise[2] -= 1
    assert torch.equal(mean, model.render(coarse, FIVE, noise))


def test_guidance_moves_the_mean_of_the_prior_away_from_that_of_unknown_conditions() -> None:
    model = ladder().eval()
    noise = [torch.zeros(1, *shape) for shape in model.latent_shapes]
    some, unknown = codes(1, 1, 3, 1, 0), codes(-1, -1, -1, -1, -1)
    wanted, plain = (model._prior(model.condition_encoder(c)).mean for c in (some, unknown))
    expected = model.render([plain + 2.5 * (wanted - plain)], some)
    torch.testing.assert_close(model.draw(noise, some, guidance=2.5), expected)
    torch.testing.assert_close(model.draw(noise, some), model.render([wanted], some))


def test_the_head_ends_between_minus_one_and_one() -> None:
    model = ladder()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter *= 20
    assert model(images(), FIVE).reconstruction.abs().max() <= 1


@pytest.mark.parametrize(
    ("decoder", "changes"),
    [
        ({}, {"conditional_prior": False}),
        ({}, {"latent_in_film": False}),
        ({}, {"learned_scale": False}),
        ({}, {"use_posterior_bias": True}),
        ({"stochastic_skips": ()}, {}),
        ({"stochastic_skips": (3,)}, {}),
        ({"stochastic_skips": (3,), "clean_head": False}, {}),
        ({"film_starts_neutral": False}, {}),
        ({"residual_blocks": 0}, {}),
        ({"residual_blocks": 2}, {}),
    ],
)
def test_each_part_can_be_switched_off_alone(decoder: dict[str, Any], changes: dict[str, Any]) -> None:
    model = ladder(decoder, **changes).train()
    output = model(images(), FIVE)
    (output.reconstruction.square().mean() + output.kl.mean()).backward()
    used = {name for name, parameter in model.named_parameters() if parameter.grad is not None}
    missing = {name for name, _ in model.named_parameters()} - used - {"log_scale"}
    assert not missing
    assert model.sample(FIVE).shape == (5, 1, 16, 16)
    assert (output.scale is None) == (model.log_scale is None)


@pytest.mark.parametrize(
    ("decoder", "found"),
    [
        ({"use_skip_connections": True}, "in place of skip connections"),
        ({"stochastic_skips": (3, 2, 1)}, "has 3 levels, but the decoder has 2 blocks"),
        ({"clean_head": False}, "clean_head: true"),
    ],
)
def test_parts_that_do_not_go_together_are_refused(decoder: dict[str, Any], found: str) -> None:
    with pytest.raises(ConfigError, match=found):
        tiny(decoder=DecoderConfig(**(DECODER | decoder)), **SWITCHES)


@pytest.mark.parametrize("resolution", [64, 128])
def test_one_definition_makes_models_of_several_sizes(resolution: int) -> None:
    config = ModelConfig(
        latent_dim=16, condition_embed_dim=6, encoder=tiny().encoder,
        decoder=DecoderConfig(**DECODER), **SWITCHES,
    )  # fmt: skip
    model = ConditionalVAE(config, resolution)
    assert model.sample(codes()).shape == (1, 1, resolution, resolution)
    assert model.latent_shapes[-1] == (2, resolution, resolution)


def test_given_latents_are_taken_as_they_are() -> None:
    skip, z = StochasticSkip(8, 8, 2, 6, 0, True, 8), torch.ones(1, 2, 4, 4)
    assert Prior([z], None)(0, skip, torch.zeros(1, 8, 4, 4)) is z


def test_shifts_of_the_coarsest_latent_are_its_means_less_the_prior_s_in_its_deviations() -> None:
    model = ladder().eval()
    mean, _ = model.encode(images(), FIVE)
    with torch.no_grad():
        prior = model.prior(model.condition_encoder(FIVE))  # type: ignore[misc]
        expected = (mean - prior[:, : mean.shape[1]]) / (0.5 * prior[:, mean.shape[1] :]).exp()
        shifts = model.shifts(images(), FIVE)
    torch.testing.assert_close(shifts[0], expected)
    assert [tuple(level.shape[1:]) for level in shifts] == list(model.latent_shapes)
    plain = ladder(conditional_prior=False).eval()
    with torch.no_grad():
        assert torch.equal(plain.shifts(images(), FIVE)[0], plain.encode(images(), FIVE)[0])


def test_shifts_of_a_finer_level_are_what_its_posterior_adds_in_deviations_of_its_prior() -> None:
    model = ladder().eval()
    skip = model.skips[0]
    assert isinstance(skip, StochasticSkip)
    with torch.no_grad():
        for layer, mean, logvar in ((skip.posterior[-1], 0.6, -1.0), (skip.prior[-1], 5.0, 2.0)):
            assert isinstance(layer, torch.nn.Conv2d) and layer.bias is not None
            layer.weight.zero_()
            layer.bias.copy_(torch.tensor([mean] * 3 + [logvar] * 3))
        shifts = model.shifts(images(), FIVE)[1]
    torch.testing.assert_close(
        shifts, torch.full_like(shifts, 0.6 / math.e)
    )  # sigma of the prior is exp(2 / 2)
