"""What the pixels of one patch are stored as: as they are, as a PNG file, or as a zstd frame."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8] | npt.NDArray[np.uint16]

# Higher levels cost several times as much and save a few per cent of a mammogram.
_PNG_LEVEL = 3
ZSTD_LEVEL = 3


def raw_bytes(pixels: Pixels) -> bytes:
    """Gives the pixels row by row, little-endian."""
    return np.ascontiguousarray(pixels, dtype=pixels.dtype.newbyteorder("<")).tobytes()


def png_bytes(pixels: Pixels) -> bytes:
    """Gives the pixels as a PNG file: grayscale, 8 or 16 bits (ISO/IEC 15948)."""
    import imagecodecs  # only sets of this kind need it

    native = np.ascontiguousarray(pixels, dtype=pixels.dtype.newbyteorder("="))
    return bytes(imagecodecs.png_encode(native, level=_PNG_LEVEL))


def zstd_bytes(pixels: Pixels) -> bytes:
    """Gives the pixels, row by row and little-endian, as one zstd frame that tells its size (RFC 8878)."""
    import pyarrow as pa

    return bytes(pa.Codec("zstd", compression_level=ZSTD_LEVEL).compress(raw_bytes(pixels), asbytes=True))


def read_png(data: bytearray, out: Pixels) -> None:
    """Fills ``out`` (R, R) from a PNG file. Raises ValueError: it is none, or of another shape or type."""
    import imagecodecs

    try:
        imagecodecs.png_decode(data, out=out)
    except imagecodecs.PngError as error:
        raise ValueError(f"it is no whole PNG file: {error}") from None


def read_zstd(data: bytearray, out: Pixels) -> None:
    """Fills ``out`` (R, R) from a zstd frame. Raises ValueError: it is none, or of another size."""
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
