"""The decoders of compressed pixels: imagecodecs where it equals the reference to the last bit."""

import importlib.metadata
import importlib.util
import struct
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import imagecodecs
import numpy as np
import numpy.typing as npt
import pydicom
from pydicom.pixels.utils import pixel_array

Cells = npt.NDArray[Any]

DECODERS = ("auto", "imagecodecs", "pylibjpeg")

RLE = "1.2.840.10008.1.2.5"
JPEG_BASELINE, JPEG_EXTENDED = "1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51"


def _rle(frame: bytes, bits_allocated: int, pixels: int) -> Cells:
    kind = f"<u{bits_allocated // 8}"
    # The size bounds what a frame may unpack to, which its own header does not state.
    size = pixels * bits_allocated // 8
    return np.frombuffer(imagecodecs.dicomrle_decode(frame, dtype=kind, out=size), kind)


#: JPEG lossless by libjpeg-turbo: liblj92, ``ljpeg_decode``, is no faster and dies of damaged streams.
#: Transfer syntax -> function of (frame, bits allocated, pixels). One thread each: workers are processes.
CODECS: dict[str, Callable[[bytes, int, int], Cells]] = {
    JPEG_BASELINE: lambda frame, *_: imagecodecs.jpeg8_decode(frame),
    JPEG_EXTENDED: lambda frame, *_: imagecodecs.jpeg8_decode(frame),
    "1.2.840.10008.1.2.4.57": lambda frame, *_: imagecodecs.jpeg8_decode(frame),
    "1.2.840.10008.1.2.4.70": lambda frame, *_: imagecodecs.jpeg8_decode(frame),
    "1.2.840.10008.1.2.4.80": lambda frame, *_: imagecodecs.jpegls_decode(frame),
    "1.2.840.10008.1.2.4.81": lambda frame, *_: imagecodecs.jpegls_decode(frame),
    "1.2.840.10008.1.2.4.90": lambda frame, *_: imagecodecs.jpeg2k_decode(frame, numthreads=1),
    "1.2.840.10008.1.2.4.91": lambda frame, *_: imagecodecs.jpeg2k_decode(frame, numthreads=1),
    RLE: _rle,
}

#: Which package of pylibjpeg decodes a transfer syntax.
_PLUGINS = {
    JPEG_BASELINE: "libjpeg",
    JPEG_EXTENDED: "libjpeg",
    "1.2.840.10008.1.2.4.57": "libjpeg",
    "1.2.840.10008.1.2.4.70": "libjpeg",
    "1.2.840.10008.1.2.4.80": "libjpeg",
    "1.2.840.10008.1.2.4.81": "libjpeg",
    "1.2.840.10008.1.2.4.90": "openjpeg",
    "1.2.840.10008.1.2.4.91": "openjpeg",
    "1.2.840.10008.1.2.4.201": "openjpeg",
    "1.2.840.10008.1.2.4.202": "openjpeg",
    "1.2.840.10008.1.2.4.203": "openjpeg",
    RLE: "rle",
}

#: JPEG with a DCT (T.81) leaves the last bit of the inverse transform to the decoder, so the two
#: differ there; the reference stays the reference.
_REFERENCE_FIRST = (JPEG_BASELINE, JPEG_EXTENDED)


def names_of_decoders(transfer_syntax: str, wanted: str) -> list[str]:
    """Gives the decoder to use for a transfer syntax: empty when there is none, else one name."""
    fast = transfer_syntax in CODECS
    reference = transfer_syntax in _PLUGINS and _installed(_PLUGINS[transfer_syntax])
    order = (
        ["pylibjpeg", "imagecodecs"] if transfer_syntax in _REFERENCE_FIRST else ["imagecodecs", "pylibjpeg"]
    )
    usable = [name for name in order if (fast if name == "imagecodecs" else reference)]
    return [name for name in usable if wanted in ("auto", name)][:1]


def decode_with_pydicom(dataset: pydicom.Dataset) -> tuple[Cells, str]:
    """Gives the pixels of a dataset's compressed frame by pydicom with pylibjpeg, and the decoder's name."""
    return pixel_array(dataset, raw=True, decoding_plugin="pylibjpeg"), "pylibjpeg"


@dataclass(frozen=True)
class Codestream:
    """What a compressed image says of itself."""

    rows: int
    columns: int
    components: int
    precision: int  #: bits per value


def codestream(frame: bytes) -> Codestream | None:
    """Gives what the first frame header of JPEG or JPEG-LS, or the SIZ of JPEG 2000, says; None without one.

    T.81 B.2.2, T.87 C.2.2, T.800 A.5.1. It stands before any decoder allocates memory by it.
    """
    start = frame.find(b"\xff\x4f\xff\x51", 0, 4096)  # SOC and SIZ, perhaps within a JP2 box
    try:
        if start >= 0:
            right, bottom, left, top, *_, count, depth = struct.unpack_from(">8IHB", frame, start + 8)
            return Codestream(bottom - top, right - left, count, (depth & 0x7F) + 1)
        position = 2
        while frame[position] == 0xFF:
            marker = frame[position + 1]
            if marker == 0xF7 or (0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC)):
                precision, rows, columns, count = struct.unpack_from(">BHHB", frame, position + 4)
                return Codestream(rows, columns, count, precision)
            # A marker may be preceded by fill bytes FF (T.81 B.1.1.2).
            position += 1 if marker == 0xFF else 2 + struct.unpack_from(">H", frame, position + 2)[0]
    except (struct.error, IndexError):
        pass
    return None


def with_full_spectrum(frame: bytes) -> bytes:
    """Gives a DCT JPEG whose scan ends at coefficient 63, where some vendors write 0 (T.81 B.2.3).

    Sequential DCT knows no other end; libjpeg refuses 0.
    """
    start = frame.find(b"\xff\xda")
    end = start + 5 + 2 * frame[start + 4] + 1 if 0 <= start < len(frame) - 16 else -1
    if end < 0 or end >= len(frame) or frame[end - 1 : end + 1] != b"\0\0":
        return frame
    return frame[:end] + b"\x3f" + frame[end + 1 :]


@cache
def versions() -> dict[str, str]:
    """Gives the installed version of each package that decodes pixels."""
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
    return importlib.util.find_spec(module) is not None
