"""A DICOM file becomes stored pixel values and the header fields that give them a meaning."""

import stat
import struct
import warnings
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pydicom
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.uid import (
    UID,
    AllTransferSyntaxes,
    DeflatedExplicitVRLittleEndian,
    JPEG2000TransferSyntaxes,
    JPEGLSTransferSyntaxes,
    JPEGTransferSyntaxes,
)

from nlbs.errors import ImageError
from nlbs.preprocess.codecs import (
    CODECS,
    JPEG_BASELINE,
    JPEG_EXTENDED,
    RLE,
    Cells,
    codestream,
    decode_with_pydicom,
    names_of_decoders,
    with_full_spectrum,
)

Stored = npt.NDArray[np.integer[Any]]

#: Refused from the header, before any pixel is allocated; the largest detectors have 25 Mpixel.
MAX_PIXELS = 120_000_000

#: A deflated file may unpack to this much: the largest image, and room for its header.
_MAX_INFLATED_BYTES = 2 * MAX_PIXELS + 64 * 1024 * 1024

#: What pydicom raises on broken files, seen in fuzzed ones: they are one file's trouble, not the run's.
_PYDICOM_ERRORS = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    BytesLengthException,
    EOFError,
    LookupError,
    NotImplementedError,
    OSError,
    RecursionError,
    TypeError,
    ValueError,
    struct.error,
)

#: What reading a header alone may raise, for readers of no pixels.
HEADER_ERRORS = (*_PYDICOM_ERRORS, zlib.error)

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
    if UID(header.transfer_syntax).is_encapsulated:
        stored, used = _decode_frame(data, header, decoder)
    else:
        stored, used = _native_pixels(data, header, dataset), "numpy"
    if stored.shape != (header.rows, header.columns):
        raise DecodeError(_other_size(stored.shape, header))
    return DicomImage(stored, header, used, _range_notes(stored, header))


