"""An image file becomes stored values and a header: DICOM here, PNG, PGM and TIFF by readers of their own."""

import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

import pydicom
from pydicom.uid import UID

from nlbs.preprocess.formats.colour import dicom_colour
from nlbs.preprocess.formats.consistency import is_swapped, settled_sign, with_polarity
from nlbs.preprocess.formats.elements import read_elements
from nlbs.preprocess.formats.frames import chosen_frame, compressed_frame, flatten_groups, number_of_frames
from nlbs.preprocess.formats.header import (
    MAX_PIXELS,
    Header,
    SourceImage,
    Stored,
    dicom_header,
    element,
    size_text,
    whole_number,
)
from nlbs.preprocess.formats.image_errors import (
    BadHeaderError,
    NoPixelsError,
    NotDicomError,
    TruncatedError,
    UnsupportedImageError,
)
from nlbs.preprocess.formats.pixel_data import PixelData, encoding, pixel_data, settled_codec, settled_coding
from nlbs.preprocess.formats.png import pgm_image, png_image
from nlbs.preprocess.formats.source_file import START_BYTES, kind_of, lies_there, opened
from nlbs.preprocess.formats.stored import (
    compressed_values,
    frame_bytes,
    range_notes,
    uncompressed_values,
    with_size_of,
)
from nlbs.preprocess.formats.syntaxes import (
    EXPLICIT_BIG,
    EXPLICIT_LITTLE,
    IMPLICIT_LITTLE,
    SYNTAXES,
    Syntax,
)
from nlbs.preprocess.formats.tiff import tiff_image

_LOOKED_AT = 1 << 16  #: bytes behind the pixels
_MOST_LINE_ENDS = 64  #: line feeds that may all stand behind carriage returns by chance


#: Kind of file but DICOM -> function of (file, decoder, frame, max_pixels).
READERS: dict[str, Callable[[BinaryIO, str, int | str | None, int], SourceImage]] = {
    "png": png_image,
    "pgm": pgm_image,
    "tiff": tiff_image,
}


def read_image(
    path: Path,
    decoder: str = "auto",
    frame: int | str | None = None,
    max_pixels: int = MAX_PIXELS,
    check: Callable[[pydicom.Dataset], None] | None = None,
    colour: bool = False,
) -> SourceImage:
    """Return the stored values of one image, its kind told by its first bytes; other arguments as of dicom_image.

    Args:
        colour: take images in colour; False refuses them, unless their channels are equal.

    Raises:
        ImageError: there is no such image; its ``status`` says why.
    """
    with opened(path) as file:
        kind = kind_of(file.read(START_BYTES))
        file.seek(0)
        if kind is None:
            raise NotDicomError(lies_there(file).sentence)
        if kind == "dicom":
            return dicom_image(file, decoder, frame, max_pixels, check, colour)
        image = READERS[kind](file, decoder, frame, max_pixels)
    if colour or image.colour is None:
        return image
    if (image.colour != image.stored[..., None]).any():
        raise UnsupportedImageError(
            "a colour image: its channels differ, expected a grey one (or --channels rgb)"
        )
    return replace(image, colour=None)


def dicom_image(
    file: BinaryIO,
    decoder: str,
    frame: int | str | None,
    max_pixels: int,
    check: Callable[[pydicom.Dataset], None] | None = None,
    colour: bool = False,
) -> SourceImage:
    """Return the stored pixel values of one image.

    Args:
        file: a DICOM file, at its beginning; of other frames than the one no pixels are read.
        decoder: "auto" (the fast codec where it equals the reference to the last bit),
            "imagecodecs" or "pylibjpeg" (the reference).
        frame: of a multi-frame file: a number from 1, or "middle"; None refuses such a file.
        max_pixels: larger images are refused before anything is allocated.
        check: looks at the header before anything is made of it, and may raise an ImageError.
        colour: take three samples per pixel too.

    Raises:
        ImageError: with the ``status`` of what is wrong. Messages name elements and numbers,
            never text from the file: they are kept in a table that may be shared.
    """
    dataset, odd = read_elements(file)
    require_image(dataset)
    syntax, unstated = _known_syntax(dataset)
    pixels = pixel_data(dataset, file, syntax)
    frames, remarks = number_of_frames(dataset)
    number = chosen_frame(frames, frame)
    flatten_groups(dataset, number, frames)
    if check is not None:
        check(dataset)
    if colour and whole_number(dataset, "SamplesPerPixel", 1) == 3:
        file.seek(0)
        return dicom_colour(file, dataset, syntax, number if frames > 1 else None, max_pixels)
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
    notes = (*odd, *unstated, *remarks, *header.notes, *polarity, *pixels.notes, *notes, *sign)
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


