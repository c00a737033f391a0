"""Files that appear whole or not at all: temporary name, fsync, rename, fsync of the folder."""

import fcntl
import json
import os
import re
import shutil
import socket
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from nlbs.errors import NlbsError

#: The file that a process locks while it writes into a folder.
LOCK = ".lock"

#: Marks names that are being written. A file so named is never data; a re-run may remove it.
TEMPORARY_SUFFIX = ".partial"


def temporary_path(path: Path) -> Path:
    """Gives the name, beside ``path``, that this process writes before the rename."""
    # Process numbers repeat among the machines, and still more the containers, that share a folder.
    host = zlib.crc32(socket.gethostname().encode())
    return path.with_name(f".{path.name}.{os.getpid()}{host:010d}{TEMPORARY_SUFFIX}")


def make_folder(folder: Path) -> None:
    """Makes a folder and those above it, where they are missing.

    Raises:
        NlbsError: a file has that name.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise NlbsError(f"cannot make the folder {folder}, because a file has that name: choose another") from None


@contextmanager
def atomic_file(path: Path, mode: str = "wb", permissions: int = 0o644, **options: Any) -> Iterator[IO[Any]]:
    """Opens a file that takes its name only once it is complete and on disk.

    An exception inside leaves no file behind, and an existing file of that name as it was.
    """
    make_folder(path.parent)
    temporary = temporary_path(path)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, permissions)
    try:
        with open(descriptor, mode, **options) as file:
            os.fchmod(file.fileno(), permissions)
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Gives a temporary folder that takes the name ``path`` once all its files are on disk.

    A folder of that name must not exist: unlike a file, it cannot be replaced in one step.
    """
    make_folder(path.parent)
    temporary = temporary_path(path)
    if temporary.exists():
        shutil.rmtree(temporary)
    temporary.mkdir()
    try:
        yield temporary
        for folder, _, names in os.walk(temporary):
            for name in names:
                sync_file(Path(folder) / name)
            sync_folder(Path(folder))
        os.rename(temporary, path)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    sync_folder(path.parent)


@contextmanager
def only_one(folder: Path, what: str, shared: bool = False) -> Iterator[None]:
    """Keeps other processes from the same work in a folder; the lock ends with the process, however it ends.

    Args:
        folder: made where it is missing.
        what: is at work, for the message: "nlbs-train".
        shared: others that ask for a shared lock may work there too, but nobody who asks for one alone.

    Raises:
        NlbsError: the folder cannot be made, or another process has it.
    """
    path = folder / LOCK
    try:
        make_folder(folder)
        file = path.open("a+", encoding="utf-8")
    except OSError as error:
        raise NlbsError(
            f"cannot use the folder {folder}: {error.strerror or error}; choose another"
        ) from None
    with file:
        try:
            fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except OSError:
            file.seek(0)
            holder = file.read(200).strip() or "another process"
            raise NlbsError(
                f"{what} is at work in {folder} already ({holder}): wait for it, or take another folder"
            ) from None
        file.truncate(0)
        others = "one of several, the last to begin was " if shared else ""
        file.write(f"{others}process {os.getpid()} on {socket.gethostname()}")
        file.flush()
        yield
        if not shared:  # otherwise the others are still there
            file.truncate(0)


def remove_partials(folder: Path) -> None:
    """Removes what a killed process left half-written in a folder; call it under the folder's lock."""
    for path in folder.iterdir() if folder.is_dir() else ():
        if re.fullmatch(rf"\..+\.\d+{re.escape(TEMPORARY_SUFFIX)}", path.name):
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)


def write_json(path: Path, value: Any) -> None:
    """Writes a value as JSON with sorted keys, atomically: the same value gives the same bytes."""
    with atomic_file(path, "w", encoding="utf-8", newline="\n") as file:
        json.dump(value, file, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False)
        file.write("\n")


def write_with(path: Path, write: Callable[[IO[bytes]], Any]) -> None:
    """Calls ``write`` with a binary file that becomes ``path`` when complete."""
    with atomic_file(path) as file:
        write(file)


def sync_file(path: Path) -> None:
    """Returns once the contents of a file are on disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_folder(path: Path) -> None:
    """Returns once the names in a folder are on disk."""
    sync_file(path)
