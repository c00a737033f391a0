"""The flow over coarse latents.

Also covers: models/stages/flow_stage.py.
"""

from pathlib import Path

import pytest
import torch

from nlbs.cvae import ConditionalVAE
from nlbs.errors import CheckpointError, ConfigError
from nlbs.models.checkpoint import save_checkpoint
from nlbs.models.drawing import OwnSampler
from nlbs.models.stages.choice import SamplerChoice
from nlbs.models.stages.fitted import load_stage, save_stage
from nlbs.models.stages.flow import LatentFlow, flow_loss, map_shapes
from nlbs.models.stages.flow_sampler import FlowSampler
from nlbs.models.stages.flow_stage import FLOW, FlowConfig
from tests.cvae.test_ladder import FIVE, images, ladder
from tests.models.stages.conftest import NETWORK, Field, alike, autoencoder, latent_noise


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


def test_over_maps_there_are_coarser_sizes_at_which_places_far_apart_meet() -> None:
    torch.manual_seed(2)
    flow = LatentFlow(FlowConfig(widths=(16, 16, 8), blocks=1, attention=1), autoencoder())
    assert (flow.shapes, flow.coarser) == ([(3, 8, 8)], 2)
    assert (len(flow.enter), len(flow.leave), len(flow.down)) == (1, 1, 2)
    with torch.no_grad():
        for parameter in flow.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    x = torch.randn(1, 3, 8, 8, requires_grad=True)
    (velocity,) = flow([x], torch.rand(1), alike(1))
    assert velocity.shape == x.shape
    (seen,) = torch.autograd.grad(velocity[0, 0, 0, 0], x)
    assert bool((seen[0, :, 7, 7] != 0).all())
    (back,) = flow.unscaled(flow.scaled([x.detach()]))
    torch.testing.assert_close(back, x.detach())


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (FlowConfig(widths=(8,) * 5), "latents of 8 x 8 cannot be halved 4 times"),
        (FlowConfig(widths=(8,), folded=True), "over 2 levels is asked for, the model has 1"),
    ],
)
def test_sizes_that_a_map_does_not_have_are_refused(config: FlowConfig, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        LatentFlow(config, autoencoder())


def test_the_loss_is_the_squared_error_of_the_velocity(model: ConditionalVAE) -> None:
    """Of the field above at t = 1/2, view known: velocity 2 against x1 - x0."""
    field = Field(NETWORK, model)
    zeros = [torch.zeros(4, *shape) for shape in field.shapes]
    ends = [torch.full((4, *shape), 5.0 * number) for number, shape in enumerate(field.shapes)]
    loss = flow_loss(field, ends, zeros, torch.full((4,), 0.5), alike(4))
    assert loss.item() == pytest.approx(((2 - 0) ** 2 + (2 - 5) ** 2) / 2)


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
    assert isinstance(SamplerChoice().open(model, checkpoint), OwnSampler)
    assert str(SamplerChoice(temperature=0.5).of(checkpoint)) == "prior, temperature 0.5"
    with pytest.raises(CheckpointError, match="there is no flow"):
        SamplerChoice("flow").of(checkpoint)
    save_stage(checkpoint, FLOW, flow, model)
    assert isinstance(SamplerChoice().open(model, checkpoint), FlowSampler)
    assert isinstance(SamplerChoice("prior").open(model, checkpoint), OwnSampler)
    assert str(SamplerChoice(guidance="2").of(checkpoint)) == "flow of 15 steps, temperature 1, guidance 2"


def test_a_damaged_flow_is_named(model: ConditionalVAE, flow: LatentFlow, tmp_path: Path) -> None:
    checkpoint, path = tmp_path / "best_model.safetensors", tmp_path / "best_model.flow.safetensors"
    save_stage(checkpoint, FLOW, flow, model)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match="cut off or damaged"):
        load_stage(checkpoint, FLOW, model)


def test_images_are_inferred_to_what_the_flow_takes(model: ConditionalVAE, flow: LatentFlow) -> None:
    scaled = flow.scaled(model.infer(images(), FIVE))
    assert [tuple(level.shape) for level in scaled] == [(5, 2, 4, 4), (5, 3, 8, 8)]
    velocity = flow(scaled, torch.rand(5), FIVE)
    assert [v.shape for v in velocity] == [level.shape for level in scaled]
