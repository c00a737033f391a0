"""Flags that choose a sampler."""

import math
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from nlbs.cvae.model import ConditionalVAE
from nlbs.errors import CheckpointError, ConfigError
from nlbs.models.checkpoint import save_checkpoint
from nlbs.models.drawing import Bfloat16Sampler, OwnSampler
from nlbs.models.guidance import Guidance
from nlbs.models.stages.choice import SamplerChoice
from nlbs.models.stages.fitted import save_stage
from nlbs.models.stages.flow import LatentFlow
from nlbs.models.stages.flow_sampler import FlowSampler, FlowSolver
from nlbs.models.stages.flow_stage import FLOW, WEAK_FLOW, FlowConfig
from nlbs.models.stages.grain import LEVELS, Grain, GrainySampler, ring_count
from nlbs.models.stages.grain_stage import GRAIN
from tests.cvae.test_ladder import ladder
from tests.models.stages.conftest import autoencoder


@pytest.fixture
def model() -> ConditionalVAE:
    return ladder(latent_dim=32).eval()


@pytest.fixture
def checkpoint(tmp_path: Path, model: ConditionalVAE) -> Path:
    path = tmp_path / "best_model.safetensors"
    save_checkpoint(path, model)
    return path


def with_a_flow(checkpoint: Path, model: ConditionalVAE) -> None:
    torch.manual_seed(1)
    flow = LatentFlow(FlowConfig(widths=(16, 8), blocks=1, attention=1), model)
    save_stage(checkpoint, FLOW, flow, model)


def test_without_a_flow_the_prior_draws_and_needs_no_guidance(
    checkpoint: Path, model: ConditionalVAE
) -> None:
    sampler = SamplerChoice().open(model, checkpoint)
    assert isinstance(sampler, OwnSampler)
    assert sampler.guidance == Guidance()
    assert str(SamplerChoice().of(checkpoint)) == "prior, temperature 1"


def test_a_flow_beside_the_checkpoint_draws_with_guidance(checkpoint: Path, model: ConditionalVAE) -> None:
    with_a_flow(checkpoint, model)
    sampler = SamplerChoice().open(model, checkpoint)
    assert isinstance(sampler, FlowSampler)
    assert sampler.guidance == Guidance(1.25, {"cancer": 3})
    assert str(SamplerChoice().of(checkpoint)) == "flow of 15 steps, temperature 1, guidance 1.25,cancer=3"


def test_autoguidance_is_on_where_a_weak_flow_was_fitted(checkpoint: Path, model: ConditionalVAE) -> None:
    with_a_flow(checkpoint, model)
    with pytest.raises(
        CheckpointError, match=r"there is no weak flow .*best_model.weak-flow.safetensors; .*--autoguidance 1"
    ):
        SamplerChoice(autoguidance=2.0).of(checkpoint)
    shutil.copy(FLOW.path(checkpoint), WEAK_FLOW.path(checkpoint))
    words = "flow of 15 steps, temperature 1, guidance"
    assert str(SamplerChoice().of(checkpoint)) == f"{words} 1,cancer=3, autoguidance 1.5"
    assert str(SamplerChoice(autoguidance=1.0).of(checkpoint)) == f"{words} 1.25,cancer=3"
    assert str(SamplerChoice(guidance="age_bin=2").of(checkpoint)) == (
        f"{words} 1,cancer=3,age_bin=2, autoguidance 1.5"
    )
    for asked, expected in ((None, 1.5), (1.0, 1.0), (2.5, 2.5)):
        sampler = SamplerChoice(autoguidance=asked).open(model, checkpoint)
        assert isinstance(sampler, FlowSampler)
        assert sampler.autoguidance == expected
        assert sampler.guidance == Guidance(1.25 if expected == 1 else 1, {"cancer": 3})
        assert (sampler.weak is None) == (expected == 1)
    assert SamplerChoice("prior").of(checkpoint).autoguidance == 1
    with pytest.raises(ConfigError, match=r"these draws are from the prior; .* or take --sampler flow"):
        SamplerChoice("prior", autoguidance=2.0).of(checkpoint)
    for asked in (0.0, 0.99, math.inf, math.nan):
        with pytest.raises(ConfigError, match=r"is asked for; expected 1 or more"):
            SamplerChoice(autoguidance=asked).of(checkpoint)
    WEAK_FLOW.path(checkpoint).write_bytes(b"no weights")
    with pytest.raises(CheckpointError, match="weak-flow"):
        SamplerChoice().open(model, checkpoint)


