"""A DICOM file becomes stored pixel values and the header fields that give them a meaning."""

import logging
import os
import struct
import warnings
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

import pydicom
from pydicom.errors import InvalidDicomError

from nlbs.preprocess.formats.bits import settled_sign
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
    NotDicomError,
    TruncatedError,
    UnsupportedImageError,
)
from nlbs.preprocess.formats.line_length import is_swapped
from nlbs.preprocess.formats.objects import require_image
from nlbs.preprocess.formats.pixel_data import PixelData, pixel_data, settled_codec, settled_coding
from nlbs.preprocess.formats.polarity import with_polarity
from nlbs.preprocess.formats.source_file import opened
from nlbs.preprocess.formats.stored import (
    compressed_values,
    frame_bytes,
    range_notes,
    uncompressed_values,
    with_size_of,
)
from nlbs.preprocess.formats.syntaxes import DEFLATED, IMPLICIT_LITTLE, SYNTAXES, Syntax

#: A deflated file may unpack to this much: the largest image, and room for its header.
_MAX_INFLATED_BYTES = 2 * MAX_PIXELS + 64 * 1024 * 1024

# Its warnings quote values of the file, and a log must not hold them.
logging.getLogger("pydicom").setLevel(logging.CRITICAL + 1)


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
    pixels = pixel_data(dataset, file, _known_syntax(dataset))
    frames, remarks = number_of_frames(dataset)
    number = chosen_frame(frames, frame)
    flatten_groups(dataset, number, frames)
    if check is not None:
        check(dataset)
    header = dicom_header(dataset, pixels.syntax.uid, max_pixels)
    pixels = settled_coding(pixels, header, frames)
    if pixels.encapsulated:
        stored, header, pixels, used, notes = _compressed_frame(pixels, header, number, frames, decoder)
    else:
        header = replace(header, transfer_syntax=pixels.syntax.uid)
        (stored, notes), used = _native_frame(pixels, header, number, frames), "numpy"
    if not SYNTAXES[header.transfer_syntax].marked and is_swapped(stored):
        stored = stored.reshape(header.columns, header.rows)
        header = replace(header, rows=header.columns, columns=header.rows)
        notes = (*notes, "Rows and Columns are swapped, as neighbouring pixels show")
    stored, header, sign = settled_sign(stored, header)
    header, polarity = with_polarity(header, stored)
    notes = (*remarks, *header.notes, *polarity, *pixels.notes, *notes, *sign)
    notes = (*notes, *_trailing_notes(pixels.file, pixels.syntax), *range_notes(stored, header))
    return SourceImage(stored, header, used, notes, number if frames > 1 else None)


def _compressed_frame(
    pixels: PixelData, header: Header, number: int, frames: int, decoder: str
) -> tuple[Stored, Header, PixelData, str, tuple[str, ...]]:
    """Return the values of a compressed frame, header and pixels with the syntax found, the decoder and remarks."""
    marked = pixels.syntax.marked or not pixels.syntax.encapsulated
    extended = element(header.dataset, "ExtendedOffsetTable")
    limit = None if pixels.length is None else min(pixels.length, pixels.available)
    data, notes = compressed_frame(pixels.file, number, frames, marked, extended, limit)
    pixels = settled_codec(pixels, data, frame_bytes(header))
    header = replace(header, transfer_syntax=pixels.syntax.uid)
    header, swapped = with_size_of(header, data)
    if pixels.syntax.encapsulated:
        stored, used, more = compressed_values(data, header, decoder)
    else:
        (stored, more), used = uncompressed_values(data, header), "numpy"
    return stored, header, pixels, used, (*notes, *swapped, *more)


