"""The bytes of one frame become stored values: cells unpacked, codestreams checked and decoded (PS3.5 8)."""

import warnings
import zlib
from dataclasses import replace

import numpy as np
import pydicom
from pydicom.uid import UID

from nlbs.preprocess.formats.codecs import (
    CODECS,
    Cells,
    Codestream,
    codestream,
    decode_with_pydicom,
    end_of_codestream,
    jpeg_xl_size,
    names_of_decoders,
    with_full_spectrum,
)
from nlbs.preprocess.formats.consistency import swapped_bytes, used_bits
from nlbs.preprocess.formats.header import PYDICOM_ERRORS, Header, Stored, size_text
from nlbs.preprocess.formats.image_errors import DecodeError, TruncatedError, UnsupportedImageError
from nlbs.preprocess.formats.syntaxes import JPEG_BASELINE, JPEG_EXTENDED, SYNTAXES


def frame_bytes(header: Header) -> int:
    """Return how many bytes one uncompressed frame takes."""
    return header.rows * header.columns * header.bits_allocated // 8


def uncompressed_values(data: bytes, header: Header) -> tuple[Stored, tuple[str, ...]]:
    """Return the stored values of an uncompressed frame (PS3.5 8.1.1), and what looked wrong.

    Raises:
        TruncatedError: there are too few bytes.
    """
    if len(data) < frame_bytes(header):
        raise TruncatedError(
            f"Pixel Data has {len(data):,} bytes, {size_text((header.rows, header.columns))} pixels of "
            f"{header.bits_allocated} bits need {frame_bytes(header):,}"
        )
    little = SYNTAXES[header.transfer_syntax].little_endian
    kind = np.dtype(f"{'<' if little else '>'}u{header.bits_allocated // 8}")
    cells = np.frombuffer(data, kind, count=header.rows * header.columns).reshape(header.rows, header.columns)
    return stored_values(cells.astype(kind.newbyteorder("="), copy=False), header)


def stored_values(cells: Stored, header: Header) -> tuple[Stored, tuple[str, ...]]:
    """Return the stored values in unsigned cells: bits HighBit down to HighBit - BitsStored + 1, and what looked wrong.

    Where the values themselves show that they take other bits than these, they go before the header.
    """
    whole = header.bits_stored == header.bits_allocated
    # To look is cheaper than to copy, and the bits above the stored ones are rarely in use.
    highest = 0 if whole else int(cells.max())
    turned = swapped_bytes(cells, header) if whole or highest >= 2 << header.high_bit else None
    if turned is not None:
        # No value of all bits that was turned is turned again: it has them no more, or is smoother so.
        values, notes = (turned, ()) if whole else stored_values(turned, header)
        return (sign_extended(values, header.bits_stored) if whole and header.signed else values), (
            "the bytes of the pixels stand in the other order than the transfer syntax says",
            *notes,
        )
    if whole:
        return (sign_extended(cells, header.bits_stored) if header.signed else cells), ()
    shift, bits, notes = used_bits(cells, highest, header)
    largest = (1 << bits) - 1
    if shift:
        cells = cells >> shift
    if highest >> shift > largest:
        cells = cells & np.array(largest, dtype=cells.dtype)
    return (sign_extended(cells, bits) if header.signed else cells), notes


def sign_extended(values: Stored, bits: int) -> Stored:
    """Return two's-complement numbers of ``bits`` bits, held in unsigned cells, as signed integers."""
    unused = values.dtype.itemsize * 8 - bits
    signed = np.dtype(f"i{values.dtype.itemsize}")
    shifted: Stored = np.right_shift(np.left_shift(values, unused).view(signed), unused)
    return shifted


