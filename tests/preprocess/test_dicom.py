"""Reading files: what is stored in them, and that nothing broken, odd or hostile comes out as pixels."""

import io
import os
import struct
import time
import tracemalloc
import zlib
from pathlib import Path

import numpy as np
import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import (
    JPEG2000,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLSLossless,
    RLELossless,
)

from nlbs.errors import ImageError
from nlbs.preprocess.formats import elements as reading
from nlbs.preprocess.formats.header import element
from nlbs.preprocess.formats.image_errors import (
    BadHeaderError,
    DecodeError,
    MissingFileError,
    NoPixelsError,
    NotDicomError,
    TruncatedError,
    UnsupportedImageError,
)
from nlbs.preprocess.formats.image_file import read_image
from nlbs.preprocess.formats.stored import sign_extended
from tests.preprocess.dicom_files import (
    ENCODERS,
    LOSSLESS_SYNTAXES,
    PICTURE,
    PLANTED,
    make_dicom,
    public_file,
)

MUTATED_SYNTAXES = (*LOSSLESS_SYNTAXES, JPEG2000, JPEGBaseline8Bit)


def eight_bits_where_needed(folder: Path, syntax: str) -> Path:
    if syntax == JPEGBaseline8Bit:
        return make_dicom(folder, (PICTURE >> 4).astype(np.uint8), syntax, 8)
    return make_dicom(folder, PICTURE, syntax)


# --- Stored values ---------------------------------------------------------------------------------


@given(st.integers(1, 16), st.data())
def test_sign_extension_is_that_of_twos_complement(bits: int, data: st.DataObject) -> None:
    cell = data.draw(st.integers(0, 2**16 - 1))
    low = cell % 2**bits
    expected = low - 2**bits if low >= 2 ** (bits - 1) else low
    assert sign_extended(np.array([cell], np.uint16), bits)[0] == expected


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ExplicitVRBigEndian, RLELossless])
@pytest.mark.parametrize(("stored", "high"), [(12, 15), (12, 13), (10, 11), (1, 8), (15, 15)])
def test_values_may_stand_anywhere_in_their_cells_and_the_other_bits_are_ignored(
    stored: int, high: int, syntax: str, signed: bool, tmp_path: Path
) -> None:
    # PS3.5 8.1.1: a value takes the bits HighBit down to HighBit - BitsStored + 1; overlays may have others.
    generator = np.random.default_rng(stored * 16 + high)
    values = generator.integers(0, 2**stored, (61, 47))
    shift = high - stored + 1
    others = generator.integers(0, 2**16, (61, 47)) & ~(((1 << stored) - 1) << shift)
    cells = ((values << shift) | others).astype(np.uint16)
    expected = np.where(values >= 2 ** (stored - 1), values - 2**stored, values) if signed else values
    for decoder in ("auto", "pylibjpeg"):
        path = make_dicom(
            tmp_path, cells, syntax, 16, BitsStored=stored, HighBit=high, PixelRepresentation=int(signed)
        )
        assert np.array_equal(read_image(path, decoder).stored, expected)


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, JPEG2000Lossless, JPEGLSLossless, RLELossless])
@pytest.mark.parametrize("bits", range(9, 17))
def test_signed_values_of_every_depth_come_back(bits: int, syntax: str, tmp_path: Path) -> None:
    signed = ((PICTURE.astype(np.int32) << 4 >> (16 - bits)) - (1 << (bits - 1))).astype(np.int16)
    assert (signed.min(), signed.max()) == (
        -(1 << (bits - 1)),
        (4095 << 4 >> (16 - bits)) - (1 << (bits - 1)),
    )
    path = make_dicom(tmp_path, signed, syntax, bits)
    assert np.array_equal(read_image(path).stored, signed)


def test_overlays_in_the_high_bits_of_a_signed_image_do_not_change_it(tmp_path: Path) -> None:
    # PS3.5 8.1.2 as it was until 2004: an overlay plane in bit 15 of 16, beside 12 bits of pixels.
    signed = (PICTURE.astype(np.int32) - 2048).astype(np.int16)
    overlay = np.zeros(PICTURE.shape, np.uint16)
    overlay[10:30, 10:30] = 1 << 15
    cells = (signed.view(np.uint16) & 0x0FFF) | overlay
    path = make_dicom(tmp_path, cells, bits=12, PixelRepresentation=1)
    dataset = pydicom.dcmread(path)
    for element_, vr, value in (
        (0x0010, "US", 61),
        (0x0011, "US", 47),
        (0x0100, "US", 16),
        (0x0102, "US", 15),
    ):
        dataset.add_new((0x6000, element_), vr, value)
    dataset.save_as(path)
    image = read_image(path)
    assert np.array_equal(image.stored, signed)
    assert image.notes == ()


