"""What a run comes to is looked at: before its first step what it needs, after its last one what it is."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from nlbs.cvae.objective import Objective
from nlbs.errors import ConfigError, NlbsError
from nlbs.models.checkpoint import read_metadata, write_weights
from nlbs.train import setup as start
from nlbs.train.config import TrainConfig, preset, train_config
from nlbs.train.needs import check_needs, cost_of_stages, networks
from nlbs.train.run_folder import RunFolder
from nlbs.train.stages.run import run_stages
from nlbs.train.validation import Judge
from tests.train.conftest import MemoryShards, tiny_config
from tests.train.stages.conftest import LADDER

CPU = torch.device("cpu")


@dataclass
class Digests:
    """Options of a model with a file beside it."""

    feature_sha256: str


def train(folder: Path, config: TrainConfig, shards: MemoryShards | None = None) -> RunFolder:
    run = RunFolder(folder)
    start.train(config, shards or MemoryShards(), run, CPU)  # type: ignore[arg-type]
    return run


def not_a_number(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Lets the loss of every step, or of every judgement, be NaN."""
    owner, method = {"steps": (Objective, "terms"), "judgements": (Judge, "judge")}[name]
    right: Callable[..., dict[str, Any]] = getattr(owner, method)

    def wrong(*args: Any) -> dict[str, Any]:
        return {key: value * float("nan") for key, value in right(*args).items()}

    monkeypatch.setattr(owner, method, wrong)


def test_a_run_that_is_not_a_number_from_its_first_to_its_last_step_ends_with_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    not_a_number(monkeypatch, "steps")
    config = tiny_config(training={"epochs": 1})  # fewer steps than it takes to stop before the end
    for _ in range(2):  # given again, the command says so again
        with pytest.raises(NlbsError, match=r"from step 1 on, each of the 5 steps .* lower --learning-rate"):
            train(tmp_path, config)
    assert not (tmp_path / "best_model.safetensors").exists()


def test_a_run_whose_weights_are_never_worth_a_number_ends_with_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    not_a_number(monkeypatch, "judgements")
    with pytest.raises(NlbsError, match="has no best model: the loss that judges weights was never finite"):
        train(tmp_path, tiny_config(training={"epochs": 1}))


def test_a_flow_of_a_model_without_such_latents_is_refused_before_the_first_step(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no flow can be fitted to it"):
        train(tmp_path, tiny_config(flow={}))
    assert not (tmp_path / "last_state.pt").exists()


def test_a_disk_that_is_too_small_is_said_before_the_first_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage._replace(free=1000))
    with pytest.raises(ConfigError, match=r"the checkpoints of this run take .* has 0.00 GB left"):
        train(tmp_path, tiny_config())


@pytest.mark.parametrize("widths", [[16_384] * 2, [8, 16_384]])
def test_a_model_that_no_machine_holds_is_said_before_it_is_made(widths: list[int]) -> None:
    model = {
        "latent_dim": 65_536, "encoder": {"channels": widths}, "decoder": {"channels": [*reversed(widths), 1]}
    }  # fmt: skip
    with pytest.raises(ConfigError, match="the model"):
        check_needs(tiny_config(model=model, data={"resolution": 16_384}), CPU)


def test_stages_cost_a_pass_of_the_model_and_their_own_weights_in_patches_of_an_epoch() -> None:
    flow = {"network": {"widths": [8], "folded": False, "attention": 0}, "patches": 900, "reuse": 3}
    config = tiny_config(model=LADDER, flow=flow, grain={"patches": 60}, training={"epochs": 2})
    model, (_, fitted) = networks(config)  # in the order in which they are fitted: grain, flow
    share = fitted.num_parameters / model.num_parameters
    assert cost_of_stages(config, 5) == pytest.approx(900 * (1 / 9 + share) + 60 / 3)
    assert cost_of_stages(tiny_config(), 5) == 0
    ended = tiny_config(model=LADDER, flow=flow, training={"epochs": 2, "max_steps": 9})
    assert cost_of_stages(ended, 5) == 0  # before its stages


def test_a_run_goes_on_with_the_files_that_it_began_with_alone(tmp_path: Path) -> None:
    run = train(tmp_path, tiny_config(training={"epochs": 1}))
    model: Any = SimpleNamespace(config=Digests("0" * 64))
    start.check_files(model, run)  # its checkpoint tells none
    values = read_metadata(run.last_model)
    values["model"]["feature_sha256"] = "1" * 64
    write_weights(run.last_model, torch.nn.Linear(1, 1), "nlbs_cvae", values)
    with pytest.raises(
        ConfigError, match=r"another file of model.feature_weights: its SHA-256 was 1{64}, and is 0{64}"
    ):
        start.check_files(model, run)
    start.check_files(SimpleNamespace(config=Digests("1" * 64)), run)  # type: ignore[arg-type]


def test_a_flow_takes_the_batch_that_the_split_has(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flow = {
        "network": {"widths": [8], "folded": False, "attention": 0},
        "patches": 90,
        "batch_size": 64,
        "reuse": 1,
    }
    model = {
        "latent_dim": 4,
        "encoder": {"channels": [8, 16]},
        "decoder": {"channels": [16, 8, 1], "use_skip_connections": False},
    }
    config = tiny_config(flow=flow, model={**model, "latent_dim": 16}, training={"epochs": 1})
    shards = MemoryShards(train=9, val=3)
    run = train(tmp_path, config, shards)
    run_stages(config, shards, run, CPU)  # type: ignore[arg-type]
    said = capsys.readouterr().out
    assert "flow: batches of 9 patches, as the split 'train' has no more" in said
    assert (tmp_path / "best_model.flow.safetensors").exists()
    run_stages(config, shards, run, CPU)  # type: ignore[arg-type]
    assert "anew" not in capsys.readouterr().out


@pytest.mark.parametrize(
    "change",
    [
        {"data": {"resolution": 10**400}},
        {"data": {"batch_size": 10**12}},
        {"data": {"batch_size": "many"}},
        {"training": {"learning_rate": 10**400}},
        {"training": {"epochs": 10**30}},
        {"training": {"learning_rate": float("nan")}},
        {"model": {"decoder": {"residual_blocks": 10**9}}},
        {"model": {"latent_dim": 10**9}},
        {"model": {"encoder": {"channels": [8] * 100_000}}},
        {"flow": {"network": {"blocks": 10**9}}},
        {"flow": {"network": {"widths": [8] * 99}}},
    ],
)
def test_numbers_out_of_all_bounds_are_refused_in_a_few_words(change: dict[str, Any]) -> None:
    with pytest.raises(ConfigError) as caught:
        tiny_config(**change)
    assert len(str(caught.value)) < 2000


def test_every_preset_keeps_the_bounds() -> None:
    from dataclasses import asdict

    for name in ("guide", "guide-small", "nlbs", "nlbs-small"):
        config = preset(name)
        assert train_config(asdict(config), name) == config
        check_needs(config, CPU)
