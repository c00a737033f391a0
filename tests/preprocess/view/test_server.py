"""The command: where it listens, what it says, how it ends."""

import re
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from nlbs.errors import ConfigError
from nlbs.preprocess.view.server import _runs_beside, listening
from tests.conftest import run_command
from tests.shards.conftest import make_shard_set


def test_it_listens_on_the_loopback_alone_on_a_free_port() -> None:
    with listening(0) as one, listening(0) as another:
        assert one.getsockname()[0] == "127.0.0.1"
        assert one.getsockname()[1] != another.getsockname()[1]


def test_a_port_that_is_taken_is_refused_with_advice() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        with pytest.raises(ConfigError, match="leave --port out"):
            listening(other.getsockname()[1])


@pytest.mark.parametrize("package", ["uvicorn", "starlette"])
def test_a_missing_package_is_named_with_what_installs_it(
    shard_folder: Path, monkeypatch: pytest.MonkeyPatch, package: str
) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == package]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delitem(sys.modules, "nlbs.preprocess.view.routes", raising=False)
    monkeypatch.setitem(sys.modules, package, None)
    done = run_command("preprocess", "view", "--shards", shard_folder, "--no-browser")
    assert done.returncode == 1
    assert f"view needs the package {package}: pip install 'nlbs-cvae[view]'" in done.stderr


def test_a_folder_of_runs_that_is_not_there_is_refused(shard_folder: Path, tmp_path: Path) -> None:
    done = run_command(
        "preprocess", "view", "--shards", shard_folder, "--runs", tmp_path / "no", "--no-browser"
    )
    assert done.returncode == 1
    assert "--runs takes a run folder" in done.stderr


def test_runs_are_looked_for_beside_the_dataset_and_in_this_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here" / "runs").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "here")
    assert _runs_beside(tmp_path / "data" / "shards" / "r64") == tmp_path / "here" / "runs"
    (tmp_path / "data" / "runs").mkdir(parents=True)
    assert _runs_beside(tmp_path / "data" / "shards") == tmp_path / "data" / "runs"
    assert _runs_beside(tmp_path / "data" / "shards" / "r64") == tmp_path / "data" / "runs"


@pytest.mark.skipif(sys.platform == "win32", reason="signals of Unix")
def test_an_interrupt_ends_it_as_done_with_a_browser_still_connected(tmp_path: Path) -> None:
    pytest.importorskip("uvicorn")
    make_shard_set(tmp_path / "set")
    files = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    command = [
        sys.executable,
        "-m",
        "nlbs.preprocess",
        "view",
        "--shards",
        str(tmp_path / "set"),
        "--no-browser",
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        address = re.findall(r"http://127\.0\.0\.1:\d+/[\w-]{32}/", process.stdout.readline())
        with urllib.request.urlopen(address[0]) as answer:  # noqa: S310
            assert b"patch/0.png" in answer.read()
        host, port = address[0].split("/")[2].split(":")
        with socket.create_connection((host, int(port))):
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, "")
    assert out.endswith("Closed.\n")
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == files
