"""A DICOM file becomes stored pixel values and the header fields that give them a meaning."""

import stat
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pydicom
from pydicom.errors import InvalidDicomError
from pydicom.uid import UID, JPEG2000TransferSyntaxes, JPEGLSTransferSyntaxes, JPEGTransferSyntaxes

from nlbs.errors import ImageError
from nlbs.preprocess.codecs import CODECS, decode_with_pydicom, names_of_decoders

Stored = npt.NDArray[np.integer[Any]]

#: Refused from the header, before any pixel is allocated; the largest detectors have 25 Mpixel.
MAX_PIXELS = 120_000_000

pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE


class NotDicomError(ImageError):
    """The file is not a DICOM file."""

    status = "not_dicom"


class UnsupportedImageError(ImageError):
    """A DICOM file, but of no kind that holds one grey mammogram."""

    status = "unsupported"


class BadHeaderError(ImageError):
    """The header contradicts itself or lacks what decoding needs."""

    status = "bad_header"


class MissingFileError(ImageError):
    """There is no regular, readable file at the path."""

    status = "missing_file"


class NoPixelsError(ImageError):
    """A DICOM file without an image in it."""

    status = "no_pixels"


class TruncatedError(ImageError):
    """The file ends before its pixels do."""

    status = "truncated"


class DecodeError(ImageError):
    """The decoder could not read the pixels."""

    status = "decode_failed"


@dataclass(frozen=True)
class Header:
    """What the header of a grey, single-frame image says."""

    rows: int
    columns: int
    bits_allocated: int
    bits_stored: int
    high_bit: int
    signed: bool  #: PixelRepresentation is 1
    inverted: bool  #: MONOCHROME1, or PresentationLUTShape INVERSE: the smallest value is white
    transfer_syntax: str  #: UID
    spacing_mm: tuple[float, float] | None  #: row, column distance on the detector
    padding: tuple[int, int] | None  #: lowest and highest stored value that is no image (PS3.3 C.7.5.1.1.2)
    dataset: pydicom.Dataset  #: without the pixels


@dataclass(frozen=True)
class DicomImage:
    """A decoded file."""

    stored: Stored  #: (rows, columns), integers as stored, before any lookup table
    header: Header
    decoder: str  #: which package and version decoded it
    notes: tuple[str, ...]  #: what looked wrong and was not grave


def read_dicom(path: Path, decoder: str = "auto", max_pixels: int = MAX_PIXELS) -> DicomImage:
    """Gives the stored pixel values of one grey, single-frame DICOM file.

    Args:
        path: a regular file.
        decoder: "auto" (the fast codec where it equals the reference to the last bit),
            "imagecodecs" or "pylibjpeg" (the reference).
        max_pixels: larger images are refused before anything is allocated.

    Raises:
        ImageError: with the ``status`` of what is wrong. Messages name elements and numbers,
            never text from the file: they are kept in a table that may be shared.
    """
    dataset = _read_file(path)
    header = _parse_header(dataset, max_pixels)
    data = dataset.PixelData
    dataset.PixelData = None
    if header.dataset.file_meta.TransferSyntaxUID.is_encapsulated:
        stored, used = _decode_frames(data, header, decoder)
    else:
        stored, used = _native_pixels(data, header), "numpy"
    if stored.shape != (header.rows, header.columns):
        found, wanted = _size(stored.shape), _size((header.rows, header.columns))
        raise DecodeError(f"the compressed image is {found} pixels, Rows and Columns say {wanted}")
    notes = []
    top = int(stored.max())
    if top >= 1 << (header.bits_stored - header.signed):
        notes.append(f"pixel values reach {top}, beyond BitsStored {header.bits_stored}")
    return DicomImage(stored, header, used, tuple(notes))


