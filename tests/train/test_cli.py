import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from nlbs.cvae import ConditionalVAE, read_metadata
from tests.conftest import run_command

SMALL = """
model:
  latent_dim: 4
  encoder: {channels: [8, 16]}
  decoder: {channels: [16, 8, 1], use_skip_connections: false}
training: {epochs: 2}
data: {resolution: 32, batch_size: 16}
"""
#: Says after a run which of the forbidden modules the process has.
WITNESS = """
import sys
from nlbs.train.cli import main
try:
    main(sys.argv[1:])
finally:
    print("modules:", sorted({"pydicom", "joblib", "imagecodecs", "pandas"} & sys.modules.keys()), "torch" in sys.modules)
"""


@pytest.fixture
def small(tmp_path: Path) -> Path:
    path = tmp_path / "small.yaml"
    path.write_text(SMALL)
    return path


def test_a_run_from_real_shards_needs_no_dicom_library(
    dataset_root: Path, small: Path, tmp_path: Path
) -> None:
    arguments = ["--shards", dataset_root, "--config", small, "--run", tmp_path / "run", "--device", "cpu"]
    done = subprocess.run(
        [sys.executable, "-c", WITNESS, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    assert "modules: [] True" in done.stdout
    assert re.search(r"^model: [\d,]+ parameters, 32 x 32 pixels$", done.stdout, re.M)
    assert re.search(r"train and [\d,]+ val patches of 64 x 64, area-averaged to 32 x 32", done.stdout)
    assert re.search(
        r"^epoch 2/2, step \d+: train loss .*reconstruction .*kl .*edge .*; val loss ", done.stdout, re.M
    )
    assert f"best: {tmp_path / 'run' / 'best_model.safetensors'}" in done.stdout
    assert done.stderr == ""
    model = ConditionalVAE.load_from_checkpoint(tmp_path / "run" / "best_model.safetensors")
    parameters = re.search(r"([\d,]+) parameters", done.stdout)[1]  # type: ignore[index]
    assert f"{model.num_parameters:,}" == parameters


def test_help_imports_neither_torch_nor_pydantic() -> None:
    code = WITNESS.replace('"pandas"', '"pydantic"')
    done = subprocess.run([sys.executable, "-c", code, "--help"], capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert "modules: [] False" in done.stdout
    assert "--shards FOLDER" in done.stdout


def test_a_dry_run_shows_the_configuration_and_the_size_and_writes_nothing(
    dataset_root: Path, tmp_path: Path
) -> None:
    done = run_command(
        "train", "--shards", dataset_root, "--preset", "guide-small", "--dry-run", "--epochs", 7,
        "--kl-weight", 0.5, "--no-augment", "--fit", "crop", "--seed", 3, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    for line in (
        "epochs: 7",
        "kl_weight: 0.5",
        "rotation_deg: 0.0",
        "fit: crop",
        "seed: 3",
        "resolution: 64",
    ):
        assert line in done.stdout
    assert "# 1,660,517 parameters; " in done.stdout
    assert not list(tmp_path.iterdir())


def test_the_run_folder_is_named_after_the_preset(dataset_root: Path, tmp_path: Path) -> None:
    arguments = ("train", "--shards", dataset_root, "--preset", "guide-small", "--max-steps", 1)
    done = run_command(*arguments, "--batch-size", 2, "--device", "auto", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (
        read_metadata(tmp_path / "runs" / "guide-small" / "last_model.safetensors")["training"]["step"] == 1
    )
    again = run_command(*arguments, "--batch-size", 2, cwd=tmp_path)
    assert again.returncode == 0
    assert "runs/guide-small is finished" in again.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--shards", "nowhere"], r"there is no folder nowhere; make one with"),
        (["--shards", "ROOT", "--preset", "gide"], r"no preset 'gide'; did you mean 'guide'"),
        (["--shards", "ROOT"], r"patches of 64 x 64, smaller than the model's 256 x 256"),
        (["--shards", "ROOT", "--config", "missing.yaml"], r"cannot read the configuration missing.yaml"),
        (["--shards", "ROOT", "--preset", "guide-small", "--batch-size", "100000"], r"not enough for one batch"),
        (["--shards", "ROOT", "--preset", "guide-small", "--device", "cuda"], r"sees no CUDA device: pass --device cpu"),
    ],
)  # fmt: skip
def test_an_error_is_one_plain_sentence_and_exit_code_one(
    arguments: list[str], message: str, dataset_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    done = run_command("train", *[str(dataset_root) if a == "ROOT" else a for a in arguments], cwd=tmp_path)
    assert done.returncode == 1
    assert re.fullmatch(rf"Error: .*{message}.*\n", done.stderr), done.stderr


def test_wrong_usage_is_exit_code_two() -> None:
    assert run_command("train").returncode == 2
    assert run_command("train", "--shards", "x", "--batch-size", "0").returncode == 2


def test_ctrl_c_saves_and_the_same_command_continues(dataset_root: Path, small: Path, tmp_path: Path) -> None:
    small.write_text(SMALL.replace("epochs: 2", "epochs: 100000"))
    command = [sys.executable, "-m", "nlbs.train", "--shards", dataset_root, "--config", small]
    command += ["--run", tmp_path / "run", "--device", "cpu"]
    with subprocess.Popen(
        [str(part) for part in command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("epoch 2/"):
                process.send_signal(signal.SIGINT)
                break
        said, complained = process.communicate(timeout=60)
    assert process.returncode == 130, complained
    assert "saved " in said
    assert "Interrupted. The same command continues" in complained
    assert "Traceback" not in complained
    stopped_at = int(re.search(r"stopped at step ([\d,]+)", said)[1].replace(",", ""))  # type: ignore[index]
    again = run_command(*command[2:3][0].split(".")[-1:], *command[3:], "--max-steps", stopped_at + 3)
    assert again.returncode == 0, again.stderr
    assert f"continues at step {stopped_at:,}" in again.stdout


def test_a_terminal_sees_a_progress_bar(dataset_root: Path, small: Path, tmp_path: Path) -> None:
    parent, child = pty.openpty()
    command = [sys.executable, "-m", "nlbs.train", "--shards", dataset_root, "--config", small]
    command += ["--run", tmp_path / "run", "--device", "cpu"]
    environment = {**os.environ, "TERM": "xterm"}
    with subprocess.Popen(
        [str(part) for part in command], stdout=subprocess.PIPE, stderr=child, env=environment
    ) as process:
        os.close(child)
        shown, deadline = b"", time.monotonic() + 120
        while process.poll() is None and time.monotonic() < deadline:
            if select.select([parent], [], [], 0.1)[0]:
                try:
                    shown += os.read(parent, 65536)
                except OSError:
                    break
        process.communicate(timeout=60)
    os.close(parent)
    assert process.returncode == 0
    assert b"epoch 1/2" in shown
    assert b"patch/s" in shown
    assert b"reconstruction" in shown