def _known_syntax(dataset: pydicom.FileDataset) -> tuple[Syntax, tuple[str, ...]]:
    """Return the transfer syntax that a file states; of one that states none, that of its elements, and a remark.

    Raises:
        ImageError: no image is stored so.
    """
    uid = element(dataset.file_meta, "TransferSyntaxUID")
    if uid is None and element(dataset, "Rows") is not None:
        implicit, little = encoding(dataset, SYNTAXES[EXPLICIT_LITTLE])
        own = IMPLICIT_LITTLE if implicit else EXPLICIT_LITTLE if little else EXPLICIT_BIG
        note = "there is no Transfer Syntax UID (0002,0010): pixels are read by what they and the elements look like"
        return replace(SYNTAXES[own], name="nothing"), (note,)
    if uid is None:
        raise BadHeaderError("no Transfer Syntax UID (0002,0010): nothing says how the pixels are coded")
    syntax = SYNTAXES.get(str(uid))
    if syntax is None:
        raise UnsupportedImageError(
            "the Transfer Syntax UID (0002,0010) is none of the standard's, or a retired one"
        )
    if syntax.refusal:
        raise UnsupportedImageError(f"transfer syntax {syntax.name}: {syntax.refusal}")
    return syntax, ()


def _native_frame(
    pixels: PixelData, header: Header, number: int, frames: int
) -> tuple[Stored, tuple[str, ...]]:
    """Return the stored values of one uncompressed frame, and a remark on bytes that are too many."""
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
    if pixels.available > need + need % 2:
        _refuse_text_mode(pixels.file, need)
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


def _refuse_text_mode(file: BinaryIO, need: int) -> None:
    """Raise BadHeaderError where line feeds among pixels were made CR LF on the way, which moves all that follow.

    FTP in text mode and Git with autocrlf do so. In pixels a line feed follows a carriage return by chance.
    """
    place = file.tell()
    data = file.read(need)
    file.seek(place)
    feeds = data.count(b"\n")
    if feeds > _MOST_LINE_ENDS and data.count(b"\r\n") == feeds:
        raise BadHeaderError(
            f"all {feeds:,} bytes 0A of the pixels stand behind 0D: the file was sent as a text, which moves its "
            "pixels; send it again in binary mode (Git: mark *.dcm as binary in .gitattributes)"
        )


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
    """Return a remark where what follows the pixels is no element: then they may stand elsewhere than they should.

    Zeros are let pass: some writers fill up a block with them.
    """
    end = file.tell()
    rest = file.read(_LOOKED_AT)
    left = file.seek(0, 2) - end
    # The delimiter of a length that should not have been undefined is the value's own.
    closing = not rest.strip(b"\0") or rest[:4] == b"\xfe\xff\xdd\xe0"
    if closing or (len(rest) >= 8 and _is_element(rest[:8], syntax, left - 8)):
        return ()
    return (f"behind Pixel Data stand {left:,} bytes that are no element",)


def _is_element(head: bytes, syntax: Syntax, left: int) -> bool:
    """Return whether eight bytes may begin an element behind Pixel Data, whose tags ascend (PS3.5 7.1)."""
    order = "<" if syntax.little_endian else ">"
    group, number, length = struct.unpack(f"{order}HHI", head)
    if (group, number) <= (0x7FE0, 0x0010):
        return False
    if syntax.uid == IMPLICIT_LITTLE:
        return bool(length == 0xFFFFFFFF or length <= left)
    vr = head[4:6]
    return vr.isalpha() and vr.isupper()


def _swapped(data: bytes) -> bytes:
    """Return bytes whose pairs stand the other way round, as in big-endian words of two pixels (PS3.5 A.3)."""
    swapped = bytearray(data)
    swapped[0 : len(data) // 2 * 2 : 2], swapped[1::2] = data[1::2], data[0 : len(data) // 2 * 2 : 2]
    return bytes(swapped)


_WAYS_OUT = {
    "1.2.840.10008.1.3.10": "a DICOMDIR, which lists the files of a folder: name these in the table",
}


def require_image(dataset: pydicom.FileDataset) -> None:
    """Raise NoPixelsError where a file describes no image and its SOP class says what it is instead (PS3.6 A).

    Args:
        dataset: the elements of the file, with those of group 0002.
    """
    if "Rows" in dataset:
        return
    uid = element(dataset, "SOPClassUID") or element(dataset.file_meta, "MediaStorageSOPClassUID")
    # The names are the standard's, and no text of the file.
    name = uid.name if isinstance(uid, UID) else ""
    if name == uid or not name or "Image Storage" in name:
        return
    what = _WAYS_OUT.get(str(uid), f"an object of the SOP class {name}, take its row out of the table")
    raise NoPixelsError(f"there is no Pixel Data (7FE0,0010), and no image is described: this is {what}")
