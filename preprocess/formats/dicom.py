"""A DICOM file becomes stored pixel values and the header fields that give them a meaning."""

import io
import logging
import os
import struct
import warnings
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import pydicom
from pydicom.errors import InvalidDicomError

from nlbs.preprocess.formats.fragments import compressed_frame
from nlbs.preprocess.formats.frames import chosen_frame, flatten_groups, number_of_frames
from nlbs.preprocess.formats.header import (
    MAX_PIXELS,
    PYDICOM_ERRORS,
    Header,
    SourceImage,
    Stored,
    dicom_header,
    element,
    size_text,
)
from nlbs.preprocess.formats.image_errors import (
    BadHeaderError,
    MissingFileError,
    NoPixelsError,
    NotDicomError,
    TruncatedError,
    UnsupportedImageError,
)
from nlbs.preprocess.formats.objects import require_image
from nlbs.preprocess.formats.source_file import opened
from nlbs.preprocess.formats.stored import compressed_values, frame_bytes, range_notes, uncompressed_values
from nlbs.preprocess.formats.syntaxes import DEFLATED, IMPLICIT_LITTLE, SYNTAXES, Syntax

#: A deflated file may unpack to this much: the largest image, and room for its header.
_MAX_INFLATED_BYTES = 2 * MAX_PIXELS + 64 * 1024 * 1024

_PIXEL_DATA = 0x7FE00010

# Its warnings quote values of the file, and a log must not hold them.
logging.getLogger("pydicom").setLevel(logging.CRITICAL + 1)


@dataclass(frozen=True)
class _PixelElement:
    """Where the value of Pixel Data lies."""

    file: BinaryIO  #: at the first byte of the value
    vr: str
    length: int | None  #: None is undefined: items up to a delimiter


def read_dicom(
    path: Path, decoder: str = "auto", frame: int | str | None = None, max_pixels: int = MAX_PIXELS
) -> SourceImage:
    """Gives the stored pixel values of a grey DICOM file, as :func:`dicom_image` does."""
    with opened(path) as file:
        return dicom_image(file, decoder, frame, max_pixels)


def dicom_image(
    file: BinaryIO,
    decoder: str,
    frame: int | str | None,
    max_pixels: int,
    check: Callable[[pydicom.Dataset], None] | None = None,
) -> SourceImage:
    """Gives the stored pixel values of one grey image.

    Args:
        file: a DICOM file, at its beginning; of other frames than the one no pixels are read.
        decoder: "auto" (the fast codec where it equals the reference to the last bit),
            "imagecodecs" or "pylibjpeg" (the reference).
        frame: of a multi-frame file: a number from 1, or "middle"; None refuses such a file.
        max_pixels: larger images are refused before anything is allocated.
        check: looks at the header before anything is made of it, and may raise an ImageError.

    Raises:
        ImageError: with the ``status`` of what is wrong. Messages name elements and numbers,
            never text from the file: they are kept in a table that may be shared.
    """
    dataset = _read_elements(file)
    require_image(dataset)
    syntax = _known_syntax(dataset)
    pixels = _pixel_element(dataset, file, syntax)
    frames = number_of_frames(dataset)
    number = chosen_frame(frames, frame)
    flatten_groups(dataset, number, frames)
    if check is not None:
        check(dataset)
    header = dicom_header(dataset, syntax.uid, max_pixels)
    if syntax.encapsulated:
        data = compressed_frame(
            pixels.file, number, frames, syntax.marked, element(dataset, "ExtendedOffsetTable")
        )
        stored, used, notes = compressed_values(data, header, decoder)
    else:
        (stored, notes), used = _native_frame(pixels, header, number, frames), "numpy"
    notes = (*notes, *_trailing_notes(pixels.file, syntax), *range_notes(stored, header))
    return SourceImage(stored, header, used, notes, number if frames > 1 else None)


