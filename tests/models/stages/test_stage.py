"""A stage of one file, through the real commands; and one folder that is one model."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from nlbs.evaluate.cli import main as evaluate
from nlbs.generate.cli import main as generate
from nlbs.models import registry
from nlbs.models.stages import stage
from nlbs.models.stages.fitted import load_stage
from nlbs.train.cli import main as train
from tests.models.test_family import pictures, run, shards, weights
from tests.models.toy_stage import GAUSSIAN

__all__ = ["shards"]
MODEL = """
model:
  latent_dim: 16
  use_posterior_bias: false
  conditional_prior: true
  latent_in_film: true
  encoder: {channels: [8, 16]}
  decoder: {channels: [16, 8, 1], use_skip_connections: false, stochastic_skips: [2], film_starts_neutral: true}
training: {epochs: 2, log_every_steps: 1}
data: {resolution: 32, batch_size: 8}
grain: {patches: 16}
gaussian: {patches: 800, batch_size: 8, learning_rate: 0.2, warmup_steps: 0, ema_decay: 0.9}
"""


@pytest.fixture(autouse=True, scope="module")
def registered() -> Iterator[None]:
    before, threads = dict(stage._MODULES), torch.get_num_threads()
    stage.register("gaussian", "tests.models.toy_stage:GAUSSIAN")
    torch.set_num_threads(1)
    yield
    stage._MODULES.clear()
    stage._MODULES.update(before)
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def call(shards: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    """A call of nlbs-train but for --run."""
    config = tmp_path_factory.mktemp("config") / "run.yaml"
    config.write_text(MODEL)
    return ["--shards", shards, "--preset", "guide-small", "--config", config, "--device", "cpu"]


@pytest.fixture(scope="module")
def folder(call: list[Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with a stage of its own."""
    path = tmp_path_factory.mktemp("stages") / "run"
    run(train, *call, "--run", path)
    return path


def test_a_stage_is_trained_on_latents_and_a_finished_run_keeps_it(
    folder: Path, call: list[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    before = weights(folder, "best_model.gaussian.safetensors")
    run(train, *call, "--run", folder)
    assert "anew" not in capsys.readouterr().out
    assert weights(folder, "best_model.gaussian.safetensors") == before
    assert torch.load(folder / "gaussian_state.pt", weights_only=True)["step"] == 100
    fitted = load_stage(folder, GAUSSIAN, registry.load_checkpoint(folder))
    _, deviation = fitted.of({"view": torch.tensor([-1, 0, 1])})
    # That of a posterior that has hardly left its prior is 1; weights begin with exp(N(0, 1)).
    assert float(deviation.detach().log().abs().mean()) < 0.3


def test_a_stage_that_was_stopped_goes_on_to_the_same_bits(
    folder: Path, call: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from nlbs.train.stages.trained import LatentFit

    for name in ("best_model.safetensors", "last_state.pt", "config.yaml"):
        shutil.copy(folder / name, tmp_path)
    right = LatentFit._take

    def stopped(fit: LatentFit, batch: Any) -> None:
        if fit.step == 20:
            fit.save()
            raise KeyboardInterrupt
        right(fit, batch)

    with monkeypatch.context() as patch:
        patch.setattr(LatentFit, "_take", stopped)
        run(train, *call, "--run", tmp_path, code=130)
    assert not (tmp_path / "best_model.gaussian.safetensors").exists()
    run(train, *call, "--run", tmp_path)
    name = "best_model.gaussian.safetensors"
    assert weights(tmp_path, name) == weights(folder, name)


def test_a_copy_of_the_folder_draws_the_same_patches_for_any_number(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    for path in folder.glob("best_model*.safetensors"):
        shutil.copy(path, tmp_path / "model")
    drawn = {}
    for name, model, num in (
        ("run", folder, 3),
        ("file", folder / "best_model.safetensors", 3),
        ("copy", tmp_path / "model", 21),
    ):
        asked = ("--view", "CC", "--num", num, "--device", "cpu", "--out", tmp_path / name)
        run(generate, "--checkpoint", model, *asked)
        drawn[name] = pictures(tmp_path / name)
        record = json.loads((tmp_path / name / "samples.json").read_text())
        assert record["sampler"] == "gaussian, temperature 1, with grain"
        assert [word for word in record["fitted"].split() if len(word) < 16] == ["gaussian", "grain"]
    assert len(drawn["copy"]) == 21
    for other in ("file", "copy"):
        assert all(np.array_equal(a, b) for a, b in zip(drawn["run"], drawn[other], strict=False))
    run(generate, "--checkpoint", folder, *asked[:-1], tmp_path / "prior", "--sampler", "prior", "--no-grain")
    assert not np.array_equal(pictures(tmp_path / "prior")[0], drawn["run"][0])


def test_a_report_judges_the_draws_of_a_stage(folder: Path, shards: Path, tmp_path: Path) -> None:
    given = ("--checkpoint", folder, "--shards", shards, "--device", "cpu", "--out", tmp_path)
    run(evaluate, *given, "--extractor", "random-convolutions", "--only", "realism")
    made = json.loads((tmp_path / "report.json").read_text())
    assert "gaussian, temperature 1, with grain" in json.dumps(made)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda path: path.write_bytes(path.read_bytes()[:-8]), "cut off or damaged"),
        (lambda path: shutil.copy(path.with_name("best_model.grain.safetensors"), path), "no description"),
        (lambda path: shutil.copy(path.with_name("best_model.safetensors"), path), "no description"),
        (lambda path: path.unlink(), "there is no gaussian"),
    ],
)
def test_a_stage_file_that_is_missing_damaged_or_anothers_is_named(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], damage: Any, words: str
) -> None:
    shutil.copytree(folder, tmp_path / "run")
    damage(tmp_path / "run" / "best_model.gaussian.safetensors")
    given = ("--checkpoint", tmp_path / "run", "--device", "cpu", "--num", 1, "--out", tmp_path / "out")
    run(generate, *given, "--sampler", "gaussian", code=1)
    said = capsys.readouterr().err
    assert "best_model.gaussian.safetensors" in said
    assert words in said


def test_a_folder_without_a_model_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(generate, "--checkpoint", tmp_path, "--num", 1, "--out", tmp_path / "out", code=1)
    assert f"the folder {tmp_path} holds no best_model.safetensors" in capsys.readouterr().err
