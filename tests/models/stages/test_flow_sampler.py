"""Draws of a flow: the integral of its velocity, guided, and away from a weak flow."""

from collections.abc import Mapping, Sequence

import pytest
import torch
from torch import Tensor

from nlbs.cvae import ConditionalVAE
from nlbs.errors import ConfigError
from nlbs.models.stages.flow import LatentFlow, flow_loss
from nlbs.models.stages.flow_sampler import FlowSampler, FlowSolver
from nlbs.models.stages.flow_stage import FlowConfig
from tests.cvae.conftest import codes
from tests.cvae.test_ladder import FIVE
from tests.models.stages.conftest import NETWORK, Field, alike, latent_noise


@pytest.mark.parametrize(("guidance", "way"), [(1.0, 2.0), (3.0, 4.0), (0.0, 1.0)])
def test_noise_is_carried_by_the_integral_of_the_velocity(
    model: ConditionalVAE, guidance: float, way: float
) -> None:
    """The integral of 2t over [0, 1] is 1, which the midpoint rule finds exactly; guidance scales the rest."""
    noise = latent_noise(model, 1)
    sampler = FlowSampler(model, Field(NETWORK, model), steps=3, guidance=guidance)
    for found, start in zip(sampler.latents(noise, codes(1)), noise, strict=False):
        torch.testing.assert_close(found, start + way)


def test_draws_are_guided_within_the_interval_alone(model: ConditionalVAE) -> None:
    """Two steps move by what they find in their middles, at 1/4 and 3/4: here the second one is guided."""
    noise = latent_noise(model, 1)
    sampler = FlowSampler(model, Field(NETWORK, model), steps=2, guidance=3.0, interval=(0.6, 1.0))
    for found, start in zip(sampler.latents(noise, codes(1)), noise, strict=False):
        torch.testing.assert_close(found, start + 1 + 0.5 * 1 + 0.5 * 3)


class WeakField(LatentFlow):
    """A flow that has learned half of what :class:`Field` has, and of conditions nothing."""

    def forward(self, x: Sequence[Tensor], t: Tensor, conditions: Mapping[str, Tensor]) -> list[Tensor]:
        return [torch.ones_like(level) * t[:, None, None, None] for level in x]


@pytest.mark.parametrize(
    ("guidance", "autoguidance", "way"),
    # t alone integrates to 1/2; what is known adds 1. Autoguidance a: v + (a - 1)(v_c - v_weak).
    [(1.0, 1.0, 2.0), (1.0, 2.0, 2 + 1.5), (1.0, 1.5, 2 + 0.75), (3.0, 1.5, 4 + 0.75), (0.0, 2.0, 1 + 1.5)],
)
def test_draws_go_away_from_the_weak_flow(
    model: ConditionalVAE, guidance: float, autoguidance: float, way: float
) -> None:
    noise = latent_noise(model, 2)
    flow, weak = Field(NETWORK, model), WeakField(NETWORK, model)
    sampler = FlowSampler(model, flow, 3, guidance, weak=weak, autoguidance=autoguidance)
    for found, start in zip(sampler.latents(noise, alike(2)), noise, strict=False):
        torch.testing.assert_close(found, start + way)


def test_without_autoguidance_the_weak_flow_is_not_asked(model: ConditionalVAE, flow: LatentFlow) -> None:
    alone = FlowSampler(model, flow, 3)
    beside = FlowSampler(model, flow, 3, weak=WeakField(NETWORK, model))
    assert len(beside.networks) == len(alone.networks) == 2
    noise = latent_noise(model, 2)
    assert torch.equal(alone.draw(noise, alike(2)), beside.draw(noise, alike(2)))
    assert len(FlowSampler(model, flow, 3, weak=WeakField(NETWORK, model), autoguidance=2.0).networks) == 3