def element(dataset: pydicom.Dataset, keyword: str) -> Any:
    """Gives the value of an element; None where it is missing, empty, or cannot be read."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about the very values that the caller judges
            value = dataset.get(keyword)
    except _PYDICOM_ERRORS:
        return None
    return None if isinstance(value, str) and not value.strip() else value


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
        _refuse_inflation(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # odd values in elements that are not read here
            return pydicom.dcmread(path)
    except InvalidDicomError:
        raise NotDicomError("not a DICOM file: no 'DICM' after 128 bytes (PS3.10 7.1)") from None
    except PermissionError:
        raise MissingFileError("no permission to read the file") from None
    except RecursionError:
        raise BadHeaderError("sequences are nested too deeply to be read") from None
    except zlib.error as error:
        raise TruncatedError("the deflated elements are cut short or damaged (PS3.5 A.5)") from error
    except _PYDICOM_ERRORS as error:
        raise BadHeaderError(f"the DICOM elements cannot be read ({type(error).__name__})") from error


def _refuse_inflation(path: Path) -> None:
    """Refuses a deflated file that unpacks to more than any image, by unpacking it piece by piece."""
    with path.open("rb") as file:
        # The first elements; Transfer Syntax UID is among them (PS3.10 7.1).
        if DeflatedExplicitVRLittleEndian.encode() not in file.read(2048):
            return
    with path.open("rb") as file:
        pydicom.filereader.read_preamble(file, force=False)
        pydicom.filereader._read_file_meta_info(file)
        inflate, total = zlib.decompressobj(-zlib.MAX_WBITS), 0
        piece = file.read()
        while piece and not inflate.eof:
            total += len(inflate.decompress(piece, 1 << 24))
            piece = inflate.unconsumed_tail
            if total > _MAX_INFLATED_BYTES:
                raise UnsupportedImageError(f"the deflated elements unpack to more than {total:,} bytes")


def _parse_header(dataset: pydicom.FileDataset, max_pixels: int) -> Header:
    syntax = element(dataset.file_meta, "TransferSyntaxUID")
    if syntax is None:
        raise BadHeaderError("no Transfer Syntax UID (0002,0010): nothing says how the pixels are coded")
    if syntax not in AllTransferSyntaxes:
        raise UnsupportedImageError("the Transfer Syntax UID (0002,0010) is none of the standard's")
    if not isinstance(element(dataset, "PixelData"), bytes):
        # pydicom gives nothing at all of a file that ends within the pixels.
        if len(dataset) and element(dataset, "Rows") is None:
            raise NoPixelsError("there is no Pixel Data (7FE0,0010), and no image is described")
        raise TruncatedError("the file ends before its Pixel Data (7FE0,0010) does")
    rows, columns = _integer(dataset, "Rows"), _integer(dataset, "Columns")
    frames = _integer(dataset, "NumberOfFrames", 1)
    samples = _integer(dataset, "SamplesPerPixel", 1)
    allocated, stored = _integer(dataset, "BitsAllocated"), _integer(dataset, "BitsStored")
    high_bit = _integer(dataset, "HighBit", stored - 1)
    photometric = str(element(dataset, "PhotometricInterpretation")).strip().upper()
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
        inverted=photometric == "MONOCHROME1" or element(dataset, "PresentationLUTShape") == "INVERSE",
        transfer_syntax=str(syntax),
        spacing_mm=_spacing(dataset),
        padding=_padding(dataset, allocated),
        dataset=dataset,
    )


def _integer(dataset: pydicom.Dataset, keyword: str, default: int | None = None) -> int:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            value = dataset.get(keyword)
        if value is not None and value != "":
            return int(value)
    except _PYDICOM_ERRORS as error:
        raise BadHeaderError(f"{keyword} is no single whole number") from error
    if default is None:
        raise BadHeaderError(f"{keyword} is missing")
    return default


def _spacing(dataset: pydicom.Dataset) -> tuple[float, float] | None:
    for keyword in ("PixelSpacing", "ImagerPixelSpacing"):
        try:
            row, column = (float(value) for value in element(dataset, keyword) or ())
        except (TypeError, ValueError):
            continue
        if 0 < row < 10 and 0 < column < 10:
            return row, column
    return None


def _padding(dataset: pydicom.Dataset, bits_allocated: int) -> tuple[int, int] | None:
    value, limit = element(dataset, "PixelPaddingValue"), element(dataset, "PixelPaddingRangeLimit")
    signed = element(dataset, "PixelRepresentation") == 1
    try:
        first, last = (
            _as_cell(int(number), signed, bits_allocated)
            for number in (value, value if limit is None else limit)
        )
    except (TypeError, ValueError, OverflowError):
        return None
    return min(first, last), max(first, last)


def _as_cell(number: int, signed: bool, bits_allocated: int) -> int:
    """Gives a padding value, written as US where the pixels are SS or the other way round, as the pixels have it."""
    span = 1 << bits_allocated
    if signed and number >= span // 2:
        return number - span
    return number + span if not signed and number < 0 else number


def _native_pixels(data: bytes, header: Header, dataset: pydicom.Dataset) -> Stored:
    """Gives uncompressed pixels (PS3.5 8.1.1): the bits of a cell, shifted, masked and sign-extended."""
    count = header.rows * header.columns
    if len(data) < count * header.bits_allocated // 8:
        raise TruncatedError(
            f"Pixel Data has {len(data):,} bytes, {_size((header.rows, header.columns))} pixels of "
            f"{header.bits_allocated} bits need {count * header.bits_allocated // 8:,}"
        )
    little = UID(header.transfer_syntax).is_little_endian
    kind = np.dtype(f"{'<' if little else '>'}u{header.bits_allocated // 8}")
    if not little and header.bits_allocated == 8 and dataset["PixelData"].VR == "OW":
        # Pairs of 8-bit pixels stand in words, whose bytes are swapped (PS3.5 A.3).
        data = np.frombuffer(data, "<u2", count=len(data) // 2).byteswap().tobytes()
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


def _decode_frame(data: bytes, header: Header, decoder: str) -> tuple[Stored, str]:
    syntax = header.transfer_syntax
    frame = _single_frame(data, header)
    stated = None if syntax == RLE else codestream(frame)
    if stated is not None and stated.components != 1:
        raise DecodeError(f"the compressed image has {stated.components} components, expected a grey one")
    if stated is not None and stated.rows and (stated.rows, stated.columns) != (header.rows, header.columns):
        raise DecodeError(_other_size((stated.rows, stated.columns), header))
    for name in names_of_decoders(syntax, decoder):
        try:
            cells, used = _cells(frame, header, name)
        # Native codecs raise classes of their own; whichever it is, this file is what cannot be decoded.
        except (*_PYDICOM_ERRORS, RuntimeError) as error:
            raise DecodeError(f"the {UID(syntax).name} pixels cannot be decoded by {name}") from error
        return _stored_of(cells, header, stated.precision if stated else header.bits_stored), used
    raise UnsupportedImageError(
        f"no decoder for transfer syntax {UID(syntax).name} is installed or asked for"
    )


def _cells(frame: bytes, header: Header, name: str) -> tuple[Cells, str]:
    if name == "imagecodecs":
        cells = CODECS[header.transfer_syntax](frame, header.bits_allocated, header.rows * header.columns)
        # RLE knows no lines; a stream of another length does not fit, and says so.
        return cells.reshape(header.rows, header.columns) if cells.ndim == 1 else cells, "imagecodecs"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # where header and codestream differ, which is checked here
        return decode_with_pydicom(_bare_dataset(frame, header))


def _bare_dataset(frame: bytes, header: Header) -> pydicom.Dataset:
    """Gives the least dataset that pydicom decodes: nothing else in the file can disturb it."""
    bits = header.bits_allocated if header.transfer_syntax == RLE else header.bits_stored
    dataset = pydicom.Dataset()
    dataset.file_meta = pydicom.dataset.FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = UID(header.transfer_syntax)
    dataset.Rows, dataset.Columns, dataset.SamplesPerPixel = header.rows, header.columns, 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = header.bits_allocated, bits, bits - 1
    dataset.PixelRepresentation = int(header.signed)
    dataset.PixelData = pydicom.encaps.encapsulate([frame])
    return dataset


def _stored_of(cells: Cells, header: Header, precision: int) -> Stored:
    """Gives the stored values in what a decoder made, whose sign or width may be other than the header's."""
    if cells.ndim != 2:
        return cells
    if header.transfer_syntax == RLE:  # compressed cells, not values
        return stored_values(cells.view(f"u{cells.dtype.itemsize}"), header)
    bits = min(header.bits_stored, precision)
    # JPEG 2000 alone knows of signs, and its lossy values may overshoot the range.
    if header.signed and (cells.dtype.kind == "u" or header.transfer_syntax not in JPEG2000TransferSyntaxes):
        unsigned = cells.view(f"u{cells.dtype.itemsize}")
        return sign_extended(unsigned.astype(f"u{header.bits_allocated // 8}", copy=False), bits)
    if not header.signed and cells.dtype.kind == "i":
        return cells.view(f"u{cells.dtype.itemsize}") & ((1 << bits) - 1)
    return cells


