"""Several processes on the loopback: the same run as one, and an end for all where one ends.

Also covers: train/ranks/synced_norm.py, train/handshake.py, train/launch.py.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from tests.conftest import some
from tests.shards.conftest import make_shard_set
from tests.train.conftest import guide_command
from tests.train.processes import TIMEOUT_S, Together, free_port, together

TINY = """
model:
  latent_dim: 4
  condition_embed_dim: 6
  encoder: {channels: [8, 8]}
  decoder: {channels: [8, 8, 1], use_skip_connections: true}
training:
  {epochs: 2, learning_rate: 1.0e-3, log_every_steps: 1, ema_decay: 0.5, condition_stages: [2, 5],
   loss: {kl_anneal_epochs: 1, free_bits: 0.2}}
data: {resolution: 16, batch_size: 8}
"""
PATCHES = 84  # 42 for training, 5 steps an epoch; 21 for validation, which 8 does not divide


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("set")
    make_shard_set(folder, patches=PATCHES, shards=4)
    return folder


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("config") / "tiny.yaml"
    path.write_text(TINY)
    return path


@pytest.fixture
def command(shards: Path, tiny: Path, tmp_path: Path) -> list[object]:
    """Trains in tmp_path/run."""
    return guide_command(shards, tiny, tmp_path / "run")


@pytest.fixture(scope="module")
def alone(
    shards: Path, tiny: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, list[dict[str, Any]]]:
    """The run folder of a process alone, and what each of its steps saw."""
    folder = tmp_path_factory.mktemp("alone")
    arguments = guide_command(shards, tiny, folder / "run")
    return folder / "run", together(1, folder / "one", *arguments, hook="record").recorded()


def metrics(run: Path, kind: str) -> list[dict[str, Any]]:
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [row for row in rows if row.pop("kind") == kind]


def assert_close(run: Path, other: Path, kind: str) -> None:
    rows, expected = metrics(run, kind), metrics(other, kind)
    assert [row["step"] for row in rows] == [row["step"] for row in expected]
    for one, two in zip(rows, expected, strict=True):
        assert one == pytest.approx(two, rel=2e-4, abs=1e-6)


@pytest.mark.parametrize("world_size", [2, 4])
def test_several_processes_train_as_one_does(
    command: list[object], tmp_path: Path, alone: tuple[Path, list[dict[str, Any]]], world_size: int
) -> None:
    run, steps = alone
    found = together(world_size, tmp_path / "logs", *command, hook="record").recorded()
    assert len(found) == len(steps) == 10
    for one, other in zip(found, steps, strict=True):
        for name, values in some(other.items()):
            np.testing.assert_array_equal(one[name], values, err_msg=name)
    assert len({array["rows"].tobytes() for array in steps}) == 10
    assert_close(tmp_path / "run", run, "train")
    assert_close(tmp_path / "run", run, "epoch")
    # The mean of the gradients, which Adam's step is not linear in.
    states = [torch.load(folder / "last_state.pt", weights_only=True) for folder in (tmp_path / "run", run)]
    for one, other in some(zip(*(state["optimizer"]["state"].values() for state in states), strict=True)):
        torch.testing.assert_close(one["exp_avg"], other["exp_avg"], rtol=1e-2, atol=2e-4)
    for name in ("last_model", "best_model"):
        one, other = (load_file(folder / f"{name}.safetensors") for folder in (tmp_path / "run", run))
        assert list(one) == list(other)
        alike = [torch.isclose(one[key], other[key], rtol=1e-3, atol=2e-4).flatten() for key in one]
        assert (
            torch.cat(alike).float().mean() > 0.98
        )  # where a gradient is about 0, rounding decides Adam's step


def test_a_run_goes_on_with_any_number_of_processes(
    command: list[object], tmp_path: Path, alone: tuple[Path, list[dict[str, Any]]]
) -> None:
    steps: list[dict[str, Any]] = []
    for world_size, until in ((2, 3), (1, 6), (4, 10)):
        limit = [*command, "--max-steps", until]
        steps += together(world_size, tmp_path / f"logs{until}", *limit, hook="record").recorded()
    for one, other in zip(steps, alone[1], strict=True):
        for name, values in some(other.items()):
            np.testing.assert_array_equal(one[name], values, err_msg=name)
    assert_close(tmp_path / "run", alone[0], "train")


def test_parts_of_a_batch_exchange_gradients_once(command: list[object], tiny: Path, tmp_path: Path) -> None:
    parts = tmp_path / "parts.yaml"  # GroupNorm in every block, no free bits: no term sees the parts
    text = (
        TINY.replace("[8, 8]}", "[8, 8], groups: 1}")
        .replace(", free_bits: 0.2", "")
        .replace("epochs: 2", "epochs: 1")
    )
    parts.write_text(text)
    whole = [argument if argument != tiny else parts for argument in command]
    together(1, tmp_path / "one", *whole)
    (tmp_path / "run").rename(tmp_path / "whole")
    parts.write_text(text.replace("{epochs", "{accumulate: 2, epochs"))
    together(2, tmp_path / "two", *whole)
    assert_close(tmp_path / "run", tmp_path / "whole", "train")


def test_a_loss_that_is_not_finite_in_one_process_is_skipped_by_all(
    command: list[object], tmp_path: Path
) -> None:
    together(2, tmp_path / "logs", *command, hook="bad")
    rows = metrics(tmp_path / "run", "train")
    assert [row["skipped"] for row in rows] == [0, 0] + [1] * 8
    assert rows[2]["total"] is None


@pytest.mark.parametrize("lost", [0, 2])
def test_a_killed_process_ends_the_others_with_a_sentence(
    command: list[object], tmp_path: Path, lost: int
) -> None:
    processes = Together([[*command, "--epochs", 10**6, "--batch-size", 6]] * 3, tmp_path / "logs")
    processes.wait_until(lambda: len(steps_in(tmp_path / "run")) > 2)
    processes.send(lost, signal.SIGKILL)
    for rank, ended in some(enumerate(processes.ended())):
        assert ended.code == (-signal.SIGKILL if rank == lost else 1), ended
        if rank != lost:
            said = rf"Error: process {rank} of 3 waited for .* in vain, because a process ended or does not answer"
            assert re.match(said, ended.complained), ended
            assert ended.complained.count("\n") == 1


def steps_in(run: Path) -> list[str]:
    return (run / "metrics.jsonl").read_text().splitlines() if (run / "metrics.jsonl").exists() else []


def test_an_interrupt_of_one_process_saves_and_ends_all(command: list[object], tmp_path: Path) -> None:
    processes = Together([[*command, "--epochs", 10**6]] * 2, tmp_path / "logs")
    processes.wait_until(lambda: len(steps_in(tmp_path / "run")) > 2)
    processes.send(1, signal.SIGTERM)
    first, other = processes.ended()
    assert (first.code, other.code) == (130, 130)
    assert re.search(r"saved .*last_state\.pt\nstopped at step", first.said)
    assert other.said == ""


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (["--seed", 1], r"training.seed is 0 in process 0, and 1 in process 1"),
        (["--shards", "OTHER"], r"dataset id is 0123\w+ in process 0, and f+ in process 1"),
        (["--shards", "nowhere"], r"there is no folder nowhere"),
    ],
)
def test_processes_that_do_not_agree_say_so_and_train_nothing(
    command: list[object], shards: Path, tmp_path: Path, change: list[object], message: str
) -> None:
    make_shard_set(tmp_path / "other", patches=PATCHES, shards=4, dataset_id="f" * 32)
    other = list(command)
    if change[0] == "--shards":
        other[1] = tmp_path / "other" if change[1] == "OTHER" else change[1]
    else:
        other += change
    for ended in Together([command, other], tmp_path / "logs").ended():
        assert ended.code == 1
        assert re.match(rf"Error: .*{message}", ended.complained), ended
        assert ended.said == ""
    assert not (tmp_path / "run").exists()


def test_damage_that_one_process_finds_ends_all(command: list[object], shards: Path, tmp_path: Path) -> None:
    shutil.copytree(shards, tmp_path / "damaged")
    for shard in (tmp_path / "damaged").glob("*.tar"):
        data = bytearray(shard.read_bytes())
        data[:] = bytes(byte ^ 1 for byte in data)
        shard.write_bytes(data)
    other = ["--shards", tmp_path / "damaged", *command[2:]]
    first, second = Together([command, other], tmp_path / "logs").ended()
    assert (first.code, second.code) == (1, 1)
    assert re.match(r"Error: process 1 of 2 stopped: .*damaged.*checksum", first.complained), first
    assert re.match(r"Error: .*damaged.*checksum", second.complained), second


def test_a_group_is_kept_to_the_end_of_its_process() -> None:
    """DDP must not be the last to let go of it: the group would join threads that wait for Python's lock."""
    program = (
        "import torch.distributed as dist, weakref\n"
        "from nlbs.train.ranks.ranks import joined_ranks\n"
        "with joined_ranks(60):\n"
        "    group = weakref.ref(dist.group.WORLD)\n"
        "print(group() is not None, dist.is_initialized())\n"
    )
    alone = {"RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "localhost", "MASTER_PORT": str(free_port())}
    done = subprocess.run(
        [sys.executable, "-c", program], env=os.environ | alone, capture_output=True, text=True, check=False,
        timeout=TIMEOUT_S,
    )  # fmt: skip
    assert done.stdout == "True False\n", done.stderr


def test_a_batch_that_the_processes_cannot_share_is_refused(command: list[object], tmp_path: Path) -> None:
    for ended in some(Together([command] * 3, tmp_path / "logs").ended()):
        assert ended.code == 1
        assert "multiple of 3" in ended.complained


def test_torchrun_starts_a_run_of_which_one_process_speaks(command: list[object], tmp_path: Path) -> None:
    arguments = ["--run-folder" if argument == "--run" else str(argument) for argument in command]
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--rdzv-backend", "c10d",
         "--rdzv-endpoint", f"localhost:{free_port()}", "-m", "nlbs.train", *arguments],
        capture_output=True, text=True, check=False, timeout=TIMEOUT_S,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("model: ") == 1
    assert ", divided among 2 processes\n" in done.stdout
    assert metrics(tmp_path / "run", "train")[-1]["step"] == 10