def test_a_flow_is_drawn_from_by_solvers_of_diffusion_models_too(
    checkpoint: Path, model: ConditionalVAE
) -> None:
    with pytest.raises(ConfigError, match="the family cvae does not, nor has it a flow; leave --sampler out"):
        SamplerChoice("dpm").of(checkpoint)
    with_a_flow(checkpoint, model)
    choice = SamplerChoice("dpm", sampler_steps=7)
    assert str(choice.of(checkpoint)) == "dpm of 7 steps, temperature 1, guidance 1,cancer=3"
    assert choice.files(checkpoint) == [FLOW.path(checkpoint)]
    sampler = choice.open(model, checkpoint)
    assert isinstance(sampler, FlowSolver)
    assert (sampler.solver, sampler.steps, sampler.guidance) == ("dpm", 7, Guidance(1, {"cancer": 3}))
    assert str(SamplerChoice("sde", guidance="1").of(checkpoint)) == "sde of 500 steps, temperature 1"
    weak = LatentFlow(FlowConfig(widths=(16, 8), blocks=1, attention=1), model)
    save_stage(checkpoint, WEAK_FLOW, weak, model)
    assert (
        str(choice.of(checkpoint)) == "dpm of 7 steps, temperature 1, guidance 1,cancer=3, autoguidance 1.5"
    )
    assert choice.files(checkpoint) == [FLOW.path(checkpoint), WEAK_FLOW.path(checkpoint)]
    guided = choice.open(model, checkpoint)
    assert isinstance(guided, FlowSolver) and guided.autoguidance == 1.5 and guided.weak is not None
    plain = replace(choice, autoguidance=1.0)
    assert plain.files(checkpoint) == [FLOW.path(checkpoint)]


def test_a_model_may_say_by_which_solver_its_flow_is_drawn_from(
    checkpoint: Path, model: ConditionalVAE
) -> None:
    model.config = replace(model.config, sampler="dpm", steps=5)
    save_checkpoint(checkpoint, model)
    assert str(SamplerChoice().of(checkpoint)) == "prior, temperature 1", "there is no flow yet"
    with_a_flow(checkpoint, model)
    assert str(SamplerChoice().of(checkpoint)) == "dpm of 5 steps, temperature 1, guidance 1,cancer=3"
    assert isinstance(SamplerChoice().open(model, checkpoint), FlowSolver)
    assert str(SamplerChoice("flow").of(checkpoint)).startswith("flow of 15 steps")
    warmer = SamplerChoice(temperature=0.5).open(model, checkpoint)
    assert isinstance(warmer, FlowSolver) and warmer.temperature == 0.5, "of the levels that the prior draws"
    with pytest.raises(
        ConfigError, match="--flow-steps 7 is of the sampler flow, and these draws are by dpm; take"
    ):
        SamplerChoice(flow_steps=7).of(checkpoint)
    with pytest.raises(ConfigError, match=r"--flow-steps 7 .* by prior; leave it out"):
        SamplerChoice("prior", flow_steps=7).of(checkpoint)


def test_a_temperature_of_nothing_is_refused(tmp_path: Path) -> None:
    autoencoding, path = autoencoder(), tmp_path / "best_model.safetensors"
    save_checkpoint(path, autoencoding)
    flow = LatentFlow(FlowConfig(widths=(8, 8), blocks=1, attention=1), autoencoding)
    save_stage(path, FLOW, flow, autoencoding)
    for sampler in ("auto", "flow", "dpm"):
        with pytest.raises(
            ConfigError, match=r"a temperature of 0.5 .* this flow draws all latents: leave it at 1"
        ):
            SamplerChoice(sampler, temperature=0.5).open(autoencoding, path)


def test_draws_in_bfloat16_say_so_and_are_not_had_without_torch(
    checkpoint: Path, model: ConditionalVAE
) -> None:
    choice = SamplerChoice(precision="bfloat16")
    assert str(choice.of(checkpoint)) == "prior, temperature 1, bfloat16"
    sampler = choice.open(model, checkpoint)
    assert isinstance(sampler, Bfloat16Sampler)
    assert isinstance(sampler.sampler, OwnSampler)
    with pytest.raises(ConfigError, match="--precision bfloat16 is of torch"):
        sampler.portable()


