"""Files that appear whole or not at all, also when the disk or the process fails at any step."""

import json
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from nlbs.errors import NlbsError
from nlbs.files import (
    atomic_file,
    atomic_folder,
    only_one,
    remove_partials,
    write_json,
    write_with,
)
from nlbs.local_store import temporary_path

#: The calls that a full or failing disk lets fail, and how often a file and a folder of two files make them.
STEPS = ["fsync", "replace", "rename"]


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def fail_at(monkeypatch: pytest.MonkeyPatch, name: str, call: int) -> list[str]:
    """Lets the call-th os.NAME fail as a full disk does, and gives the list of all calls, in order."""
    calls: list[str] = []
    for step in STEPS:
        original: Callable[..., Any] = getattr(os, step)

        def run(*args: Any, step: str = step, original: Callable[..., Any] = original) -> Any:
            calls.append(step)
            if step == name and calls.count(step) == call:
                raise OSError(28, "No space left on device")
            return original(*args)

        monkeypatch.setattr(os, step, run)
    return calls


def test_a_file_takes_its_name_when_it_is_complete(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "a.bin"
    with atomic_file(path) as file:
        file.write(b"all of it")
        file.flush()
        assert not path.exists()
        (temporary,) = path.parent.iterdir()
        assert temporary.read_bytes() == b"all of it"
    assert path.read_bytes() == b"all of it"
    assert names(path.parent) == ["a.bin"]


def test_the_temporary_name_stands_in_the_same_folder_and_is_hidden(tmp_path: Path) -> None:
    temporary = temporary_path(tmp_path / "a.bin")
    assert temporary.parent == tmp_path
    assert temporary.name.startswith(".")
    assert temporary.name.endswith(".partial")
    # Nobody else writes to it, of this process or another, nor has made it before.
    assert len({temporary_path(tmp_path / "a.bin") for _ in range(100)}) == 100


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_failure_leaves_the_old_file_and_nothing_beside_it(
    tmp_path: Path, error: type[BaseException]
) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")
    with pytest.raises(error), atomic_file(path) as file:
        file.write(b"half")
        raise error
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["a.bin"]


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_full_disk_leaves_the_old_file_and_nothing_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")
    fail_at(monkeypatch, step, 1)
    with pytest.raises(OSError, match="No space left"), atomic_file(path) as file:
        file.write(b"new")
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["a.bin"]


def test_contents_are_on_disk_before_the_name_and_the_name_before_the_return(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = fail_at(monkeypatch, "none", 0)
    with atomic_file(tmp_path / "a.bin") as file:
        file.write(b"x")
    assert calls == ["fsync", "replace", "fsync"]


def test_a_killed_process_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")
    code = (
        "import os, signal, sys, pathlib\n"
        "from nlbs.files import atomic_file\n"
        "with atomic_file(pathlib.Path(sys.argv[1])) as file:\n"
        "    file.write(b'half'); file.flush(); os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, path], check=False, timeout=240)
    assert done.returncode == -signal.SIGKILL
    assert path.read_bytes() == b"old"
    assert [name for name in names(tmp_path) if not name.endswith(".partial")] == ["a.bin"]


@pytest.mark.parametrize("permissions", [0o600, 0o644])
def test_a_file_has_the_permissions_asked_for_whatever_the_umask(tmp_path: Path, permissions: int) -> None:
    for umask in (0o000, 0o077):
        old = os.umask(umask)
        try:
            with atomic_file(tmp_path / "a", "w", permissions, encoding="utf-8") as file:
                file.write("ä")
        finally:
            os.umask(old)
        assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == permissions
        assert (tmp_path / "a").read_bytes() == "ä".encode()


def test_a_folder_takes_its_name_when_all_its_files_are_written(tmp_path: Path) -> None:
    path = tmp_path / "parent" / "image"
    with atomic_folder(path) as folder:
        (folder / "c" / "0").mkdir(parents=True)
        (folder / "c" / "0" / "0").write_bytes(b"chunk")
        (folder / "zarr.json").write_text("{}")
        assert not path.exists()
    assert (path / "c" / "0" / "0").read_bytes() == b"chunk"
    assert names(path.parent) == ["image"]


def test_a_folder_that_fails_leaves_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no more"), atomic_folder(tmp_path / "image") as folder:
        (folder / "c").mkdir()
        (folder / "c" / "0").write_bytes(b"chunk")
        raise ValueError("no more")
    assert names(tmp_path) == []


# Two files, two folders: four fsync, one rename; the fifth fsync is of the parent, when all is done.
@pytest.mark.parametrize(
    ("step", "call"), [("fsync", 1), ("fsync", 2), ("fsync", 3), ("fsync", 4), ("rename", 1)]
)
def test_a_full_disk_leaves_no_part_of_a_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, call: int
) -> None:
    fail_at(monkeypatch, step, call)
    with pytest.raises(OSError, match="No space left"), atomic_folder(tmp_path / "image") as folder:
        (folder / "c").mkdir()
        (folder / "c" / "0").write_bytes(b"chunk")
        (folder / "zarr.json").write_text("{}")
    assert names(tmp_path) == []


def test_a_folder_is_on_disk_before_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = fail_at(monkeypatch, "none", 0)
    with atomic_folder(tmp_path / "image") as folder:
        (folder / "c").mkdir()
        (folder / "c" / "0").write_bytes(b"chunk")
        (folder / "zarr.json").write_text("{}")
    assert calls == ["fsync"] * 4 + ["rename", "fsync"]


def test_a_folder_does_not_replace_one_that_is_there(tmp_path: Path) -> None:
    (tmp_path / "image").mkdir()
    (tmp_path / "image" / "old").touch()
    with pytest.raises(OSError, match="not empty"), atomic_folder(tmp_path / "image") as folder:
        (folder / "new").touch()
    assert names(tmp_path) == ["image"]
    assert names(tmp_path / "image") == ["old"]


def test_json_has_the_same_bytes_for_the_same_value_in_any_order(tmp_path: Path) -> None:
    write_json(tmp_path / "a", {"b": [1, None, "é"], "a": {"y": 1.5, "x": True}})
    write_json(tmp_path / "b", {"a": {"x": True, "y": 1.5}, "b": [1, None, "é"]})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert json.loads((tmp_path / "a").read_text(encoding="utf-8")) == {
        "a": {"x": True, "y": 1.5},
        "b": [1, None, "é"],
    }
    assert (tmp_path / "a").read_bytes().endswith(b"}\n")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), object()])
