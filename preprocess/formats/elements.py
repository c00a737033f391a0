"""The elements of a DICOM file before its pixels (PS3.5 7.1): all, or a few for a quick look; in any encoding."""

import io
import logging
import os
import warnings
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

import pydicom
from pydicom.errors import InvalidDicomError
from pydicom.filereader import _read_file_meta_info, read_dataset, read_preamble

from nlbs.preprocess.formats.header import MAX_PIXELS, PYDICOM_ERRORS, element
from nlbs.preprocess.formats.image_errors import (
    BadHeaderError,
    MissingFileError,
    NotDicomError,
    TruncatedError,
    UnsupportedImageError,
)
from nlbs.preprocess.formats.source_file import SCAN_BYTES, opened
from nlbs.preprocess.formats.syntaxes import DEFLATED, SYNTAXES

#: A deflated file may unpack to this much: the largest image, and room for its header.
_MAX_INFLATED_BYTES = 2 * MAX_PIXELS + 64 * 1024 * 1024

#: Without these no image is described (PS3.3 C.7.6.3); the first element of the pixels.
_OF_AN_IMAGE = ("Rows", "Columns", "BitsAllocated", "BitsStored", "PhotometricInterpretation")
_PIXELS = 0x7FE00000

# Its warnings quote values of the file, and a log must not hold them.
logging.getLogger("pydicom").setLevel(logging.CRITICAL + 1)


def read_elements(file: BinaryIO) -> tuple[pydicom.FileDataset, tuple[str, ...]]:
    """Return the elements before the pixels and remarks, and leave the file there; of a deflated file all elements.

    Raises:
        ImageError: the file is no DICOM file, or its elements cannot be read.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # odd values in elements that are not read here
            deflated, notes = _deflated(file)
            if deflated is not None:
                return pydicom.dcmread(deflated), notes
            dataset = pydicom.dcmread(file, stop_before_pixels=True)
            if "Rows" not in dataset:
                dataset = _in_the_other_order(file, dataset)
            return dataset, _with_later_elements(file, dataset)
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


def _with_later_elements(file: BinaryIO, dataset: pydicom.FileDataset) -> tuple[str, ...]:
    """Add what describes an image and stands behind its pixels, though tags ascend (PS3.5 7.1); return a remark."""
    lacking = [keyword for keyword in _OF_AN_IMAGE if keyword not in dataset]
    place = file.tell()
    if not lacking or len(file.read(12)) < 12:
        file.seek(place)
        return ()
    file.seek(0)
    try:
        whole = pydicom.dcmread(file, defer_size=1 << 16)
    except PYDICOM_ERRORS:  # of what is wrong with the pixels others speak
        return ()
    finally:
        file.seek(place)
    behind = [keyword for keyword in lacking if keyword in whole]
    if "PixelData" not in whole or not behind:
        return ()
    for tag in whole.keys() - dataset.keys():
        if tag < _PIXELS:
            dataset[tag] = whole.get_item(tag)
    return ("elements that describe the image stand behind its pixels (PS3.5 7.1)",)


def _deflated(file: BinaryIO) -> tuple[BinaryIO | None, tuple[str, ...]]:
    """Return a file of deflated elements as PS3.5 A.5 has it, None where they are not deflated; and remarks.

    More of them than any image has are refused, piece by piece.
    """
    # Not by a look at the first bytes alone: a long element may stand before Transfer Syntax UID.
    pydicom.filereader.read_preamble(file, force=False)
    meta = pydicom.filereader._read_file_meta_info(file)
    if element(meta, "TransferSyntaxUID") != DEFLATED:
        file.seek(0)
        return None, ()
    start = file.tell()
    inflate, total = zlib.decompressobj(-zlib.MAX_WBITS), 0
    piece = file.read()
    if piece[:2] == b"\x08\0" and piece[4:6].isalpha() and piece[4:6].isupper():
        raise BadHeaderError("the elements are not deflated, though the transfer syntax says so (PS3.5 A.5)")
    # RFC 1950 2.2. A deflate stream (RFC 1951 3.2.3) begins so only if an encoder fills unused bits with ones.
    in_zlib = piece[:1] == b"\x78" and int.from_bytes(piece[:2], "big") % 31 == 0
    if in_zlib:
        file.seek(0)
        head, piece = file.read(start), piece[2:]
        file = io.BytesIO(head + piece)
    while piece and not inflate.eof:
        total += len(inflate.decompress(piece, 1 << 24))
        piece = inflate.unconsumed_tail
        if total > _MAX_INFLATED_BYTES:
            raise UnsupportedImageError(f"the deflated elements unpack to more than {total:,} bytes")
    file.seek(0)
    return file, ("the deflated elements stand in a zlib stream (PS3.5 A.5)",) if in_zlib else ()


#: Sequences may be long, and of what stands behind them nothing is looked for.
_LAST_TAG = 0x52009230


def scanned(path: Path, keywords: Sequence[str] = ()) -> pydicom.Dataset:
    """Return some elements of a DICOM file that stand before its pixels, with ``file_meta``.

    No more than SCAN_BYTES are read or unpacked; what stands behind them is not found.

    Args:
        path: of the file.
        keywords: of the elements; none is the File Meta Information alone.

    Raises:
        ImageError: there is no such file, or its elements cannot be read.
    """
    with opened(path, SCAN_BYTES) as file, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # odd values in elements that are not read here
        try:
            read_preamble(file, force=False)
            meta = _read_file_meta_info(file)
            if not keywords:
                found = pydicom.Dataset()
            elif element(meta, "TransferSyntaxUID") == DEFLATED:
                data = zlib.decompressobj(-zlib.MAX_WBITS).decompress(file.read(SCAN_BYTES // 2), SCAN_BYTES)
                found = read_dataset(
                    io.BytesIO(data), False, True, stop_when=_is_behind, specific_tags=_tags(keywords)
                )
            else:
                file.seek(0)
                found = pydicom.dcmread(file, stop_before_pixels=True, specific_tags=list(keywords))
        except (*PYDICOM_ERRORS, InvalidDicomError, zlib.error) as error:
            raise BadHeaderError(f"the DICOM elements cannot be read ({type(error).__name__})") from error
    found.file_meta = meta
    return found


def _is_behind(tag: int, vr: str | None, length: int) -> bool:
    return tag > _LAST_TAG


def _tags(keywords: Sequence[str]) -> list[pydicom.tag.BaseTag | int]:
    return [pydicom.tag.Tag(keyword) for keyword in keywords]
