"""Objects in an object store, by as much of pathlib's interface as this package uses.

The store is reached through fsspec. Its packages are imported at the first request, never for local paths.
Whatever they raise becomes what a local file would raise (FileNotFoundError, PermissionError,
FileExistsError) or an :class:`~nlbs.errors.ObjectStoreError` in one sentence, without text of the
service in it: that may hold names of keys.
"""

import errno
import io
import os
import posixpath
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from fnmatch import fnmatchcase
from pathlib import Path
from typing import IO, Any, NoReturn

from nlbs.errors import ObjectStoreError

_DOWNLOAD_BYTES = 16 << 20  # per request, so that no object has to fit into memory
_CONNECTIONS = 64
_CREDENTIALS = {"InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken"}

_opened: dict[tuple[str, int], Any] = {}
_opening = threading.Lock()


@dataclass(frozen=True)
class RemoteStat:
    """What the store says of an object without giving its bytes."""

    st_size: int  #: bytes
    etag: str  #: another one is another content
    modified: datetime  #: by the clock of the store


@dataclass(frozen=True, order=True)
class RemotePath:
    """The name of an object, or of a folder: all objects whose names begin with it and a slash."""

    protocol: str  #: "s3"
    key: str  #: bucket and name, "bucket/folder/file"

    def __str__(self) -> str:
        return f"{self.protocol}://{self.key}"

    def __truediv__(self, name: str) -> "RemotePath":
        return RemotePath(self.protocol, f"{self.key}/{name}")

    @property
    def name(self) -> str:
        """The last part of the name."""
        return posixpath.basename(self.key)

    @property
    def stem(self) -> str:
        """The last part without its suffix."""
        return posixpath.splitext(self.name)[0]

    @property
    def parent(self) -> "RemotePath":
        """The folder; that of a bucket is the bucket."""
        return RemotePath(self.protocol, posixpath.dirname(self.key) or self.key)

    def with_name(self, name: str) -> "RemotePath":
        """Return the path beside this one."""
        return self.parent / name

    def absolute(self) -> "RemotePath":
        """Return the path itself."""
        return self

    def exists(self) -> bool:
        """Whether there is such an object or folder."""
        return self._kind() is not None

    def is_file(self) -> bool:
        """Whether there is such an object."""
        return self._kind() == "file"

    def is_dir(self) -> bool:
        """Whether there is an object in such a folder."""
        return self._kind() == "directory"

    def is_symlink(self) -> bool:
        """Whether it names another one: no object does."""
        return False

    def rmdir(self) -> None:
        """Do nothing: a folder goes with the last object in it."""

    def stat(self) -> RemoteStat:
        """Return size, tag and time of an object. Raises FileNotFoundError where there is none."""
        with _explained(self):
            info = self._store().info(self.key)
        if info["type"] != "file":
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(self))
        return RemoteStat(int(info["size"]), str(info["ETag"]).strip('"'), info["LastModified"])

    def iterdir(self) -> Iterator["RemotePath"]:
        """Yield what lies directly in a folder."""
        with _explained(self):
            names = self._store().ls(self.key, detail=False, refresh=True)
        for name in sorted(names):
            if name.strip("/") != self.key:  # some tools put an empty object in a folder's place
                yield RemotePath(self.protocol, name.strip("/"))

    def glob(self, pattern: str) -> Iterator["RemotePath"]:
        """Yield what lies directly in a folder and has a name of the pattern."""
        try:
            yield from (path for path in self.iterdir() if fnmatchcase(path.name, pattern))
        except FileNotFoundError:
            return

    def sizes(self) -> dict[str, int]:
        """Return every object below a folder, by its name from there on, with its bytes: one listing."""
        with _explained(self):
            found = self._store().find(self.key, detail=True)
        start = len(self.key) + 1
        return {name[start:]: int(info["size"]) for name, info in found.items() if len(name) > start}

    def read_bytes(self) -> bytes:
        """Return an object. Raises FileNotFoundError where there is none."""
        with _explained(self):
            return bytes(self._store().cat_file(self.key, max_concurrency=1))

    def read_range(self, start: int, end: int) -> bytes:
        """Return bytes ``start`` to ``end`` of an object; fewer where it ends before."""
        with _explained(self):
            try:
                return bytes(self._store().cat_file(self.key, start=start, end=end))
            except OSError as error:
                if _code(error) == "InvalidRange":  # it ends before ``start``
                    return b""
                raise

    def open(self, mode: str = "r", **options: Any) -> Any:
        """Return an object as a file to read from: a copy that needs no memory, or text."""
        if mode == "r":
            return io.TextIOWrapper(io.BytesIO(self.read_bytes()), **options)
        if mode != "rb":
            raise ValueError(f"{self} cannot be opened with mode {mode!r}: objects are written whole")
        file = tempfile.TemporaryFile()  # noqa: SIM115  # the caller closes it
        try:
            self.download(file)
        except BaseException:
            file.close()
            raise
        return file

    def download(self, file: IO[bytes]) -> None:
        """Write an object into a local file and goes back to its start."""
        size = self.stat().st_size
        for start in range(0, size, _DOWNLOAD_BYTES):
            file.write(self.read_range(start, min(start + _DOWNLOAD_BYTES, size)))
        file.flush()
        file.seek(0)

    def upload(self, local: Path) -> None:
        """Make a local file the content of an object. It appears whole, or stays as it was."""
        with _explained(self):
            self._store().put_file(str(local), self.key)

    def write_bytes(self, data: bytes, exclusive: bool = False) -> None:
        """Write an object in one request. Raises FileExistsError where ``exclusive`` and it is there."""
        with _explained(self):
            self._store().pipe_file(self.key, data, mode="create" if exclusive else "overwrite")

    def unlink(self, missing_ok: bool = False) -> None:
        """Remove an object. The store does not say whether it was there."""
        try:
            with _explained(self):
                self._store().rm_file(self.key)
        except FileNotFoundError:
            if not missing_ok:
                raise

    def _kind(self) -> str | None:
        try:
            with _explained(self):
                return str(self._store().info(self.key)["type"])
        except FileNotFoundError:
            return None

    def _store(self) -> Any:
        """Return the connection of this process; one made before a fork would hang."""
        place = self.protocol, os.getpid()
        with _opening:
            if place not in _opened:
                import fsspec

                # What another process writes must be seen: no listing is kept.
                _opened[place] = fsspec.filesystem(
                    self.protocol,
                    use_listings_cache=False,
                    skip_instance_cache=True,
                    config_kwargs={"max_pool_connections": _CONNECTIONS},
                )
            return _opened[place]


