"""Reading files: what is stored in them, and that nothing broken, odd or hostile comes out as pixels."""

import time
from pathlib import Path

import numpy as np
import pytest
from pydicom.uid import (
    JPEG2000,
    JPEGBaseline8Bit,
    JPEGLSLossless,
)

from nlbs.errors import ImageError
from nlbs.preprocess.formats.image_errors import (
    DecodeError,
    NotDicomError,
    TruncatedError,
)
from nlbs.preprocess.formats.image_file import read_image
from tests.conftest import some
from tests.preprocess.dicom_files import (
    ENCODERS,
    LOSSLESS_SYNTAXES,
    PICTURE,
    eight_bits_where_needed,
    make_dicom,
)

MUTATED_SYNTAXES = (*LOSSLESS_SYNTAXES, JPEG2000, JPEGBaseline8Bit)


# --- Stored values ---------------------------------------------------------------------------------


# --- What the header says --------------------------------------------------------------------------


# --- Refused from the header -----------------------------------------------------------------------


# --- What is no regular DICOM file -----------------------------------------------------------------


def test_what_is_no_dicom_file_says_so(tmp_path: Path) -> None:
    for name, content in (
        ("text.dcm", b"File Path,Age\nPLANTED^NAME,52\n" * 20),
        ("empty.dcm", b""),
        ("short.dcm", b"DICM"),
        ("zeros.dcm", bytes(5000)),
    ):
        path = tmp_path / name
        path.write_bytes(content)
        with pytest.raises(NotDicomError):
            read_image(path)


# --- Broken and hostile files ----------------------------------------------------------------------


@pytest.mark.parametrize("syntax", MUTATED_SYNTAXES, ids=lambda uid: uid.keyword)
def test_a_file_cut_anywhere_is_an_error_or_the_whole_image(syntax: str, tmp_path: Path) -> None:
    path = eight_bits_where_needed(tmp_path, syntax)
    whole, expected = path.read_bytes(), read_image(path).stored
    cuts = {*range(0, len(whole), max(1, len(whole) // 60)), *range(len(whole) - 24, len(whole))}
    cut_path, survivors = tmp_path / "cut.dcm", 0
    for cut in some(sorted(cuts)):
        cut_path.write_bytes(whole[:cut])
        try:
            stored = read_image(cut_path).stored
        except ImageError as error:
            assert error.status in (
                "truncated",
                "not_dicom",
                "bad_header",
                "decode_failed",
                "no_pixels",
                "unsupported",  # a UID cut to another one
            )
        else:
            survivors += 1
            assert np.array_equal(stored, expected)
    assert survivors <= 10  # only where padding or the closing delimiter is what is missing


@pytest.mark.parametrize("syntax", MUTATED_SYNTAXES, ids=lambda uid: uid.keyword)
def test_a_file_cut_in_its_pixels_is_called_truncated(syntax: str, tmp_path: Path) -> None:
    path = eight_bits_where_needed(tmp_path, syntax)
    whole = path.read_bytes()
    for share in (0.5, 0.7, 0.9):
        path.write_bytes(whole[: int(600 + share * (len(whole) - 600))])
        with pytest.raises(TruncatedError):
            read_image(path)


def test_a_codestream_that_stops_early_inside_whole_elements_is_truncated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for syntax, encode in list(ENCODERS.items()):
        for share in (0.3, 0.6, 0.95):

            def cut(x: np.ndarray, bits: int, encode=encode, share=share) -> bytes:
                frame = bytes(encode(x, bits))
                return frame[: int(share * len(frame))]

            monkeypatch.setitem(ENCODERS, syntax, cut)
            path = eight_bits_where_needed(tmp_path, syntax)
            with pytest.raises((TruncatedError, DecodeError)):
                read_image(path)


def test_too_little_uncompressed_data_is_counted(tmp_path: Path) -> None:
    path = make_dicom(tmp_path, PICTURE, Rows=62)
    with pytest.raises(TruncatedError, match=r"5,734 bytes, 62 x 47 pixels of 16 bits need 5,828"):
        read_image(path)


def test_compressed_pixels_without_items_are_truncated(tmp_path: Path) -> None:
    path = make_dicom(tmp_path, PICTURE, JPEGLSLossless)
    data = path.read_bytes()
    start = data.index(b"\xfe\xff\x00\xe0")
    path.write_bytes(data[:start] + b"\xfe\xff\x00\xe0\0\0\0\0" + b"\xfe\xff\xdd\xe0\0\0\0\0")
    with pytest.raises(TruncatedError):
        read_image(path)


@pytest.mark.parametrize("syntax", MUTATED_SYNTAXES, ids=lambda uid: uid.keyword)
def test_only_image_errors_come_out_of_damaged_files(syntax: str, tmp_path: Path) -> None:
    generator = np.random.default_rng(sum(syntax.encode()))
    whole = eight_bits_where_needed(tmp_path, syntax).read_bytes()
    path, slowest = tmp_path / "damaged.dcm", 0.0
    for turn in range(60):
        damaged = bytearray(whole)
        # Half of the blows fall on the header, which is the smaller part.
        end = 900 if turn % 2 else len(whole)
        for place in generator.integers(132, min(end, len(whole)), 1 + turn % 3):
            damaged[place] = generator.integers(256)
        if turn % 5 == 0:
            del damaged[int(generator.integers(132, len(whole))) :]
        path.write_bytes(damaged)
        started = time.monotonic()
        try:
            image = read_image(path)
        except ImageError as error:
            assert "PLANTED" not in str(error)
            assert str(tmp_path) not in str(error)
        else:
            assert image.stored.shape == (image.header.rows, image.header.columns)
            assert image.stored.dtype.kind in "iu"
        slowest = max(slowest, time.monotonic() - started)
    assert slowest < 5
