"""Where the pixels are: by what stands in a file, whatever it states. Right is what was put in, or pydicom's."""

import struct
import zlib
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from nlbs.preprocess.formats.image_errors import BadHeaderError, TruncatedError
from nlbs.preprocess.formats.image_file import read_image
from tests.preprocess.dicom_files import PICTURE, make_dicom, rename_syntax
from tests.preprocess.pixel_values import (
    DELIMITER,
    EXPLICIT_HEAD,
    IMPLICIT_HEAD,
    item,
    pixels_and_notes,
    written,
)

# --- The way elements are written --------------------------------------------------------------------


@pytest.mark.parametrize("inverted", [False, True])
@pytest.mark.parametrize(
    ("written_as", "stated"),
    [
        (ImplicitVRLittleEndian, ExplicitVRLittleEndian),
        (ExplicitVRLittleEndian, ImplicitVRLittleEndian),
        (ExplicitVRLittleEndian, ExplicitVRBigEndian),
        (ExplicitVRBigEndian, ExplicitVRLittleEndian),
        (ExplicitVRBigEndian, ImplicitVRLittleEndian),
    ],
)
def test_elements_written_otherwise_than_stated_give_the_same_pixels(
    written_as: str, stated: str, inverted: bool, tmp_path: Path
) -> None:
    values = 4095 - PICTURE if inverted else PICTURE
    name = "MONOCHROME1" if inverted else "MONOCHROME2"
    path = rename_syntax(make_dicom(tmp_path, values, written_as, PhotometricInterpretation=name), stated)
    if ExplicitVRBigEndian not in (written_as, stated):
        with pytest.warns(UserWarning, match="VR"):
            assert np.array_equal(pydicom.dcmread(path).pixel_array, values)
    # Trailing padding, as it made moved pixels look whole.
    path.write_bytes(path.read_bytes() + b"\xfc\xff\xfc\xff" + struct.pack("<I", 64) + bytes(64))
    image = read_image(path)
    assert np.array_equal(image.stored, values)
    assert any("the transfer syntax says" in note for note in image.notes)
    assert image.header.transfer_syntax == written_as


def test_an_implicit_head_of_pixel_data_among_explicit_elements_is_read_as_pydicom_reads_it(
    tmp_path: Path,
) -> None:
    path = make_dicom(tmp_path, PICTURE)
    data = path.read_bytes()
    path.write_bytes(data.replace(EXPLICIT_HEAD, IMPLICIT_HEAD))
    assert np.array_equal(pydicom.dcmread(path).pixel_array, PICTURE)
    assert pixels_and_notes(path) == (True, "")


def test_heads_that_can_be_read_in_two_ways_are_refused(tmp_path: Path) -> None:
    path = make_dicom(tmp_path, PICTURE, ImplicitVRLittleEndian)
    data = path.read_bytes()
    head = IMPLICIT_HEAD + struct.pack("<I", PICTURE.nbytes)
    path.write_bytes(data.replace(head, EXPLICIT_HEAD + struct.pack("<I", PICTURE.nbytes)))
    with pytest.raises(BadHeaderError, match="explicit VR, the elements before it implicit"):
        read_image(path)
    path = make_dicom(tmp_path, PICTURE)
    head = EXPLICIT_HEAD + struct.pack("<I", PICTURE.nbytes)
    wrong = b"\xe0\x7f\x10\0ZZ\0\0" + struct.pack("<I", 1 << 30)
    path.write_bytes(path.read_bytes().replace(head, wrong))
    with pytest.raises(BadHeaderError, match="VR of Pixel Data"):
        read_image(path)


@pytest.mark.parametrize("vr", [b"ox", b"OX", b"ZZ"])
def test_a_vr_that_is_not_known_has_the_length_of_un(vr: bytes, tmp_path: Path) -> None:
    # PS3.5 6.2.2; SimpleITK reads such a file so, pydicom takes the VR for a length.
    path = make_dicom(tmp_path, PICTURE)
    path.write_bytes(path.read_bytes().replace(EXPLICIT_HEAD, b"\xe0\x7f\x10\0" + vr + b"\0\0"))
    same, notes = pixels_and_notes(path)
    assert same and "VR of Pixel Data" in notes