def test_signed_values_below_bits_stored_are_noted(tmp_path: Path) -> None:
    # JPEG 2000 has a sign and a depth of its own: here two bits more than the header says.
    signed = (PICTURE.astype(np.int32) - 2048).astype(np.int16)
    path = make_dicom(tmp_path, np.minimum(signed, 100), JPEG2000Lossless, 12, BitsStored=10, HighBit=9)
    assert read_image(path).notes == ("pixel values reach -2048, beyond BitsStored 10",)


def test_a_missing_high_bit_is_bits_stored_less_one(tmp_path: Path) -> None:
    assert np.array_equal(read_image(make_dicom(tmp_path, PICTURE, HighBit=None)).stored, PICTURE)


def test_values_beyond_bits_stored_are_noted(tmp_path: Path) -> None:
    image = read_image(make_dicom(tmp_path, PICTURE, JPEGLSLossless, 12, BitsStored=11, HighBit=10))
    assert image.notes == ("pixel values reach 4095, beyond BitsStored 11",)
    assert read_image(make_dicom(tmp_path, PICTURE)).notes == ()


def test_a_signed_codestream_under_an_unsigned_header_is_read_as_pydicom_reads_it(tmp_path: Path) -> None:
    signed = (PICTURE.astype(np.int32) - 2048).astype(np.int16)
    path = make_dicom(tmp_path, signed, JPEG2000Lossless, 12, PixelRepresentation=0)
    expected = signed.astype(np.int32) % 4096  # the same 12 bits
    assert np.array_equal(pydicom.dcmread(path).pixel_array, expected)
    for decoder in ("auto", "pylibjpeg"):
        assert np.array_equal(read_image(path, decoder).stored, expected)


# --- What the header says --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("elements", "inverted"),
    [
        ({}, False),
        ({"PresentationLUTShape": "IDENTITY"}, False),
        ({"PresentationLUTShape": "INVERSE"}, True),
        ({"PhotometricInterpretation": "MONOCHROME1"}, True),
        # C.8.11.7.1.3 asks for both together: one inversion, said twice.
        ({"PhotometricInterpretation": "MONOCHROME1", "PresentationLUTShape": "INVERSE"}, True),
    ],
)
def test_the_polarity_is_told_by_two_elements(
    elements: dict[str, str], inverted: bool, tmp_path: Path
) -> None:
    assert read_image(make_dicom(tmp_path, PICTURE, **elements)).header.inverted is inverted


@pytest.mark.parametrize(
    ("elements", "padding"),
    [
        ({}, None),
        ({"PixelPaddingValue": 7}, (7, 7)),
        ({"PixelPaddingValue": 0, "PixelPaddingRangeLimit": 30}, (0, 30)),
        # C.7.5.1.1.2: the limit may be the lower end, as it is in MONOCHROME1.
        ({"PixelPaddingValue": 4095, "PixelPaddingRangeLimit": 4000}, (4000, 4095)),
    ],
)
def test_padding_is_a_value_or_a_range(
    elements: dict[str, int], padding: tuple[int, int] | None, tmp_path: Path
) -> None:
    assert read_image(make_dicom(tmp_path, PICTURE, **elements)).header.padding == padding


def test_a_signed_padding_range_keeps_its_signs(tmp_path: Path) -> None:
    path = make_dicom(tmp_path, (PICTURE.astype(np.int32) - 2048).astype(np.int16))
    dataset = pydicom.dcmread(path)
    dataset.add_new("PixelPaddingValue", "SS", -2048)
    dataset.add_new("PixelPaddingRangeLimit", "SS", -2000)
    dataset.save_as(path)
    assert read_image(path).header.padding == (-2048, -2000)


def test_a_padding_value_written_without_its_sign_gets_it_back(tmp_path: Path) -> None:
    path = make_dicom(tmp_path, (PICTURE.astype(np.int32) - 2048).astype(np.int16))
    dataset = pydicom.dcmread(path)
    dataset.add_new("PixelPaddingValue", "US", 65536 - 2000)
    dataset.save_as(path)
    assert read_image(path).header.padding == (-2000, -2000)


@pytest.mark.parametrize(
    ("elements", "spacing"),
    [
        ({}, None),
        ({"ImagerPixelSpacing": [0.1, 0.08]}, (0.1, 0.08)),
        ({"ImagerPixelSpacing": [0.1, 0.1], "PixelSpacing": [0.09, 0.09]}, (0.09, 0.09)),
        ({"PixelSpacing": [0, 0], "ImagerPixelSpacing": [0.07, 0.07]}, (0.07, 0.07)),
        ({"PixelSpacing": [0.1]}, None),
        ({"PixelSpacing": []}, None),
    ],
)
def test_the_spacing_is_two_sensible_numbers_or_unknown(
    elements: dict[str, list[float]], spacing: tuple[float, float] | None, tmp_path: Path
) -> None:
    assert read_image(make_dicom(tmp_path, PICTURE, **elements)).header.spacing_mm == spacing


