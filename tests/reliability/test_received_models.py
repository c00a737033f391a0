"""Checkpoints and states from somebody else: damaged, hostile or of another model, they are refused in a sentence."""

import json
import os
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from nlbs.cvae import ConditionalVAE, read_metadata
from nlbs.errors import CheckpointError
from nlbs.models.drawing import OwnSampler, draw_patches, to_uint8
from nlbs.train.run_folder import Progress, RunFolder
from nlbs.train.setup import build
from tests.train.conftest import tiny_config

EMA = {"training": {"ema_decay": 0.9}}


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    """A run folder with two states, after step 2 and step 3 of 5."""
    from nlbs.train.optimisation import Average

    run = RunFolder(tmp_path / "run")
    config = tiny_config(**EMA)
    model, (optimizer,) = build(config, torch.device("cpu"))
    codes = {
        name: torch.zeros(2, dtype=torch.int64)
        for name in ("view", "laterality", "age_bin", "cancer", "false_positive")
    }
    for step in (2, 3):
        optimizer.zero_grad()
        model(torch.zeros(2, 1, 16, 16), codes).kl.sum().backward()
        optimizer.step()
        average = Average(model, 0.9)
        average.update(model)
        run.save_last(
            model,
            [optimizer],
            Progress(5, step=step, sums={"kl": 0.1}),
            config,
            {"dataset_id": "id"},
            {"average": average.state()},
        )
    run.save_best(model, {"dataset_id": "id", "fit": "downsample"})
    return run


def changed(change: Callable[[dict[str, Any]], Any]) -> Callable[[Path], None]:
    """Gives a damage of what a state says; what ``change`` gives takes its place where it is a list."""

    def damage(path: Path) -> None:
        state = torch.load(path, weights_only=True)
        made = change(state)
        torch.save(made if isinstance(made, list) else state, path)

    return damage


def moment(name: str, value: float) -> Callable[[Path], None]:
    return changed(lambda state: state["optimizer"]["state"][0][name].fill_(value))


def progress(**fields: Any) -> Callable[[Path], None]:
    return changed(lambda state: state["progress"].update(fields))


def bomb(path: Path) -> None:
    """A gigabyte of zeros in a megabyte."""
    archive = zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED)
    with archive, archive.open("state/data.pkl", "w", force_zip64=True) as file:
        for _ in range(64):
            file.write(bytes(16 << 20))


