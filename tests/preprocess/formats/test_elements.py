"""The elements of a file: deep, deflated, of impossible lengths."""

import struct
import tracemalloc
import zlib
from pathlib import Path

import numpy as np
import pytest
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    JPEGLSLossless,
    RLELossless,
)

from nlbs.preprocess.formats import elements as reading
from nlbs.preprocess.formats.image_errors import (
    BadHeaderError,
    TruncatedError,
    UnsupportedImageError,
)
from nlbs.preprocess.formats.image_file import read_image
from tests.preprocess.dicom_files import (
    PICTURE,
    make_dicom,
)


@pytest.mark.parametrize("depth", [20, 300, 3000])
def test_nested_sequences_are_read_or_refused_and_the_process_lives(depth: int, tmp_path: Path) -> None:
    # Written by hand, as pydicom's own writer recurses too: SQ and items of undefined length (PS3.5 7.5).
    path = make_dicom(tmp_path, PICTURE)
    data = path.read_bytes()
    open_, close = (
        struct.pack("<HH2sHI", 0x0008, 0x1140, b"SQ", 0, 0xFFFFFFFF),
        struct.pack("<HHI", 0xFFFE, 0xE0DD, 0),
    )
    item, end = struct.pack("<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF), struct.pack("<HHI", 0xFFFE, 0xE00D, 0)
    place = data.index(struct.pack("<HH2s", 0x0010, 0x0010, b"PN"))
    path.write_bytes(data[:place] + (open_ + item) * depth + (end + close) * depth + data[place:])
    try:
        stored = read_image(path).stored
    except BadHeaderError as error:
        assert depth >= 300
        assert "nested" in str(error)
    else:
        assert np.array_equal(stored, PICTURE)


def test_a_deflated_bomb_is_refused_before_it_unpacks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "_MAX_INFLATED_BYTES", 50_000_000)
    whole = make_dicom(tmp_path, PICTURE, DeflatedExplicitVRLittleEndian).read_bytes()
    start = 144 + struct.unpack_from("<I", whole, 140)[0]
    deflate = zlib.compressobj(9, zlib.DEFLATED, -15)
    header = struct.pack("<HH2sHI", 0x0009, 0x1001, b"OB", 0, 120_000_000)
    body = deflate.compress(header) + b"".join(deflate.compress(bytes(1_000_000)) for _ in range(120))
    path = tmp_path / "bomb.dcm"
    path.write_bytes(whole[:start] + body + deflate.flush())
    assert path.stat().st_size < 200_000
    import tracemalloc

    tracemalloc.start()
    with pytest.raises(UnsupportedImageError, match="unpack to more than"):
        read_image(path)
    assert tracemalloc.get_traced_memory()[1] < 60_000_000
    tracemalloc.stop()


def test_a_length_of_four_gigabytes_in_a_small_file_takes_no_memory(tmp_path: Path) -> None:
    path = make_dicom(tmp_path, PICTURE)
    data = bytearray(path.read_bytes())
    place = data.index(b"\xe0\x7f\x10\0OW")
    data[place:place] = struct.pack("<HH2sHI", 0x0029, 0x1010, b"OB", 0, 0xFFFFFFF0)
    path.write_bytes(data)
    tracemalloc.start()
    with pytest.raises(TruncatedError):
        read_image(path)
    assert tracemalloc.get_traced_memory()[1] < 10_000_000
    tracemalloc.stop()


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ExplicitVRBigEndian, JPEGLSLossless, RLELossless])
def test_what_follows_the_pixels_is_an_element_or_remarked(syntax: str, tmp_path: Path) -> None:
    path = make_dicom(tmp_path, PICTURE, syntax)
    whole = path.read_bytes()
    order = ">" if syntax == ExplicitVRBigEndian else "<"
    padding = struct.pack(f"{order}HH2sHI", 0xFFFC, 0xFFFC, b"OB", 0, 4) + bytes(4)  # PS3.10 7.2
    for more, remarked in ((b"", False), (padding, False), (bytes(512), False), (b"what is this here", True)):
        path.write_bytes(whole + more)
        image = read_image(path)
        assert np.array_equal(image.stored, PICTURE)
        expected = (f"behind Pixel Data stand {len(more)} bytes that are no element",) if remarked else ()
        assert image.notes == expected