def replaced(path: Path, keyword: str, value: bytes) -> Path:
    """Overwrites the value of an element, of the same even length, with any bytes."""
    raw = pydicom.dcmread(path).get_item(keyword)
    data = bytearray(path.read_bytes())
    assert len(value) == raw.length
    data[raw.value_tell : raw.value_tell + raw.length] = value
    path.write_bytes(data)
    return path


def test_text_where_a_number_belongs_is_a_bad_header_or_unknown(tmp_path: Path) -> None:
    path = make_dicom(tmp_path, PICTURE, NumberOfFrames="10")
    with pytest.raises(BadHeaderError, match="NumberOfFrames is no single whole number"):
        read_image(replaced(path, "NumberOfFrames", b"1A"))
    path = make_dicom(tmp_path, PICTURE, PixelSpacing=[0.1, 0.1], WindowWidth="10")
    path = replaced(replaced(path, "PixelSpacing", b"one\\two "), "WindowWidth", b"1A")
    header = read_image(path).header
    assert header.spacing_mm is None
    assert element(header.dataset, "WindowWidth") == "1A"


def test_an_element_that_is_missing_or_blank_is_none(tmp_path: Path) -> None:
    dataset = read_image(make_dicom(tmp_path, PICTURE, VOILUTFunction="", ViewPosition="CC")).header.dataset
    assert element(dataset, "VOILUTFunction") is None
    assert element(dataset, "WindowCenter") is None
    assert element(dataset, "ViewPosition") == "CC"


def test_the_header_keeps_no_pixels(tmp_path: Path) -> None:
    assert read_image(make_dicom(tmp_path, PICTURE)).header.dataset.get("PixelData") is None


# --- Refused from the header -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("elements", "error", "words"),
    [
        ({"Rows": 0}, BadHeaderError, "0 x 47"),
        ({"Columns": 0}, BadHeaderError, "61 x 0"),
        ({"Rows": 65535, "Columns": 65535}, BadHeaderError, "65535 x 65535, expected 1 to 120,000,000"),
        ({"Rows": None}, BadHeaderError, "Rows is missing"),
        ({"Columns": None}, BadHeaderError, "Columns is missing"),
        ({"Columns": [47, 47]}, BadHeaderError, "Columns is no single whole number"),
        ({"BitsAllocated": 1, "BitsStored": 1, "HighBit": 0}, BadHeaderError, "BitsAllocated 1,"),
        ({"BitsAllocated": 24}, BadHeaderError, "BitsAllocated 24"),
        ({"PixelRepresentation": 2}, BadHeaderError, "PixelRepresentation is 2"),
        ({"BitsAllocated": 32}, BadHeaderError, "BitsAllocated 32"),
        ({"BitsStored": 17}, BadHeaderError, "BitsStored 17"),
        ({"BitsStored": 0}, BadHeaderError, "BitsStored 0"),
        ({"BitsAllocated": None}, BadHeaderError, "BitsAllocated is missing"),
        ({"NumberOfFrames": 2}, UnsupportedImageError, "2 frames"),
        ({"NumberOfFrames": -1}, UnsupportedImageError, "-1 frames"),
        ({"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB"}, UnsupportedImageError, "3 samples"),
        (
            {
                "PhotometricInterpretation": "PALETTE COLOR",
                "RedPaletteColorLookupTableDescriptor": [256, 0, 16],
            },
            UnsupportedImageError,
            "grey",
        ),
    ],
)
def test_an_impossible_header_is_refused_in_words(
    elements: dict[str, object], error: type[ImageError], words: str, tmp_path: Path
) -> None:
    with pytest.raises(ImageError, match=words) as caught:
        read_image(make_dicom(tmp_path, PICTURE, **elements))
    assert isinstance(caught.value, error)


@pytest.mark.parametrize(
    "syntax", [ExplicitVRLittleEndian, RLELossless, *ENCODERS], ids=lambda uid: uid.keyword
)
def test_no_memory_is_taken_for_an_image_larger_than_allowed(syntax: str, tmp_path: Path) -> None:
    path = eight_bits_where_needed(tmp_path, syntax)
    with pytest.raises(BadHeaderError, match="expected 1 to 2,000 pixels"):
        read_image(path, max_pixels=2000)


