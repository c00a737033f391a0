"""A source file in an object store: fetched when its turn comes, its size looked at first."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nlbs.paths import AnyPath
from nlbs.preprocess.formats.header import MAX_PIXELS
from nlbs.preprocess.formats.image_errors import MissingFileError, UnsupportedImageError
from nlbs.remote import RemotePath, scratch_file

LARGEST_FILE_BYTES = 2 * MAX_PIXELS + (64 << 20)


@contextmanager
def fetched(path: AnyPath) -> Iterator[Path]:
    """Return a source file as a local one: itself, or a copy that is gone after the body.

    Raises:
        ImageError: there is no such object, or it is larger than any image.
        ObjectStoreError: the store cannot be reached.
    """
    if not isinstance(path, RemotePath):
        yield path
        return
    with scratch_file() as (file, local):
        try:
            size = path.stat().st_size
            if size > LARGEST_FILE_BYTES:
                raise UnsupportedImageError(
                    f"the object has {size:,} bytes, expected at most {LARGEST_FILE_BYTES:,}"
                )
            path.download(file)
        except FileNotFoundError:
            raise MissingFileError("there is no such object") from None
        except PermissionError:
            raise MissingFileError("no permission to read the object") from None
        yield local


@contextmanager
def fetched_start(path: AnyPath, nbytes: int) -> Iterator[Path]:
    """Return a file to look at its first bytes alone: itself, or a copy of these that is gone after the body.

    Raises:
        MissingFileError: there is no such object, or it may not be read.
        ObjectStoreError: the store cannot be reached.
    """
    if not isinstance(path, RemotePath):
        yield path
        return
    try:
        start = path.read_range(0, nbytes)
    except OSError:
        raise MissingFileError("there is no such object, or no permission to read it") from None
    with scratch_file() as (file, local):
        file.write(start)
        file.flush()
        yield local
