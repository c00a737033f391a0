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

#: JPEG with a DCT (T.81) leaves the last bit of the inverse transform to the decoder, so the two
#: differ there; the reference stays the reference.
_REFERENCE_FIRST = (syntaxes.JPEG_BASELINE, syntaxes.JPEG_EXTENDED)


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
