"""A sampler as a table of sums: whoever adds them up, as a page does, gets what the sampler draws."""

from collections.abc import Callable, Mapping

import numpy as np
import pytest
import torch
from torch import Tensor

from nlbs.cvae import ConditionalVAE
from nlbs.errors import ConfigError
from nlbs.manifests.schema import NLBS
from nlbs.models.conditioning import unknown_like
from nlbs.models.correlation import CorrelatedSampler
from nlbs.models.drawing import OwnSampler, Sampler, draw_noise
from nlbs.models.guidance import Guidance
from nlbs.models.passes import Passes, Portable, recorded
from nlbs.models.samplers import DenoisingSampler
from nlbs.models.stages.flow import LatentFlow
from nlbs.models.stages.flow_sampler import FlowSampler, FlowSolver
from nlbs.models.stages.grain import LEVELS, Grain, GrainySampler, ring_count
from tests.cvae.test_ladder import ladder
from tests.models.stages.conftest import alike, untrained_flow
from tests.models.test_samplers import Gaussian

GUIDANCE = Guidance(1.25, {NLBS.names[3]: 3})
Made = Callable[[ConditionalVAE, LatentFlow], Sampler]


def drawn_by_sums(sampler: Sampler, guidance: Guidance, count: int = 2) -> Tensor:
    """Draws as a page does: sums of what networks say, guided outside of them."""
    made: Portable = sampler.portable()
    noise, codes = noise_of(sampler, count), alike(count)
    x = torch.zeros(count, 1)
    if made.passes is not None:
        x = summed(made.passes, noise, codes, guidance)
    return made.finish(x, noise, codes)


def noise_of(sampler: Sampler, count: int) -> list[Tensor]:
    drawn = [draw_noise(7, index, sampler.noise_shapes) for index in range(count)]
    return [torch.from_numpy(np.stack(level)) for level in zip(*drawn, strict=True)]


def summed(passes: Passes, noise: list[Tensor], codes: Mapping[str, Tensor], guidance: Guidance) -> Tensor:
    parts = [torch.cat([level.flatten(1) for level in noise[: passes.levels]], dim=1)]
    for at, factors in zip(passes.at, passes.inputs, strict=True):
        x, when = combined(factors, parts), torch.full((len(parts[0]),), at)
        said = torch.zeros(())
        for factor, hidden in guidance.terms(list(codes)):
            told = {name: unknown_like(v) if name in hidden else v for name, v in codes.items()}
            said = said + factor * passes.network(x, when, told)
        if passes.weak is not None:
            more = passes.autoguidance - 1
            said = said + more * (passes.network(x, when, codes) - passes.weak(x, when, codes))
        parts.append(said)
    return combined(passes.result, parts)


def combined(factors: list[float], parts: list[Tensor]) -> Tensor:
    assert len(factors) == len(parts)
    return torch.stack([factor * part for factor, part in zip(factors, parts, strict=True)]).sum(dim=0)


MODEL = ladder(latent_dim=32).eval()
FLOW = untrained_flow(MODEL)
SAMPLERS: dict[str, Made] = {
    "midpoint": lambda m, f: FlowSampler(m, f, 3, GUIDANCE, 0.7),
    "dpm": lambda m, f: FlowSolver(m, f, "dpm", 4, GUIDANCE),
    "ode": lambda m, f: FlowSolver(m, f, "ode", 3, GUIDANCE),
    "images": lambda m, f: DenoisingSampler(Gaussian(), "dpm", 5, GUIDANCE),
    "prior": lambda m, f: OwnSampler(m, 0.8, GUIDANCE),
    "grain": lambda m, f: GrainySampler(
        FlowSampler(m, f, 2, GUIDANCE),
        Grain(torch.full((LEVELS,), 0.1), torch.ones(ring_count(m.resolution)), m.resolution),
    ),
}


@pytest.mark.parametrize("name", SAMPLERS)
@torch.no_grad()
def test_sums_of_passes_are_what_the_sampler_draws(
    name: str,
) -> None:
    sampler = SAMPLERS[name](MODEL, FLOW)
    expected = sampler.draw(noise_of(sampler, 2), alike(2))
    torch.testing.assert_close(drawn_by_sums(sampler, GUIDANCE), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("solved", [False, True])
@torch.no_grad()
def test_the_weak_flow_is_one_of_the_networks(solved: bool) -> None:
    weak = {"weak": untrained_flow(MODEL, 2), "autoguidance": 1.5}
    rule = FlowSampler(MODEL, FLOW, 2, GUIDANCE, **weak)
    sampler = FlowSolver(MODEL, FLOW, "dpm", 3, GUIDANCE, **weak) if solved else rule
    expected = sampler.draw(noise_of(sampler, 2), alike(2))
    torch.testing.assert_close(drawn_by_sums(sampler, GUIDANCE), expected, atol=1e-5, rtol=0)


def test_a_table_of_euler_steps_is_that_of_the_closed_form() -> None:
    def euler(x: Tensor, ask: Callable[[Tensor, float], Tensor]) -> Tensor:
        for time in (0.0, 0.5):
            x = x + 0.5 * ask(x, time)
        return x

    assert recorded(euler) == ([0.0, 0.5], [[1.0], [1.0, 0.5]], [1.0, 0.5, 0.5])


def test_what_takes_more_than_noise_at_the_start_is_refused() -> None:
    for sampler in (FlowSolver(MODEL, FLOW, "sde", 2), DenoisingSampler(Gaussian(), "sde", 2)):
        with pytest.raises(ConfigError, match="take --sampler dpm or ode"):
            sampler.portable()
    with pytest.raises(ConfigError, match="leave it out"):
        CorrelatedSampler(FlowSampler(MODEL, FLOW), 2.0, MODEL.resolution).portable()