def sparse(path: Path) -> None:
    """Three gigabytes that are none on the disk, in a zip that says so: stored, and a hole in the file."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("state/data.pkl", b"")
    end = path.read_bytes()
    with path.open("wb") as file:
        file.truncate(3 << 30)
        file.seek(3 << 30)
        file.write(end)


def a_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def a_broken_link(path: Path) -> None:
    path.unlink()
    path.symlink_to("nowhere")


def a_link_to_a_device(path: Path) -> None:
    path.unlink()
    path.symlink_to("/dev/zero")


STATES = {
    "nan in a first moment": moment("exp_avg", float("nan")),
    "infinity in a second moment": moment("exp_avg_sq", float("inf")),
    "a second moment below 0": moment("exp_avg_sq", -1.0),
    "absurd steps of the optimiser": moment("step", 1e9),
    "no moments": changed(lambda state: state["optimizer"]["state"].clear()),
    "a moment missing": changed(lambda state: state["optimizer"]["state"][0].pop("exp_avg")),
    "a moment of another shape": changed(
        lambda state: state["optimizer"]["state"][0].update(exp_avg=torch.zeros(3))
    ),
    "moments of a tensor that is none": changed(
        lambda state: state["optimizer"]["state"].update({10**6: state["optimizer"]["state"][0]})
    ),
    "moments that are text": changed(lambda state: state.update(optimizer="adam")),
    "nan in the average": changed(
        lambda state: state["more"]["average"]["model"]["to_mu.bias"].fill_(float("nan"))
    ),
    "no average": changed(lambda state: state["more"].clear()),
    "an average after absurd steps": changed(lambda state: state["more"]["average"].update(steps=10**30)),
    "weights of 3e38": changed(lambda state: state["model"]["to_mu.weight"].fill_(3e38)),
    "weights that are whole numbers": changed(
        lambda state: state["model"].update({"to_mu.bias": torch.zeros(4, dtype=torch.int64)})
    ),
    "weights that are text": changed(lambda state: state["model"].update({"to_mu.bias": "zeros"})),
    "sparse weights": changed(
        lambda state: state["model"].update({"to_mu.bias": torch.zeros(4).to_sparse()})
    ),
    "weights missing": changed(lambda state: state["model"].pop("to_mu.bias")),
    "no model": changed(lambda state: state.update(model=None)),
    "an epoch below 0": progress(epoch=-1),
    "a step as text": progress(step="3"),
    "a step as a truth": progress(step=True),
    "an absurd step": progress(step=10**18),
    "an absurd epoch": progress(epoch=10**18),
    "no steps in an epoch": progress(steps_per_epoch=0, step=0),
    "other steps in an epoch": progress(steps_per_epoch=50),
    "nan as the best loss": progress(best_loss=float("nan")),
    "text as a sum": progress(sums={"kl": "0.1"}),
    "seconds without end": progress(seconds=float("inf")),
    "a field that is none": progress(nothing=1),
    "no progress": changed(lambda state: state.update(progress=[])),
    "options that are nested deep": changed(lambda state: state.update(config="[" * 100_000)),
    "options that are none": changed(lambda state: state.update(config="{}")),
    "options of bytes": changed(lambda state: state.update(config=b"{}")),
    "a number as the shard set": changed(lambda state: state.update(dataset_id=7)),
    "a list": changed(lambda state: [state]),
    "nothing": lambda path: path.write_bytes(b""),
    "half": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "a bomb": bomb,
    "a hole of 3 GB": sparse,
    "a folder": a_folder,
    "a pipe": a_pipe,
    "a link to nowhere": a_broken_link,
    "a link to a device": a_link_to_a_device,
}  # fmt: skip


@pytest.mark.parametrize("name", STATES)
def test_a_state_that_cannot_be_right_is_named_and_the_one_before_is_taken(
    run: RunFolder, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    STATES[name](run.last_state)
    state = run.load_state(tiny_config(**EMA), "id", steps_per_epoch=5)
    assert state is not None
    assert state.progress.step == 2
    said = capsys.readouterr().out
    assert "last_state.pt" in said
    assert "taking previous_state.pt instead" in said
    assert len(said) < 1500


def test_a_state_of_another_machine_is_the_same_through_a_link(run: RunFolder, tmp_path: Path) -> None:
    kept = tmp_path / "elsewhere.pt"
    run.last_state.rename(kept)
    run.last_state.symlink_to(kept)
    state = run.load_state(tiny_config(**EMA), "id", steps_per_epoch=5)
    assert state is not None
    assert state.progress.step == 3


def test_the_options_of_an_optimizer_are_the_runs_own(run: RunFolder) -> None:
    from nlbs.train.state import restore_moments

    changed(lambda state: state["optimizer"]["param_groups"][0].update(betas=(9.0, 9.0), weight_decay=1e30))(
        run.last_state
    )
    state = run.load_state(tiny_config(**EMA), "id", steps_per_epoch=5)
    assert state is not None
    _, (optimizer,) = build(tiny_config(**EMA), torch.device("cpu"))
    restore_moments(optimizer, state.optimizers[0])
    assert optimizer.param_groups[0]["betas"] == (0.9, 0.999)
    assert optimizer.param_groups[0]["weight_decay"] == 1e-5


def rewritten(path: Path, tensors: dict[str, torch.Tensor] | None = None, **changes: Any) -> None:
    """Writes a checkpoint anew with other tensors, and other values in its description."""
    values = read_metadata(path) | changes
    save_file(load_file(path) | (tensors or {}), path, {"nlbs_cvae": json.dumps(values)})


def long_header(path: Path) -> None:
    path.write_bytes(struct.pack("<Q", 1 << 62) + path.read_bytes()[8:])


def nested_header(path: Path) -> None:
    text = b'{"__metadata__": ' + b"[" * 500_000
    path.write_bytes(struct.pack("<Q", len(text)) + text)


def described_as(text: str) -> Callable[[Path], None]:
    return lambda path: save_file(load_file(path), path, {"nlbs_cvae": text})


def of_model(**changes: Any) -> Callable[[Path], None]:
    return lambda path: rewritten(path, model=read_metadata(path)["model"] | changes)


CHECKPOINTS: dict[str, Callable[[Path], None]] = {
    "a header of 2^62 bytes": long_header,
    "a header nested deep": nested_header,
    "a description nested deep": described_as("[" * 1_000_000),
    "a number of 5,000 digits": described_as('{"format_version": 1, "model": ' + "9" * 5000 + "}"),
    "a description that is a list": described_as("[]"),
    "an infinite version": described_as('{"format_version": 1e999, "model": {}}'),
    "a resolution of 10^400": lambda path: rewritten(path, resolution=10**400),
    "a resolution that is text": lambda path: rewritten(path, resolution="16"),
    "a resolution that is true": lambda path: rewritten(path, resolution=True),
    "no resolution": lambda path: rewritten(path, resolution=None),
    "residual blocks without end": lambda path: rewritten(
        path, model={**read_metadata(path)["model"], "decoder": {"residual_blocks": 10**9}}
    ),
    "a latent of 10^9 numbers": of_model(latent_dim=10**9),
    "a latent of text": of_model(latent_dim="many"),
    "widths without end": of_model(encoder={"channels": [8] * 100_000}),
    "another width": of_model(latent_dim=5),
    "patches prepared by nothing known": lambda path: rewritten(path, training={"fit": "__class__"}),
    "a filter that is a number": lambda path: rewritten(path, training={"where": 7}),
    "a training that is a list": lambda path: rewritten(path, training=[1]),
    "nan": lambda path: rewritten(path, {"to_mu.bias": torch.full((4,), float("nan"))}),
    "float64 beyond float32": lambda path: rewritten(
        path, {"to_mu.bias": torch.full((4,), 1e300, dtype=torch.float64)}
    ),
    "weights of 3e38": lambda path: rewritten(path, {"to_mu.bias": torch.full((4,), 3e38)}),
    "whole numbers": lambda path: rewritten(path, {"to_mu.bias": torch.zeros(4, dtype=torch.int32)}),
    "truths": lambda path: rewritten(path, {"to_mu.bias": torch.zeros(4, dtype=torch.bool)}),
    "another shape": lambda path: rewritten(path, {"to_mu.bias": torch.zeros(2, 2)}),
    "a tensor too many, of an evil name": lambda path: rewritten(path, {"\x1b[2J" * 1000: torch.zeros(1)}),
}


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_a_checkpoint_that_cannot_be_right_is_refused_in_a_sentence(run: RunFolder, name: str) -> None:
    CHECKPOINTS[name](run.best_model)
    with pytest.raises(CheckpointError) as caught:
        ConditionalVAE.load_from_checkpoint(run.best_model)
    assert str(run.best_model) in str(caught.value)
    assert len(str(caught.value)) < 1500
    assert "\x1b" not in str(caught.value)


def test_weights_in_half_precision_are_taken(run: RunFolder) -> None:
    weights = load_file(run.best_model).items()
    rewritten(run.best_model, {name: tensor.half() for name, tensor in weights if tensor.is_floating_point()})
    model = ConditionalVAE.load_from_checkpoint(run.best_model)
    assert model.to_mu.weight.dtype == torch.float32


CODES = {
    name: torch.zeros(3, dtype=torch.int64).numpy()
    for name in ("view", "laterality", "age_bin", "cancer", "false_positive")
}


@pytest.mark.parametrize("value", [1e17, -1e17, 0.0])
def test_weights_that_draw_nothing_are_refused_where_they_draw(run: RunFolder, value: float) -> None:
    model = ConditionalVAE.load_from_checkpoint(run.best_model)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(value)
    with pytest.raises(CheckpointError, match=r"not finite|one grey value"):
        list(draw_patches(OwnSampler(model), CODES, seed=0))


def test_one_pixel_that_is_no_number_is_refused() -> None:
    pixels = torch.zeros(2, 1, 4, 4)
    assert to_uint8(pixels).max() == 128
    pixels[1, 0, 2, 3] = float("nan")
    with pytest.raises(CheckpointError, match="not finite"):
        to_uint8(pixels)
