"""A run from its first step to its last: the same to the bit, however it was stopped.

Also covers: train/setup.py, train/validation.py.
"""

import json
import os
import re
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from nlbs.cvae import ConditionalVAE, read_metadata
from nlbs.errors import ShardError
from nlbs.train import loop
from nlbs.train import setup as start
from nlbs.train.config import train_config
from nlbs.train.run_folder import Progress, RunFolder
from nlbs.train.step import step_seed
from nlbs.train.validation import Judge
from tests.conftest import some
from tests.train.conftest import MemoryShards, tiny_config

CPU = torch.device("cpu")


def train(folder: Path, shards: MemoryShards | None = None, **changes: Any) -> Progress:
    """Trains 3 epochs of 5 steps, or goes on with that."""
    config = tiny_config(**changes)
    return start.train(config, shards or MemoryShards(), RunFolder(folder), CPU)  # type: ignore[arg-type]


def weights(folder: Path, name: str = "last_model.safetensors") -> dict[str, bytes]:
    return {key: value.numpy().tobytes() for key, value in load_file(folder / name).items()}


def metrics(folder: Path, kind: str) -> list[dict[str, Any]]:
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [row for row in rows if row["kind"] == kind]


def test_a_model_for_a_gpu_says_so_on_a_processor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    said = []
    for number, least in enumerate((10**9, 1)):
        monkeypatch.setattr(start, "_OF_A_GPU", least)
        train(tmp_path / str(number), training={"max_steps": 1})
        said.append("that is a model for a GPU" in capsys.readouterr().out)
    assert said == [False, True]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("undisturbed")
    train(folder)
    return folder


def test_a_run_leaves_the_files_of_its_folder(undisturbed: Path) -> None:
    names = {path.name for path in undisturbed.iterdir()} - {".lock", "previous_state.pt"}
    assert names == {
        "config.yaml", "best_model.safetensors", "last_model.safetensors", "last_state.pt", "metrics.jsonl",
        "samples", "tensorboard", "curve.png",
    }  # fmt: skip
    values = read_metadata(undisturbed / "last_model.safetensors")["training"]
    assert (values["dataset_id"], values["epoch"], values["step"]) == ("id", 3, 15)
    assert ConditionalVAE.load_from_checkpoint(undisturbed / "best_model.safetensors").resolution == 16


@pytest.mark.parametrize("stop", [1, 5, 7, 14])
def test_a_run_stopped_at_a_step_and_resumed_equals_an_undisturbed_one_to_the_bit(
    undisturbed: Path, tmp_path: Path, stop: int
) -> None:
    assert train(tmp_path, training={"max_steps": stop}).total_steps == stop
    assert train(tmp_path).total_steps == 15
    assert weights(tmp_path) == weights(undisturbed)
    assert metrics(tmp_path, "train") == metrics(undisturbed, "train")


