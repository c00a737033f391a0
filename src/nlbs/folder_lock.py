"""The lock of a folder in a file system: by the system where it has locks, else by a file that is there meanwhile.

One that is for several holders at once (``shared``) is a file per holder beside the lock itself: who wants the folder
alone takes the lock and then every such file.

The system's lock ends with its process, however that ends. A file that stands in for it (on Lustre without flock, NFS
without a lock daemon, some FUSE) stays behind when a process is killed: of this machine it is seen and removed, of
another one the message says which file to remove.
"""

import contextlib
import datetime
import errno
import os
import re
import secrets
import socket
import time
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from nlbs.errors import NlbsError
from nlbs.system_calls import NOT_IMPLEMENTED, PLAIN, tell_once

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # that the system has no locks, which is said here where one is asked for
    import filelock

LOCK = ".lock"  #: locked while a process is at work in the folder; says which one
SOFT_SUFFIX = ".soft"  #: after the name of a lock: the file that stands in for it
_MEMBER = ".lock-{}"  #: of one of several holders

_HAS_LOCKS = filelock.FileLock is not filelock.SoftFileLock
_NO_LOCKS = NOT_IMPLEMENTED | {errno.ENOLCK, errno.ENOTTY}
_HOLDER = re.compile(
    r"(?:one of several, the last to begin was )?(process \d{1,10} on \S{1,255}( since [\d :-]{19})?)"
)
#: Seconds in which one that is being taken or given back is waited for; the second one among several holders.
_MOMENT_S, _GATE_S = 0.5, 30.0
_POLL_S = 0.02


@contextmanager
def folder_lock(folder: Path, what: str, shared: bool) -> Iterator[None]:
    """Hold the lock of a folder, which exists, while the body runs.

    Args:
        folder: of the lock.
        what: is at work, for the message: "nlbs-train".
        shared: others that ask for a shared lock may work there too, but nobody who asks for one alone.

    Raises:
        NlbsError: another process has it, or it cannot be made.
    """
    with ExitStack() as stack:
        gate = stack.enter_context(ExitStack())
        gate.enter_context(
            _held(folder / LOCK, folder, what, _GATE_S if shared else _MOMENT_S, silent=shared)
        )
        if shared:
            member = folder / _MEMBER.format(secrets.token_hex(8))
            stack.enter_context(_held(member, folder, what, passing=True))
            gate.close()
        else:
            _take_members(folder, what)
        yield


def _take_members(folder: Path, what: str) -> None:
    """Remove the files of shared holders that are gone. Raises NlbsError where one of them is at work."""
    for path in sorted(folder.glob(_MEMBER.format("*"))):
        member = path.with_name(path.name.removesuffix(SOFT_SUFFIX))
        with _held(member, folder, what, _MOMENT_S, passing=True):
            pass


@contextmanager
def _held(
    path: Path,
    folder: Path,
    what: str,
    wait_s: float = 0.0,
    silent: bool = False,
    passing: bool = False,
) -> Iterator[None]:
    """Hold one lock while the body runs.

    Args:
        path: of the lock.
        folder: that it is for, in messages.
        what: is at work there, in messages.
        wait_s: how long one that is only being taken or given back is waited for.
        silent: it is held for a moment only, and does not say who has it.
        passing: its file goes with it, as nobody else will ask for it.
    """
    note, lock = _Note(silent), _soft_lock(path)
    try:
        if _HAS_LOCKS:
            lock = filelock.FileLock(
                path, blocking=False, thread_local=False, fallback_to_soft=False, on_acquired=note.write
            )
        if not _taken(lock, path, wait_s):
            _tell(folder)
            lock = _soft_lock(path)
            _acquire(lock, path, wait_s)
    except filelock.Timeout:
        lock.release()
        raise _busy(path, folder, what) from None
    except OSError as error:
        lock.release()
        raise _unusable(path, folder, error) from None
    except BaseException:
        lock.release()
        raise
    try:
        yield
    finally:
        note.clear()
        if passing:  # while it is held: who has opened it meanwhile sees that it has no name any more
            _remove(path)
        lock.release()
        if passing:  # Windows removes no file that is open
            _remove(path)


def _remove(path: Path) -> None:
    with contextlib.suppress(OSError):
        path.unlink(missing_ok=True)


def _taken(lock: filelock.BaseFileLock, path: Path, wait_s: float) -> bool:
    """Take a lock of the system. Says whether it could be asked for one: no means that there are none here."""
    if isinstance(lock, filelock.SoftFileLock):
        return False
    try:
        try:
            _acquire(lock, path, min(wait_s, _MOMENT_S))
        except filelock.Timeout:
            if not _holder(path) and _refuses_every_lock(path.parent):
                return False
            if wait_s <= _MOMENT_S:
                raise
            _acquire(lock, path, wait_s - _MOMENT_S)
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        return False
    if _soft(path).exists():  # of a machine on which the same folder has no locks
        other = _soft_lock(path)
        _acquire(other, path, wait_s)
        other.release()
    return True