def _read_file(path: Path) -> pydicom.FileDataset:
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        raise MissingFileError("there is no such file") from None
    except (OSError, ValueError) as error:
        raise MissingFileError(f"the file cannot be opened ({type(error).__name__})") from error
    if not stat.S_ISREG(mode):
        raise MissingFileError("the path is not a regular file")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # odd values in elements that are not read here
            return pydicom.dcmread(path)
    except InvalidDicomError:
        raise NotDicomError("not a DICOM file: no 'DICM' after 128 bytes (PS3.10 7.1)") from None
    except PermissionError:
        raise MissingFileError("no permission to read the file") from None
    except RecursionError:
        raise BadHeaderError("sequences are nested too deeply to be read") from None
    # What pydicom raises on broken files, seen in fuzzed ones: they are one file's trouble, not the run's.
    except (OSError, EOFError, AttributeError, TypeError, ValueError, KeyError, NotImplementedError) as error:
        raise BadHeaderError(f"the DICOM elements cannot be read ({type(error).__name__})") from error


def _parse_header(dataset: pydicom.FileDataset, max_pixels: int) -> Header:
    syntax = getattr(dataset.file_meta, "TransferSyntaxUID", None)
    if syntax is None:
        raise BadHeaderError("no Transfer Syntax UID (0002,0010): nothing says how the pixels are coded")
    if "PixelData" not in dataset:
        raise NoPixelsError("there is no Pixel Data (7FE0,0010): the file is cut short or holds no image")
    rows, columns = _integer(dataset, "Rows"), _integer(dataset, "Columns")
    frames = _integer(dataset, "NumberOfFrames", 1)
    samples = _integer(dataset, "SamplesPerPixel", 1)
    allocated, stored = _integer(dataset, "BitsAllocated"), _integer(dataset, "BitsStored")
    high_bit = _integer(dataset, "HighBit", stored - 1)
    photometric = str(dataset.get("PhotometricInterpretation", ""))
    if rows < 1 or columns < 1 or rows * columns > max_pixels:
        raise BadHeaderError(f"Rows x Columns is {rows} x {columns}, expected 1 to {max_pixels:,} pixels")
    if frames != 1:
        raise UnsupportedImageError(
            f"{frames} frames; expected a single image, not a tomosynthesis or a film"
        )
    if samples != 1 or photometric not in ("MONOCHROME1", "MONOCHROME2"):
        raise UnsupportedImageError(
            f"{samples} samples per pixel, expected a grey image (MONOCHROME1 or MONOCHROME2)"
        )
    if allocated not in (8, 16) or not 1 <= stored <= allocated or not stored - 1 <= high_bit < allocated:
        raise BadHeaderError(
            f"BitsAllocated {allocated}, BitsStored {stored}, HighBit {high_bit}: expected 8 or 16 bits "
            "with BitsStored - 1 <= HighBit < BitsAllocated"
        )
    return Header(
        rows=rows,
        columns=columns,
        bits_allocated=allocated,
        bits_stored=stored,
        high_bit=high_bit,
        signed=_integer(dataset, "PixelRepresentation", 0) == 1,
        inverted=photometric == "MONOCHROME1" or dataset.get("PresentationLUTShape") == "INVERSE",
        transfer_syntax=str(syntax),
        spacing_mm=_spacing(dataset),
        padding=_padding(dataset, stored),
        dataset=dataset,
    )


def _integer(dataset: pydicom.Dataset, keyword: str, default: int | None = None) -> int:
    try:
        value = dataset.get(keyword)
        if value is None or value == "":
            if default is not None:
                return default
            raise BadHeaderError(f"{keyword} is missing")
        return int(value)
    except (TypeError, ValueError) as error:
        raise BadHeaderError(f"{keyword} is no single whole number") from error


def _spacing(dataset: pydicom.Dataset) -> tuple[float, float] | None:
    for keyword in ("PixelSpacing", "ImagerPixelSpacing"):
        try:
            row, column = (float(value) for value in dataset.get(keyword) or ())
        except (TypeError, ValueError):
            continue
        if 0 < row < 10 and 0 < column < 10:
            return row, column
    return None


def _padding(dataset: pydicom.Dataset, bits_stored: int) -> tuple[int, int] | None:
    try:
        value = dataset.get("PixelPaddingValue")
        if value is None:
            return None
        limit = dataset.get("PixelPaddingRangeLimit")
        first, last = int(value), int(value if limit is None else limit)
    except (TypeError, ValueError):
        return None
    return min(first, last), max(first, last)