def without_syntax(path: Path, whole_group: bool) -> Path:
    """Takes the Transfer Syntax UID out of a file, or all of group 0002. Gives its path."""
    data = path.read_bytes()
    if whole_group:
        path.write_bytes(data[:132] + data[144 + int.from_bytes(data[140:144], "little") :])
        return path
    start = data.index(b"\x02\0\x10\0UI")
    size = 8 + struct.unpack_from("<H", data, start + 6)[0]
    group = int.from_bytes(data[140:144], "little") - size
    path.write_bytes(data[:140] + struct.pack("<I", group) + data[144:start] + data[start + size :])
    return path


@pytest.mark.parametrize("whole_group", [False, True])
@pytest.mark.parametrize(
    "syntax",
    [
        ExplicitVRLittleEndian,
        ImplicitVRLittleEndian,
        RLELossless,
        JPEGLosslessSV1,
        JPEGLSLossless,
        JPEG2000Lossless,
    ],
)
def test_without_a_transfer_syntax_pixels_are_read_by_what_they_look_like(
    syntax: str, whole_group: bool, tmp_path: Path
) -> None:
    same, notes = pixels_and_notes(without_syntax(make_dicom(tmp_path, PICTURE, syntax), whole_group))
    assert same and "no Transfer Syntax UID" in notes


def test_elements_behind_the_pixels_are_read_too(tmp_path: Path) -> None:
    # As pydicom and SimpleITK do.
    path = make_dicom(tmp_path, PICTURE)
    data = path.read_bytes()
    start, end = data.index(b"\x28\0\x10\0US"), data.index(EXPLICIT_HEAD)
    path.write_bytes(data[:start] + data[end:] + data[start:end])
    assert np.array_equal(pydicom.dcmread(path).pixel_array, PICTURE)
    same, notes = pixels_and_notes(path)
    assert same and "behind its pixels" in notes


def test_deflated_elements_in_a_zlib_stream_are_read(tmp_path: Path) -> None:
    # RFC 1950 around RFC 1951, which DCMTK reads by --bitstream-zlib.
    path = rename_syntax(make_dicom(tmp_path, PICTURE), DeflatedExplicitVRLittleEndian)
    data = path.read_bytes()
    start = 144 + int.from_bytes(data[140:144], "little")
    for level in (1, 6, 9):
        path.write_bytes(data[:start] + zlib.compress(data[start:], level))
        same, notes = pixels_and_notes(path)
        assert same and "zlib" in notes


def test_pixels_that_were_sent_as_a_text_are_refused(tmp_path: Path) -> None:
    tall = np.tile(PICTURE, (8, 1))
    assert tall.tobytes().count(b"\n") > 64
    path = make_dicom(tmp_path, tall)
    data = path.read_bytes()
    path.write_bytes(data.replace(b"\n", b"\r\n"))
    with pytest.raises(BadHeaderError, match="sent as a text"):
        read_image(path)
    path.write_bytes(data + b"\0" * 512)
    assert np.array_equal(read_image(path).stored, tall)


def test_elements_that_are_not_deflated_say_so(tmp_path: Path) -> None:
    path = rename_syntax(make_dicom(tmp_path, PICTURE), DeflatedExplicitVRLittleEndian)
    with pytest.raises(BadHeaderError, match="not deflated"):
        read_image(path)


@pytest.mark.parametrize("length", [0, 10, 5000])
def test_a_wrong_group_length_of_the_file_meta_moves_nothing(length: int, tmp_path: Path) -> None:
    path = make_dicom(tmp_path, PICTURE)
    data = path.read_bytes()
    path.write_bytes(data[:140] + struct.pack("<I", length) + data[144:])
    assert np.array_equal(pydicom.dcmread(path).pixel_array, PICTURE)
    assert pixels_and_notes(path) == (True, "")


