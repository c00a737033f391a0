"""Compressed pixels: what a codestream says of itself before anything is allocated by it, and the decoders.

imagecodecs decodes where it equals the reference, pylibjpeg, to the last bit, and 8-bit JPEG, where it is within one.
"""

import importlib.metadata
import importlib.util
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import imagecodecs
import numpy as np
import numpy.typing as npt
import pydicom
from pydicom.pixels.utils import pixel_array

from nlbs.preprocess.formats import syntaxes

Cells = npt.NDArray[Any]

DECODERS = ("auto", "imagecodecs", "pylibjpeg")


def _rle(frame: bytes, bits_allocated: int, pixels: int) -> Cells:
    # An array of the right size: a frame does not state what it unpacks to, and may not unpack to more.
    cells = np.empty(pixels, f"<u{bits_allocated // 8}")
    unpacked = imagecodecs.dicomrle_decode(frame, dtype=cells.dtype.str, out=cells.data.cast("B"))
    return cells[: len(unpacked) // cells.itemsize]


def _jpeg(frame: bytes, *_: int) -> Cells:
    """Decode by libjpeg-turbo: liblj92, ``ljpeg_decode``, is no faster and dies of damaged lossless streams."""
    return imagecodecs.jpeg8_decode(frame)


def _jpeg_ls(frame: bytes, *_: int) -> Cells:
    return imagecodecs.jpegls_decode(frame)


def _jpeg_2000(frame: bytes, *_: int) -> Cells:
    return imagecodecs.jpeg2k_decode(frame, numthreads=1)


def _jpeg_xl(frame: bytes, *_: int) -> Cells:
    return imagecodecs.jpegxl_decode(frame, numthreads=1)


#: Transfer syntax -> function of (frame, bits allocated, pixels). One thread each: workers are processes.
CODECS: dict[str, Callable[[bytes, int, int], Cells]] = {
    syntaxes.JPEG_BASELINE: _jpeg,
    syntaxes.JPEG_EXTENDED: _jpeg,
    syntaxes.JPEG_LOSSLESS: _jpeg,
    syntaxes.JPEG_LOSSLESS_SV1: _jpeg,
    syntaxes.JPEG_LS: _jpeg_ls,
    syntaxes.JPEG_LS_LOSSY: _jpeg_ls,
    syntaxes.JPEG_2000_LOSSLESS: _jpeg_2000,
    syntaxes.JPEG_2000: _jpeg_2000,
    syntaxes.HTJ2K_LOSSLESS: _jpeg_2000,
    syntaxes.HTJ2K_RPCL: _jpeg_2000,
    syntaxes.HTJ2K: _jpeg_2000,
    syntaxes.JPEG_XL_LOSSLESS: _jpeg_xl,
    syntaxes.JPEG_XL_JPEG: _jpeg_xl,
    syntaxes.JPEG_XL: _jpeg_xl,
    syntaxes.RLE: _rle,
}

#: Which package of pylibjpeg decodes a coding.
_PLUGINS = {"jpeg": "libjpeg", "jpeg-ls": "libjpeg", "jpeg2000": "openjpeg", "rle": "rle"}

#: JPEG with a DCT (T.81) leaves the last bits of the inverse transform to the decoder. Of 8 bits the two differ by one
#: at most; of 12 by up to 3 where pixels are noise, so the reference stays the reference there.
_REFERENCE_FIRST = (syntaxes.JPEG_EXTENDED,)


def names_of_decoders(transfer_syntax: str, wanted: str) -> list[str]:
    """Return the decoder to use for a transfer syntax: empty when there is none, else one name."""
    fast = transfer_syntax in CODECS
    syntax = syntaxes.SYNTAXES.get(transfer_syntax)
    reference = syntax is not None and _installed(_PLUGINS.get(syntax.coding, ""))
    order = (
        ["pylibjpeg", "imagecodecs"] if transfer_syntax in _REFERENCE_FIRST else ["imagecodecs", "pylibjpeg"]
    )
    usable = [name for name in order if (fast if name == "imagecodecs" else reference)]
    return [name for name in usable if wanted in ("auto", name)][:1]


def decode_with_pydicom(dataset: pydicom.Dataset) -> tuple[Cells, str]:
    """Return the pixels of a dataset's compressed frame by pydicom with pylibjpeg, and the decoder's name."""
    return pixel_array(dataset, raw=True, decoding_plugin="pylibjpeg"), "pylibjpeg"


@cache
def versions() -> dict[str, str]:
    """Return the installed version of each package that decodes pixels."""
    found = {}
    packages = (
        "pydicom",
        "imagecodecs",
        "pylibjpeg",
        "pylibjpeg-libjpeg",
        "pylibjpeg-openjpeg",
        "pylibjpeg-rle",
    )
    for package in packages:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = "not installed"
    return found


@cache
def _installed(module: str) -> bool:
    return module != "" and importlib.util.find_spec(module) is not None


@dataclass(frozen=True)
class Codestream:
    """The size and the kind of a compressed image."""

    rows: int
    columns: int
    components: int
    precision: int  #: bits per value
    lossless: bool | None = None  #: whether its process can be lossless; None where it does not say
    signed: bool = False  #: whether its values have a sign, which JPEG 2000 alone knows


def codestream(frame: bytes) -> Codestream | None:
    """Return what JPEG, JPEG-LS or JPEG 2000 (HTJ2K too) says of itself; None where ``frame`` is none of them.

    T.81 B.2.2, T.87 C.2.2, T.800 A.5.1.
    """
    start = frame.find(b"\xff\x4f\xff\x51", 0, 4096)  # SOC and SIZ, perhaps within a JP2 box
    try:
        return _said_by_jpeg_2000(frame, start) if start >= 0 else _said_by_jpeg(frame)
    except (struct.error, IndexError):
        return None


def coding_of(frame: bytes) -> str | None:
    """Return how a compressed frame is coded by its first bytes: a coding of ``syntaxes``; None where they do not tell.

    T.81 B.1.1.3, T.87 C.2.2, T.800 A.4.1 and I.5.1, 18181-2 annex 9, and the head of RLE (PS3.5 G.5).
    """
    if frame[:3] == b"\xff\xd8\xff":
        return "jpeg-ls" if any(marker == 0xF7 for marker, _ in _segments(frame[:65536])) else "jpeg"
    if frame[:4] == b"\xff\x4f\xff\x51" or frame[4:8] == b"jP  ":
        return "jpeg2000"
    if frame[:2] == b"\xff\x0a" or frame[4:8] == b"JXL ":
        return "jpegxl"
    count, first = struct.unpack_from("<II", frame) if len(frame) >= 8 else (0, 0)
    return "rle" if 1 <= count <= 15 and first == 64 else None


def end_of_codestream(frame: bytes) -> int | None:
    """Return where a JPEG, JPEG-LS or JPEG 2000 codestream ends, behind its marker FFD9; None where it is cut short.

    Filler may follow. liblj92 and libjpeg-turbo decode a cut stream to wrong pixels, so this comes before them.
    """
    tail = frame.rstrip(b"\0")[-16:]
    if b"\xff\xd9" in tail:  # a byte or a few of padding may follow
        return len(frame)
    end = frame.rfind(b"\xff\xd9") + 2
    if frame[:2] == b"\xff\xd8":
        # Behind the head of the first scan no FFD9 is anything but the end (T.81 B.1.1.5, T.87 A.1).
        scans = [position for marker, position in _segments(frame) if marker == 0xDA]
        return end if scans and end > scans[0] else None
    # Markers stand in JPEG 2000's own tables, too: only behind one byte, repeated, is it sure to be the end.
    return end if end > 2 and not frame[end:].strip(b"\0" + frame[-1:]) else None


def jpeg_xl_size(frame: bytes) -> tuple[int, int] | None:
    """Return rows and columns of a JPEG XL image (ISO/IEC 18181-1 annex D.2); None where it is none."""
    data = _jpeg_xl_codestream(frame)
    if data is None or len(data) < 12:
        return None
    bits = _Bits(data[2:16])
    small = bits.take(1)
    rows = _jpeg_xl_length(bits, small)
    ratio = bits.take(3)
    if ratio == 0:
        return rows, _jpeg_xl_length(bits, small)
    over, under = ((1, 1), (12, 10), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))[ratio - 1]
    return rows, rows * over // under


