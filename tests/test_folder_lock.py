"""The lock of a folder in a file system that has locks, or has none: one holder, who may be killed."""

import errno
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from nlbs import system_calls
from nlbs.errors import NlbsError
from nlbs.files import only_one

NO_LOCKS = ["ENOSYS", "ENOLCK", "EOPNOTSUPP", "EINVAL", "EACCES"]

HOLD = (
    "import errno, os, pathlib, sys\n"
    "if sys.argv[2]:\n"
    "    import fcntl\n"
    "    code = getattr(errno, sys.argv[2])\n"
    "    def flock(*arguments): raise OSError(code, os.strerror(code))\n"
    "    fcntl.flock = flock\n"
    "from nlbs.files import only_one\n"
    "with only_one(pathlib.Path(sys.argv[1]), 'a build', shared=sys.argv[3] == 'shared'):\n"
    "    print('held', flush=True)\n"
    "    sys.stdin.readline()\n"
)


@contextmanager
def holder(folder: Path, code: str = "", kind: str = "alone") -> Iterator["subprocess.Popen[str]"]:
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, folder, code, kind],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        if process.poll() is None:
            process.communicate("go\n", timeout=240)


def refuse_locks(monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    import fcntl

    number = getattr(errno, code)

    def flock(*arguments: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", flock)
    monkeypatch.setattr(system_calls, "_told", set())


@pytest.fixture
def no_locks(monkeypatch: pytest.MonkeyPatch) -> None:
    refuse_locks(monkeypatch, "ENOSYS")


@pytest.mark.parametrize("code", NO_LOCKS)
def test_a_file_stands_in_for_the_lock_that_a_file_system_lacks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str
) -> None:
    refuse_locks(monkeypatch, code)
    with holder(tmp_path, code) as process:
        message = (
            rf"at work in {tmp_path} already \(process {process.pid} on \S+ since [\d: -]+\): wait for it"
        )
        with pytest.raises(NlbsError, match=message), only_one(tmp_path, "a build"):
            pass
    with only_one(tmp_path, "a build"):
        pass
    assert {path.name for path in tmp_path.iterdir()} == {".lock"}


def test_a_note_says_once_that_there_are_no_locks(
    tmp_path: Path, no_locks: None, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("a", "b"):
        with only_one(tmp_path / name, "a build"):
            pass
    assert capsys.readouterr().err.count("has no locks") == 1


@pytest.mark.parametrize("kind", ["alone", "shared"])
@pytest.mark.parametrize("code", ["", "ENOSYS"])
def test_a_killed_process_of_this_machine_holds_nobody_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest, code: str, kind: str
) -> None:
    if code:
        request.getfixturevalue("no_locks")
    with holder(tmp_path, code, kind) as process:
        process.kill()
        process.wait(240)
    with only_one(tmp_path, "a build"):
        pass
    assert {path.name for path in tmp_path.iterdir()} == {".lock"}


def test_what_a_process_of_another_machine_left_is_named(tmp_path: Path, no_locks: None) -> None:
    left = tmp_path / ".lock.soft"
    left.write_text("17\nnode7\n")
    with (
        pytest.raises(NlbsError, match=rf"process 17 on node7 since .*; if it has ended .*, remove {left}"),
        only_one(tmp_path, "a build"),
    ):
        pass
    left.unlink()
    with only_one(tmp_path, "a build"):
        pass


def test_the_empty_lock_of_an_earlier_release_is_free_where_there_are_no_locks(
    tmp_path: Path, no_locks: None
) -> None:
    (tmp_path / ".lock").touch()
    with only_one(tmp_path, "a build"):
        pass


def test_a_machine_with_locks_sees_one_without(tmp_path: Path) -> None:
    """The same Lustre, mounted with flock here and without it there."""
    with (
        holder(tmp_path, "ENOSYS") as process,
        pytest.raises(NlbsError, match=f"process {process.pid} on"),
        only_one(tmp_path, "a build"),
    ):
        pass


@pytest.mark.parametrize("code", ["", "ENOSYS"])
def test_several_share_a_folder_and_nobody_has_it_alone(
    tmp_path: Path, request: pytest.FixtureRequest, code: str
) -> None:
    if code:
        request.getfixturevalue("no_locks")
    with holder(tmp_path, code, "shared"), holder(tmp_path, code, "shared") as second:
        with only_one(tmp_path, "a part", shared=True):
            pass
        with pytest.raises(NlbsError, match=r"at work in .* \(process \d+ on"), only_one(tmp_path, "a build"):
            pass
        second.communicate("go\n", timeout=240)
        with pytest.raises(NlbsError, match="at work"), only_one(tmp_path, "a build"):
            pass
    with only_one(tmp_path, "a build"):
        pass
    assert {path.name for path in tmp_path.iterdir()} == {".lock"}


def test_many_that_share_a_folder_may_begin_at_once(tmp_path: Path) -> None:
    code = HOLD.replace("sys.stdin.readline()", "__import__('time').sleep(0.2)")
    running = [
        subprocess.Popen(
            [sys.executable, "-c", code, tmp_path, "", "shared"], stdout=subprocess.PIPE, text=True
        )
        for _ in range(6)
    ]
    assert [process.communicate(timeout=240)[0] for process in running] == ["held\n"] * 6


def test_who_works_alone_keeps_off_those_that_share(tmp_path: Path) -> None:
    with holder(tmp_path) as process:
        begun = time.monotonic()
        with (
            pytest.raises(NlbsError, match=f"process {process.pid} on"),
            only_one(tmp_path, "a", shared=True),
        ):
            pass
        assert time.monotonic() - begun < 10  # nobody waits for a whole build


def test_the_same_process_is_refused_too(tmp_path: Path) -> None:
    with only_one(tmp_path, "a"), pytest.raises(NlbsError, match="at work"), only_one(tmp_path, "a"):
        pass


def test_the_holder_says_since_when(tmp_path: Path) -> None:
    with only_one(tmp_path, "a build"):
        said = (tmp_path / ".lock").read_text()
    assert said.startswith(f"process {os.getpid()} on {socket.gethostname()} since ")
    assert (tmp_path / ".lock").read_bytes() == b""


# What lies there may have been put there by somebody else.


@pytest.mark.parametrize("there", [True, False])
def test_a_link_at_the_lock_leads_nowhere(tmp_path: Path, there: bool) -> None:
    foreign, folder = tmp_path / "foreign", tmp_path / "folder"
    folder.mkdir()
    if there:
        foreign.write_text("theirs")
    (folder / ".lock").symlink_to(foreign)
    with pytest.raises(NlbsError, match=r"\.lock is a symbolic link"), only_one(folder, "a build"):
        pass
    assert not foreign.exists() if not there else foreign.read_text() == "theirs"


def test_a_second_name_of_a_foreign_file_is_not_written_to(tmp_path: Path) -> None:
    foreign, folder = tmp_path / "foreign", tmp_path / "folder"
    folder.mkdir()
    foreign.write_text("theirs")
    (folder / ".lock").hardlink_to(foreign)
    with only_one(folder, "a build"):
        pass
    assert foreign.read_text() == "theirs"


def test_a_lock_file_with_other_words_keeps_them(tmp_path: Path) -> None:
    (tmp_path / ".lock").write_text("words of another program")
    with only_one(tmp_path, "a build"):
        pass
    assert (tmp_path / ".lock").read_text() == "words of another program"


def test_what_a_lock_says_is_shown_only_if_it_is_a_holder(tmp_path: Path) -> None:
    with holder(tmp_path):
        (tmp_path / ".lock").write_text("\x1b[31mprocess 1 on evil")
        with pytest.raises(NlbsError, match="another process") as error, only_one(tmp_path, "a build"):
            pass
        assert "\x1b" not in str(error.value)


def test_a_folder_in_the_place_of_the_lock_is_told(tmp_path: Path) -> None:
    (tmp_path / ".lock").mkdir()
    with pytest.raises(NlbsError, match=rf"cannot use the folder {tmp_path}"), only_one(tmp_path, "a build"):
        pass
