"""What the pixels of one patch are stored as: as they are, as a PNG file, or as a zstd frame."""

import struct
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from nlbs.errors import ShardError
from nlbs.text import shown

Pixels = npt.NDArray[np.uint8] | npt.NDArray[np.uint16]

#: The types that pixels have, by the names that files give them. Never ``np.dtype`` of a text: "O" would be pointers.
DTYPES: dict[str, np.dtype[Any]] = {"uint8": np.dtype(np.uint8), "uint16": np.dtype(np.uint16)}

# Higher levels cost several times as much and save a few per cent of a mammogram.
_PNG_LEVEL = 3
_PNG = b"\x89PNG\r\n\x1a\n"
ZSTD_LEVEL = 3


def pixel_dtype(name: object) -> np.dtype[Any]:
    """Return the type of pixels that a file names: uint8 or uint16.

    Raises:
        ShardError: any other.
    """
    found = DTYPES.get(name) if isinstance(name, str) else None
    if found is None:
        raise ShardError(f"pixels of type {shown(name)} are not read: expected {' or '.join(DTYPES)}")
    return found


def channels_of(parameters: Mapping[str, Any]) -> int:
    """Return how many channels a patch has: 1, which version 1 of the format does not state, or 3."""
    return int(parameters.get("channels", 1))


def foreground_word(parameters: Mapping[str, Any]) -> str:
    """Return in a word what the patches of a set show; version 1 of the format does not state that it is the breast."""
    words = {"breast": "breast", "body": "body", "tissue": "tissue", "none": "image"}
    return words.get(str(parameters.get("foreground", "breast")), "foreground")


def patch_shape(resolution: int, channels: int) -> tuple[int, ...]:
    """Return the shape of a patch on disk: (R, R) of grey ones, (R, R, 3) of coloured ones: red, green, blue."""
    return (resolution, resolution) if channels == 1 else (resolution, resolution, channels)


def most_stored_bytes(parameters: Mapping[str, Any]) -> int:
    """Return how many bytes a patch can have as it is stored: a little more than its pixels, where it is compressed."""
    raw = (
        int(parameters["resolution"]) ** 2
        * channels_of(parameters)
        * pixel_dtype(parameters["dtype"]).itemsize
    )
    return raw if parameters.get("compression", "none") == "none" else raw + raw // 8 + 4096


def fewest_stored_bytes(parameters: Mapping[str, Any]) -> int:
    """Return how many bytes a patch has at least as it is stored: all of its pixels, unless it is compressed."""
    return most_stored_bytes(parameters) if parameters.get("compression", "none") == "none" else 1


def raw_bytes(pixels: Pixels) -> bytes:
    """Return the pixels row by row, little-endian."""
    return np.ascontiguousarray(pixels, dtype=pixels.dtype.newbyteorder("<")).tobytes()


def png_bytes(pixels: Pixels) -> bytes:
    """Return the pixels as a PNG file: grayscale or true colour, 8 or 16 bits (ISO/IEC 15948)."""
    import imagecodecs  # only sets of this kind need it

    native = np.ascontiguousarray(pixels, dtype=pixels.dtype.newbyteorder("="))
    return bytes(imagecodecs.png_encode(native, level=_PNG_LEVEL))


def zstd_bytes(pixels: Pixels) -> bytes:
    """Return the pixels, row by row and little-endian, as one zstd frame that tells its size (RFC 8878)."""
    import pyarrow as pa

    return bytes(pa.Codec("zstd", compression_level=ZSTD_LEVEL).compress(raw_bytes(pixels), asbytes=True))


def read_png(data: bytearray, out: Pixels) -> None:
    """Fill ``out`` (R, R) or (R, R, 3) from a PNG file. Raises ValueError: it is none, or of another shape or type."""
    import imagecodecs

    # ISO/IEC 15948, 5.2 and 11.2.1: the signature, then IHDR. What it says is held against what is expected before
    # anything is decoded.
    colour = 0 if out.ndim == 2 else 2
    header = struct.pack(
        ">8sI4sIIBB", _PNG, 13, b"IHDR", out.shape[1], out.shape[0], 8 * out.itemsize, colour
    )
    if data[: len(header)] != header or bytes(data[26:29]) != bytes(3):
        raise ValueError(f"it is no PNG file of {'x'.join(map(str, out.shape))} {out.dtype} pixels")
    try:
        imagecodecs.png_decode(data, out=out)
    except imagecodecs.PngError as error:
        raise ValueError(f"it is no whole PNG file: {error}") from None


def read_zstd(data: bytearray, out: Pixels) -> None:
    """Fill ``out``, a patch, from a zstd frame. Raises ValueError: it is none, or of another size."""
    import pyarrow as pa

    try:
        raw = pa.Codec("zstd").decompress(data, decompressed_size=out.nbytes)
    except (OSError, pa.ArrowException) as error:
        raise ValueError(f"it is no whole zstd frame of {out.nbytes} bytes: {error}") from None
    out[...] = np.frombuffer(raw, out.dtype.newbyteorder("<")).reshape(out.shape)


#: Name of a compression -> how pixels become bytes.
ENCODERS: dict[str, Callable[[Pixels], bytes]] = {"none": raw_bytes, "png": png_bytes, "zstd": zstd_bytes}
#: Name of a compression -> how bytes become pixels; what is stored as it is needs no decoding.
DECODERS: dict[str, Callable[[bytearray, Pixels], None]] = {"png": read_png, "zstd": read_zstd}
