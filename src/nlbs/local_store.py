"""Files in a file system: temporary name, fsync, rename, fsync of the folder."""

import contextlib
import errno
import os
import re
import secrets
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, TypeVar

from nlbs.folder_lock import folder_lock
from nlbs.system_calls import BINARY, PLAIN, open_regular, read_regular, replace, set_mode, sync, sync_folder

TEMPORARY_SUFFIX = ".partial"
#: Of a write or a sync, which do not say of which file.
_OF_THE_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, getattr(errno, "ESTALE", errno.EIO))
_TEMPORARY = re.compile(rf"\..+\.(\d+|[0-9a-f]{{16}}){re.escape(TEMPORARY_SUFFIX)}")

T = TypeVar("T")
R = TypeVar("R")


def temporary_path(path: Path) -> Path:
    """Return a name beside ``path`` to write before the rename: another one each time, which nobody can guess."""
    return path.with_name(f".{path.name}.{secrets.token_hex(8)}{TEMPORARY_SUFFIX}")


class LocalStore:
    """The file system; each method is described in :class:`nlbs.stores.Store`."""

    sample = 2000
    lock, move, read = staticmethod(folder_lock), staticmethod(replace), staticmethod(read_regular)

    def make_folder(self, folder: Path, permissions: int | None) -> bool:
        new = not folder.exists()
        folder.mkdir(0o777 if permissions is None else permissions, parents=True, exist_ok=True)
        if permissions is not None:
            set_mode(folder, permissions)
        return new

    @contextmanager
    def atomic_file(self, path: Path, mode: str, permissions: int, **options: Any) -> Iterator[IO[Any]]:
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
    def atomic_folder(self, path: Path) -> Iterator[Path]:
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

    def open(self, path: Path, mode: str = "r", **options: Any) -> IO[Any]:
        return open(open_regular(path), mode, **options)

    @contextmanager
    def local_file(
        self, path: Path, most_bytes: int | None = None, first_bytes: int | None = None
    ) -> Iterator[Path]:
        yield path

    def stamp(self, path: Path) -> str:
        status = path.stat()
        return f"{status.st_size}:{status.st_mtime_ns}"

    def free_bytes(self, folder: Path) -> int | None:
        there = folder.absolute()
        while not there.exists():
            there = there.parent
        usage = shutil.disk_usage(there)
        return usage.free if usage.total else None  # some FUSE file systems say 0 of everything

    def sizes(self, folder: Path, names: Iterable[str] | None = None) -> dict[str, int]:
        if names is None:
            names = (f"{at}/{name}".lstrip("/") for at, _, files in self.walk(folder) for name in files)
        paths = {name: folder / name for name in names}
        return {name: path.stat().st_size for name, path in paths.items() if path.is_file()}

    def lister(self, root: Path) -> Callable[[str], tuple[frozenset[str], frozenset[str]]]:
        def names_in(folder: str) -> tuple[frozenset[str], frozenset[str]]:
            folders: list[str] = []
            files: list[str] = []
            try:
                with os.scandir(f"{root}/{folder}") as entries:
                    for entry in entries:
                        (folders if entry.is_dir() else files).append(entry.name)
            except (OSError, ValueError):  # none, or a name that this system cannot have
                return frozenset(), frozenset()
            return frozenset(folders), frozenset(files)

        return names_in

    def walk(self, root: Path) -> Iterator[tuple[str, list[str], list[str]]]:
        for folder, folders, files in os.walk(root):
            at = Path(folder).relative_to(root).as_posix()
            yield "" if at == "." else at, folders, files

    def missing(self, root: Path, names: list[str]) -> list[int]:
        # os.path, to which a name that cannot be is no file; and there may be a million.
        is_file, join, folder = os.path.isfile, os.path.join, str(root)
        return [place for place, name in enumerate(names) if not is_file(join(folder, name))]

    def count(self, root: Path, names: list[str]) -> int:
        exists, join, folder = os.path.exists, os.path.join, str(root)
        return sum(exists(join(folder, name)) for name in names)

    def inside(self, root: Path, text: str) -> Path | None:
        path = Path(os.path.normpath(root / text))
        real = Path(os.path.realpath(path))
        return path if real.is_relative_to(os.path.realpath(root)) else None

    def remove(self, path: Path) -> None:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)

    def withdraw(self, folder: Path) -> None:
        if folder.exists() and not folder.is_symlink():
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
        self.remove(folder)

    def remove_partials(self, folder: Path) -> None:
        for path in folder.iterdir() if folder.is_dir() else ():
            if _TEMPORARY.fullmatch(path.name):
                if path.is_dir() and not path.is_symlink():
                    shutil.rmtree(path, ignore_errors=True)
                else:
                    path.unlink(missing_ok=True)

    def scratch_folder(self, folder: Path, name: str) -> Path:
        return folder / name

    def in_parallel(self, function: Callable[[T], R], items: Iterable[T]) -> list[R]:
        return [function(item) for item in items]


def sync_file(path: Path) -> None:
    """Return once the contents of a file are on disk."""
    # Windows syncs no file that is open for reading alone.
    descriptor = os.open(path, (os.O_RDWR if os.name == "nt" else os.O_RDONLY) | BINARY)
    try:
        sync(descriptor)
    finally:
        os.close(descriptor)
