"""Where compressed frames lie: items, tables and fragments, right and wrong."""

import struct
from pathlib import Path

import numpy as np
import pytest
from pydicom.uid import (
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from nlbs.preprocess.formats.image_errors import BadHeaderError, TruncatedError
from nlbs.preprocess.formats.image_file import read_image
from tests.preprocess.dicom_files import PICTURE
from tests.preprocess.pixel_values import DELIMITER, ITEM, STREAMS, item, pixels_and_notes, written


@pytest.mark.parametrize("uid", STREAMS, ids=lambda uid: uid.keyword)
def test_items_in_a_value_of_defined_length_are_items(uid: str, tmp_path: Path) -> None:
    for end in (b"", DELIMITER + bytes(4)):
        value = item(b"") + item(STREAMS[uid]) + end
        path = written(tmp_path, value, len(value), uid)
        same, notes = pixels_and_notes(path)
        assert same
        assert "defined length" in notes
    # No items at all: a codestream that stands there by itself, as SimpleITK reads it.
    same, notes = pixels_and_notes(written(tmp_path, STREAMS[uid], len(STREAMS[uid]), uid))
    assert same
    assert "without items" in notes


@pytest.mark.parametrize("uid", STREAMS, ids=lambda uid: uid.keyword)
@pytest.mark.parametrize(
    "stated",
    [
        ExplicitVRLittleEndian,
        RLELossless,
        JPEGBaseline8Bit,
        JPEGLosslessSV1,
        JPEGLSLossless,
        JPEG2000Lossless,
    ],
    ids=lambda uid: uid.keyword,
)
def test_a_codestream_tells_its_kind(uid: str, stated: str, tmp_path: Path) -> None:
    value = item(b"") + item(STREAMS[uid]) + DELIMITER + bytes(4)
    same, notes = pixels_and_notes(written(tmp_path, value, uid=stated))
    assert same
    both_jpeg = uid == JPEGLosslessSV1 and stated == JPEGBaseline8Bit  # one family: the decoder is the same
    assert ("the transfer syntax says" in notes) is (uid != stated and not both_jpeg)


def test_a_jp2_file_in_an_item_is_its_codestream(tmp_path: Path) -> None:
    import imagecodecs

    boxed = imagecodecs.jpeg2k_encode(PICTURE, level=0, codecformat="jp2", reversible=True, bitspersample=12)
    boxed += b"\0" * (len(boxed) % 2)
    assert b"jP  " in boxed[:12]
    for stated in (JPEG2000Lossless, JPEGLosslessSV1, ExplicitVRLittleEndian):
        value = item(b"") + item(boxed) + DELIMITER + bytes(4)
        assert pixels_and_notes(written(tmp_path, value, uid=stated))[0]


def test_rows_and_columns_that_are_swapped_are_those_of_the_codestream(tmp_path: Path) -> None:
    for uid, stream in STREAMS.items():
        value = item(b"") + item(stream) + DELIMITER + bytes(4)
        image = read_image(written(tmp_path, value, uid=uid, Rows=47, Columns=61))
        assert np.array_equal(image.stored, PICTURE)
        assert (image.header.rows, image.header.columns) == (61, 47)
        assert "Rows and Columns say 47 x 61" in image.notes[0]


@pytest.mark.parametrize("uid", STREAMS, ids=lambda uid: uid.keyword)
@pytest.mark.parametrize(
    ("tail", "words"),
    [
        (b"", "delimiter behind the compressed pixels is missing"),
        (DELIMITER[:3], "delimiter behind the compressed pixels is missing"),
        (bytes(8), "delimiter behind the compressed pixels is zeros"),
        (bytes(600), "delimiter behind the compressed pixels is zeros"),
        (struct.pack("<HH2sHI", 0xFFFC, 0xFFFC, b"OB", 0, 4) + bytes(4), "delimiter behind the compressed"),
    ],
)
def test_a_frame_that_is_whole_needs_no_delimiter(uid: str, tail: bytes, words: str, tmp_path: Path) -> None:
    same, notes = pixels_and_notes(written(tmp_path, item(b"") + item(STREAMS[uid]) + tail, uid=uid))
    assert same
    assert words in notes


def test_a_frame_that_is_not_whole_is_truncated_without_a_delimiter(tmp_path: Path) -> None:
    for uid, stream in STREAMS.items():
        half = len(stream) // 2 // 2 * 2
        for tail in (b"", bytes(8)[:4], ITEM):
            with pytest.raises(TruncatedError):
                read_image(written(tmp_path, item(b"") + item(stream[:half]) + tail, uid=uid))
        with pytest.raises(TruncatedError):
            read_image(written(tmp_path, item(b"") + item(stream[:half], len(stream)), uid=uid))


@pytest.mark.parametrize("uid", STREAMS, ids=lambda uid: uid.keyword)
def test_an_item_that_says_more_than_there_is_is_whole_by_its_end_marker(uid: str, tmp_path: Path) -> None:
    value = item(b"") + item(STREAMS[uid], len(STREAMS[uid]) + 100)
    same, notes = pixels_and_notes(written(tmp_path, value, uid=uid))
    assert same
    assert "shorter than stated" in notes


@pytest.mark.parametrize("uid", STREAMS, ids=lambda uid: uid.keyword)
def test_fragments_may_be_of_odd_length_with_and_without_padding(uid: str, tmp_path: Path) -> None:
    stream = STREAMS[uid]
    cut = len(stream) // 3 | 1
    for between, odd in ((b"", ""), (b"\0", "odd length")):
        value = item(b"") + item(stream[:cut]) + between + item(stream[cut:]) + DELIMITER + bytes(4)
        same, notes = pixels_and_notes(written(tmp_path, value, uid=uid))
        assert same
        assert odd in notes
    # The length is rounded up, the padding forgotten.
    value = item(b"") + item(stream[:cut], cut + 1) + item(stream[cut:]) + DELIMITER + bytes(4)
    same, notes = pixels_and_notes(written(tmp_path, value, uid=uid))
    assert same
    assert "odd length" in notes


@pytest.mark.parametrize("uid", STREAMS, ids=lambda uid: uid.keyword)
@pytest.mark.parametrize("filler", [b"\0", b"\xff", b" "])
def test_filler_behind_the_end_marker_is_left_out(uid: str, filler: bytes, tmp_path: Path) -> None:
    for count in (2, 200, 5000):
        value = item(b"") + item(STREAMS[uid] + filler * count) + DELIMITER + bytes(4)
        assert pixels_and_notes(written(tmp_path, value, uid=uid))[0]


@pytest.mark.parametrize("uid", STREAMS, ids=lambda uid: uid.keyword)
def test_offset_tables_that_are_wrong_do_not_matter_to_a_single_frame(uid: str, tmp_path: Path) -> None:
    stream = STREAMS[uid]
    cut = len(stream) // 2 // 2 * 2
    parts = item(stream[:cut]) + item(stream[cut:]) + DELIMITER + bytes(4)
    tables = {
        "empty": item(b""),
        "right": item(struct.pack("<I", 0)),
        "not zero": item(struct.pack("<I", 77)),
        "odd": item(b"\0\0\0"),
        "one for each fragment": item(struct.pack("<II", 0, cut + 8)),
        "none": b"",
    }
    for name, table in tables.items():
        same, notes = pixels_and_notes(written(tmp_path, table + parts, uid=uid))
        assert same, name
        assert bool(notes) is (name in ("one for each fragment", "none")), name


@pytest.mark.parametrize("uid", STREAMS, ids=lambda uid: uid.keyword)
def test_several_images_where_one_is_stated_are_remarked(uid: str, tmp_path: Path) -> None:
    value = item(b"") + item(STREAMS[uid]) * 2 + DELIMITER + bytes(4)
    for elements in ({}, {"NumberOfFrames": 0}, {"NumberOfFrames": 1}):
        same, notes = pixels_and_notes(written(tmp_path, value, uid=uid, **elements))
        assert same
        assert "are 2 images" in notes


def test_a_file_of_nothing_but_items_is_refused_in_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nlbs.preprocess.formats.frames._MOST_ITEMS", 1000)
    with pytest.raises(BadHeaderError, match="more than 1,000 fragments"):
        read_image(written(tmp_path, item(b"") * 2000 + DELIMITER + bytes(4)))
