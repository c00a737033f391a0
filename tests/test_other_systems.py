"""Shards are read, models trained, drawn from and evaluated where Python lacks what only Unix has, as on Windows.

What Windows lacks is hidden from a process of its own; whatever asks for it fails there as it would on Windows.
"""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

#: Done by every process before anything else: modules and functions of Unix go, fsync of a folder is refused.
HIDE = """
import builtins, importlib.abc, os, signal, sys, time

class Hidden(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name in {"fcntl", "resource", "pwd", "grp", "termios", "tty", "pty", "syslog"}:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Hidden())
for name in ("fcntl", "resource", "pwd", "grp", "termios"):
    sys.modules.pop(name, None)
for name in (
    "fork", "forkpty", "preadv", "pwritev", "pread", "pwrite", "readv", "writev",
    "posix_fadvise", "posix_fallocate", "sched_getaffinity", "sched_setaffinity", "sysconf", "fchmod", "fchown",
    "chown", "lchown", "link", "getuid", "geteuid", "getgid", "getegid", "getpgid", "killpg", "setsid", "nice",
    "fstatvfs", "mkfifo", "getloadavg", "wait3", "wait4", "O_NOFOLLOW", "O_DIRECTORY",
    "O_NONBLOCK", "O_CLOEXEC", "O_SYNC", "fdatasync", "sendfile", "copy_file_range", "sync",
):
    if hasattr(os, name):
        delattr(os, name)
for name in ("SIGKILL", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGALRM", "SIGCHLD", "pthread_kill", "alarm", "setitimer",
             "pthread_sigmask", "siginterrupt"):
    if hasattr(signal, name):
        delattr(signal, name)
plain_open = os.open
def no_folder(path, flags, *arguments, **options):
    if not isinstance(path, int) and os.path.isdir(path):
        raise PermissionError(13, "Permission denied", str(path))
    return plain_open(path, flags, *arguments, **options)
os.open = no_folder
"""

READ = """
import hashlib, sys
import nlbs.shards
shards = nlbs.shards.open_shards(sys.argv[1])
import numpy
with shards:
    rows = numpy.arange(len(shards))
    for _ in range(2):
        pixels = shards.read(rows)
    print(hashlib.sha256(pixels.tobytes()).hexdigest())
"""


SMALL = """
model:
  latent_dim: 4
  encoder: {channels: [8, 16]}
  decoder: {channels: [16, 8, 1], use_skip_connections: false}
training: {epochs: 2}
data: {resolution: 32, batch_size: 4}
"""


#: Runs command lines one after the other in one process, as loading torch takes long.
DRIVER = """
import importlib, json, sys
for program, *words in json.loads(sys.argv[1]):
    try:
        importlib.import_module(f"nlbs.{program}.cli").main(words)
    except SystemExit as ended:
        print("ended with", ended.code)
"""


@pytest.fixture(scope="module")
def shard_set(dataset_root: Path) -> Path:
    return dataset_root / "r64-s64"


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    (folder / "sitecustomize.py").write_text(HIDE, encoding="utf-8")
    return folder


def there(site: Path, *arguments: object) -> "subprocess.CompletedProcess[str]":
    path = os.pathsep.join([str(site), *filter(None, [os.environ.get("PYTHONPATH")])])
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
        env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
    )


def test_what_is_hidden_is_hidden(elsewhere: Path) -> None:
    code = "import os\ntry:\n    import fcntl\nexcept ImportError:\n    print(hasattr(os, 'preadv'))"
    assert there(elsewhere, "-c", code).stdout == "False\n"


@pytest.mark.parametrize("command", ["preprocess", "train", "generate", "evaluate"])
def test_every_command_has_its_help(elsewhere: Path, command: str) -> None:
    done = there(elsewhere, "-m", f"nlbs.{command}", "--help")
    assert done.returncode == 0, done.stderr
    assert "Usage" in done.stdout


def test_shards_are_read_to_the_byte(elsewhere: Path, shard_set: Path) -> None:
    found = there(elsewhere, "-c", READ, shard_set)
    assert found.returncode == 0, found.stderr
    assert (
        found.stdout
        == subprocess.run(
            [sys.executable, "-c", READ, shard_set], capture_output=True, text=True, check=True
        ).stdout
    )


def test_a_model_is_trained_continued_drawn_from_and_evaluated(
    elsewhere: Path, shard_set: Path, tmp_path: Path
) -> None:
    (tmp_path / "small.yaml").write_text(SMALL, encoding="utf-8")
    run, drawn = tmp_path / "run", tmp_path / "drawn"
    model, cpu = run / "best_model.safetensors", ("--device", "cpu")
    train = (
        "train",
        "--shards",
        shard_set,
        "--preset",
        "guide",
        "--config",
        tmp_path / "small.yaml",
        "--run",
        run,
    )
    judge = ("evaluate", "--checkpoint", model, "--shards", shard_set, "--out", tmp_path / "report")
    lines: list[tuple[object, ...]] = [
        *((*train, "--max-steps", steps) for steps in (2, 4)),
        ("generate", "--checkpoint", model, "--out", drawn, "--num", 3),
        (*judge, "--only", "latents", "--extractor", "random-convolutions"),
    ]
    done = there(
        elsewhere, "-c", DRIVER, json.dumps([[str(word) for word in (*line, *cpu)] for line in lines])
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("ended with 0\n") == 4, done.stdout + done.stderr
    assert (tmp_path / "report").is_dir()
    with (drawn / "samples.csv").open(encoding="utf-8", newline="") as file:
        assert len(list(csv.DictReader(file))) == 3


def test_what_a_system_lacks_for_a_command_is_said_in_one_sentence(elsewhere: Path, tmp_path: Path) -> None:
    (tmp_path / "meta.csv").write_text("File Path,Age\nx.dcm,60\n", encoding="utf-8")
    done = there(
        *(elsewhere, "-m", "nlbs.preprocess", "build-shards", "--csv", tmp_path / "meta.csv"),
        *("--out", tmp_path / "shards"),
    )
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("Error: ")
    assert "Traceback" not in done.stderr