def _native_pixels(data: bytes, header: Header) -> Stored:
    """Gives uncompressed pixels (PS3.5 8.1.1): the bits of a cell, shifted, masked and sign-extended."""
    count = header.rows * header.columns
    if len(data) < count * header.bits_allocated // 8:
        raise TruncatedError(
            f"Pixel Data has {len(data):,} bytes, {_size((header.rows, header.columns))} pixels of "
            f"{header.bits_allocated} bits need {count * header.bits_allocated // 8:,}"
        )
    little = UID(header.transfer_syntax).is_little_endian
    kind = np.dtype(f"{'<' if little else '>'}u{header.bits_allocated // 8}")
    cells = np.frombuffer(data, kind, count=count).reshape(header.rows, header.columns)
    return stored_values(cells.astype(kind.newbyteorder("="), copy=False), header)


def stored_values(cells: Stored, header: Header) -> Stored:
    """Gives the stored values in unsigned cells: bits HighBit down to HighBit - BitsStored + 1."""
    bits = header.bits_stored
    shift = header.high_bit - bits + 1
    if shift:
        cells = cells >> shift
    if shift + bits < header.bits_allocated or shift:
        cells = cells & np.array((1 << bits) - 1, dtype=cells.dtype)
    return sign_extended(cells, bits) if header.signed else cells


def sign_extended(values: Stored, bits: int) -> Stored:
    """Gives two's-complement numbers of ``bits`` bits, held in unsigned cells, as signed integers."""
    unused = values.dtype.itemsize * 8 - bits
    signed = np.dtype(f"i{values.dtype.itemsize}")
    shifted: Stored = np.right_shift(np.left_shift(values, unused).view(signed), unused)
    return shifted


def _decode_frames(data: bytes, header: Header, decoder: str) -> tuple[Stored, str]:
    syntax = header.transfer_syntax
    frame = _single_frame(data, header)
    for name in names_of_decoders(syntax, decoder):
        try:
            if name == "imagecodecs":
                cells, used = CODECS[syntax](frame, header.bits_allocated), "imagecodecs"
                cells = cells.reshape(header.rows, header.columns) if cells.ndim == 1 else cells
            else:
                cells, used = decode_with_pydicom(header.dataset, data)
        # Native codecs raise classes of their own; whichever it is, this file is what cannot be decoded.
        except (RuntimeError, ValueError, TypeError, OSError, AttributeError, NotImplementedError) as error:
            raise DecodeError(f"the {UID(syntax).name} pixels cannot be decoded by {name}") from error
        if cells.ndim == 2 and cells.dtype.kind == "u" and cells.dtype.itemsize * 8 == header.bits_allocated:
            if syntax == "1.2.840.10008.1.2.5":
                return stored_values(cells, header), used
            return (sign_extended(cells, header.bits_stored) if header.signed else cells), used
        return cells, used
    raise UnsupportedImageError(
        f"no decoder for transfer syntax {UID(syntax).name} is installed or asked for"
    )


def _single_frame(data: bytes, header: Header) -> bytes:
    """Gives the compressed bytes of the one frame, refusing a stream that stops before its end marker."""
    try:
        frame = next(pydicom.encaps.generate_frames(data, number_of_frames=1))
    except (ValueError, StopIteration, EOFError, TypeError) as error:
        raise TruncatedError("the compressed pixels are not complete (PS3.5 A.4)") from error
    syntax = UID(header.transfer_syntax)
    marked = (*JPEGTransferSyntaxes, *JPEGLSTransferSyntaxes, *JPEG2000TransferSyntaxes)
    # A byte or a few of padding may follow. liblj92 and libjpeg-turbo decode a cut stream to wrong pixels.
    if syntax in marked and b"\xff\xd9" not in frame.rstrip(b"\0")[-16:]:
        raise TruncatedError("the compressed pixels stop before their end marker (FFD9)")
    return frame


def _size(shape: tuple[int, ...]) -> str:
    return " x ".join(str(length) for length in shape)
