"""Where Pixel Data lies and how it is coded: by what stands in the file, whatever it states (PS3.5 7.1, A.4)."""

import io
import struct
from dataclasses import dataclass, replace
from typing import BinaryIO

import pydicom
from pydicom.dataelem import RawDataElement

from nlbs.preprocess.formats.codecs import codestream, coding_of
from nlbs.preprocess.formats.header import Header, element
from nlbs.preprocess.formats.image_errors import (
    BadHeaderError,
    NoPixelsError,
    TruncatedError,
    UnsupportedImageError,
)
from nlbs.preprocess.formats.stored import frame_bytes
from nlbs.preprocess.formats.syntaxes import (
    DEFLATED,
    EXPLICIT_BIG,
    EXPLICIT_LITTLE,
    IMPLICIT_LITTLE,
    JPEG_EXTENDED,
    SYNTAXES,
    UID_OF_CODING,
    Syntax,
)

_PIXEL_DATA, _FLOATS = 0x7FE00010, (0x7FE00008, 0x7FE00009)
_UNDEFINED = 0xFFFFFFFF
_ITEM_HEAD, _DELIMITER_HEAD = b"\xfe\xff\x00\xe0", b"\xfe\xff\xdd\xe0"

#: With explicit VR Pixel Data is one of these (PS3.5 A.2, A.4; UN by 6.2.2), behind which two zeros stand (7.1.2).
_PIXEL_VRS = (b"OB", b"OW", b"UN")
_OTHER_VR = "??"


@dataclass(frozen=True)
class PixelData:
    """The value of Pixel Data."""

    file: BinaryIO  #: at the first byte of the value
    vr: str
    length: int | None  #: as it is stated; None is undefined
    available: int  #: bytes from there to the end of the file
    syntax: Syntax  #: by which its values are to be read
    encapsulated: bool  #: whether the value is made of items
    notes: tuple[str, ...] = ()


def pixel_data(dataset: pydicom.FileDataset, file: BinaryIO, stated: Syntax) -> PixelData:
    """Return where the value of Pixel Data begins, read in the way that the elements before it were found in.

    Args:
        dataset: the elements before the pixels, none of them converted yet; of a deflated file all elements.
        file: at the head of Pixel Data.
        stated: the transfer syntax that the file names.

    Raises:
        NoPixelsError, TruncatedError: there is none.
        UnsupportedImageError: the pixels are floating-point numbers.
        BadHeaderError: its head can be read in two ways.
    """
    if stated.uid == DEFLATED:
        return _inflated(dataset, stated)
    implicit, little = encoding(dataset, stated)
    start = file.tell()
    size = file.seek(0, 2)
    file.seek(start)
    head = file.read(12)
    tag, vr, length, behind = _head(head, implicit, "<" if little else ">", size - start)
    if tag in _FLOATS:
        raise _floating_point()
    if tag != _PIXEL_DATA or len(head) < behind:
        raise no_pixels(dataset, size - start)
    file.seek(start + behind)
    found, notes = _in_truth(stated, implicit, little)
    if vr == _OTHER_VR:
        notes += ("the VR of Pixel Data is none that it can have (OB, OW; PS3.5 A.2): it is read as OB",)
    stated_length = None if length == _UNDEFINED else length
    return PixelData(
        file, vr, stated_length, size - start - behind, found, stated.encapsulated and found is stated, notes
    )