def _read_elements(file: BinaryIO) -> pydicom.FileDataset:
    """Gives the elements before the pixels, and leaves the file there; of a deflated file all elements."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # odd values in elements that are not read here
            deflated = _is_deflated(file)
            return pydicom.dcmread(file, stop_before_pixels=not deflated)
    except InvalidDicomError:
        raise NotDicomError("not a DICOM file: no 'DICM' after 128 bytes (PS3.10 7.1)") from None
    except PermissionError:
        raise MissingFileError("no permission to read the file") from None
    except RecursionError:
        raise BadHeaderError("sequences are nested too deeply to be read") from None
    except zlib.error as error:
        raise TruncatedError("the deflated elements are cut short or damaged (PS3.5 A.5)") from error
    except OSError as error:  # of the disk or the network: the file itself may be whole
        if error.errno is None:
            raise BadHeaderError("the DICOM elements cannot be read (OSError)") from error
        raise MissingFileError(f"the file cannot be read: {os.strerror(error.errno)}") from error
    except PYDICOM_ERRORS as error:
        raise BadHeaderError(f"the DICOM elements cannot be read ({type(error).__name__})") from error


def _is_deflated(file: BinaryIO) -> bool:
    """Says whether the elements are deflated, refusing more of them than any image has, piece by piece."""
    # Not by a look at the first bytes alone: a long element may stand before Transfer Syntax UID.
    pydicom.filereader.read_preamble(file, force=False)
    meta = pydicom.filereader._read_file_meta_info(file)
    if element(meta, "TransferSyntaxUID") != DEFLATED:
        file.seek(0)
        return False
    inflate, total = zlib.decompressobj(-zlib.MAX_WBITS), 0
    piece = file.read()
    while piece and not inflate.eof:
        total += len(inflate.decompress(piece, 1 << 24))
        piece = inflate.unconsumed_tail
        if total > _MAX_INFLATED_BYTES:
            raise UnsupportedImageError(f"the deflated elements unpack to more than {total:,} bytes")
    file.seek(0)
    return True


def _known_syntax(dataset: pydicom.FileDataset) -> Syntax:
    uid = element(dataset.file_meta, "TransferSyntaxUID")
    if uid is None:
        raise BadHeaderError("no Transfer Syntax UID (0002,0010): nothing says how the pixels are coded")
    syntax = SYNTAXES.get(str(uid))
    if syntax is None:
        raise UnsupportedImageError(
            "the Transfer Syntax UID (0002,0010) is none of the standard's, or a retired one"
        )
    if syntax.refusal:
        raise UnsupportedImageError(f"transfer syntax {syntax.name}: {syntax.refusal}")
    return syntax


def _pixel_element(dataset: pydicom.FileDataset, file: BinaryIO, syntax: Syntax) -> _PixelElement:
    """Gives where the pixels are, in the file or, unpacked, in memory."""
    if syntax.uid == DEFLATED:
        data = element(dataset, "PixelData")
        if isinstance(data, bytes):
            vr = dataset["PixelData"].VR
            dataset.PixelData = None
            return _PixelElement(io.BytesIO(data), vr, len(data))
        raise _no_pixels(dataset)
    implicit, little = dataset.original_encoding
    order = "<" if little else ">"
    head = file.read(8)
    if len(head) == 8:
        group, number = struct.unpack(f"{order}HH", head[:4])
        if group << 16 | number == _PIXEL_DATA:
            vr, tail = ("OW", head[4:]) if implicit else (head[4:6].decode("latin-1"), file.read(4))
            if len(tail) == 4:
                (length,) = struct.unpack(f"{order}I", tail)
                return _PixelElement(file, vr, None if length == 0xFFFFFFFF else length)
        elif group == 0x7FE0 and number in (0x0008, 0x0009):
            raise UnsupportedImageError(
                "the pixels are floating-point numbers, expected integers (7FE0,0010)"
            )
    raise _no_pixels(dataset)


def _no_pixels(dataset: pydicom.Dataset) -> NoPixelsError | TruncatedError:
    # pydicom gives nothing at all of a file that ends within an element.
    if len(dataset) and element(dataset, "Rows") is None:
        return NoPixelsError("there is no Pixel Data (7FE0,0010), and no image is described")
    return TruncatedError("the file ends before its Pixel Data (7FE0,0010) does")


def _native_frame(
    pixels: _PixelElement, header: Header, number: int, frames: int
) -> tuple[Stored, tuple[str, ...]]:
    """Gives the stored values of one uncompressed frame, and a remark on bytes that are too many."""
    if pixels.length is None:
        raise BadHeaderError(
            "Pixel Data of undefined length, which uncompressed pixels never have (PS3.5 A.4)"
        )
    size, need = frame_bytes(header), frame_bytes(header) * frames
    if pixels.length < need:
        of = f" of {frames} frames" if frames > 1 else ""
        raise TruncatedError(
            f"Pixel Data has {pixels.length:,} bytes, {size_text((header.rows, header.columns))} pixels of "
            f"{header.bits_allocated} bits{of} need {need:,}"
        )
    words = (
        not SYNTAXES[header.transfer_syntax].little_endian
        and header.bits_allocated == 8
        and pixels.vr == "OW"
    )
    begin = (number - 1) * size
    odd = begin % 2 if words else 0
    end = pixels.file.tell() + pixels.length
    pixels.file.seek(begin - odd, 1)
    data = pixels.file.read(size + odd + (size + odd) % 2)
    pixels.file.seek(end)
    if len(data) < size + odd:
        raise TruncatedError("the file ends before its Pixel Data (7FE0,0010) does")
    spare = pixels.length - need - need % 2
    notes = (f"Pixel Data has {spare:,} bytes more than its image needs",) if spare > 0 else ()
    if words:
        return uncompressed_values(_swapped(data)[odd:], header), notes
    return uncompressed_values(data, header), notes


def _trailing_notes(file: BinaryIO, syntax: Syntax) -> tuple[str, ...]:
    """Gives a remark where what follows the pixels is no element: then they may stand elsewhere than they should.

    Zeros are let pass: some writers fill up a block with them.
    """
    end = file.tell()
    rest = file.read(8)
    left = file.seek(0, 2) - end
    if not rest.strip(b"\0") or (len(rest) == 8 and _is_element(rest, syntax, left - 8)):
        return ()
    return (f"behind Pixel Data stand {left:,} bytes that are no element",)


def _is_element(head: bytes, syntax: Syntax, left: int) -> bool:
    """Says whether eight bytes may begin an element behind Pixel Data, whose tags ascend (PS3.5 7.1)."""
    order = "<" if syntax.little_endian else ">"
    group, number, length = struct.unpack(f"{order}HHI", head)
    if (group, number) <= (0x7FE0, 0x0010):
        return False
    if syntax.uid == IMPLICIT_LITTLE:
        return bool(length == 0xFFFFFFFF or length <= left)
    vr = head[4:6]
    return vr.isalpha() and vr.isupper()


def _swapped(data: bytes) -> bytes:
    """Gives bytes whose pairs stand the other way round, as in big-endian words of two pixels (PS3.5 A.3)."""
    swapped = bytearray(data)
    swapped[0 : len(data) // 2 * 2 : 2], swapped[1::2] = data[1::2], data[0 : len(data) // 2 * 2 : 2]
    return bytes(swapped)
