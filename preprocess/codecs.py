"""The decoders of compressed pixels: imagecodecs where it equals the reference to the last bit."""

import importlib.metadata
import importlib.util
from collections.abc import Callable
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


def _rle(frame: bytes, bits_allocated: int) -> Cells:
    kind = f"<u{bits_allocated // 8}"
    return np.frombuffer(imagecodecs.dicomrle_decode(frame, dtype=kind), kind)


#: Transfer syntax -> function of (frame, bits allocated). One thread each: workers are processes.
CODECS: dict[str, Callable[[bytes, int], Cells]] = {
    JPEG_BASELINE: lambda frame, _: imagecodecs.jpeg8_decode(frame),
    JPEG_EXTENDED: lambda frame, _: imagecodecs.jpeg8_decode(frame),
    "1.2.840.10008.1.2.4.57": lambda frame, _: imagecodecs.ljpeg_decode(frame),
    "1.2.840.10008.1.2.4.70": lambda frame, _: imagecodecs.ljpeg_decode(frame),
    "1.2.840.10008.1.2.4.80": lambda frame, _: imagecodecs.jpegls_decode(frame),
    "1.2.840.10008.1.2.4.81": lambda frame, _: imagecodecs.jpegls_decode(frame),
    "1.2.840.10008.1.2.4.90": lambda frame, _: imagecodecs.jpeg2k_decode(frame, numthreads=1),
    "1.2.840.10008.1.2.4.91": lambda frame, _: imagecodecs.jpeg2k_decode(frame, numthreads=1),
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


def decode_with_pydicom(dataset: pydicom.Dataset, data: bytes) -> tuple[Cells, str]:
    """Gives the pixels of a compressed frame by pydicom with pylibjpeg, and the decoder's name."""
    dataset.PixelData = data
    try:
        return pixel_array(dataset, raw=True, decoding_plugin="pylibjpeg"), "pylibjpeg"
    finally:
        dataset.PixelData = None


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