def test_a_run_that_is_interrupted_anywhere_equals_an_undisturbed_one_to_the_bit(
    undisturbed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    interruptions = 0
    for _ in range(20):
        shards = MemoryShards()
        read = shards.read

        def interrupting(*args: Any, shards: MemoryShards = shards, read: Any = read, **options: Any) -> Any:
            if shards.reads == 4:
                os.kill(os.getpid(), signal.SIGINT)
            return read(*args, **options)

        shards.read = interrupting  # type: ignore[method-assign]
        try:
            train(tmp_path, shards)
            break
        except KeyboardInterrupt:
            interruptions += 1
            assert re.search(r"saved .*last_state.pt\nstopped at step", capsys.readouterr().out)
    assert interruptions >= 2
    assert weights(tmp_path) == weights(undisturbed)
    assert weights(tmp_path, "best_model.safetensors") == weights(undisturbed, "best_model.safetensors")
    assert metrics(tmp_path, "epoch") == metrics(undisturbed, "epoch")


def test_a_run_that_died_continues_from_the_last_save_without_rows_twice(
    undisturbed: Path, tmp_path: Path
) -> None:
    shards = MemoryShards()
    dies_at = start.open_streams(tiny_config(), shards)[0].batch_rows(2, 1)  # type: ignore[arg-type]
    shards.fails_at_row = int(dies_at[0])
    with pytest.raises(ShardError):  # in the first epoch: each epoch has each row
        train(tmp_path, shards, training={"save_every_steps": 1})
    assert 0 < len(metrics(tmp_path, "train")) < 15
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"kind": "train", "step": 14, "epoch": 2}\n{"kind": "tra')
    train(tmp_path)
    assert weights(tmp_path) == weights(undisturbed)
    assert metrics(tmp_path, "train") == metrics(undisturbed, "train")


def test_a_finished_run_says_so_and_more_epochs_continue_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train(tmp_path, training={"epochs": 1})
    before = weights(tmp_path)
    capsys.readouterr()
    train(tmp_path, training={"epochs": 1})
    assert "is finished; raise --epochs or --max-steps" in capsys.readouterr().out
    assert weights(tmp_path) == before
    assert train(tmp_path, training={"epochs": 2}).epoch == 2
    assert weights(tmp_path) != before


def test_the_seed_decides_the_run(undisturbed: Path, tmp_path: Path) -> None:
    train(tmp_path / "same")
    train(tmp_path / "other", training={"seed": 1})
    assert weights(tmp_path / "same") == weights(undisturbed) != weights(tmp_path / "other")


def test_the_loss_falls(tmp_path: Path) -> None:
    train(tmp_path, training={"epochs": 12, "loss": {"kl_weight": 0.0}, "learning_rate": 0.01})
    values = [row["val_reconstruction"] for row in metrics(tmp_path, "epoch")]
    assert values[-1] < 0.7 * values[0]


def test_the_first_step_is_one_adam_step_of_the_guides_loss(tmp_path: Path) -> None:
    changes: dict[str, Any] = {
        "training": {
            "max_steps": 1,
            "learning_rate": 0.01,
            "loss": {"kl_anneal_epochs": 0, "kl_weight": 0.3},
            "augment": {"horizontal_flip": 0, "rotation_deg": 0, "brightness": 0, "contrast": 0, "noise": 0},
        }
    }
    config, shards = tiny_config(**changes), MemoryShards()
    train(tmp_path, shards, **changes)
    model, _ = start.build(config, CPU)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01, betas=(0.9, 0.999), weight_decay=1e-5)
    batch = start.open_streams(config, shards)[0].read(0, 0)  # type: ignore[arg-type]
    x = batch.pixels.float() / 127.5 - 1
    torch.manual_seed(step_seed(0, 0))
    output = model(x, batch.conditions)
    kernel = torch.tensor([[[[0.0, -1, 0], [-1, 4, -1], [0, -1, 0]]]])
    edges = torch.nn.functional.conv2d(output.reconstruction - x, kernel)
    kl = 0.5 * (output.mu**2 + output.logvar.exp() - output.logvar - 1).sum(1).mean()
    loss = (output.reconstruction - x).abs().mean() + 0.3 * kl + 0.1 * edges.abs().mean()
    loss.backward()
    norm = torch.sqrt(sum(p.grad.square().sum() for p in model.parameters()))  # type: ignore[union-attr, arg-type, misc]
    for parameter in model.parameters():
        parameter.grad *= min(1.0, 1.0 / norm)  # type: ignore[operator]
    optimizer.step()
    row = metrics(tmp_path, "train")[0]
    assert row["total"] == pytest.approx(loss.item(), rel=1e-5)
    assert row["kl"] == pytest.approx(kl.item(), rel=1e-5)
    assert row["grad_norm"] == pytest.approx(norm.item(), rel=1e-4)
    found = load_file(tmp_path / "last_model.safetensors")
    for name, value in some(model.state_dict().items()):
        torch.testing.assert_close(found[name], value, rtol=1e-3, atol=2e-4, msg=name)


def test_rate_and_beta_follow_the_schedule(undisturbed: Path) -> None:
    rows = metrics(undisturbed, "train")
    assert [row["step"] for row in rows] == list(range(1, 16))
    assert [row["beta"] for row in rows] == [0.0] * 5 + [0.5] * 5 + [1.0] * 5
    expected = [1e-6 + (1e-3 - 1e-6) * (1 + np.cos(np.pi * step / 15)) / 2 for step in range(15)]
    np.testing.assert_allclose([row["learning_rate"] for row in rows], expected, rtol=1e-9)


def test_validation_sees_each_patch_once_at_the_mean_and_with_the_final_beta(undisturbed: Path) -> None:
    model = ConditionalVAE.load_from_checkpoint(undisturbed / "last_model.safetensors")
    shards = MemoryShards()
    rows = shards.rows("val")
    x = torch.from_numpy(shards.pixels[rows]).unsqueeze(1).float() / 127.5 - 1
    codes = {name: torch.from_numpy(code[rows]) for name, code in shards.codes.items()}
    with torch.no_grad():
        output = model(x, codes)
    last = metrics(undisturbed, "epoch")[-1]
    reconstruction = (output.reconstruction - x).abs().mean().item()
    assert last["val_reconstruction"] == pytest.approx(reconstruction, rel=1e-5)
    assert last["val_kl"] == pytest.approx(output.kl.mean().item(), rel=1e-5)
    assert last["val_total"] == pytest.approx(
        reconstruction + last["val_kl"] + 0.1 * last["val_edge"], rel=1e-6
    )
    first = metrics(undisturbed, "epoch")[0]  # beta was 0 there
    assert first["val_total"] == pytest.approx(
        first["val_reconstruction"] + first["val_kl"] + 0.1 * first["val_edge"]
    )


