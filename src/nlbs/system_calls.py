"""Calls of the operating system that not every system and file system has, each with what stands in for it.

What a file system merely does not implement is let pass: an fsync of a folder on CIFS, a mode on exFAT. Whatever
means that data may be lost (a full or failing disk, a read-only one) is raised as it is.
"""

import contextlib
import errno
import os
import signal
import stat
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

#: What a system answers to a call that it, or the file system, does not have.
NOT_IMPLEMENTED = {errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP, getattr(errno, "ENOTSUP", errno.EOPNOTSUPP)}
#: For ``os.open``: links are not followed, and bytes are what they are, where a system would do otherwise.
PLAIN = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)
#: For ``os.open``: bytes are what they are; a link is followed, as its owner may have meant it.
BINARY = getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)

_NO_SYNC_OF_A_FOLDER = NOT_IMPLEMENTED | {errno.EBADF, errno.EPERM, errno.EACCES, errno.EISDIR, errno.ENOTTY}
_NO_MODES = NOT_IMPLEMENTED | {errno.EPERM, errno.EACCES, errno.ENOTTY}
_NO_HARD_LINKS = NOT_IMPLEMENTED | {errno.EPERM, errno.EACCES, errno.EMLINK, errno.EXDEV}
_OTHERS = stat.S_IRWXG | stat.S_IRWXO
_REPLACE_S = 2.0  # for a virus scanner of Windows to let go of a file

_position = threading.Lock()
_told: set[str] = set()


def tell_once(note: str, key: str) -> None:
    """Print a note on the error stream, once per process and key."""
    if key not in _told:
        _told.add(key)
        print(f"Note: {note}", file=sys.stderr)


def open_regular(path: Path) -> int:
    """Return a descriptor to read a regular file by; a pipe or a device in its place is not waited for.

    Raises:
        OSError: there is no such file, it cannot be read, or it is something else.
    """
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | BINARY)
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        return descriptor
    os.close(descriptor)
    raise OSError(errno.EINVAL, "it is no regular file", str(path))


def read_regular(path: Path, most_bytes: int) -> bytes:
    """Return the bytes of a regular file that has at most so many.

    Raises:
        OSError: there is no such file, or it cannot be read.
        ValueError: it is no regular file, or larger.
    """
    # Not blocking: a pipe in the file's place would wait for a writer for ever.
    with open(os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | BINARY), "rb") as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise ValueError("it is no regular file")
        refuse_larger(status.st_size, most_bytes)
        data = file.read(most_bytes + 1)
    refuse_larger(len(data), most_bytes)
    return data


def refuse_larger(nbytes: int, most_bytes: int) -> None:
    """Raise ValueError where a file has more bytes than are read."""
    if nbytes > most_bytes:
        raise ValueError(f"it has {nbytes:,} bytes, at most {most_bytes:,} are read")


def sync(descriptor: int) -> None:
    """Return once the contents of an open file are on disk, as far as its file system can say."""
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in NOT_IMPLEMENTED:
            raise


def sync_folder(folder: Path) -> None:
    """Return once the names in a folder are on disk, as far as its file system can say.

    CIFS, FUSE and VirtualBox answer EINVAL, Windows opens no folder at all; data that is there stays there.
    """
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError as error:
        if error.errno not in _NO_SYNC_OF_A_FOLDER:
            raise
        return
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _NO_SYNC_OF_A_FOLDER:
            raise OSError(error.errno, error.strerror, str(folder)) from None
    finally:
        os.close(descriptor)


def set_mode(file: int | Path, permissions: int) -> None:
    """Set the permissions of an open file or a folder; where its file system keeps none, they stay as they are.

    A note says so where others can then read what they should not.
    """
    try:
        if isinstance(file, Path):
            os.chmod(file, permissions)  # noqa: PTH101  # beside fchmod
        elif hasattr(os, "fchmod"):
            os.fchmod(file, permissions)
    except OSError as error:
        if error.errno not in _NO_MODES:
            raise
        if os.stat(file).st_mode & _OTHERS & ~permissions:  # noqa: PTH116  # of a descriptor too
            tell_once(
                "this file system keeps no permissions, so others on this machine may read the files that name "
                "patients (sources.csv): keep others out of the folder",
                "permissions",
            )


def link_new(source: Path, target: Path) -> bool:
    """Return a file a second name. Says whether that was possible; False: the file system has no hard links.

    Raises:
        FileExistsError: ``target`` is there already.
    """
    if not hasattr(os, "link"):
        return False
    try:
        os.link(source, target)
    except FileExistsError:
        raise
    except OSError as error:
        if error.errno not in _NO_HARD_LINKS:
            raise
        return False
    return True


def replace(source: Path, target: Path) -> None:
    """Return a file the name of another, which goes; in one step wherever the file system can do that."""
    until = time.monotonic() + _REPLACE_S
    while True:
        try:
            os.replace(source, target)
        except PermissionError:
            if os.name != "nt" or time.monotonic() > until:
                raise
            time.sleep(0.05)
        except FileExistsError:  # some FUSE file systems rename to no name that is taken
            Path(target).unlink()
            os.rename(source, target)
            return
        else:
            return


def touch(path: Path) -> None:
    """Set the times of a file to now, where its file system lets us."""
    with contextlib.suppress(OSError):
        os.utime(path)


def read_at(file: int, buffers: Sequence[memoryview], offset: int) -> int:
    """Fill buffers with what stands from ``offset`` on in an open file; return how many bytes that were.

    As ``os.preadv``: possibly fewer than asked for, none only at the end. Several threads may call it at once.
    """
    if hasattr(os, "preadv"):
        try:
            return os.preadv(file, buffers, offset)
        except OSError as error:
            if error.errno not in NOT_IMPLEMENTED:
                raise
    got = 0
    with _position:  # Windows, and some FUSE, read from the file's one position alone
        os.lseek(file, offset, os.SEEK_SET)
        for buffer in buffers:
            data = os.read(file, len(buffer))
            buffer[: len(data)] = data
            got += len(data)
            if len(data) < len(buffer):
                break
    return got


def memory_bytes(free: bool = False) -> int | None:
    """Return how much memory the machine has, or can give without swapping; None where the system does not say."""
    try:
        return os.sysconf("SC_AVPHYS_PAGES" if free else "SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return None


@contextmanager
def interrupts() -> Iterator[threading.Event]:
    """Return an event that Ctrl-C (or SIGTERM) sets, so that a step is never cut in two. A second one raises."""
    event = threading.Event()

    def handle(number: int, frame: FrameType | None) -> None:
        if event.is_set():
            raise KeyboardInterrupt
        event.set()

    if threading.current_thread() is not threading.main_thread():
        yield event
        return
    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield event
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
