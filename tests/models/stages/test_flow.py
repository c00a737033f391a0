"""The flow over coarse latents."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor

from nlbs.cvae import ConditionalVAE
from nlbs.errors import CheckpointError, ConfigError
from nlbs.models.checkpoint import save_checkpoint
from nlbs.models.drawing import PriorSampler
from nlbs.models.stages.choice import SamplerChoice
from nlbs.models.stages.fitted import load_stage, save_stage
from nlbs.models.stages.flow import LatentFlow, flow_loss, map_shapes
from nlbs.models.stages.flow_sampler import FlowSampler
from nlbs.models.stages.flow_stage import FLOW, FlowConfig
from tests.cvae.conftest import codes
from tests.cvae.test_ladder import FIVE, images, ladder

NETWORK = FlowConfig(widths=(16, 8), blocks=1, attention=1)


@pytest.fixture
def model() -> ConditionalVAE:
    return ladder(latent_dim=32).eval()  # two numbers at each place of the coarsest map, 4 x 4


@pytest.fixture
def flow(model: ConditionalVAE) -> LatentFlow:
    torch.manual_seed(1)
    made = LatentFlow(NETWORK, model)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter += 0.05 * torch.randn_like(parameter)
    return made.eval()


def latent_noise(model: ConditionalVAE, count: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(4)
    return [torch.randn(count, *shape, generator=generator) for shape in model.latent_shapes]


def test_the_global_latent_lies_on_the_coarsest_map(model: ConditionalVAE, flow: LatentFlow) -> None:
    assert map_shapes(model) == [(2, 4, 4), (3, 8, 8), (2, 16, 16)]
    assert flow.shapes == [(2, 4, 4), (3, 8, 8)]


def test_a_latent_that_does_not_fill_the_map_is_refused() -> None:
    with pytest.raises(ConfigError, match="multiple of 16"):
        LatentFlow(NETWORK, ladder(latent_dim=40))


def test_more_levels_than_the_model_has_are_refused(model: ConditionalVAE) -> None:
    with pytest.raises(ConfigError, match="over 4 levels is asked for, the model has 3"):
        LatentFlow(FlowConfig(widths=(16, 8, 8, 8)), model)


def test_scaled_latents_have_mean_0_and_deviation_1_and_come_back(
    model: ConditionalVAE, flow: LatentFlow
) -> None:
    latents = [3 * level + 2 for level in latent_noise(model, 50)]
    maps = [level.reshape(50, *shape) for level, shape in zip(latents, flow.shapes, strict=False)]
    flow.set_scale(maps)
    for level in flow.scaled(latents):
        torch.testing.assert_close(level.mean(dim=(0, 2, 3)), torch.zeros(level.shape[1]), atol=1e-5, rtol=0)
        torch.testing.assert_close(level.std(dim=(0, 2, 3)), torch.ones(level.shape[1]))
    for back, level in zip(flow.unscaled(flow.scaled(latents)), latents, strict=False):
        torch.testing.assert_close(back, level)


def alike(count: int) -> dict[str, Tensor]:
    return codes(*([1] * count for _ in range(5)))


class Field(LatentFlow):
    """A flow whose velocity is known: 2t, plus 1 where the view is known."""

    def forward(self, x: Sequence[Tensor], t: Tensor, conditions: Mapping[str, Tensor]) -> list[Tensor]:
        known = (conditions["view"] >= 0).float()
        return [torch.ones_like(level) * (2 * t + known)[:, None, None, None] for level in x]


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


def test_a_folded_flow_has_one_level_more_and_keeps_its_places(model: ConditionalVAE) -> None:
    torch.manual_seed(2)
    flow = LatentFlow(FlowConfig(widths=(16, 8), blocks=1, attention=1, folded=True), model)
    assert flow.shapes == [(2, 4, 4), (3, 8, 8), (2, 16, 16)]
    levels = [torch.randn(2, *shape) for shape in flow.shapes]
    folded = flow._folded(levels)
    assert [tuple(level.shape) for level in folded] == [(2, 2, 4, 4), (2, 3 + 8, 8, 8)]
    assert folded[-1][1, 3 + 4 + 2, 5, 6] == levels[2][1, 1, 2 * 5 + 1, 2 * 6]
    for back, level in zip(flow._unfolded(list(folded)), levels, strict=True):
        assert torch.equal(back, level)
    velocity = flow(levels, torch.rand(2), alike(2))
    assert [level.shape for level in velocity] == [level.shape for level in levels]


def test_a_folded_flow_needs_a_level_more(model: ConditionalVAE) -> None:
    with pytest.raises(
        ConfigError, match=r"over 4 levels is asked for, the model has 3; give .* folded: false"
    ):
        LatentFlow(FlowConfig(widths=(16, 8, 8), folded=True), model)


def test_the_finer_levels_come_from_the_models_prior(model: ConditionalVAE, flow: LatentFlow) -> None:
    noise = latent_noise(model, 5)
    sampler = FlowSampler(model, flow, steps=2)
    torch.testing.assert_close(
        sampler.draw(noise, FIVE), model.render(sampler.latents(noise, FIVE), FIVE, noise)
    )
    still = FlowSampler(model, flow, steps=2, temperature=0)
    torch.testing.assert_close(still.draw(noise, FIVE), model.render(sampler.latents(noise, FIVE), FIVE))


def test_the_loss_is_the_squared_error_of_the_velocity(model: ConditionalVAE) -> None:
    """Of the field above at t = 1/2, view known: velocity 2 against x1 - x0."""
    field = Field(NETWORK, model)
    zeros = [torch.zeros(4, *shape) for shape in field.shapes]
    ends = [torch.full((4, *shape), 5.0 * number) for number, shape in enumerate(field.shapes)]
    loss = flow_loss(field, ends, zeros, torch.full((4,), 0.5), alike(4))
    assert loss.item() == pytest.approx(((2 - 0) ** 2 + (2 - 5) ** 2) / 2)


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


def test_a_flow_comes_back_from_disk_for_its_own_model_alone(
    model: ConditionalVAE, flow: LatentFlow, tmp_path: Path
) -> None:
    checkpoint = tmp_path / "best_model.safetensors"
    assert FLOW.path(checkpoint).name == "best_model.flow.safetensors"
    save_checkpoint(checkpoint, model)
    save_stage(checkpoint, FLOW, flow, model)
    noise, before = latent_noise(model, 5), FlowSampler(model, flow, steps=2)
    again = SamplerChoice("flow", guidance="1", flow_steps=2).open(model, checkpoint)
    assert torch.equal(again.draw(noise, FIVE), before.draw(noise, FIVE))
    with torch.no_grad():
        model.from_latent.bias += 1e-3
    with pytest.raises(CheckpointError, match="fitted to other weights"):
        load_stage(checkpoint, FLOW, model)


def test_the_sampler_is_the_flow_where_there_is_one(
    model: ConditionalVAE, flow: LatentFlow, tmp_path: Path
) -> None:
    checkpoint = tmp_path / "best_model.safetensors"
    save_checkpoint(checkpoint, model)
    assert isinstance(SamplerChoice().open(model, checkpoint), PriorSampler)
    assert str(SamplerChoice(temperature=0.5).of(checkpoint)) == "prior, temperature 0.5"
    with pytest.raises(CheckpointError, match="there is no flow"):
        SamplerChoice("flow").of(checkpoint)
    save_stage(checkpoint, FLOW, flow, model)
    assert isinstance(SamplerChoice().open(model, checkpoint), FlowSampler)
    assert isinstance(SamplerChoice("prior").open(model, checkpoint), PriorSampler)
    assert str(SamplerChoice(guidance="2").of(checkpoint)) == "flow of 15 steps, temperature 1, guidance 2"


def test_a_damaged_flow_is_named(model: ConditionalVAE, flow: LatentFlow, tmp_path: Path) -> None:
    checkpoint, path = tmp_path / "best_model.safetensors", tmp_path / "best_model.flow.safetensors"
    save_stage(checkpoint, FLOW, flow, model)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match="cut off or damaged"):
        load_stage(checkpoint, FLOW, model)


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


def test_images_are_inferred_to_what_the_flow_takes(model: ConditionalVAE, flow: LatentFlow) -> None:
    scaled = flow.scaled(model.infer(images(), FIVE))
    assert [tuple(level.shape) for level in scaled] == [(5, 2, 4, 4), (5, 3, 8, 8)]
    velocity = flow(scaled, torch.rand(5), FIVE)
    assert [v.shape for v in velocity] == [level.shape for level in scaled]
