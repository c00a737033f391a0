"""Files in an object store: written to a scratch file of this machine, uploaded when complete."""

import posixpath
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import IO, Any, TypeVar

from nlbs.errors import NlbsError
from nlbs.folder_lock import LOCK
from nlbs.locks import remote_lock
from nlbs.remote import RemotePath, scratch_file
from nlbs.system_calls import refuse_larger

_REQUESTS = 32  # under way at once, where each is a journey over the network

T = TypeVar("T")
R = TypeVar("R")


class RemoteStore:
    """An object store; each method is described in :class:`nlbs.stores.Store`."""

    sample = 64

    def make_folder(self, folder: RemotePath, permissions: int | None) -> bool:
        """Make none: a folder is there once an object is in it."""
        return False

    @contextmanager
    def atomic_file(self, path: RemotePath, mode: str, permissions: int, **options: Any) -> Iterator[IO[Any]]:
        with scratch_file() as (_, local):
            with open(local, mode, **options) as file:
                yield file
            path.upload(local)

    @contextmanager
    def atomic_folder(self, path: RemotePath) -> Iterator[Path]:
        with tempfile.TemporaryDirectory(prefix="nlbs-") as scratch:
            local = Path(scratch)
            yield local
            files = [file for file in local.rglob("*") if file.is_file()]
            for file in sorted(files, key=lambda file: (-len(file.parts), file.parts)):
                (path / file.relative_to(local).as_posix()).upload(file)

    def open(self, path: RemotePath, mode: str = "r", **options: Any) -> IO[Any]:
        file: IO[Any] = path.open(mode, **options)
        return file

    def read(self, path: RemotePath, most_bytes: int) -> bytes:
        refuse_larger(path.stat().st_size, most_bytes)
        data = path.read_bytes()
        refuse_larger(len(data), most_bytes)
        return data

    @contextmanager
    def local_file(
        self, path: RemotePath, most_bytes: int | None = None, first_bytes: int | None = None
    ) -> Iterator[Path]:
        with scratch_file() as (file, local):
            if first_bytes is not None:
                file.write(path.read_range(0, first_bytes))
                file.flush()
            elif most_bytes is not None and (size := path.stat().st_size) > most_bytes:
                raise ValueError(f"the object has {size:,} bytes, expected at most {most_bytes:,}")
            else:
                path.download(file)
            yield local

    def stamp(self, path: RemotePath) -> str:
        status = path.stat()
        return f"{status.st_size}:{status.etag}"

    def free_bytes(self, folder: RemotePath) -> int | None:
        return None

    def sizes(self, folder: RemotePath, names: Iterable[str] | None = None) -> dict[str, int]:
        return folder.sizes()  # one listing, of whatever names

    def lister(self, root: RemotePath) -> Callable[[str], tuple[frozenset[str], frozenset[str]]]:
        folders: dict[str, set[str]] = defaultdict(set)
        files: dict[str, set[str]] = defaultdict(set)
        for name in root.sizes():
            parts = name.split("/")
            for count, part in enumerate(parts):
                (files if count == len(parts) - 1 else folders)["/".join(parts[:count])].add(part)
        return lambda folder: (frozenset(folders.get(folder, ())), frozenset(files.get(folder, ())))

    def walk(self, root: RemotePath) -> Iterator[tuple[str, list[str], list[str]]]:
        names_in, waiting = self.lister(root), [""]
        while waiting:
            at = waiting.pop()
            folders, files = map(sorted, names_in(at))
            yield at, folders, files
            waiting += [f"{at}/{name}".lstrip("/") for name in reversed(folders)]

    def missing(self, root: RemotePath, names: list[str]) -> list[int]:
        def is_there(name: str) -> bool:
            path = self.inside(root, name)
            return path is not None and path.is_file()

        some = [names[at * len(names) // self.sample] for at in range(self.sample)] if names else []
        if all(self.in_parallel(is_there, dict.fromkeys(some))):
            return []
        there = root.sizes().keys()
        return [place for place, name in enumerate(names) if _below(root, name) not in there]

    def count(self, root: RemotePath, names: list[str]) -> int:
        some = [name for name in names if not name.startswith("/") and "//" not in name][:_REQUESTS]
        return sum(self.in_parallel(lambda name: (root / name).exists(), some))

    def inside(self, root: RemotePath, text: str) -> RemotePath | None:
        name = _below(root, text)
        return None if name is None else root / name

    def lock(self, folder: RemotePath, what: str, shared: bool) -> AbstractContextManager[None]:
        if shared:
            raise NlbsError(f"the lock of {folder} is for one process alone: an object store has no other")
        return remote_lock(folder / LOCK, what)

    def move(self, source: RemotePath, target: RemotePath) -> None:
        target.write_bytes(source.read_bytes())
        source.unlink()

    def remove(self, path: RemotePath) -> None:
        names = sorted(path.sizes(), key=lambda name: (name.count("/"), name))
        for level in sorted({name.count("/") for name in names}):
            self.in_parallel(RemotePath.unlink, [path / name for name in names if name.count("/") == level])
        if not names:
            path.unlink(missing_ok=True)

    withdraw = remove

    def remove_partials(self, folder: RemotePath) -> None:
        """Do nothing: what is not uploaded whole is not there."""

    def scratch_folder(self, folder: RemotePath, name: str) -> Path:
        return Path(tempfile.mkdtemp(prefix="nlbs-"))

    def in_parallel(self, function: Callable[[T], R], items: Iterable[T]) -> list[R]:
        with ThreadPoolExecutor(_REQUESTS, thread_name_prefix="nlbs-request") as pool:
            return list(pool.map(function, items))


def _below(root: RemotePath, text: str) -> str | None:
    name = text.removeprefix(f"{root}/")
    normal = posixpath.normpath(name)
    return None if "://" in name or normal.startswith(("/", "../")) or normal in (".", "..") else normal