def test_a_family_may_say_by_which_solver_its_flow_is_drawn_from(tmp_path: Path) -> None:
    autoencoding, path = autoencoder(), tmp_path / "best_model.safetensors"
    save_checkpoint(path, autoencoding)
    assert str(SamplerChoice().of(path)) == "prior, temperature 1"
    assert SamplerChoice().doubts(autoencoding, path) == [autoencoding.doubts.own_draws]
    flow = LatentFlow(FlowConfig(widths=(8, 8), blocks=1, attention=1), autoencoding)
    save_stage(path, FLOW, flow, autoencoding)
    assert str(SamplerChoice().of(path)) == "dpm of 12 steps, temperature 1"
    assert isinstance(SamplerChoice().open(autoencoding, path), FlowSolver)
    assert str(SamplerChoice("flow", guidance="1").of(path)) == "flow of 15 steps, temperature 1"
    assert str(SamplerChoice("prior").of(path)) == "prior, temperature 1"
    assert SamplerChoice().doubts(autoencoding, path) == []
    assert SamplerChoice("prior").doubts(autoencoding, path) == [autoencoding.doubts.own_draws]


def test_the_files_that_a_choice_draws_with_are_known(checkpoint: Path, model: ConditionalVAE) -> None:
    with pytest.raises(ConfigError, match="draws are from the prior; leave it out: it is for draws away"):
        SamplerChoice(autoguidance=2.0).of(checkpoint)
    assert SamplerChoice().files(checkpoint) == []
    with_a_flow(checkpoint, model)
    assert SamplerChoice().files(checkpoint) == [FLOW.path(checkpoint)]
    shutil.copy(FLOW.path(checkpoint), WEAK_FLOW.path(checkpoint))
    assert SamplerChoice().files(checkpoint) == [FLOW.path(checkpoint), WEAK_FLOW.path(checkpoint)]
    assert SamplerChoice(autoguidance=1.0).files(checkpoint) == [FLOW.path(checkpoint)]
    assert SamplerChoice("prior").files(checkpoint) == []


def test_grain_is_on_where_it_was_measured_and_can_be_left_out(
    checkpoint: Path, model: ConditionalVAE
) -> None:
    with pytest.raises(
        CheckpointError, match=r"there is no grain .*best_model.grain.safetensors; .*--no-grain"
    ):
        SamplerChoice(grain=True).of(checkpoint)
    rings = ring_count(model.resolution)
    save_stage(
        checkpoint, GRAIN, Grain(torch.full((LEVELS,), 0.1), torch.ones(rings), model.resolution), model
    )
    assert str(SamplerChoice().of(checkpoint)) == "prior, temperature 1, with grain"
    sampler = SamplerChoice().open(model, checkpoint)
    assert isinstance(sampler, GrainySampler)
    assert isinstance(sampler.sampler, OwnSampler)
    assert str(SamplerChoice(grain=False).of(checkpoint)) == "prior, temperature 1"
    assert isinstance(SamplerChoice(grain=False).open(model, checkpoint), OwnSampler)


@pytest.mark.parametrize("kind", ["flow", "prior"])
def test_the_guidance_that_is_asked_for_is_had(checkpoint: Path, model: ConditionalVAE, kind: str) -> None:
    with_a_flow(checkpoint, model)
    sampler = SamplerChoice(kind, guidance="1.25,cancer=3").open(model, checkpoint)
    assert isinstance(sampler, FlowSampler | OwnSampler)
    assert sampler.guidance == Guidance(1.25, {"cancer": 3})


def test_a_sampler_that_cannot_be_had_is_explained(checkpoint: Path, model: ConditionalVAE) -> None:
    with pytest.raises(CheckpointError, match="there is no flow"):
        SamplerChoice("flow").open(model, checkpoint)
    with pytest.raises(
        ConfigError, match="the family cvae has no sampler 'diffusion'; known: auto, flow, prior"
    ):
        SamplerChoice("diffusion").of(checkpoint)


def test_a_guidance_that_makes_no_sense_is_refused_before_a_model_is_opened(checkpoint: Path) -> None:
    with pytest.raises(ConfigError, match="'much' is no number"):
        SamplerChoice(guidance="much").of(checkpoint)


def test_a_choice_that_is_made_is_the_same_choice_again(checkpoint: Path, model: ConditionalVAE) -> None:
    with_a_flow(checkpoint, model)
    choice = SamplerChoice(guidance="1.5,cancer=3").of(checkpoint)
    assert str(choice) == "flow of 15 steps, temperature 1, guidance 1.5,cancer=3"
    assert choice.of(checkpoint) == choice
