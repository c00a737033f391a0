"""Pieces of remote files kept on the local disk: bounded, shared by processes, the least recently used go first."""

import contextlib
import os
import threading
import time
import warnings
from pathlib import Path

from nlbs.errors import ConfigError
from nlbs.local_store import TEMPORARY_SUFFIX, temporary_path
from nlbs.names import checked_name
from nlbs.system_calls import PLAIN, replace, touch

FOLDER_VARIABLE, SIZE_VARIABLE = "NLBS_CACHE_DIR", "NLBS_CACHE_GB"
DEFAULT_GB = 20.0

_TOUCH_S = 60.0  # a piece in use says so at most once in so many seconds
_ABANDONED_S = 3600.0  # a half-written piece of this age has no writer any more


def default_folder() -> Path:
    """Return where the cache lies: ``$NLBS_CACHE_DIR``, else ``nlbs-cvae`` in the user's cache folder.

    Raises:
        ConfigError: the user has no home folder.
    """
    if os.environ.get(FOLDER_VARIABLE):
        return Path(os.environ[FOLDER_VARIABLE])
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "nlbs-cvae"
    except RuntimeError:
        raise ConfigError(
            f"this user has no home folder for a cache: name one with {FOLDER_VARIABLE}"
        ) from None


def default_bytes() -> int:
    """Return the limit of the cache: ``$NLBS_CACHE_GB``, else :data:`DEFAULT_GB`.

    Raises:
        ConfigError: the variable is no number from 0 on.
    """
    text = os.environ.get(SIZE_VARIABLE) or str(DEFAULT_GB)
    try:
        size = float(text)
    except ValueError:
        size = -1.0
    if not 0 <= size < 1e9:
        raise ConfigError(f"{SIZE_VARIABLE} is {text!r}: expected gigabytes such as {DEFAULT_GB:g}, or 0")
    return int(size * 1e9)


class Cache:
    """Pieces by name, in one folder that may be shared. What it gives may be damaged: the caller checks."""

    def __init__(self, folder: Path, limit: int) -> None:
        """Take a folder, made when the first piece comes, and a limit in bytes; 0 keeps nothing."""
        self.folder, self.limit = folder, limit
        self._lock = threading.Lock()
        self._total: int | None = None  # bytes there, as far as this process knows; None: not counted yet
        self._added = 0  # bytes put there by this process since it counted
        self._touched: dict[str, float] = {}

    def find(self, name: str, nbytes: int) -> Path | None:
        """Return the file of a piece; None where it is not there, or not of this size."""
        path = self._path(name)
        try:
            if path.stat().st_size != nbytes:
                return None
            now = time.monotonic()
            if now - self._touched.get(name, -_TOUCH_S) >= _TOUCH_S:
                self._touched[name] = now
                touch(path)
        except OSError:
            return None
        return path

    def put(self, name: str, data: bytes) -> Path | None:
        """Keep a piece; return its file, None where it is too large or the disk takes no more."""
        if len(data) > self.limit:
            return None
        path = self._path(name)
        temporary = temporary_path(path)
        try:
            with self._lock:  # so that a count never misses what another thread is about to add
                self._make_room(len(data))
                self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
                path.parent.mkdir(parents=True, exist_ok=True)
                flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | PLAIN
                with open(os.open(temporary, flags, 0o644), "wb") as file:
                    file.write(data)
                replace(temporary, path)
        except OSError as error:  # a full disk makes reading slow, not wrong
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
            warnings.warn(
                f"the cache in {self.folder} takes no more ({error.strerror}): make room, or name another folder "
                f"with {FOLDER_VARIABLE}",
                stacklevel=2,
            )
            return None
        return path

    def discard(self, name: str) -> None:
        """Drop a piece."""
        with contextlib.suppress(OSError):
            self._path(name).unlink(missing_ok=True)

    def _path(self, name: str) -> Path:
        """Return the file of a piece. Raises ConfigError: the name leads out of the cache, or is none."""
        return self.folder / checked_name("piece", name, "the cache", ConfigError)

    def _make_room(self, nbytes: int) -> None:
        """Remove what was not used for longest, until there is room for so many bytes.

        Other processes put pieces there too: this one counts anew after every twentieth of the limit.
        """
        full = self._total is None or self._total + nbytes > self.limit
        if full or self._added + nbytes > self.limit // 20:
            self._total, self._added = self._evict(self.limit - nbytes), 0
        self._total = (self._total or 0) + nbytes
        self._added += nbytes

    def _evict(self, limit: int) -> int:
        """Remove the oldest pieces down to a limit; return the bytes that stay."""
        found = []
        for folder, _, names in os.walk(self.folder):
            for name in names:
                path = Path(folder) / name
                with contextlib.suppress(OSError):  # another process removes some as well
                    status = path.stat()
                    if name.endswith(TEMPORARY_SUFFIX):
                        if time.time() - status.st_mtime > _ABANDONED_S:
                            path.unlink()
                    else:
                        found.append((status.st_mtime_ns, status.st_size, path))
        total = sum(size for _, size, _ in found)
        for _, size, path in sorted(found):
            if total <= limit:
                break
            with contextlib.suppress(OSError):
                path.unlink()
            total -= size
        return total