@contextmanager
def scratch_file() -> Iterator[tuple[IO[bytes], Path]]:
    """Return a local file for this process alone, and a path by which it can be opened again.

    On Linux it has no name: nothing stays behind, however the process ends.
    """
    if Path("/proc/self/fd").is_dir():
        with tempfile.TemporaryFile() as file:
            yield file, Path(f"/proc/self/fd/{file.fileno()}")
    else:
        with tempfile.TemporaryDirectory(prefix="nlbs-") as folder:
            path = Path(folder) / "scratch"
            with path.open("w+b") as file:  # Windows lets it be opened again, which a temporary file is not
                yield file, path


@contextmanager
def _explained(path: RemotePath) -> Iterator[None]:
    """Turn what fsspec and its packages raise into what the rest of this package knows."""
    try:
        yield
    except FileExistsError:
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path)) from None
    except FileNotFoundError as error:
        if _code(error) == "NoSuchBucket":
            raise ObjectStoreError(
                f"there is no bucket {path.key.split('/')[0]!r} for {path}: make it, or check the name and "
                "AWS_ENDPOINT_URL"
            ) from None
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path)) from None
    except PermissionError as error:
        _refuse_credentials(path, _code(error))
        raise PermissionError(errno.EACCES, "The object store denies access", str(path)) from None
    except Exception as error:  # of three packages and their transports; told apart below, or raised again
        _raise_told(path, error)


def _raise_told(path: RemotePath, error: Exception) -> NoReturn:
    import aiohttp
    from botocore import exceptions as aws

    kind = type(error).__name__
    credentials = (
        aws.NoCredentialsError,
        aws.PartialCredentialsError,
        aws.CredentialRetrievalError,
        aws.TokenRetrievalError,
        aws.ProfileNotFound,
    )
    if isinstance(error, credentials):
        raise ObjectStoreError(
            f"no credentials for {path} ({kind}): set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        ) from None
    if isinstance(error, aws.ParamValidationError):
        raise ObjectStoreError(f"{path} has no valid name of a bucket or object: check it") from None
    code = _code(error)
    _refuse_credentials(path, code)
    if code is not None:
        raise ObjectStoreError(
            f"the object store refused a request for {path} ({code}): what is complete is kept; give the same "
            "command again"
        ) from None
    if isinstance(error, aws.BotoCoreError | aiohttp.ClientError | TimeoutError | ConnectionError):
        raise ObjectStoreError(
            f"cannot reach the object store of {path} ({kind}): check the network and AWS_ENDPOINT_URL; what is "
            "complete is kept, and the same command continues"
        ) from None
    raise error


def _refuse_credentials(path: RemotePath, code: str | None) -> None:
    if code in _CREDENTIALS:
        raise ObjectStoreError(
            f"the object store of {path} does not accept the credentials ({code}): check AWS_PROFILE, or "
            "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        ) from None


def _code(error: BaseException) -> str | None:
    """Return the service's own code for an error; None where it was not the service that complained."""
    for one in (error, error.__cause__, error.__context__):
        response = getattr(one, "response", None)
        if isinstance(response, dict):
            return str(response.get("Error", {}).get("Code"))
    return None
