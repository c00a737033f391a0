"""Files that appear whole or not at all.

In a file system: temporary name, fsync, rename, fsync of the folder. In an object store: written to a
local scratch file, uploaded when complete; an upload that fails leaves nothing.
"""

import contextlib
import errno
import json
import os
import re
import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from nlbs.errors import NlbsError
from nlbs.folder_lock import LOCK, folder_lock
from nlbs.locks import remote_lock
from nlbs.paths import AnyPath, in_parallel
from nlbs.remote import RemotePath, scratch_file
from nlbs.system_calls import BINARY, PLAIN, replace, set_mode, sync, sync_folder

TEMPORARY_SUFFIX = ".partial"
#: Of a write or a sync, which do not say of which file.
_OF_THE_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, getattr(errno, "ESTALE", errno.EIO))
_TEMPORARY = re.compile(rf"\..+\.(\d+|[0-9a-f]{{16}}){re.escape(TEMPORARY_SUFFIX)}")


def temporary_path(path: Path) -> Path:
    """Return a name beside ``path`` to write before the rename: another one each time, which nobody can guess."""
    return path.with_name(f".{path.name}.{secrets.token_hex(8)}{TEMPORARY_SUFFIX}")


def refuse_link(path: AnyPath) -> None:
    """Raise NlbsError where a folder in which files are to be replaced or removed is a link to another place.

    A folder that the user names may be one; what lies in it may have come from someone else.
    """
    if isinstance(path, Path) and (path.is_symlink() or getattr(path, "is_junction", bool)()):
        raise NlbsError(
            f"{path} is a symbolic link to another folder, and nothing is written or removed through it: put the "
            "folder itself there, or name its target"
        )


def make_folder(folder: AnyPath, permissions: int = 0o777) -> None:
    """Make a folder and those above it, where they are missing. An object store has none to make.

    Args:
        folder: to make.
        permissions: of a new one, less what the umask takes.

    Raises:
        NlbsError: a file has that name.
    """
    if isinstance(folder, RemotePath):
        return
    try:
        folder.mkdir(permissions, parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise NlbsError(
            f"cannot make the folder {folder}, because a file has that name: choose another"
        ) from None


@contextmanager
def atomic_file(
    path: AnyPath, mode: str = "wb", permissions: int = 0o644, **options: Any
) -> Iterator[IO[Any]]:
    """Open a file that takes its name only once it is complete and on disk, or uploaded.

    An exception inside leaves no file behind, and an existing file of that name as it was.

    Args:
        path: of the file.
        mode: "w", "wb" or "w+b".
        permissions: of a local file, from its first moment; those of an object are its bucket's.
        options: for ``open``; lines of text end with a line feed on every system, unless they say otherwise.
    """
    if "b" not in mode:
        options.setdefault("newline", "\n")
    if isinstance(path, RemotePath):
        with scratch_file() as (_, local):
            with open(local, mode, **options) as file:
                yield file
            path.upload(local)
        return
    make_folder(path.parent)
    temporary = temporary_path(path)
    descriptor = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | PLAIN, permissions)
    try:
        with open(descriptor, mode, **options) as file:
            set_mode(file.fileno(), permissions)
            yield file
            file.flush()
            sync(file.fileno())
        replace(temporary, path)
    except BaseException as error:
        if isinstance(error, OSError) and error.filename is None and error.errno in _OF_THE_DISK:
            error.filename = str(path)  # a write to an open file does not say which
        with contextlib.suppress(OSError):  # the first error is the one to tell
            temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


@contextmanager
def atomic_folder(path: AnyPath) -> Iterator[Path]:
    """Return a temporary folder that takes the name ``path`` once all its files are on disk.

    A folder of that name must not exist: unlike a file, it cannot be replaced in one step. In an
    object store its files appear one by one, those directly in it (``zarr.json``) after all others.
    """
    if isinstance(path, RemotePath):
        with tempfile.TemporaryDirectory(prefix="nlbs-") as scratch:
            yield Path(scratch)
            _upload_folder(Path(scratch), path)
        return
    make_folder(path.parent)
    temporary = temporary_path(path)
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


def _upload_folder(local: Path, path: RemotePath) -> None:
    files = [file for file in local.rglob("*") if file.is_file()]
    for file in sorted(files, key=lambda file: (-len(file.parts), file.parts)):
        (path / file.relative_to(local).as_posix()).upload(file)


@contextmanager
def local_file(path: AnyPath) -> Iterator[Path]:
    """Return a file as a local one: itself, or a copy of a remote one for as long as it is needed.

    Raises:
        FileNotFoundError: there is no such object.
    """
    if not isinstance(path, RemotePath):
        yield path
        return
    with scratch_file() as (file, local):
        path.download(file)
        yield local