def settled_coding(pixels: PixelData, header: Header, frames: int) -> PixelData:
    """Return the same pixels with the truth about their coding: a value of defined length is no compressed one.

    Items make a value encapsulated, a length that fits the image makes it uncompressed, whatever the transfer
    syntax says (PS3.5 A.4).

    Raises:
        BadHeaderError: it is neither.
    """
    need = frame_bytes(header) * frames
    starts = _peek(pixels.file, 16)
    stated = pixels.syntax
    if pixels.length is None:
        return _of_undefined_length(pixels, starts, need)
    fits = pixels.length in (need, need + need % 2)
    in_items = starts[:4] == _ITEM_HEAD and (stated.encapsulated or not fits) and stated.little_endian
    if in_items:
        note = "the compressed pixels stand in a Pixel Data of defined length (PS3.5 A.4)"
        return replace(pixels, encapsulated=True, notes=(*pixels.notes, note))
    if not stated.encapsulated:
        return replace(pixels, encapsulated=False)
    if fits:
        note = (
            f"the pixels are not compressed, the transfer syntax says {stated.name}: their length is defined"
        )
        return replace(
            pixels, encapsulated=False, syntax=SYNTAXES[EXPLICIT_LITTLE], notes=(*pixels.notes, note)
        )
    if coding_of(starts) in ("jpeg", "jpeg-ls", "jpeg2000") and frames == 1:
        note = "the compressed pixels stand in Pixel Data without items (PS3.5 A.4)"
        return replace(pixels, encapsulated=True, notes=(*pixels.notes, note))
    raise BadHeaderError(
        f"Pixel Data has a length, so it is not compressed (PS3.5 A.4), though the transfer syntax says "
        f"{stated.name}; and its {pixels.length:,} bytes are not the {need:,} of the uncompressed image"
    )


def settled_codec(pixels: PixelData, frame: bytes, need: int) -> PixelData:
    """Return the same pixels with the syntax by which a frame begins: a codestream tells its kind itself.

    Args:
        pixels: encapsulated ones.
        frame: the compressed bytes of one frame.
        need: bytes that it has where it is not compressed.

    Raises:
        BadHeaderError: nothing tells how the frame is coded.
    """
    stated, coding = pixels.syntax, coding_of(frame)
    if stated.encapsulated and (coding in (None, stated.coding) or stated.coding == "cells"):
        return pixels
    if coding is not None:
        stream = codestream(frame) if coding == "jpeg" else None
        # The two DCT processes leave the last bit to the decoder: they have one of their own.
        lossy_jpeg = stream is not None and stream.lossless is False
        found = SYNTAXES[JPEG_EXTENDED if lossy_jpeg else UID_OF_CODING[coding]]
        note = f"the compressed pixels are {_FAMILY[coding]}, the transfer syntax says {stated.name}"
        return replace(pixels, syntax=found, notes=(*pixels.notes, note))
    if len(frame) in (need, need + need % 2):
        note = f"the pixels stand in items, the transfer syntax says {stated.name} (PS3.5 A.4)"
        return replace(pixels, notes=(*pixels.notes, note))
    raise BadHeaderError(
        f"the pixels stand in items, as compressed ones do (PS3.5 A.4), the transfer syntax says {stated.name}, "
        "and they begin like no codestream that is known"
    )


_FAMILY = {"jpeg": "JPEG", "jpeg-ls": "JPEG-LS", "jpeg2000": "JPEG 2000", "jpegxl": "JPEG XL", "rle": "RLE"}


def no_pixels(dataset: pydicom.Dataset, left: int) -> NoPixelsError | TruncatedError | BadHeaderError:
    """Return the error for a file in which no Pixel Data stands where it should; ``left``: bytes from there on."""
    # pydicom gives nothing at all of a file that ends within an element.
    if len(dataset) and element(dataset, "Rows") is None:
        return NoPixelsError("there is no Pixel Data (7FE0,0010), and no image is described")
    if left > 12:
        return BadHeaderError(
            f"the elements stop being readable {left:,} bytes before the end of the file, and before "
            "Pixel Data (7FE0,0010)"
        )
    return TruncatedError(
        "the file ends before its Pixel Data (7FE0,0010) does: it was cut short, or stored without its pixels"
    )


def _floating_point() -> UnsupportedImageError:
    return UnsupportedImageError("the pixels are floating-point numbers, expected integers (7FE0,0010)")


def _inflated(dataset: pydicom.FileDataset, stated: Syntax) -> PixelData:
    """Return the value of Pixel Data of a deflated file, which is unpacked already."""
    if "FloatPixelData" in dataset or "DoubleFloatPixelData" in dataset:
        raise _floating_point()
    data = element(dataset, "PixelData")
    if not isinstance(data, bytes):
        raise no_pixels(dataset, 0)
    found = dataset["PixelData"]
    vr, length = found.VR, None if found.is_undefined_length else len(data)
    dataset.PixelData = None
    return PixelData(io.BytesIO(data), vr, length, len(data), stated, encapsulated=False)