def with_full_spectrum(frame: bytes) -> bytes:
    """Return a DCT JPEG whose scan ends at coefficient 63, where some vendors write 0 (T.81 B.2.3).

    Sequential DCT knows no other end; libjpeg refuses 0.
    """
    start = frame.find(b"\xff\xda")
    end = start + 5 + 2 * frame[start + 4] + 1 if 0 <= start < len(frame) - 16 else -1
    if end < 0 or end >= len(frame) or frame[end - 1 : end + 1] != b"\0\0":
        return frame
    return frame[:end] + b"\x3f" + frame[end + 1 :]


def _said_by_jpeg_2000(frame: bytes, start: int) -> Codestream:
    right, bottom, left, top, *_, count, depth = struct.unpack_from(">8IHB", frame, start + 8)
    lossless = None
    position = start + 2
    while frame[position] == 0xFF and frame[position + 1] not in (0x90, 0x93):  # SOT, SOD
        if frame[position + 1] == 0x52:  # COD: the transformation is the last byte of its fixed part (A.6.1)
            lossless = frame[position + 13] == 1
            break
        position += 2 + int.from_bytes(frame[position + 2 : position + 4], "big")
    return Codestream(bottom - top, right - left, count, (depth & 0x7F) + 1, lossless, depth >= 0x80)