def test_the_best_checkpoint_is_that_of_the_lowest_finite_validation_loss(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    losses = iter([float("nan"), 1.0, 2.0, float("nan")])
    terms = {"reconstruction": 0.0, "kl": 0.0, "edge": 0.0}
    monkeypatch.setattr(Judge, "judge", lambda *_: {"total": next(losses), **terms})
    progress = train(tmp_path, training={"epochs": 4})
    assert (progress.best_epoch, progress.best_loss) == (2, 1.0)
    monkeypatch.undo()
    train(tmp_path / "until", training={"epochs": 4, "max_steps": 10})
    assert weights(tmp_path, "best_model.safetensors") == weights(tmp_path / "until")


def test_without_a_validation_split_the_training_loss_chooses_and_a_line_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    progress = train(tmp_path, MemoryShards(val=0))
    assert "no patches in the split 'val': the training loss chooses" in capsys.readouterr().out
    rows = metrics(tmp_path, "epoch")
    assert progress.best_loss == min(row["train_total"] for row in rows)
    assert "val_total" not in rows[0]
    steps = [row["reconstruction"] for row in metrics(tmp_path, "train")]
    assert rows[1]["train_reconstruction"] == pytest.approx(np.mean(steps[5:10]))


def test_part_of_an_epoch_is_not_compared_with_whole_ones_by_its_training_loss(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train(tmp_path / "whole", MemoryShards(val=0))
    assert train(tmp_path / "run", MemoryShards(val=0), training={"max_steps": 3}).best_loss is None
    assert "best_model.safetensors (the last weights: no epoch is complete" in capsys.readouterr().out
    assert weights(tmp_path / "run", "best_model.safetensors") == weights(tmp_path / "run")
    progress = train(tmp_path / "run", MemoryShards(val=0), training={"max_steps": 5})
    assert progress.best_loss == metrics(tmp_path / "run", "epoch")[-1]["train_total"]
    best = weights(tmp_path / "run", "best_model.safetensors")
    stopped = train(tmp_path / "run", MemoryShards(val=0), training={"max_steps": 7})
    assert stopped.best_epoch == 1
    assert weights(tmp_path / "run", "best_model.safetensors") == best
    train(tmp_path / "run", MemoryShards(val=0))
    names = ("best_model.safetensors", "last_model.safetensors")
    assert [weights(tmp_path / "run", name) for name in names] == [
        weights(tmp_path / "whole", name) for name in names
    ]


def test_how_fast_it_went_stands_in_rows_of_its_own(undisturbed: Path) -> None:
    rows = metrics(undisturbed, "speed")
    assert [row["step"] for row in rows] == sorted([*range(1, 16), 5, 10, 15])
    assert all(0 <= row["waiting"] <= 1 and row["patches_per_s"] > 0 for row in rows)
    assert not {"waiting", "patches_per_s"} & metrics(undisturbed, "train")[0].keys()


def test_the_model_is_told_the_side_that_a_flip_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    class Recording(ConditionalVAE):
        def forward(self, pixels: Any, conditions: Any, noise: Any = None) -> Any:
            if self.training:
                seen.append((pixels.clone(), conditions))
            return super().forward(pixels, conditions, noise)

    monkeypatch.setattr("nlbs.cvae.model.ConditionalVAE", Recording)
    augment = {"horizontal_flip": 1, "rotation_deg": 0, "brightness": 0, "contrast": 0, "noise": 0}
    changes: dict[str, Any] = {"training": {"max_steps": 1, "augment": augment}}
    shards = MemoryShards()
    train(tmp_path, shards, **changes)
    batch = start.open_streams(tiny_config(**changes), shards)[0].read(0, 0)  # type: ignore[arg-type]
    pixels, conditions = seen[0]
    torch.testing.assert_close(pixels.flip(-1), batch.pixels.float() / 127.5 - 1)
    expected = [{0: 1, 1: 0, -1: -1}[side] for side in batch.conditions["laterality"].tolist()]
    assert conditions["laterality"].tolist() == expected
    assert torch.equal(conditions["view"], batch.conditions["view"])


def test_every_n_steps_there_is_a_save_and_a_picture_if_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = []
    save_last = RunFolder.save_last

    def spy(self: RunFolder, model: Any, optimizer: Any, progress: Progress, *rest: Any) -> None:
        steps.append(progress.total_steps)
        save_last(self, model, optimizer, progress, *rest)

    monkeypatch.setattr(RunFolder, "save_last", spy)
    train(tmp_path, training={"save_every_steps": 4, "samples_every_steps": 6, "epochs": 2})
    assert steps == [4, 8, 10]
    assert [path.name for path in sorted((tmp_path / "samples").iterdir())] == ["step-00000006.png"]


def test_short_epochs_do_not_save_each_time_and_long_ones_save_within(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[int] = []
    monkeypatch.setattr(
        RunFolder, "save_last", lambda self, m, o, progress, *_: steps.append(progress.total_steps)
    )
    train(tmp_path)
    assert steps == [15]
    steps.clear()
    monkeypatch.setattr(loop, "SAVE_AT_LEAST_EVERY_S", 0.0)
    train(tmp_path / "other")
    assert set(range(1, 15)) <= set(steps)


def test_tensorboard_has_losses_rate_norm_and_samples(undisturbed: Path) -> None:
    events = EventAccumulator(str(undisturbed / "tensorboard"))
    events.Reload()
    tags = events.Tags()
    assert {"train/total", "train/reconstruction", "train/kl", "train/edge"} <= set(tags["scalars"])
    assert {"train/learning_rate", "train/grad_norm", "epoch/val_total"} <= set(tags["scalars"])
    assert tags["images"] == ["samples"]
    assert [event.step for event in events.Scalars("train/total")] == list(range(1, 16))


def test_a_picture_of_each_epoch_shows_three_rows(undisturbed: Path) -> None:
    names = sorted(path.name for path in (undisturbed / "samples").iterdir())
    assert names == ["step-00000005.png", "step-00000010.png", "step-00000015.png"]
    with Image.open(undisturbed / "samples" / names[-1]) as image:
        assert image.width > 7 * 128
        assert image.height > 3 * 128


def test_pictures_and_validation_do_not_disturb_the_weights(undisturbed: Path, tmp_path: Path) -> None:
    train(tmp_path, training={"samples_every_steps": 1})
    assert weights(tmp_path) == weights(undisturbed)


@pytest.mark.parametrize("fit", ["downsample", "crop"])
def test_larger_patches_are_fitted(tmp_path: Path, fit: str) -> None:
    progress = train(tmp_path, MemoryShards(resolution=32), data={"fit": fit}, training={"epochs": 1})
    assert progress.total_steps == 5


def test_sixteen_bit_patches_train(tmp_path: Path) -> None:
    progress = train(tmp_path, MemoryShards(kind=np.uint16), training={"epochs": 1})
    assert progress.best_loss is not None


def test_what_the_run_was_made_with_stands_beside_it(undisturbed: Path) -> None:
    from nlbs.config import read_yaml

    assert train_config(read_yaml(undisturbed / "config.yaml"), "test") == tiny_config()


def test_schedules_and_free_bits_resume_to_the_bit(tmp_path: Path) -> None:
    loss = {"kl_schedule": "cyclical", "free_bits": 0.2}
    train(tmp_path / "whole", training={"loss": loss})
    train(tmp_path / "parts", training={"loss": loss, "max_steps": 7})
    train(tmp_path / "parts", training={"loss": loss})
    assert weights(tmp_path / "parts") == weights(tmp_path / "whole")
    row = metrics(tmp_path / "whole", "train")[5]  # the second epoch of a cycle of two
    assert row["beta"] == pytest.approx(1.0)
    charged = row["total"] - row["reconstruction"] - 0.1 * row["edge"]
    assert charged >= max(4 * 0.2, row["kl"]) - 1e-5


def test_a_collapsed_latent_is_said_in_words_and_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    heavy = {"kl_anneal_epochs": 0, "kl_weight": 100.0}
    train(tmp_path / "heavy", training={"epochs": 12, "learning_rate": 0.01, "loss": heavy})
    said = capsys.readouterr().out
    assert "warning: The latent has collapsed" in said
    assert "training.loss.kl_weight" in said
    assert metrics(tmp_path / "heavy", "epoch")[-1]["active_units_0"] == 0
    train(tmp_path / "free", training={"epochs": 12, "learning_rate": 0.01, "loss": {"kl_weight": 0.0}})
    said = capsys.readouterr().out
    assert "warning" not in said
    active = metrics(tmp_path / "free", "epoch")[-1]["active_units_0"]
    assert active > 0
    assert f"active units {active:.0f}" in said