def test_what_json_cannot_say_leaves_the_old_file(tmp_path: Path, value: object) -> None:
    write_json(tmp_path / "a", {"old": 1})
    with pytest.raises((ValueError, TypeError)):
        write_json(tmp_path / "a", {"first": 1, "value": value})
    assert json.loads((tmp_path / "a").read_text()) == {"old": 1}
    assert names(tmp_path) == ["a"]


def test_a_writer_gets_a_binary_file(tmp_path: Path) -> None:
    write_with(tmp_path / "a", lambda file: file.write(b"\x00\xff"))
    assert (tmp_path / "a").read_bytes() == b"\x00\xff"


# One process in a folder.

HOLD = (
    "import os, signal, sys, pathlib\n"
    "from nlbs.files import only_one\n"
    "with only_one(pathlib.Path(sys.argv[1]), 'a build'):\n"
    "    print('held', flush=True)\n"
    "    sys.stdin.readline()\n"
)


def test_a_second_process_is_refused_and_told_who_is_at_work(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "root"
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, folder], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        message = rf"a build is at work in {folder} already \(process {holder.pid} on .*\): wait for it"
        with pytest.raises(NlbsError, match=message), only_one(folder, "a build"):
            pass
        holder.communicate("go\n", timeout=240)
    with only_one(folder, "a build"):
        pass


def test_the_lock_of_a_killed_process_holds_nobody_up(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, tmp_path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        holder.kill()
        holder.communicate(timeout=240)
    with only_one(tmp_path, "a build"):
        pass


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with (
        pytest.raises(NlbsError, match=f"cannot make the folder {tmp_path}/file"),
        only_one(tmp_path / "file", "x"),
    ):
        pass


def test_work_that_fails_at_once_leaves_no_folder_that_it_made(tmp_path: Path) -> None:
    made, there, begun = (tmp_path / name for name in ("made", "there", "begun"))
    there.mkdir()
    for folder in (made, there, begun):
        with pytest.raises(KeyError), only_one(folder, "nlbs-preprocess"):
            if folder == begun:
                (folder / "images.csv").touch()
            raise KeyError
    assert names(tmp_path) == ["begun", "there"]
    assert names(begun) == [".lock", "images.csv"]
    with only_one(made, "nlbs-preprocess"):
        pass
    assert made.is_dir()


def test_work_that_fails_beside_others_leaves_their_folder_and_alone_none(tmp_path: Path) -> None:
    folder = tmp_path / "shared"
    with pytest.raises(KeyError), only_one(folder, "part 1", shared=True):
        with pytest.raises(KeyError), only_one(folder, "part 2", shared=True):
            raise KeyError
        assert folder.is_dir()
        raise KeyError
    assert not folder.exists()


def test_work_that_ends_beside_others_that_fail_keeps_its_folder(tmp_path: Path) -> None:
    folder = tmp_path / "shared"
    first = ExitStack()
    first.enter_context(only_one(folder, "part 1", shared=True))
    with only_one(folder, "part 2", shared=True):
        with pytest.raises(KeyError), first:
            raise KeyError
        assert folder.is_dir()


def test_only_what_a_killed_process_left_is_removed(tmp_path: Path) -> None:
    kept = [".gitignore", "a.partial", ".a.partial", ".a.12x.partial", "data.12.partial", ".a.12.partial.txt"]
    for name in (*kept, ".00000.tar.123.partial"):
        (tmp_path / name).touch()
    (tmp_path / ".5b095e2e71c76b84.77.partial" / "c").mkdir(parents=True)
    temporary_path(tmp_path / "of this release").touch()
    remove_partials(tmp_path)
    assert names(tmp_path) == sorted(kept)
    remove_partials(tmp_path / "not there")
