"""A grey PNG file becomes stored values (ISO/IEC 15948)."""

import struct
import zlib
from typing import BinaryIO

import imagecodecs

from nlbs.preprocess.formats.frames import chosen_frame
from nlbs.preprocess.formats.header import SourceImage, check_size, plain_header
from nlbs.preprocess.formats.image_errors import (
    BadHeaderError,
    DecodeError,
    TruncatedError,
    UnsupportedImageError,
)
from nlbs.preprocess.formats.plain_pixels import grey_values, oriented
from nlbs.preprocess.formats.source_file import whole
from nlbs.preprocess.formats.tiff import orientation_of

_GREY, _COLOUR, _PALETTE, _ALPHA = 0, 2, 3, 4  #: of the colour type; alpha may be added to the first two


def png_image(file: BinaryIO, decoder: str, frame: int | str | None, max_pixels: int) -> SourceImage:
    """Return the values of a PNG file of 8 or 16 bits, grey or with equal channels; arguments as of ``dicom_image``.

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
    as_stored = grey_values(pixels, rows, columns, alpha=bool(colour & _ALPHA))
    stored, notes = oriented(as_stored, orientation_of(_exif(data, chunks)))
    header = plain_header(stored.shape[0], stored.shape[1], bits, "png", signed=False, inverted=False)
    return SourceImage(stored, header, "imagecodecs", notes)


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