@pytest.mark.parametrize(
    ("autoguidance", "message"),
    [
        (0.5, "0.5 is asked for; expected 1 or more"),
        (float("nan"), "nan is asked"),
        (2.0, "needs a weak flow"),
    ],
)
def test_an_autoguidance_that_makes_no_sense_is_refused(
    model: ConditionalVAE, flow: LatentFlow, autoguidance: float, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        FlowSampler(model, flow, autoguidance=autoguidance)


def test_a_weak_flow_of_another_scale_is_refused(model: ConditionalVAE, flow: LatentFlow) -> None:
    weak = LatentFlow(NETWORK, model)
    weak.set_scale([2 * level for level in flow.as_maps(latent_noise(model, 8))])
    with pytest.raises(ConfigError, match="was not fitted beside this flow"):
        FlowSampler(model, flow, weak=weak, autoguidance=1.5)
    other = LatentFlow(FlowConfig(widths=(16,), blocks=1, attention=1), model)
    with pytest.raises(ConfigError, match="was not fitted beside this flow"):
        FlowSampler(model, flow, weak=other, autoguidance=1.5)


@pytest.mark.parametrize("kind", [FlowSampler, FlowSolver])
def test_the_finer_levels_come_from_the_models_prior(
    model: ConditionalVAE, flow: LatentFlow, kind: type[FlowSampler]
) -> None:
    noise = latent_noise(model, 5)
    sampler = kind(model, flow, steps=2)
    torch.testing.assert_close(
        sampler.draw(noise, FIVE), model.render(sampler.latents(noise, FIVE), FIVE, noise)
    )
    still = kind(model, flow, steps=2, temperature=0)
    torch.testing.assert_close(still.draw(noise, FIVE), model.render(sampler.latents(noise, FIVE), FIVE))


def test_a_flow_learns_to_draw_the_latents_it_is_shown(model: ConditionalVAE) -> None:
    """Latents that are all alike: noise is to be carried to that point, from wherever it starts."""
    torch.manual_seed(0)
    flow = LatentFlow(NETWORK, model)
    optimizer = torch.optim.Adam(flow.parameters(), lr=1e-2)
    target = [torch.full((16, *shape), 1.5) for shape in flow.shapes]
    for _ in range(200):
        noise = [torch.randn_like(level) for level in target]
        optimizer.zero_grad()
        flow_loss(flow, target, noise, torch.rand(16), alike(16)).backward()
        optimizer.step()
    start = latent_noise(model, 4)
    with torch.no_grad():
        found = FlowSampler(model, flow, steps=10).latents(start, alike(4))
    for level, before in zip(found, start, strict=False):
        assert (level - 1.5).abs().mean() < 0.3 * (before - 1.5).abs().mean()


@pytest.mark.parametrize(
    ("steps", "temperature", "message"),
    [
        (0, 1.0, "0 steps of the flow are asked for; expected 1 or more"),
        (10, -1.0, "the temperature is -1; expected 0 or more"),
    ],
)
def test_senseless_numbers_are_refused(
    model: ConditionalVAE, flow: LatentFlow, steps: int, temperature: float, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        FlowSampler(model, flow, steps, temperature=temperature)


class Normal(LatentFlow):
    """The velocity to latents from N(0.5, 0.5^2), known in closed form: E[x_1 - x_0 | x_t]."""

    def forward(self, x: Sequence[Tensor], t: Tensor, conditions: Mapping[str, Tensor]) -> list[Tensor]:
        at = t[:, None, None, None]
        slope = (at * 0.25 - (1 - at)) / (at**2 * 0.25 + (1 - at) ** 2)
        return [0.5 + slope * (level - 0.5 * at) for level in x]


@pytest.mark.parametrize(("solver", "steps"), [("dpm", 12), ("ode", 20), ("sde", 200)])
def test_solvers_of_diffusion_models_carry_noise_to_what_the_velocity_leads_to(
    model: ConditionalVAE, solver: str, steps: int
) -> None:
    sampler = FlowSolver(model, Normal(NETWORK, model), solver, steps)
    noise = latent_noise(model, 64)
    if solver == "sde":
        noise.append(torch.randn(64, 4, generator=torch.Generator().manual_seed(5)))
    assert [tuple(level.shape[1:]) for level in noise] == [tuple(shape) for shape in sampler.noise_shapes]
    latents = sampler.latents(noise, alike(64))
    assert [level.shape[1:] for level in latents] == [(32,), (3, 8, 8)]
    for level, start in zip(latents, noise, strict=False):
        if solver == "sde":
            assert (float(level.mean()), float(level.std())) == pytest.approx((0.5, 0.5), abs=0.05)
        else:  # the way that the ODE leads each noise
            torch.testing.assert_close(level, 0.5 + 0.5 * start, atol=0.06, rtol=0)


def test_a_solver_renders_what_it_found_and_each_patch_is_its_own(
    model: ConditionalVAE, flow: LatentFlow
) -> None:
    sampler, noise = FlowSolver(model, flow, "dpm", 4), latent_noise(model, 3)
    drawn = sampler.draw(noise, alike(3))
    assert drawn.shape == (3, 1, model.resolution, model.resolution)
    alone = sampler.draw([level[1:2] for level in noise], alike(1))
    torch.testing.assert_close(alone[0], drawn[1], rtol=1e-4, atol=1e-5)


class Wider(LatentFlow):
    """The velocity to latents from N(0, I)."""

    def forward(self, x: Sequence[Tensor], t: Tensor, conditions: Mapping[str, Tensor]) -> list[Tensor]:
        at = t[:, None, None, None]
        return [(2 * at - 1) / (at**2 + (1 - at) ** 2) * level for level in x]


def test_a_solver_leads_away_from_a_weak_flow_as_the_flow_s_own_rule_does(model: ConditionalVAE) -> None:
    strong, weak, noise = Normal(NETWORK, model), Wider(NETWORK, model), latent_noise(model, 8)
    solved = FlowSolver(model, strong, "dpm", 60, weak=weak, autoguidance=1.5)
    assert solved.networks[2] is weak
    found = solved.latents(noise, alike(8))
    expected = FlowSampler(model, strong, 100, weak=weak, autoguidance=1.5).latents(noise, alike(8))
    alone = FlowSolver(model, strong, "dpm", 60).latents(noise, alike(8))
    assert len(found) == len(expected) == len(alone) == 2
    for level, same, other in zip(found, expected, alone, strict=True):
        torch.testing.assert_close(level, same, atol=0.03, rtol=0)
        assert (level - other).abs().mean() > 0.1
    with pytest.raises(ConfigError, match="autoguidance needs a weak flow"):
        FlowSolver(model, strong, "dpm", 4, autoguidance=1.5)