def _single_frame(data: bytes, header: Header) -> bytes:
    """Gives the compressed bytes of the one frame, refusing a stream that stops before its end marker."""
    try:
        frame = next(pydicom.encaps.generate_frames(data, number_of_frames=1))
    except (*_PYDICOM_ERRORS, StopIteration) as error:
        raise TruncatedError("the compressed pixels are not complete (PS3.5 A.4)") from error
    syntax = UID(header.transfer_syntax)
    marked = (*JPEGTransferSyntaxes, *JPEGLSTransferSyntaxes, *JPEG2000TransferSyntaxes)
    # A byte or a few of padding may follow. liblj92 and libjpeg-turbo decode a cut stream to wrong pixels.
    if syntax in marked and b"\xff\xd9" not in frame.rstrip(b"\0")[-16:]:
        raise TruncatedError("the compressed pixels stop before their end marker (FFD9)")
    return with_full_spectrum(frame) if syntax in (JPEG_BASELINE, JPEG_EXTENDED) else frame


def _range_notes(stored: Stored, header: Header) -> tuple[str, ...]:
    top = int(stored.max())
    if top < 1 << (header.bits_stored - header.signed):
        return ()
    return (f"pixel values reach {top}, beyond BitsStored {header.bits_stored}",)


def _other_size(found: tuple[int, ...], header: Header) -> str:
    wanted = _size((header.rows, header.columns))
    return f"the compressed image is {_size(found)} pixels, Rows and Columns say {wanted}"


def _size(shape: tuple[int, ...]) -> str:
    return " x ".join(str(length) for length in shape)