def _read_elements(file: BinaryIO) -> pydicom.FileDataset:
    """Gives the elements before the pixels, and leaves the file there; of a deflated file all elements."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # odd values in elements that are not read here
            deflated = _is_deflated(file)
            dataset = pydicom.dcmread(file, stop_before_pixels=not deflated)
            return dataset if deflated or "Rows" in dataset else _in_the_other_order(file, dataset)
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


def _in_the_other_order(file: BinaryIO, dataset: pydicom.FileDataset) -> pydicom.FileDataset:
    """Return the elements read in the byte order that they are in, where that is not the stated one.

    The group of the first, 0008 or little more, tells it: in the other order it is 0800.
    """
    place = file.tell()
    file.seek(0)
    pydicom.filereader.read_preamble(file, force=False)
    pydicom.filereader._read_file_meta_info(file)
    start = file.read(6)
    file.seek(-len(start), 1)
    syntax = SYNTAXES.get(str(element(dataset.file_meta, "TransferSyntaxUID")))
    if len(start) < 6 or syntax is None or syntax.encapsulated:
        file.seek(place)
        return dataset
    little = start[1] == 0 and start[0] != 0
    big = start[0] == 0 and start[1] != 0
    if little is big or little is syntax.little_endian:
        file.seek(place)
        return dataset
    read = pydicom.filereader.read_dataset(
        file,
        is_implicit_VR=not (start[4:6].isalpha() and start[4:6].isupper()),
        is_little_endian=little,
        stop_when=pydicom.filereader._at_pixel_data,
    )
    implicit = bool(read.original_encoding[0])
    return pydicom.FileDataset(file, read, dataset.preamble, dataset.file_meta, implicit, little)


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
    if piece[:2] == b"\x08\0" and piece[4:6].isalpha() and piece[4:6].isupper():
        raise BadHeaderError("the elements are not deflated, though the transfer syntax says so (PS3.5 A.5)")
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


def _native_frame(
    pixels: PixelData, header: Header, number: int, frames: int
) -> tuple[Stored, tuple[str, ...]]:
    """Gives the stored values of one uncompressed frame, and a remark on bytes that are too many."""
    if pixels.length is None:
        raise AssertionError("uncompressed pixels without a length are refused before")
    size, need = frame_bytes(header), frame_bytes(header) * frames
    if pixels.length < need:
        of = f" of {frames} frames" if frames > 1 else ""
        raise TruncatedError(
            f"Pixel Data has {pixels.length:,} bytes, {size_text((header.rows, header.columns))} pixels of "
            f"{header.bits_allocated} bits{of} need {need:,}"
        )
    notes = _length_notes(pixels.length, pixels.available, need)
    words = not pixels.syntax.little_endian and header.bits_allocated == 8 and pixels.vr == "OW"
    begin = (number - 1) * size
    odd = begin % 2 if words else 0
    end = pixels.file.tell() + min(pixels.length, pixels.available)
    pixels.file.seek(begin - odd, 1)
    data = pixels.file.read(size + odd + (size + odd) % 2)
    pixels.file.seek(end)
    if len(data) < size + odd:
        raise TruncatedError("the file ends before its Pixel Data (7FE0,0010) does")
    stored, more = uncompressed_values(_swapped(data)[odd:] if words else data, header)
    return stored, (*notes, *more)


def _length_notes(length: int, available: int, need: int) -> tuple[str, ...]:
    """Return a remark on a length that is more than the image needs.

    Raises:
        TruncatedError: the file ends within it, and not where the image does.
    """
    if length > available + 1:  # where the last byte was a padding one, it may lack
        if available not in (need, need + need % 2):
            raise TruncatedError(
                f"the file ends before its Pixel Data (7FE0,0010) does: it has {available:,} of {length:,} bytes, "
                f"and its image needs {need:,}"
            )
        return (f"Pixel Data states {length:,} bytes, the file has the {available:,} that its image needs",)
    spare = length - need - need % 2
    return (f"Pixel Data has {spare:,} bytes more than its image needs",) if spare > 0 else ()


def _trailing_notes(file: BinaryIO, syntax: Syntax) -> tuple[str, ...]:
    """Gives a remark where what follows the pixels is no element: then they may stand elsewhere than they should.

    Zeros are let pass: some writers fill up a block with them.
    """
    end = file.tell()
    rest = file.read(8)
    left = file.seek(0, 2) - end
    # The delimiter of a length that should not have been undefined is the value's own.
    closing = not rest.strip(b"\0") or rest[:4] == b"\xfe\xff\xdd\xe0"
    if closing or (len(rest) == 8 and _is_element(rest, syntax, left - 8)):
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
