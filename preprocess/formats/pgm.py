"""A PGM file (Netpbm, P2 and P5) becomes stored values."""

import re
import warnings
from typing import BinaryIO

import numpy as np

from nlbs.preprocess.formats.frames import chosen_frame
from nlbs.preprocess.formats.header import SourceImage, Stored, check_size, plain_header
from nlbs.preprocess.formats.image_errors import BadHeaderError, DecodeError, TruncatedError

_SPACE = rb"(?:\s|#[^\n\r]*[\n\r])+"
_HEAD = re.compile(
    rb"P([25])" + _SPACE + rb"(\d{1,9})" + _SPACE + rb"(\d{1,9})" + _SPACE + rb"(\d{1,9})(?:#[^\n\r]*)?\s"
)


def pgm_image(file: BinaryIO, decoder: str, frame: int | str | None, max_pixels: int) -> SourceImage:
    """Return the values of a PGM file; arguments as of ``dicom_image``.

    Raises:
        ImageError: it is no such file, or ends before its pixels do.
    """
    head = _HEAD.match(file.read(65536))
    if head is None:
        raise BadHeaderError("a PGM file without width, height and greatest value")
    columns, rows, greatest = (int(head[number]) for number in (2, 3, 4))
    check_size(rows, columns, max_pixels)
    if not 1 <= greatest <= 65535:
        raise BadHeaderError(f"the greatest value of the PGM is {greatest}, expected 1 to 65535")
    chosen_frame(1, frame)
    file.seek(head.end())
    kind = np.dtype("u1" if greatest < 256 else ">u2")
    size = rows * columns * kind.itemsize
    # As text a value takes up to 5 digits and what parts them; what is longer is no image of this size.
    data = file.read(size if head[1] == b"5" else 16 * rows * columns + 65536)
    stored = _binary(data, size, kind) if head[1] == b"5" else _text(data, rows * columns)
    if stored.max() > greatest:
        raise DecodeError(f"the PGM has values up to {stored.max()}, its header says at most {greatest}")
    values = stored.reshape(rows, columns).astype("u1" if greatest < 256 else "u2", copy=False)
    header = plain_header(rows, columns, greatest.bit_length(), "pgm", signed=False, inverted=False)
    spare = len(file.read(1)) if head[1] == b"5" else 0
    notes = ("the PGM has more bytes than its size needs",) if spare else ()
    return SourceImage(values, header, "numpy", notes)


def _binary(data: bytes, size: int, kind: np.dtype[np.uint8 | np.uint16]) -> Stored:
    if len(data) < size:
        raise TruncatedError(f"the PGM has {len(data):,} bytes of pixels, its size needs {size:,}")
    return np.frombuffer(data, kind)


def _text(data: bytes, count: int) -> Stored:
    data = re.sub(rb"#[^\n\r]*", b"", data)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # numpy's way to say that text is no number
        try:
            values = np.fromstring(data, np.int64, sep=" ")
        except (ValueError, DeprecationWarning) as error:
            raise DecodeError("the PGM has pixels that are no numbers") from error
    if len(values) < count:
        raise TruncatedError(f"the PGM has {len(values):,} pixels, its size needs {count:,}")
    if values[:count].min() < 0:
        raise DecodeError("the PGM has pixels below 0")
    return values[:count]