def file_sizes(folder: AnyPath, names: Iterable[str]) -> dict[str, int]:
    """Return the bytes of the named files that are in a folder; of a remote one by a single listing."""
    if isinstance(folder, RemotePath):
        return folder.sizes()
    paths = {name: folder / name for name in names}
    return {name: path.stat().st_size for name, path in paths.items() if path.is_file()}


def remove_folder(folder: AnyPath) -> None:
    """Remove a folder and all that is in it, where it is there; what makes it a folder of ours first.

    Of a link to a folder, the link goes and the folder stays.
    """
    if isinstance(folder, RemotePath):
        names = sorted(folder.sizes(), key=lambda name: (name.count("/"), name))
        for level in sorted({name.count("/") for name in names}):
            some = [folder / name for name in names if name.count("/") == level]
            in_parallel(folder, RemotePath.unlink, some)
    elif folder.is_symlink():
        folder.unlink()
    elif folder.exists():
        shutil.rmtree(folder)


def withdraw_folder(folder: AnyPath) -> None:
    """Remove a folder, where it is there, so that half of it never has its name."""
    if isinstance(folder, Path) and folder.exists() and not folder.is_symlink():
        aside = temporary_path(folder)
        try:
            os.rename(folder, aside)
            folder = aside
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            # A folder of a lower layer of overlayfs (a container's image): what describes it goes first.
            for path in folder.iterdir():
                if not path.is_dir():
                    path.unlink()
    remove_folder(folder)


def move_file(source: AnyPath, target: AnyPath) -> None:
    """Return a file another name in the same store, whole at every moment; a remote one may have both for a while."""
    if isinstance(source, RemotePath):
        data = source.read_bytes()
        write_with(target, lambda file: file.write(data))
        source.unlink()
    else:
        replace(source, Path(str(target)))


@contextmanager
def only_one(folder: AnyPath, what: str, shared: bool = False) -> Iterator[None]:
    """Keep other processes from the same work in a folder; the lock ends with the process, however it ends.

    In a file system see :mod:`nlbs.folder_lock`. In an object store the lock is an object, which a killed process
    leaves behind: see :mod:`nlbs.locks`.

    Args:
        folder: made where it is missing.
        what: is at work, for the message: "nlbs-train".
        shared: others that ask for a shared lock may work there too, but nobody who asks for one alone.

    Raises:
        NlbsError: the folder cannot be made, or another process has it.
    """
    if isinstance(folder, RemotePath):
        if shared:
            raise NlbsError(f"the lock of {folder} is for one process alone: an object store has no other")
        with remote_lock(folder / LOCK, what):
            yield
        return
    new = not folder.exists()
    try:
        make_folder(folder)
    except OSError as error:
        raise NlbsError(
            f"cannot use the folder {folder}: {error.strerror or error}; choose another"
        ) from None
    with folder_lock(folder, what, shared):
        try:
            yield
        except BaseException:
            if new:
                _leave_nothing(folder)
            raise


def _leave_nothing(folder: Path) -> None:
    """Remove a folder that was made for work which failed before it wrote anything, with the lock that is held."""
    with contextlib.suppress(OSError):
        if [path.name for path in folder.iterdir()] == [LOCK]:
            (folder / LOCK).unlink()
            folder.rmdir()


def remove_partials(folder: AnyPath) -> None:
    """Remove what a killed process left half-written in a folder; call it under the folder's lock.

    Raises:
        NlbsError: the folder is a link, and not the one that is locked.
    """
    if isinstance(folder, RemotePath):  # what is not uploaded whole is not there
        return
    if not (folder / LOCK).exists():  # the user names the folder that is locked, and it may be a link
        refuse_link(folder)
    for path in folder.iterdir() if folder.is_dir() else ():
        if _TEMPORARY.fullmatch(path.name):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)


def write_json(path: AnyPath, value: Any) -> None:
    """Write a value as JSON with sorted keys, atomically: the same value gives the same bytes."""
    with atomic_file(path, "w", encoding="utf-8", newline="\n") as file:
        json.dump(value, file, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False)
        file.write("\n")


def write_with(path: AnyPath, write: Callable[[IO[bytes]], Any]) -> None:
    """Call ``write`` with a binary file that becomes ``path`` when complete."""
    with atomic_file(path) as file:
        write(file)


def sync_file(path: Path) -> None:
    """Return once the contents of a file are on disk."""
    # Windows syncs no file that is open for reading alone.
    descriptor = os.open(path, (os.O_RDWR if os.name == "nt" else os.O_RDONLY) | BINARY)
    try:
        sync(descriptor)
    finally:
        os.close(descriptor)
