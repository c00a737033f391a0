"""PNG, PGM and TIFF files as other programs write them, and their pixels as Pillow reads them."""

import io
import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

from tests.preprocess.dicom_files import PICTURE

EIGHT = (PICTURE >> 4).astype(np.uint8)


SIXTEEN = (PICTURE * 16).astype(np.uint16)


def png_of(rows: bytes, width: int, height: int, bits: int, colour: int, more: bytes = b"") -> bytes:
    """A PNG by hand (ISO/IEC 15948 11.2): filter 0 on every line, not interlaced."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    stride = len(rows) // height
    lines = b"".join(b"\0" + rows[y * stride : (y + 1) * stride] for y in range(height))
    head = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + more
        + chunk(b"IDAT", zlib.compress(lines))
        + chunk(b"IEND", b"")
    )


def tiff_of(
    pixels: np.ndarray, photometric: int = 1, order: str = "<", pages: int = 1, **changes: object
) -> bytes:
    """A TIFF by hand (TIFF 6.0 section 2), uncompressed, one strip; ``changes``: number of a tag -> value."""
    data = pixels.astype(pixels.dtype.newbyteorder(order)).tobytes()
    begin = b"II*\0" if order == "<" else b"MM\0*"
    out = bytearray(begin + struct.pack(f"{order}I", 8 + len(data) * pages)) + bytearray(data * pages)
    for page in range(pages):
        samples = pixels.shape[2] if pixels.ndim == 3 else 1
        tags = {
            256: pixels.shape[1],
            257: pixels.shape[0],
            258: 8 * pixels.itemsize,
            259: 1,
            262: photometric,
            273: 8 + page * len(data),
            277: samples,
            278: pixels.shape[0],
            279: len(data),
            339: 2 if pixels.dtype.kind == "i" else 1,
        } | {int(name[1:]): value for name, value in changes.items()}
        tags = {tag: value for tag, value in tags.items() if value is not None}
        out += struct.pack(f"{order}H", len(tags))
        for tag, value in sorted(tags.items()):
            out += struct.pack(f"{order}HHII", tag, 4, 1, value)
        following = len(out) + 4 if page + 1 < pages else 0
        out += struct.pack(f"{order}I", following)
    return bytes(out)


def written(folder: Path, content: bytes, name: str = "image.dcm") -> Path:
    """Writes a file under a name that says nothing of its kind."""
    path = folder / name
    path.write_bytes(content)
    return path


def by_pillow(image: Image.Image, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, **options)
    return buffer.getvalue()
