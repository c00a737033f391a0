"""PNG (ISO/IEC 15948) and PGM (Netpbm, P2 and P5) files become stored values."""

import re
import struct
import warnings
import zlib
from typing import BinaryIO

import imagecodecs
import numpy as np

from nlbs.preprocess.formats.frames import chosen_frame
from nlbs.preprocess.formats.header import SourceImage, Stored, check_size, plain_header
from nlbs.preprocess.formats.image_errors import (
    BadHeaderError,
    DecodeError,
    TruncatedError,
    UnsupportedImageError,
)
from nlbs.preprocess.formats.source_file import whole
from nlbs.preprocess.formats.tiff import grey_and_colour, opaque_values, orientation_of, oriented

_GREY, _COLOUR, _PALETTE, _ALPHA = 0, 2, 3, 4  #: of the colour type; alpha may be added to the first two


def png_image(file: BinaryIO, decoder: str, frame: int | str | None, max_pixels: int) -> SourceImage:
    """Return the values of a PNG file of 8 or 16 bits, grey or in colour; arguments as of ``dicom_image``.

    Raises:
        ImageError: it is no such file.
    """
    data = whole(file)
    chunks = _chunks(data)
    if len(data) < 33 or not chunks or chunks[0][0] != b"IHDR" or chunks[0][1] != 13:
        raise BadHeaderError("a PNG file without its header (IHDR)")
    columns, rows, bits, colour, *_ = struct.unpack_from(">IIBBBBB", data, 16)
    names = [name for name, _ in chunks]
    check_size(rows, columns, max_pixels)
    if colour not in (_GREY, _COLOUR, _GREY | _ALPHA, _COLOUR | _ALPHA):
        what = "a palette" if colour == _PALETTE else f"colour type {colour}"
        raise UnsupportedImageError(f"a PNG with {what}, expected a grey image")
    if bits not in (8, 16):
        raise UnsupportedImageError(f"a PNG of {bits} bits, expected 8 or 16")
    if b"acTL" in names or b"tRNS" in names:
        raise UnsupportedImageError("a PNG with an animation or a transparent colour, expected a grey image")
    if b"IEND" not in names:
        raise TruncatedError("the PNG file ends before its end (IEND)")
    chosen_frame(1, frame)
    try:
        pixels = imagecodecs.png_decode(data)
    except (RuntimeError, ValueError, zlib.error) as error:
        raise DecodeError("the PNG pixels cannot be decoded by imagecodecs") from error
    as_stored = opaque_values(pixels, rows, columns, alpha=bool(colour & _ALPHA))
    values, notes = oriented(as_stored, orientation_of(_exif(data, chunks)))
    stored, rgb = grey_and_colour(values)
    header = plain_header(stored.shape[0], stored.shape[1], bits, "png", signed=False, inverted=False)
    return SourceImage(stored, header, "imagecodecs", notes, colour=rgb)


def _exif(data: bytes, chunks: list[tuple[bytes, int]]) -> bytes:
    """Return the Exif block of a file (PNG 11.3.4.5), nothing where it has none."""
    place = 8
    for name, length in chunks:
        if name == b"eXIf":
            return data[place + 8 : place + 8 + length]
        place += 12 + length
    return b""


def _chunks(data: bytes) -> list[tuple[bytes, int]]:
    """Return name and length of every chunk that is complete (11.2), their checksums verified (5.3)."""
    found, position = [], 8
    while position + 12 <= len(data):
        length, name = struct.unpack_from(">I4s", data, position)
        end = position + 12 + length
        if end > len(data):
            break
        if zlib.crc32(memoryview(data)[position + 4 : end - 4]) != struct.unpack_from(">I", data, end - 4)[0]:
            raise DecodeError("the PNG file is damaged: the checksum of a chunk does not fit")
        found.append((name, length))
        position = end
        if name == b"IEND":
            break
    return found


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
