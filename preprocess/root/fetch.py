"""A source file in an object store: fetched when its turn comes, its size looked at first."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from nlbs.paths import AnyPath
from nlbs.preprocess.formats.header import MAX_PIXELS
from nlbs.preprocess.formats.image_errors import MissingFileError, UnsupportedImageError
from nlbs.stores import store_of

LARGEST_FILE_BYTES = 2 * MAX_PIXELS + (64 << 20)


@contextmanager
def fetched(path: AnyPath, first_bytes: int | None = None) -> Iterator[Path]:
    """Return a source file as a local one: itself, or a copy that is gone after the body.

    Args:
        path: of the file.
        first_bytes: of an object these alone are copied, and it may have any size.

    Raises:
        ImageError: there is no such object, or it is larger than any image.
        ObjectStoreError: the store cannot be reached.
    """
    with ExitStack() as stack:
        try:
            local = stack.enter_context(store_of(path).local_file(path, LARGEST_FILE_BYTES, first_bytes))
        except FileNotFoundError:
            raise MissingFileError("there is no such object") from None
        except PermissionError:
            raise MissingFileError("no permission to read the object") from None
        except ValueError as error:
            raise UnsupportedImageError(str(error)) from None
        yield local
