"""A file that may hold an image: a regular one, opened, and told apart by its first bytes."""

import io
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from nlbs.preprocess.formats.image_errors import MissingFileError
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

_READ_AS_ASKED = 1 << 20
_MOST_ZEROS = 256 << 20  # looked through, to say that a file has nothing else


class _WithinItself(io.BufferedReader):
    """A file that is never asked for more bytes than it has.

    A length field of 4 GB in a small file would have Python take 4 GB of memory before it reads.
    """

    def read(self, size: int | None = -1, /) -> bytes:
        if size is not None and size > _READ_AS_ASKED:
            size = max(0, min(size, os.fstat(self.fileno()).st_size - self.tell()))
        return super().read(size)


@contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """Opens a regular file; a folder, pipe, socket or device is never opened, as that may not end.

    Raises:
        MissingFileError: there is none, or it cannot be read.
    """
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        raise MissingFileError(_missing(path)) from None
    except (OSError, ValueError) as error:
        raise MissingFileError(f"the file cannot be opened ({type(error).__name__})") from error
    if not stat.S_ISREG(mode):
        raise MissingFileError("the path is not a regular file")
    try:
        with _WithinItself(io.FileIO(path)) as file:
            yield file
    except PermissionError:
        raise MissingFileError("no permission to read the file") from None
    except OSError as error:
        raise MissingFileError(f"the file cannot be read ({type(error).__name__})") from error


def kind_of(start: bytes) -> str | None:
    """Gives "dicom", "png", "pgm" or "tiff" by the first :data:`START_BYTES` of a file; None for any other kind."""
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