def _said_by_jpeg(frame: bytes) -> Codestream | None:
    found = None
    for marker, position in _segments(frame):
        if marker == 0xF7 or (0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC)):
            precision, rows, columns, count = struct.unpack_from(">BHHB", frame, position + 4)
            if marker != 0xF7:
                return Codestream(
                    rows, columns, count, precision, lossless=marker in (0xC3, 0xC7, 0xCB, 0xCF)
                )
            found = Codestream(rows, columns, count, precision)
        if marker == 0xDA and found is not None:  # of JPEG-LS: NEAR is 0 where it is lossless (T.87 C.2.3)
            near_at = position + 5 + 2 * frame[position + 4]
            return replace(found, lossless=frame[near_at] == 0) if near_at < len(frame) else found
        if marker == 0xDA:
            return None
    return found


def _segments(frame: bytes) -> Iterator[tuple[int, int]]:
    """Yield the code and place of each marker segment up to the first scan."""
    position = 2
    while position + 1 < len(frame) and frame[position] == 0xFF:
        marker = frame[position + 1]
        if marker == 0xFF:  # a marker may be preceded by fill bytes FF (T.81 B.1.1.2)
            position += 1
            continue
        yield marker, position
        if marker == 0xDA or position + 4 > len(frame):
            return
        position += 2 + struct.unpack_from(">H", frame, position + 2)[0]


def _jpeg_xl_codestream(frame: bytes) -> bytes | None:
    """Return the beginning of the codestream: the file itself, or in a box of it (18181-2 annex 9)."""
    if frame[:2] == b"\xff\x0a":
        return frame[:64]
    if frame[4:8] != b"JXL ":
        return None
    position = 0
    while position + 8 <= len(frame):
        length, kind = struct.unpack_from(">I4s", frame, position)
        head = 8
        if length == 1:
            if position + 16 > len(frame):
                return None
            (length,), head = struct.unpack_from(">Q", frame, position + 8), 16
        if kind in (b"jxlc", b"jxlp"):
            begin = position + head + (4 if kind == b"jxlp" else 0)
            return frame[begin : begin + 64] if frame[begin : begin + 2] == b"\xff\x0a" else None
        if length < head:
            return None
        position += length
    return None


def _jpeg_xl_length(bits: "_Bits", small: int) -> int:
    if small:
        return 8 * (bits.take(5) + 1)
    return bits.take((9, 13, 18, 30)[bits.take(2)]) + 1


class _Bits:
    """Reads numbers, lowest bit first."""

    def __init__(self, data: bytes) -> None:
        self._number = int.from_bytes(data, "little")

    def take(self, count: int) -> int:
        """Return the next ``count`` bits as a number."""
        taken = self._number & ((1 << count) - 1)
        self._number >>= count
        return taken