def _refuses_every_lock(folder: Path) -> bool:
    """Return whether a file system says "taken" (EACCES) of a lock that nobody can have."""
    path = folder / _MEMBER.format(secrets.token_hex(8))
    lock = filelock.FileLock(path, blocking=False, thread_local=False, fallback_to_soft=False)
    try:
        lock.acquire(blocking=False)
        lock.release()
    except OSError:
        return True
    finally:
        _remove(path)
    return False


def _acquire(lock: filelock.BaseFileLock, path: Path, wait_s: float) -> None:
    """Take a lock that others may have for a moment; whoever says that he works there is not waited for long."""
    begun = time.monotonic()
    while True:
        try:
            lock.acquire(blocking=False)
        except filelock.Timeout:
            waited = time.monotonic() - begun
            if waited >= wait_s or (waited >= _MOMENT_S and _holder(path)):
                raise
            time.sleep(_POLL_S)
        else:
            return


class _Note:
    """What the file of a lock says of its holder, written through the descriptor that holds it."""

    def __init__(self, silent: bool) -> None:
        self._silent, self._file = silent, -1

    def write(self, file: int) -> None:
        """Say who has the lock; a file with other words in it is not ours to write to."""
        with contextlib.suppress(OSError):  # the lock holds without it
            status = os.fstat(file)
            old = os.read(file, 500).decode("utf-8", "replace").strip()
            if status.st_nlink != 1 or (old and not _HOLDER.fullmatch(old)):
                return
            os.ftruncate(file, 0)
            self._file = file
            if not self._silent:
                since = datetime.datetime.now().astimezone().strftime("%Y-%m-%d %H:%M:%S")
                os.lseek(file, 0, os.SEEK_SET)
                os.write(file, f"process {os.getpid()} on {socket.gethostname()} since {since}".encode())

    def clear(self) -> None:
        """Empties the file, before the lock is given back."""
        if self._file >= 0:
            with contextlib.suppress(OSError):
                os.ftruncate(self._file, 0)


def _soft_lock(path: Path) -> filelock.BaseFileLock:
    return filelock.SoftFileLock(_soft(path), blocking=False, thread_local=False)


def _soft(path: Path) -> Path:
    return path.with_name(path.name + SOFT_SUFFIX)


def _holder(path: Path) -> str | None:
    """Return who says that he has a lock of the system."""
    found = _HOLDER.fullmatch(_text(path).strip())
    return found[1] if found else None


def _soft_holder(path: Path) -> str | None:
    """Return who made the file that stands in for a lock; None where it does not say."""
    lines = _text(_soft(path)).splitlines()
    if len(lines) < 2 or not lines[0].isdecimal() or not re.fullmatch(r"\S{1,300}", lines[1]):
        return None
    host = lines[1].split("?")[0]  # filelock puts the space of process numbers behind it
    with contextlib.suppress(OSError):
        made = datetime.datetime.fromtimestamp(_soft(path).lstat().st_mtime).astimezone()
        return f"process {lines[0][:10]} on {host} since {made:%Y-%m-%d %H:%M:%S}"
    return None


def _text(path: Path) -> str:
    try:
        file = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | PLAIN)
    except OSError:
        return ""
    try:
        return "".join(
            c for c in os.read(file, 500).decode("utf-8", "replace") if c.isprintable() or c == "\n"
        )
    except OSError:
        return ""
    finally:
        os.close(file)


def _busy(path: Path, folder: Path, what: str) -> NlbsError:
    holder, then = _holder(path), "wait for it, or take another folder"
    if _soft(path).exists():  # one of this machine that is gone would have been removed
        holder = _soft_holder(path)
        then += f"; if it has ended (killed on another machine or in a container), remove {_soft(path)}"
    return NlbsError(f"{what} is at work in {folder} already ({holder or 'another process'}): {then}")


def _unusable(path: Path, folder: Path, error: OSError) -> NlbsError:
    if path.is_symlink() or _soft(path).is_symlink():
        return NlbsError(
            f"{path} is a symbolic link, which no lock is: remove it if it is not wanted, or choose another folder"
        )
    return NlbsError(
        f"cannot use the folder {folder}: {error.strerror or error} ({path.name}); choose another"
    )


def _tell(folder: Path) -> None:
    tell_once(
        f"the file system of {folder} has no locks, so a file {LOCK}{SOFT_SUFFIX} is put there while a command is at "
        "work; a command that is killed on another machine leaves it behind",
        "locks",
    )
