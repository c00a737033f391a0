"""DICOM files whose Pixel Data is written byte by byte."""

import struct
from pathlib import Path

import numpy as np
from pydicom.uid import (
    JPEG2000Lossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
)

from nlbs.preprocess.formats.image_file import read_image
from tests.preprocess.dicom_files import ENCODERS, PICTURE, make_dicom, rename_syntax

EXPLICIT_HEAD, IMPLICIT_HEAD = b"\xe0\x7f\x10\0OW\0\0", b"\xe0\x7f\x10\0"


ITEM, DELIMITER = b"\xfe\xff\x00\xe0", b"\xfe\xff\xdd\xe0"


#: Codestreams of the picture, of encoders that are none of ours; of even length.
STREAMS = {
    uid: bytes(ENCODERS[uid](PICTURE, 12)) for uid in (JPEGLosslessSV1, JPEGLSLossless, JPEG2000Lossless)
}
STREAMS = {uid: data + b"\0" * (len(data) % 2) for uid, data in STREAMS.items()}


def pixels_and_notes(path: Path) -> tuple[bool, str]:
    image = read_image(path)
    return np.array_equal(image.stored, PICTURE), "; ".join(image.notes)


def item(value: bytes, length: int | None = None) -> bytes:
    return ITEM + struct.pack("<I", len(value) if length is None else length) + value


def written(
    folder: Path, value: bytes, length: int = 0xFFFFFFFF, uid: str = JPEGLosslessSV1, **elements: object
) -> Path:
    """Writes a file whose Pixel Data has any value and any length, under any transfer syntax. Gives its path."""
    path = rename_syntax(make_dicom(folder, PICTURE, **elements), uid)
    data = path.read_bytes()
    place = data.index(EXPLICIT_HEAD) + 8
    path.write_bytes(data[:place] + struct.pack("<I", length) + value)
    return path
