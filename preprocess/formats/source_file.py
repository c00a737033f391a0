"""A file that may hold an image: a regular one, opened, and told apart by its first bytes."""

import errno
import io
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from nlbs.preprocess.formats.image_errors import MissingFileError, UnsupportedImageError
from nlbs.preprocess.formats.signatures import (
    FOREIGN_BYTES,
    HOLE,
    PACKED,
    UNFINISHED,
    ZEROS,
    Foreign,
    foreign,
    neighbour_sentence,
)

#: So many bytes tell the kind of a file.
START_BYTES = 132

#: Looking at a header reads no more than this, whatever lengths it states: pixels and large values are skipped.
SCAN_BYTES = 4 << 20

#: Of a file that has to be in memory as a whole: many pages of the largest images. One with holes may state more.
LARGEST_BYTES = 4 << 30

_READ_AS_ASKED = 1 << 20
#: A pipe that took a file's place between two looks is not waited for, and no terminal becomes this process's own.
_FLAGS = (
    os.O_RDONLY
    | getattr(os, "O_NONBLOCK", 0)
    | getattr(os, "O_NOCTTY", 0)
    | getattr(os, "O_CLOEXEC", 0)
    | getattr(os, "O_BINARY", 0)
)
_MOST_ZEROS = 256 << 20  # looked through, to say that a file has nothing else


class _WithinItself(io.BufferedReader):
    """A file that is never asked for more bytes than it has, nor gives more than it may.

    A length field of 4 GB in a small file would have Python take 4 GB of memory before it reads. A file of the
    kernel (/proc) says that it has none, and may give bytes without end.
    """

    def __init__(self, file: io.FileIO, most_bytes: int | None) -> None:
        super().__init__(file)
        self._size = os.fstat(file.fileno()).st_size
        self._left = most_bytes

    def read(self, size: int | None = -1, /) -> bytes:
        if size is None or size < 0 or size > _READ_AS_ASKED or not self._size:
            rest = max(0, self._size - self.tell())
            size = rest if size is None or size < 0 else min(size, rest)
        if self._left is not None:
            self._left -= size
            if self._left < 0:
                raise EOFError("more than may be read of this file")
        return super().read(size)


@contextmanager
def opened(path: Path, most_bytes: int | None = None) -> Iterator[BinaryIO]:
    """Open a regular file; a folder, pipe, socket or device is never opened, as that may not end.

    This is how every file that was received is opened; a link to a file is followed.

    Args:
        path: of the file.
        most_bytes: to be read of it, all reads together; beyond them is EOFError. None is all.

    Raises:
        MissingFileError: there is none, or it cannot be read.
    """
    try:
        # Looked at before it is opened, as to open a device may do something, and after, as another may be there then.
        descriptor = os.open(path, _FLAGS) if stat.S_ISREG(path.stat().st_mode) else None
    except (FileNotFoundError, NotADirectoryError):
        raise MissingFileError(_missing(path)) from None
    except PermissionError:
        raise MissingFileError("no permission to read the file") from None
    except (OSError, ValueError) as error:
        if isinstance(error, OSError) and error.errno == errno.ENAMETOOLONG:
            raise MissingFileError("a name in the path is longer than any file's can be") from None
        raise MissingFileError(f"the file cannot be opened ({type(error).__name__})") from error
    if descriptor is None:
        raise MissingFileError("the path is not a regular file")
    try:
        with _WithinItself(io.FileIO(descriptor), most_bytes) as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise MissingFileError("the path is not a regular file")
            yield file
    except PermissionError:
        raise MissingFileError("no permission to read the file") from None
    except OSError as error:
        raise MissingFileError(f"the file cannot be read ({type(error).__name__})") from error


def whole(file: BinaryIO) -> bytes:
    """Return all bytes of a file from where it stands.

    Raises:
        UnsupportedImageError: it is larger than any image.
    """
    place = file.tell()
    size = file.seek(0, os.SEEK_END)
    if size > LARGEST_BYTES:
        raise UnsupportedImageError(f"the file has {size:,} bytes, expected at most {LARGEST_BYTES:,}")
    file.seek(place)
    return file.read()


def kind_of(start: bytes) -> str | None:
    """Return "dicom", "png", "pgm" or "tiff" by the first :data:`START_BYTES` of a file; None for any other kind."""
    if start[128:132] == b"DICM":  # first, as its preamble may be the head of a TIFF (PS3.10 7.1)
        return "dicom"
    if start.startswith(b"\x89PNG\r\n\x1a\n"):
        return "png"
    if start[:2] in (b"P2", b"P5") and start[2:3] in (b" ", b"\t", b"\n", b"\r", b"#"):
        return "pgm"
    if start[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        return "tiff"
    return None


def lies_there(file: BinaryIO) -> Foreign:
    """Return what a file is that is no image which is read here; from its beginning, whatever was read before."""
    file.seek(0)
    start, size = file.read(FOREIGN_BYTES), os.fstat(file.fileno()).st_size
    found = foreign(start, size)
    # A hole at the beginning may have the rest of an image behind it.
    if found is ZEROS and any(piece.strip(b"\0") for piece in _pieces(file)):
        return HOLE
    return found


def _pieces(file: BinaryIO) -> Iterator[bytes]:
    while file.tell() < _MOST_ZEROS and (piece := file.read(_READ_AS_ASKED)):
        yield piece


def _missing(path: Path) -> str:
    beside = {ending: path.with_name(f"{path.name}{ending}") for ending in (*UNFINISHED, *PACKED)}
    beside[".icloud"] = path.with_name(f".{path.name}.icloud")
    with suppress(OSError, ValueError):  # a name may be too long
        for ending, neighbour in beside.items():
            if neighbour.exists():
                return neighbour_sentence(ending)
    return "there is no such file"
