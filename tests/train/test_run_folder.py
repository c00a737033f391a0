"""The folder of a run: its files, its lock, and states that may be damaged.

Also covers: train/state.py.
"""

import dataclasses
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from nlbs.cvae import ConditionalVAE
from nlbs.errors import CheckpointError, ConfigError
from nlbs.manifests.schema import NLBS
from nlbs.train.config import TrainConfig
from nlbs.train.run_folder import Progress, RunFolder
from nlbs.train.setup import build
from tests.train.conftest import tiny_config

CONFIG = tiny_config()
METADATA = {"dataset_id": "id"}


def saved(folder: Path, config: TrainConfig = CONFIG, step: int = 3) -> tuple[RunFolder, ConditionalVAE]:
    run = RunFolder(folder / "runs" / "first")
    model, (optimizer,) = build(config, torch.device("cpu"))
    model(
        torch.zeros(2, 1, 16, 16), dict.fromkeys(NLBS.names, torch.zeros(2, dtype=torch.int64))
    ).kl.sum().backward()
    optimizer.step()
    run.save_last(model, [optimizer], Progress(5, step=step, sums={"kl": 0.1}), config, METADATA)
    return run, model


def test_a_new_folder_has_no_state(tmp_path: Path) -> None:
    assert RunFolder(tmp_path).load_state(CONFIG, "id") is None


def test_a_state_comes_back_as_it_was(tmp_path: Path) -> None:
    run, model = saved(tmp_path)
    state = run.load_state(CONFIG, "id")
    assert state is not None
    assert state.progress == Progress(5, step=3, sums={"kl": 0.1})
    assert all(torch.equal(value, state.model[name]) for name, value in model.state_dict().items())
    assert state.optimizers[0]["state"][0]["step"] == 1
    loaded = ConditionalVAE.load_from_checkpoint(run.last_model)
    assert torch.equal(loaded.to_mu.weight, model.to_mu.weight)


def damage_cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1000])


def damage_flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[:40] = bytes(40)
    path.write_bytes(data)


def damage_text(path: Path) -> None:
    path.write_text("no state")


def damage_nan(path: Path) -> None:
    state = torch.load(path, weights_only=True)
    state["model"]["to_mu.bias"][0] = float("nan")
    torch.save(state, path)


def damage_kind(path: Path) -> None:
    torch.save({"epoch": 3}, path)


@pytest.mark.parametrize("damage", [damage_cut, damage_flip, damage_text, damage_nan, damage_kind])
def test_a_damaged_state_is_named_and_the_one_before_is_taken(
    tmp_path: Path, damage: Callable[[Path], None], capsys: pytest.CaptureFixture[str]
) -> None:
    saved(tmp_path, step=2)
    run, _ = saved(tmp_path, step=3)
    damage(run.last_state)
    state = run.load_state(CONFIG, "id")
    assert state is not None
    assert state.progress.step == 2
    assert "last_state.pt" in (said := capsys.readouterr().out)
    assert "taking previous_state.pt instead" in said
    damage(run.previous_state)
    with pytest.raises(
        CheckpointError, match=r"cannot be continued: .*last_state.*previous_state.*another --run"
    ):
        run.load_state(CONFIG, "id")


def test_a_state_with_code_in_it_runs_none(tmp_path: Path) -> None:
    witness = tmp_path / "ran"

    class Malicious:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.mkdir, (str(witness),)

    run = RunFolder(tmp_path)
    torch.save({"state_version": 1, "model": Malicious()}, run.last_state)
    with pytest.raises(CheckpointError, match="damaged or no state"):
        run.load_state(CONFIG, "id")
    assert not witness.exists()


def test_a_full_disk_is_explained_and_the_state_before_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, _ = saved(tmp_path, step=3)
    before = {path.name: path.read_bytes() for path in run.path.iterdir()}

    def fail(state: Any, file: Any) -> None:
        file.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", fail)
    with pytest.raises(CheckpointError, match=r"cannot save .*last_state.pt .*No space left.*make room"):
        saved(tmp_path, step=4)
    assert {path.name: path.read_bytes() for path in run.path.iterdir()} == before


def test_another_shard_set_is_refused(tmp_path: Path) -> None:
    run, _ = saved(tmp_path)
    with pytest.raises(ConfigError, match="trained on the shard set with id id, this one is other"):
        run.load_state(CONFIG, "other")


def test_a_set_that_has_grown_is_asked_for_as_it_was(tmp_path: Path) -> None:
    run, _ = saved(tmp_path)
    with pytest.raises(ConfigError, match=r"the set has grown since: give --generation 2 to continue"):
        run.load_state(CONFIG, "newest", {"first": 1, "id": 2})
    assert run.load_state(tiny_config(data={"generation": 2}), "id") is not None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"training": {"learning_rate": 0.5}}, "trained with training.learning_rate = 0.001, now it is 0.5"),
        ({"training": {"loss": {"kl_weight": 0.5}}}, "training.loss.kl_weight = 1.0, now it is 0.5"),
        ({"training": {"augment": {"noise": 0.5}}}, "training.augment.noise = 0.01, now it is 0.5"),
        ({"training": {"epochs": 2}}, "training.epochs = 3, now it is 2"),
        ({"data": {"batch_size": 4}}, "data.batch_size = 8, now it is 4"),
        ({"model": {"latent_dim": 5}}, "model.latent_dim = 4, now it is 5"),
    ],
)
def test_other_options_are_refused_by_name(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    run, _ = saved(tmp_path)
    with pytest.raises(ConfigError, match=message):
        run.load_state(tiny_config(**change), "id")


@pytest.mark.parametrize(
    "change", [{"epochs": 9}, {"max_steps": 4}, {"log_every_steps": 7}, {"save_every_steps": 7}]
)
def test_options_that_move_no_weight_may_change(tmp_path: Path, change: dict[str, int]) -> None:
    run, _ = saved(tmp_path)
    assert run.load_state(tiny_config(training=change), "id") is not None


def test_a_run_is_finished_by_epochs_or_by_steps_but_not_before_validation() -> None:
    by_epochs, by_steps = tiny_config(), tiny_config(training={"max_steps": 7})
    assert not Progress(5, epoch=2, step=5).is_finished(by_epochs)  # validation of the last epoch is left
    assert Progress(5, epoch=3).is_finished(by_epochs)
    assert not Progress(5, epoch=1, step=1).is_finished(by_steps)
    assert Progress(5, epoch=1, step=2).is_finished(by_steps)
    on_the_border = dataclasses.replace(
        by_steps, training=dataclasses.replace(by_steps.training, max_steps=5)
    )
    assert not Progress(5, step=5).is_finished(on_the_border)
    assert Progress(5, epoch=1).is_finished(on_the_border)
