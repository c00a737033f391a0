"""A build that dies or meets a failing disk at any step: what is there is whole, and the same command completes it.

The suite tries some steps; all of them: ``python -m tests.reliability.faulty_disk --fault kill --every 1``. Real
processes, killed at random moments: ``python -m benchmarks.kill_test --times 100``.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from benchmarks.kill_test import kill_once

from tests.forks import forked
from tests.reliability.conftest import nlbs
from tests.reliability.faulty_disk import tree

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("fault", "scenario", "every"),
    [
        ("kill", "build", 31),
        ("kill", "update", 17),
        ("ENOSPC", "build", 64),
        ("EIO", "update", 37),
    ],
)
def test_a_build_that_fails_at_a_step_on_the_disk_leaves_nothing_half_and_is_completed_to_the_same_bytes(
    fault: str, scenario: str, every: int
) -> None:
    done = forked(
        "from tests.reliability.faulty_disk import main; main()",
        ["--fault", fault, "--scenario", scenario, "--every", every],
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["wrong"] == {}
    assert found["tried"] >= 3
    assert found["steps"] > 90


@pytest.mark.parametrize("victim", ["command", "worker"])
def test_a_killed_command_leaves_no_process_behind_and_a_killed_worker_no_traceback(
    victim: str, tiny: Path, tiny_root: Path, tmp_path: Path
) -> None:
    build = [sys.executable, "-m", "nlbs.preprocess", "build-shards", "--csv", str(tiny / "meta.csv")]
    build += ["--out", str(tmp_path / "s"), "--resolution", "64", "--stride", "64", "--jobs", "2"]
    wrong, _ = kill_once(build, tmp_path / "s", victim, 1.5, 0, tree(tiny_root))
    assert wrong == []


def test_a_full_file_system_is_one_sentence_and_with_more_room_the_build_is_completed(
    tiny: Path, tiny_root: Path, tmp_path: Path
) -> None:
    if shutil.which("unshare") is None or subprocess.run(["unshare", "-Urm", "true"], check=False).returncode:
        pytest.skip("this user may not mount a file system of its own")
    build = f"{sys.executable} -m nlbs.preprocess build-shards --csv {tiny}/meta.csv --out {tmp_path}/disk/s"
    build += " --resolution 64 --stride 64 --jobs 1"
    script = f"""
        mount -t tmpfs -o size=300k none {tmp_path}/disk || exit 9
        {build} 2> {tmp_path}/said; echo $? > {tmp_path}/code
        {sys.executable} -m tests.reliability.faulty_disk --check {tmp_path}/disk/s {tiny_root} || exit 8
        mount -o remount,size=9m {tmp_path}/disk || exit 9
        {build} || exit 7
        cp -r {tmp_path}/disk/s {tmp_path}/after
    """
    (tmp_path / "disk").mkdir()
    done = subprocess.run(
        ["unshare", "-Urm", "sh", "-c", script], capture_output=True, text=True, check=False, cwd=ROOT
    )
    if done.returncode == 9:
        pytest.skip("this user may not mount a file system of its own")
    assert done.returncode == 0, done.stdout + done.stderr
    said = (tmp_path / "said").read_text()
    assert (tmp_path / "code").read_text() == "1\n"
    assert "No space left on device" in said
    assert "make room" in said
    assert "Traceback" not in said
    assert tree(tmp_path / "after") == tree(tiny_root)


def test_what_a_killed_build_noted_of_its_files_tells_a_replaced_one(tiny: Path, tmp_path: Path) -> None:
    images = tmp_path / "images"
    shutil.copytree(tiny, images)
    driver = (
        "import sys, os, signal, nlbs.preprocess.root.intake as intake\n"
        "intake.write_tables = lambda *_: os.kill(os.getpid(), signal.SIGKILL)\n"
        "from nlbs.preprocess.cli import main\n"
        "main(sys.argv[1:])\n"
    )
    build = (
        "build-shards",
        "--csv",
        images / "meta.csv",
        "--out",
        tmp_path / "s",
        "--resolution",
        "64",
        "--jobs",
        "1",
    )
    killed = forked(driver, build)
    assert killed.returncode == -9
    assert len(list((tmp_path / "s" / "images.zarr").glob("*/zarr.json"))) == 8
    paths = sorted(images.rglob("*.dcm"))
    shutil.copy(paths[1], paths[0])
    os.utime(paths[0], (1, 1))
    codes, said = nlbs(build)
    assert codes == [0]
    assert "8 usable, 1 decoded now" in said