def test_the_transfer_syntax_must_be_there_and_known(tmp_path: Path) -> None:
    with pytest.raises(BadHeaderError, match="0002,0010"):
        read_image(public_file("meta_missing_tsyntax.dcm"))
    data = make_dicom(tmp_path, PICTURE).read_bytes()
    for uid in (b"1.2.840.10008.9.9.1", b"1.2.PLANTED^NAME.12"):
        path = tmp_path / "private.dcm"
        path.write_bytes(data.replace(b"1.2.840.10008.1.2.1", uid))
        with pytest.raises(UnsupportedImageError, match="Transfer Syntax") as caught:
            read_image(path)
        assert uid.decode() not in str(caught.value)


def test_colour_and_multi_frame_public_files_are_unsupported() -> None:
    for name in (
        "SC_rgb_jpeg.dcm",
        "emri_small.dcm",
        "OBXXXX1A.dcm",
        "examples_ybr_color.dcm",
        "US1_J2KR.dcm",
    ):
        with pytest.raises(UnsupportedImageError):
            read_image(public_file(name))


def test_dicom_files_without_an_image_say_so() -> None:
    names = ("rtplan.dcm", "test-SR.dcm", "waveform_ecg.dcm", "reportsi.dcm")
    paths = [public_file(name) for name in names]
    paths.append(Path(pydicom.__file__).parent / "data" / "test_files" / "dicomdirtests" / "DICOMDIR")
    for path in paths:
        with pytest.raises(NoPixelsError):
            read_image(path)


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


def test_only_regular_files_are_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo.dcm")
    (tmp_path / "folder.dcm").mkdir()
    (tmp_path / "loop.dcm").symlink_to(tmp_path / "loop.dcm")
    odd = [
        tmp_path / name
        for name in ("fifo.dcm", "folder.dcm", "missing.dcm", "loop.dcm", "nul\0.dcm", "x" * 300)
    ]
    for path in (*odd, Path("/dev/zero"), tmp_path / "folder.dcm" / "inside" / "no.dcm"):
        started = time.monotonic()
        with pytest.raises(MissingFileError):
            read_image(path)
        assert time.monotonic() - started < 1


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_permission_says_so(tmp_path: Path) -> None:
    path = make_dicom(tmp_path, PICTURE)
    path.chmod(0)
    with pytest.raises(MissingFileError, match="no permission"):
        read_image(path)


def test_a_file_that_may_not_be_opened_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make_dicom(tmp_path, PICTURE)

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied", PLANTED)

    monkeypatch.setattr(pydicom, "dcmread", refuse)
    with pytest.raises(MissingFileError, match=r"^no permission to read the file$"):
        read_image(path)


# --- Broken and hostile files ----------------------------------------------------------------------


@pytest.mark.parametrize("syntax", MUTATED_SYNTAXES, ids=lambda uid: uid.keyword)
def test_a_file_cut_anywhere_is_an_error_or_the_whole_image(syntax: str, tmp_path: Path) -> None:
    path = eight_bits_where_needed(tmp_path, syntax)
    whole, expected = path.read_bytes(), read_image(path).stored
    cuts = {*range(0, len(whole), max(1, len(whole) // 60)), *range(len(whole) - 24, len(whole))}
    cut_path, survivors = tmp_path / "cut.dcm", 0
    for cut in sorted(cuts):
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


def test_no_message_repeats_text_of_the_file_or_its_path(tmp_path: Path) -> None:
    folder = tmp_path / PLANTED
    folder.mkdir()
    trials: list[dict[str, object]] = [
        {
            "PhotometricInterpretation": "PALETTE " + PLANTED,
            "RedPaletteColorLookupTableDescriptor": [256, 0, 16],
        },
        {"NumberOfFrames": "10"},
        {"Rows": 0},
        {"BitsAllocated": 24},
        {"PresentationLUTShape": PLANTED, "Rows": 62},
        {"ReferencedImageSequence": Sequence([Dataset()]), "BitsStored": 30},
    ]
    for elements in trials:
        path = make_dicom(folder, PICTURE, **elements)
        if "NumberOfFrames" in elements:
            replaced(path, "NumberOfFrames", b"P^")
        with pytest.raises(ImageError) as caught:
            read_image(path)
        assert "PLANTED" not in str(caught.value)
        assert "P^" not in str(caught.value)
    for path in (folder / "none.dcm", folder):
        with pytest.raises(ImageError) as caught:
            read_image(path)
        assert "PLANTED" not in str(caught.value)


def test_an_image_error_survives_the_way_back_from_a_worker(tmp_path: Path) -> None:
    from multiprocessing.reduction import ForkingPickler

    with pytest.raises(ImageError) as caught:
        read_image(make_dicom(tmp_path, PICTURE, Rows=0))
    sent = io.BytesIO(bytes(ForkingPickler.dumps(caught.value)))
    again = ForkingPickler.loads(sent.getvalue())
    assert type(again) is BadHeaderError
    assert str(again) == str(caught.value)
