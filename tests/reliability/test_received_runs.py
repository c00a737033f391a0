"""Files of a run or beside a checkpoint that are pipes, too wide or too deep: refused soon, in a sentence."""

import os
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from nlbs.cvae import load_checkpoint
from nlbs.errors import CheckpointError, NlbsError
from nlbs.models.folder import fitted_ids
from nlbs.train.log import Log
from nlbs.train.pictures import epoch_rows, write_curve
from nlbs.train.run_folder import RunFolder
from nlbs.train.state import load_state
from tests.reliability.test_received_files import a_device, a_folder, a_pipe

ROWS = [
    b"[" * 100_000,
    b'{"kind": "epoch", "step": "2", "epoch": 0}',
    b'{"kind": "epoch", "step": 1e999, "epoch": 0}',
    b'{"kind": "epoch", "step": null}',
    b"[1]",
    b"7",
    b"\xff\xfe\x1b[31m",
    b'{"step": ' + b"9" * 5000 + b"}",
    b'{"kind": "epoch", "step": 3, "epoch": 0, "train_total": 1.0}',
]


def test_rows_of_metrics_that_cannot_be_a_runs_are_dropped(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run")
    run.path.mkdir(exist_ok=True)
    good = [
        b'{"kind": "train", "step": 1, "epoch": 0, "train_total": 2.0}',
        b'{"kind": "epoch", "step": 2, "epoch": 0, "train_total": 2.0, "val_total": null}',
        b'{"kind": "epoch", "step": 2, "epoch": 1, "train_total": "<script>", "train_kl": [1]}',
        b'{"kind": "epoch", "step": 2, "epoch": "1"}',
        b'{"step": 2}',
    ]
    run.metrics.write_bytes(b"\n".join([*ROWS, *good]))
    Log(run, 2).close()
    assert run.metrics.read_bytes().splitlines() == good
    assert epoch_rows(run.metrics) == [
        {"step": 2, "epoch": 0, "train_total": 2.0, "val_total": None},
        {"step": 2, "epoch": 1},
    ]
    write_curve(tmp_path / "curve.png", run.metrics)


@pytest.mark.parametrize("damage", [a_pipe, a_device, a_folder])
def test_metrics_that_are_no_file_are_not_waited_for(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    run = RunFolder(tmp_path / "run")
    run.path.mkdir(exist_ok=True)
    run.metrics.write_bytes(b"")
    damage(run.metrics)
    with pytest.raises(NlbsError, match=r"metrics\.jsonl"):
        Log(run, 2)


def test_a_state_that_says_much_beside_its_tensors_is_refused_before_it_is_built(tmp_path: Path) -> None:
    path = tmp_path / "last_state.pt"
    with zipfile.ZipFile(path, "w") as archive:
        # Each "]" of a pickle is a list, 64 bytes of memory for one of the file.
        archive.writestr("state/data.pkl", b"\x80\x02" + b"]" * (9 << 20) + b".")
        archive.writestr("state/version", b"3\n")
    with pytest.raises(CheckpointError, match="beside its tensors"):
        load_state(path, 1 << 30)


@pytest.mark.parametrize("size", [17 << 20, 99 << 20, 1 << 40, (1 << 64) - 1])
def test_a_checkpoint_with_an_absurd_header_is_refused_before_it_is_parsed(tmp_path: Path, size: int) -> None:
    path = tmp_path / "best_model.safetensors"
    path.write_bytes(
        struct.pack("<Q", size) + b'{"a": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}}'
    )
    with path.open("r+b") as file:
        file.truncate(min(8 + size, 200 << 20))
    with pytest.raises(CheckpointError, match="header"):
        load_checkpoint(path)


@pytest.mark.parametrize("kind", ["flow", "weak-flow", "grain"])
def test_a_pipe_beside_a_checkpoint_is_not_waited_for(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"best_model.{kind}.safetensors"
    os.mkfifo(path)
    with pytest.raises(CheckpointError, match="no regular file"):
        fitted_ids([path])


@pytest.mark.parametrize(
    "damage", [lambda path: path.write_bytes(b"x"), lambda path: path.symlink_to("nowhere")]
)
@pytest.mark.parametrize("name", ["samples", "tensorboard"])
def test_a_folder_of_a_run_that_is_something_else_is_said(
    tmp_path: Path, name: str, damage: Callable[[Path], None]
) -> None:
    run = RunFolder(tmp_path / "run")
    run.path.mkdir(exist_ok=True)
    damage(run.path / name)
    with pytest.raises(NlbsError, match=name):
        Log(run, 0)