def compressed_values(frame: bytes, header: Header, decoder: str) -> tuple[Stored, str, tuple[str, ...]]:
    """Return the stored values of a compressed frame, the decoder's name, and what looked wrong.

    Raises:
        ImageError: the frame is cut short, is another image than the header says, or cannot be decoded.
    """
    syntax = SYNTAXES[header.transfer_syntax]
    end = end_of_codestream(frame) if syntax.marked else len(frame)
    if end is None:
        raise TruncatedError("the compressed pixels stop before their end marker (FFD9)")
    filler: tuple[str, ...] = ()
    if end < len(frame):
        filler = (f"behind the end marker of the compressed pixels stand {len(frame) - end:,} bytes",)
        frame = frame[:end]
    if syntax.coding in ("cells", "deflate"):
        data = frame if syntax.coding == "cells" else _inflated(frame, frame_bytes(header))
        values, notes = uncompressed_values(data, header)
        return values, "numpy", notes
    if syntax.uid in (JPEG_BASELINE, JPEG_EXTENDED):
        frame = with_full_spectrum(frame)
    stated = _checked_codestream(frame, header)
    for name in names_of_decoders(syntax.uid, decoder):
        try:
            cells, used = _cells(frame, header, name, stated)
        # Native codecs raise classes of their own; whichever it is, this file is what cannot be decoded.
        except (*PYDICOM_ERRORS, RuntimeError) as error:
            raise DecodeError(f"the {syntax.name} pixels cannot be decoded by {name}") from error
        if cells.shape != (header.rows, header.columns):
            raise DecodeError(_other_size(cells.shape, header))
        precision = stated.precision if stated else header.bits_stored
        values, notes = _stored_of(cells, header, precision)
        return values, used, (*filler, *notes, *_lossy_notes(stated, header), *_sign_notes(stated, header))
    raise UnsupportedImageError(f"no decoder for transfer syntax {syntax.name} is installed or asked for")


def range_notes(stored: Stored, header: Header) -> tuple[str, ...]:
    """Return a remark where values lie beyond what BitsStored allows."""
    top = 1 << (header.bits_stored - header.signed)
    lowest, highest = int(stored.min()), int(stored.max())
    if highest < top and lowest >= (-top if header.signed else 0):
        return ()
    beyond = highest if highest >= top else lowest
    return (f"pixel values reach {beyond}, beyond BitsStored {header.bits_stored}",)


def _checked_codestream(frame: bytes, header: Header) -> Codestream | None:
    """Return what a frame says of itself, refusing what the header does not say too."""
    syntax = SYNTAXES[header.transfer_syntax]
    if syntax.coding == "rle":  # says nothing but the number of its segments
        return None
    if syntax.coding == "jpegxl":
        size = jpeg_xl_size(frame)
        if size is None:
            raise DecodeError("the compressed pixels are no JPEG XL image")
        if size != (header.rows, header.columns):
            raise DecodeError(_other_size(size, header))
        return None
    stated = codestream(frame)
    if stated is None:
        raise DecodeError(
            f"the compressed pixels are no {syntax.name} image: they have no header of their own"
        )
    if stated.components != 1:
        raise DecodeError(f"the compressed image has {stated.components} components, expected a grey one")
    if stated.rows and (stated.rows, stated.columns) != (header.rows, header.columns):
        raise DecodeError(_other_size((stated.rows, stated.columns), header))
    if stated.precision > header.bits_allocated:
        raise DecodeError(
            f"the compressed image has {stated.precision} bits, BitsAllocated says {header.bits_allocated}"
        )
    return stated


def _lossy_notes(stated: Codestream | None, header: Header) -> tuple[str, ...]:
    if stated is None or stated.lossless is not False or not SYNTAXES[header.transfer_syntax].lossless:
        return ()
    return ("the compressed image is lossy, its transfer syntax says lossless",)


def _sign_notes(stated: Codestream | None, header: Header) -> tuple[str, ...]:
    if stated is None or not stated.signed or header.signed:
        return ()
    return ("the compressed image has signed values, PixelRepresentation says unsigned",)