# --- Lengths -----------------------------------------------------------------------------------------


def test_a_length_beyond_the_file_is_named_with_both_numbers(tmp_path: Path) -> None:
    path = make_dicom(tmp_path, PICTURE)
    data = path.read_bytes()
    head = EXPLICIT_HEAD + struct.pack("<I", PICTURE.nbytes)
    claimed = data.replace(head, EXPLICIT_HEAD + struct.pack("<I", 267_798_015))
    path.write_bytes(claimed)
    assert pixels_and_notes(path) == (
        True,
        "Pixel Data states 267,798,015 bytes, the file has the 5,734 that its image needs",
    )
    path.write_bytes(claimed + b"no pixels")
    with pytest.raises(TruncatedError, match=r"it has 5,743 of 267,798,015 bytes, and its image needs 5,734"):
        read_image(path)


def test_a_file_without_its_pixels_says_so(tmp_path: Path) -> None:
    path = make_dicom(tmp_path, PICTURE)
    data = path.read_bytes()
    path.write_bytes(data[: data.index(EXPLICIT_HEAD)])
    with pytest.raises(TruncatedError, match="cut short, or stored without its pixels"):
        read_image(path)


def test_an_undefined_length_of_uncompressed_pixels_ends_at_its_delimiter(tmp_path: Path) -> None:
    path = written(tmp_path, PICTURE.tobytes() + DELIMITER + bytes(4), uid=ExplicitVRLittleEndian)
    assert np.array_equal(pydicom.dcmread(path).pixel_array, PICTURE)
    same, notes = pixels_and_notes(path)
    assert same
    assert notes == "Pixel Data has an undefined length, which uncompressed pixels never have (PS3.5 A.4)"


@pytest.mark.parametrize(
    "uid", [JPEG2000Lossless, JPEGLosslessSV1, JPEGLSLossless, RLELossless], ids=lambda uid: uid.keyword
)
def test_a_defined_length_means_uncompressed(uid: str, tmp_path: Path) -> None:
    value = PICTURE.tobytes()
    same, notes = pixels_and_notes(written(tmp_path, value, len(value), uid))
    assert same
    assert "not compressed" in notes
    with pytest.raises(BadHeaderError, match=r"has a length, so it is not compressed.*5,720 bytes.*5,734"):
        read_image(written(tmp_path, value[:-14], len(value) - 14, uid))


# --- What is in the items ----------------------------------------------------------------------------


def test_uncompressed_pixels_in_items_are_read_under_an_uncompressed_syntax(tmp_path: Path) -> None:
    value = item(b"") + item(PICTURE.tobytes()) + DELIMITER + bytes(4)
    same, notes = pixels_and_notes(written(tmp_path, value, uid=ExplicitVRLittleEndian))
    assert same
    assert "stand in items" in notes
    value = item(b"") + item(PICTURE.tobytes()[:-20]) + DELIMITER + bytes(4)
    with pytest.raises(BadHeaderError, match="no codestream that is known"):
        read_image(written(tmp_path, value, uid=ExplicitVRLittleEndian))


# --- Items and delimiters ----------------------------------------------------------------------------


# --- The number of frames ----------------------------------------------------------------------------


@pytest.mark.parametrize(("stated", "noted"), [(0, True), ("", False), ([1, 1], True), (1, False)])
def test_one_frame_may_be_stated_oddly(stated: object, noted: bool, tmp_path: Path) -> None:
    for syntax in (ExplicitVRLittleEndian, JPEGLSLossless):
        same, notes = pixels_and_notes(make_dicom(tmp_path, PICTURE, syntax, NumberOfFrames=stated))
        assert same
        assert ("NumberOfFrames" in notes) is noted


def test_two_numbers_of_frames_are_none(tmp_path: Path) -> None:
    with pytest.raises(BadHeaderError, match="NumberOfFrames"):
        read_image(make_dicom(tmp_path, PICTURE, NumberOfFrames=[1, 2]))
