"""Where files lie: what is done in another way in an object store than in a file system, and nothing else.

What both do alike, the paths' own methods do. Nobody outside this module asks which of the two a path is in.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import IO, Any, Protocol, TypeVar, cast

from nlbs.errors import ConfigError
from nlbs.local_store import LocalStore
from nlbs.paths import AnyPath
from nlbs.remote import RemotePath
from nlbs.remote_store import RemoteStore

P = TypeVar("P", bound=AnyPath)
T = TypeVar("T")
R = TypeVar("R")


class Store(Protocol[P]):
    """A place of files. It keeps nothing: each method takes the path that it is about.

    What has the name of a function of :mod:`nlbs.files` is described there.
    """

    sample: int  #: files that are looked at where a sample will do

    def make_folder(self, folder: P, permissions: int | None) -> bool: ...

    def atomic_file(
        self, path: P, mode: str, permissions: int, **options: Any
    ) -> AbstractContextManager[IO[Any]]: ...

    def atomic_folder(self, path: P) -> AbstractContextManager[Path]: ...

    def remove_partials(self, folder: P) -> None: ...

    def lock(self, folder: P, what: str, shared: bool) -> AbstractContextManager[None]:
        """Lock a folder that exists, see :func:`nlbs.files.only_one`."""

    def open(self, path: P, mode: str = "r", **options: Any) -> IO[Any]:
        """Open a regular file to read. Raises OSError: there is none; a pipe or a device is not waited for."""

    def read(self, path: P, most_bytes: int) -> bytes:
        """Return the bytes of a file. Raises OSError; or ValueError: it is no regular file, or larger."""

    def local_file(
        self, path: P, most_bytes: int | None = None, first_bytes: int | None = None
    ) -> AbstractContextManager[Path]:
        """Return a file as a local one: itself, or a copy of a remote one for as long as it is needed.

        Args:
            path: of the file.
            most_bytes: a larger object is not copied.
            first_bytes: so many of an object are copied alone, whatever its size.

        Raises:
            FileNotFoundError: there is no such object.
            ValueError: the object is larger than ``most_bytes``.
        """

    def stamp(self, path: P) -> str:
        """Return what tells a file from an earlier one of its name: its size, and modification time or tag."""

    def free_bytes(self, folder: P) -> int | None:
        """Return what the disk of a folder, there or not yet, has left; None where nobody says."""

    def sizes(self, folder: P, names: Iterable[str] | None = None) -> dict[str, int]:
        """Return path -> bytes of the files below a folder; where ``names`` are enough, possibly of these alone."""

    def lister(self, root: P) -> Callable[[str], tuple[frozenset[str], frozenset[str]]]:
        """Return what tells the folders and files in a folder, named from ``root`` on; none where it is not there."""

    def walk(self, root: P) -> Iterator[tuple[str, list[str], list[str]]]:
        """Yield each folder from ``root`` on ("" is the root), its folders and its files, as ``os.walk`` does."""

    def missing(self, root: P, names: list[str]) -> list[int]:
        """Return the places of the names at which no file is; an object store is asked for a sample of them first."""

    def count(self, root: P, names: list[str]) -> int:
        """Return how many of the names there are; an object store is asked for a few at most."""

    def inside(self, root: P, text: str) -> P | None:
        """Return the file that a text means if, links resolved, it is below ``root``. Raises UnicodeEncodeError."""

    def move(self, source: P, target: P) -> None:
        """Give a file another name, whole at every moment; an object may have both for a while."""

    def remove(self, path: P) -> None:
        """Remove a file, or a folder with all in it, where it is there; of a link, the link alone."""

    def withdraw(self, folder: P) -> None:
        """Remove a folder, where it is there, so that half of it never has its name."""

    def scratch_folder(self, folder: P, name: str) -> Path:
        """Return a folder of this machine for what must be quick: one in ``folder``, or in the temporary folder."""

    def in_parallel(self, function: Callable[[T], R], items: Iterable[T]) -> list[R]:
        """Return ``function`` of each item, in their order; by threads where each is a journey over the network."""


_LOCAL: Store[Path] = LocalStore()
_REMOTE: Store[RemotePath] = RemoteStore()


def store_of(path: P) -> Store[P]:
    """Return the store that a path lies in."""
    return cast("Store[P]", _LOCAL if isinstance(path, Path) else _REMOTE)


def in_file_system(path: AnyPath, what: str, instead: str) -> Path:
    """Return a path that lies in a file system. Raises ConfigError: it does not, and ``what`` needs that."""
    if isinstance(path, Path):
        return path
    raise ConfigError(
        f"{what} a file system that all machines mount, and {path} is in an object store: {instead}"
    )
