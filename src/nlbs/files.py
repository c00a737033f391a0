"""Files that appear whole or not at all, in whichever store they lie (:mod:`nlbs.stores`), and the lock of a folder."""

import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from nlbs.errors import NlbsError
from nlbs.folder_lock import LOCK
from nlbs.json_text import parse_json
from nlbs.paths import AnyPath
from nlbs.stores import store_of

MOST_JSON_BYTES = 64 << 20  #: unless a reader says otherwise: the description of a set of 300 000 shards


def refuse_link(path: AnyPath) -> None:
    """Raise NlbsError where a folder in which files are to be replaced or removed is a link to another place.

    A folder that the user names may be one; what lies in it may have come from someone else.
    """
    if _is_link(path):
        raise NlbsError(
            f"{path} is a symbolic link to another folder, and nothing is written or removed through it: put the "
            "folder itself there, or name its target"
        )


def _is_link(path: AnyPath) -> bool:
    return path.is_symlink() or getattr(path, "is_junction", bool)()


def make_folder(folder: AnyPath, permissions: int | None = None) -> bool:
    """Make a folder and those above it, where they are missing; return whether it is new. An object store has none.

    Args:
        folder: to make.
        permissions: also of one that is there; None leaves them to the umask, and to whoever made it.

    Raises:
        NlbsError: a file has that name.
    """
    try:
        return store_of(folder).make_folder(folder, permissions)
    except (FileExistsError, NotADirectoryError):
        raise NlbsError(
            f"cannot make the folder {folder}, because a file has that name: choose another"
        ) from None


def atomic_file(
    path: AnyPath, mode: str = "wb", permissions: int = 0o644, **options: Any
) -> AbstractContextManager[IO[Any]]:
    """Open a file that takes its name only once it is complete and on disk, or uploaded.

    An exception inside leaves no file behind, and an existing file of that name as it was.

    Args:
        path: of the file; its folder is made where it is missing.
        mode: "w", "wb" or "w+b".
        permissions: of a local file, from its first moment; those of an object are its bucket's.
        options: for ``open``; lines of text end with a line feed on every system, unless they say otherwise.
    """
    make_folder(path.parent)
    if "b" not in mode:
        options.setdefault("newline", "\n")
    return store_of(path).atomic_file(path, mode, permissions, **options)


def atomic_folder(path: AnyPath) -> AbstractContextManager[Path]:
    """Return a temporary folder that takes the name ``path`` once all its files are on disk.

    A folder of that name must not exist: unlike a file, it cannot be replaced in one step. In an
    object store its files appear one by one, those directly in it (``zarr.json``) after all others.
    """
    make_folder(path.parent)
    return store_of(path).atomic_folder(path)


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
    try:
        new = make_folder(folder)
    except OSError as error:
        raise NlbsError(
            f"cannot use the folder {folder}: {error.strerror or error}; choose another"
        ) from None
    try:
        with store_of(folder).lock(folder, what, shared):
            yield
    except BaseException:
        if new:
            _leave_nothing(folder, what)
        raise


def _leave_nothing(folder: AnyPath, what: str) -> None:
    """Remove a folder that was made for work which failed before it wrote anything; nobody else is at work there."""
    with suppress(OSError, NlbsError), store_of(folder).lock(folder, what, False):
        if [path.name for path in folder.iterdir()] == [LOCK]:
            (folder / LOCK).unlink()
            folder.rmdir()


def remove_partials(folder: AnyPath) -> None:
    """Remove what a killed process left half-written in a folder; call it under the folder's lock.

    Raises:
        NlbsError: the folder is a link, and not the one that is locked.
    """
    if _is_link(folder) and not (folder / LOCK).exists():  # one that is locked was named by the user
        refuse_link(folder)
    store_of(folder).remove_partials(folder)


def read_json(path: AnyPath, most_bytes: int = MOST_JSON_BYTES) -> Any:
    """Return the value in a JSON file.

    Args:
        path: of a regular file; a pipe or a device is refused.
        most_bytes: a larger file is refused before it is read.

    Raises:
        OSError: there is no such file, or it cannot be read.
        ValueError: what :func:`nlbs.json_text.parse_json` says, in one bounded sentence.
    """
    return parse_json(store_of(path).read(path, most_bytes))


def write_json(path: AnyPath, value: Any) -> None:
    """Write a value as JSON with sorted keys, atomically: the same value gives the same bytes."""
    with atomic_file(path, "w", encoding="utf-8", newline="\n") as file:
        json.dump(value, file, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False)
        file.write("\n")


def write_with(path: AnyPath, write: Callable[[IO[bytes]], Any]) -> None:
    """Call ``write`` with a binary file that becomes ``path`` when complete."""
    with atomic_file(path) as file:
        write(file)
