"""PNG, PGM and TIFF beside DICOM: told apart by their first bytes, read as Pillow and the text of a format say."""

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nlbs.errors import ImageError
from nlbs.preprocess.formats.image_errors import (
    BadHeaderError,
    DecodeError,
    NotDicomError,
    TruncatedError,
    UnsupportedImageError,
)
from nlbs.preprocess.formats.image_file import read_image
from tests.conftest import some
from tests.preprocess.plain_files import EIGHT, SIXTEEN, by_pillow, png_of, tiff_of, written

# --- What is read ------------------------------------------------------------------------------------


# --- What is refused ---------------------------------------------------------------------------------


def with_end_chunk_lost(data: bytes) -> bytes:
    return data[:-12]


REFUSED = {
    "palette": (by_pillow(Image.fromarray(EIGHT).convert("P"), format="PNG"), UnsupportedImageError, "palette"),
    "1 bit": (by_pillow(Image.fromarray(EIGHT > 99), format="PNG"), UnsupportedImageError, "1 bits"),
    "no IEND": (
        with_end_chunk_lost(by_pillow(Image.fromarray(EIGHT), format="PNG")),
        TruncatedError,
        "IEND",
    ),
    "png bomb": (png_of(b"\0" * 4, 4, 1, 8, 0).replace(
        struct.pack(">IIBBBBB", 4, 1, 8, 0, 0, 0, 0)
        + struct.pack(">I", zlib.crc32(b"IHDR" + struct.pack(">IIBBBBB", 4, 1, 8, 0, 0, 0, 0))),
        struct.pack(">IIBBBBB", 60000, 60000, 8, 0, 0, 0, 0)
        + struct.pack(">I", zlib.crc32(b"IHDR" + struct.pack(">IIBBBBB", 60000, 60000, 8, 0, 0, 0, 0))),
    ), BadHeaderError, "60000 x 60000"),
    "png flip": (
        by_pillow(Image.fromarray(EIGHT), format="PNG").replace(b"IDAT", b"IDAT\x01", 1)[:-1],
        DecodeError,
        "checksum",
    ),
    "pgm head": (b"P5\nwide 61\n255\n" + bytes(99), BadHeaderError, "width"),
    "pgm greatest": (b"P5\n2 2\n70000\n" + bytes(99), BadHeaderError, "70000"),
    "pgm bomb": (b"P5\n60000 60000\n255\n", BadHeaderError, "60000 x 60000"),
    "pgm short": (b"P5\n47 61\n255\n" + bytes(2866), TruncatedError, "2,866 bytes of pixels, its size needs 2,867"),
    "pgm beyond": (b"P5\n2 1\n100\n\x64\x65", DecodeError, "up to 101"),
    "pgm text short": (b"P2\n2 2\n9\n1 2 3", TruncatedError, "3 pixels"),
    "pgm text words": (b"P2\n2 2\n9\n1 2 three 4", DecodeError, "no numbers"),
    "pgm text below": (b"P2\n2 1\n9\n1 -2", DecodeError, "below 0"),
    "tiff bomb": (tiff_of(EIGHT, t256=60000, t257=60000), BadHeaderError, "60000 x 60000"),
    "tiff short strip": (tiff_of(EIGHT, t279=2866), TruncatedError, "2,866 bytes"),
    "tiff beyond": (tiff_of(EIGHT, t273=10**6), TruncatedError, "ends before its pixels"),
    "tiff hole": (tiff_of(EIGHT, t273=0), TruncatedError, "lacks strips"),
    "tiff strips": (tiff_of(EIGHT, t278=10), BadHeaderError, "1 strips or tiles, its size needs 7"),
    "tiff float": (tiff_of(SIXTEEN.astype(np.float32)), UnsupportedImageError, "32 bits"),
    "tiff 12 bits": (tiff_of(EIGHT, t258=12), UnsupportedImageError, "12 bits"),
    "tiff palette": (tiff_of(EIGHT, photometric=3), UnsupportedImageError, "photometric interpretation 3"),
    "tiff jpeg": (tiff_of(EIGHT, t259=7), UnsupportedImageError, "compression 7"),
    "tiff no rows": (tiff_of(EIGHT, t257=None), BadHeaderError, "no rows"),
    "tiff directories": (b"II*\0" + struct.pack("<I", 8) + bytes(2) + struct.pack("<I", 8), BadHeaderError, "not end"),
    "tiff cut": (tiff_of(EIGHT)[:-20], TruncatedError, "within its directories"),
    "text": (b"File Path,Age\n" * 40, NotDicomError, "nor a PNG, PGM or TIFF"),
    "empty": (b"", NotDicomError, "not a DICOM file"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_whole_grey_image_is_refused_in_words(name: str, tmp_path: Path) -> None:
    content, error, words = REFUSED[name]
    with pytest.raises(ImageError, match=words) as caught:
        read_image(written(tmp_path, content))
    assert type(caught.value) is error


@pytest.mark.parametrize("kind", ["png", "pgm", "tiff", "tiff lzw"])
def test_a_plain_file_cut_anywhere_is_an_error_or_the_whole_image(kind: str, tmp_path: Path) -> None:
    whole = {
        "png": by_pillow(Image.fromarray(SIXTEEN), format="PNG"),
        "pgm": b"P5\n47 61\n65535\n" + SIXTEEN.astype(">u2").tobytes(),
        "tiff": tiff_of(SIXTEEN),
        "tiff lzw": by_pillow(Image.fromarray(SIXTEEN), format="TIFF", compression="tiff_lzw"),
    }[kind]
    survivors = 0
    for cut in some({*range(0, len(whole), len(whole) // 60), *range(len(whole) - 24, len(whole))}):
        try:
            stored = read_image(written(tmp_path, whole[:cut])).stored
        except ImageError:
            continue
        survivors += 1
        assert np.array_equal(stored, SIXTEEN)
    assert survivors <= 4


# --- As an image -------------------------------------------------------------------------------------


# --- Orientation -----------------------------------------------------------------------------------