def encoding(dataset: pydicom.FileDataset, stated: Syntax) -> tuple[bool, bool]:
    """Return whether the elements before the pixels have implicit VR and little endian, as they were found to have."""
    for tag in sorted(dataset.keys(), reverse=True):
        raw = dataset.get_item(tag)
        if isinstance(raw, RawDataElement):
            return bool(raw.is_implicit_VR), bool(raw.is_little_endian)
    return stated.uid == IMPLICIT_LITTLE, stated.little_endian


def _head(head: bytes, implicit: bool, order: str, left: int) -> tuple[int, str, int, int]:
    """Return tag, VR and length of an element, and where its value begins; a head that is cut has tag 0.

    Args:
        head: its first bytes.
        implicit: whether the elements before it have implicit VR.
        order: of bytes, as ``struct`` has it.
        left: bytes from here to the end of the file.

    Raises:
        BadHeaderError: VR and encoding contradict each other.
    """
    if len(head) < 8:
        return 0, "", 0, 8
    group, number = struct.unpack_from(f"{order}HH", head)
    tag, vr = group << 16 | number, head[4:6]
    if tag in _FLOATS:
        return tag, "", 0, 8
    # Read as a length, "OW" and two zeros are 22,351: odd, which no length is (PS3.5 7.1.1).
    is_explicit = vr in _PIXEL_VRS and (not implicit or head[6:8] == b"\0\0")
    if tag == _PIXEL_DATA and implicit and is_explicit:
        raise BadHeaderError("Pixel Data has explicit VR, the elements before it implicit VR")
    if is_explicit:
        return (
            tag,
            vr.decode("ascii"),
            struct.unpack_from(f"{order}I", head, 8)[0] if len(head) == 12 else 0,
            12,
        )
    # Elements of implicit VR among explicit ones are told by their VR, which is none.
    if tag == _PIXEL_DATA and not implicit and vr.isalpha() and head[6:8] == b"\0\0" and len(head) == 12:
        # A VR that is not known has its length where that of UN stands (PS3.5 6.2.2); "ox" is DCMTK's own.
        length = struct.unpack_from(f"{order}I", head, 8)[0]
        if length == _UNDEFINED or 0 < length <= left - 12:
            return tag, _OTHER_VR, length, 12
        raise BadHeaderError("the VR of Pixel Data is none that it can have (OB, OW; PS3.5 A.2)")
    return tag, "OW", struct.unpack_from(f"{order}I", head, 4)[0], 8


def _in_truth(stated: Syntax, implicit: bool, little: bool) -> tuple[Syntax, tuple[str, ...]]:
    """Return the syntax that the elements were found in, and a remark where it is not the stated one."""
    if little is not stated.little_endian:
        found = IMPLICIT_LITTLE if implicit else EXPLICIT_LITTLE if little else EXPLICIT_BIG
    elif implicit is (stated.uid == IMPLICIT_LITTLE) or stated.encapsulated:
        # Of compressed pixels nothing depends on the way in which the elements are written.
        return stated, ()
    else:
        found = IMPLICIT_LITTLE if implicit else EXPLICIT_LITTLE
    note = f"the elements are {SYNTAXES[found].name}, the transfer syntax says {stated.name}"
    return SYNTAXES[found], (note,)


def _of_undefined_length(pixels: PixelData, starts: bytes, need: int) -> PixelData:
    if pixels.syntax.encapsulated or starts[:4] == _ITEM_HEAD:
        return replace(pixels, encapsulated=True)
    place = pixels.file.tell()
    pixels.file.seek(place + need + need % 2)
    closed = pixels.file.read(4) == _DELIMITER_HEAD
    pixels.file.seek(place)
    if not closed:
        raise BadHeaderError(
            "Pixel Data of undefined length, which uncompressed pixels never have (PS3.5 A.4), and no delimiter "
            "stands where the image would end"
        )
    note = "Pixel Data has an undefined length, which uncompressed pixels never have (PS3.5 A.4)"
    length = need + need % 2
    return replace(pixels, length=length, encapsulated=False, notes=(*pixels.notes, note))


def _peek(file: BinaryIO, count: int) -> bytes:
    place = file.tell()
    data = file.read(count)
    file.seek(place)
    return data