def with_size_of(header: Header, frame: bytes) -> tuple[Header, tuple[str, ...]]:
    """Return the header with the rows and columns of a codestream, where its own are those swapped, and a remark."""
    stated = codestream(frame) if SYNTAXES[header.transfer_syntax].marked else None
    own, found = (header.rows, header.columns), (stated.rows, stated.columns) if stated else None
    if found is None or found == own or found != own[::-1]:
        return header, ()
    note = f"the compressed image is {size_text(found)} pixels, Rows and Columns say {size_text(own)}"
    return replace(header, rows=found[0], columns=found[1]), (note,)


def _inflated(frame: bytes, wanted: int) -> bytes:
    """Return a deflated frame (RFC 1951), unpacked to no more than the header allows."""
    unpack = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        data = unpack.decompress(frame, wanted + 2)
    except zlib.error as error:
        raise DecodeError("the deflated pixels are damaged (RFC 1951)") from error
    if len(data) > wanted + 1:
        raise DecodeError(
            f"the deflated pixels unpack to more than the {wanted:,} bytes that Rows and Columns say"
        )
    return data


def _cells(frame: bytes, header: Header, name: str, stated: Codestream | None) -> tuple[Cells, str]:
    if name == "imagecodecs":
        cells = CODECS[header.transfer_syntax](frame, header.bits_allocated, header.rows * header.columns)
        # RLE knows no lines; a stream of another length does not fit, and says so.
        return cells.reshape(header.rows, header.columns) if cells.ndim == 1 else cells, "imagecodecs"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # where header and codestream differ, which is checked here
        return decode_with_pydicom(_bare_dataset(frame, header, stated))


def _bare_dataset(frame: bytes, header: Header, stated: Codestream | None) -> pydicom.Dataset:
    """Return the least dataset that pydicom decodes: nothing else in the file can disturb it."""
    coding = SYNTAXES[header.transfer_syntax].coding
    allocated = header.bits_allocated
    if stated is not None and coding in ("jpeg", "jpeg-ls") and stated.precision <= 8:
        allocated = 8  # of its cells, whatever the header allocates
    bits = allocated if coding == "rle" else min(header.bits_stored, allocated)
    dataset = pydicom.Dataset()
    dataset.file_meta = pydicom.dataset.FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = UID(header.transfer_syntax)
    dataset.Rows, dataset.Columns, dataset.SamplesPerPixel = header.rows, header.columns, 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = allocated, bits, bits - 1
    dataset.PixelRepresentation = int(header.signed)
    dataset.PixelData = pydicom.encaps.encapsulate([frame])
    return dataset


def _stored_of(cells: Cells, header: Header, precision: int) -> tuple[Stored, tuple[str, ...]]:
    """Return the stored values in what a decoder made, whose sign or width may be other than the header's; remarks."""
    syntax = SYNTAXES[header.transfer_syntax]
    if cells.dtype.kind not in "iu":
        raise DecodeError(f"the compressed pixels are {cells.dtype} numbers, expected integers")
    if syntax.coding == "rle":  # compressed cells, not values
        return stored_values(cells.view(f"u{cells.dtype.itemsize}"), header)
    bits = min(header.bits_stored, precision)
    # JPEG 2000 alone knows of signs, and its lossy values may overshoot the range.
    if header.signed and (cells.dtype.kind == "u" or not syntax.is_jpeg_2000):
        unsigned = cells.view(f"u{cells.dtype.itemsize}")
        return sign_extended(unsigned.astype(f"u{header.bits_allocated // 8}", copy=False), bits), ()
    if not header.signed and cells.dtype.kind == "i":
        return cells.view(f"u{cells.dtype.itemsize}") & ((1 << bits) - 1), ()
    return cells, ()


def _other_size(found: tuple[int, ...], header: Header) -> str:
    wanted = size_text((header.rows, header.columns))
    return f"the compressed image is {size_text(found)} pixels, Rows and Columns say {wanted}"
