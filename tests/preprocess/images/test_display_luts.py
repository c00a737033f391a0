"""VOI LUTs, as pydicom applies them, and in every odd form."""

from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.pixels.processing import apply_voi
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from nlbs.preprocess.formats.image_file import read_image
from nlbs.preprocess.images.display import (
    display_pixels,
    display_table,
)
from tests.preprocess.dicom_files import make_dicom
from tests.preprocess.display_tables import BREAST, RAMP, header_of, lut, table_of
from tests.preprocess.images.test_display import gamma_lut


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian])
@pytest.mark.parametrize(("first", "count", "bits"), [(0, 4096, 12), (625, 2447, 12), (200, 3000, 16)])
def test_a_voi_lut_is_applied_as_pydicom_applies_it(
    first: int, count: int, bits: int, syntax: str, tmp_path: Path
) -> None:
    path = make_dicom(tmp_path, RAMP, syntax, VOILUTSequence=lut(first, gamma_lut(count, bits), bits))
    display = table_of(read_image(path).header)
    assert (display.voi, display.note) == ("lut", None)
    expected = apply_voi(RAMP, pydicom.dcmread(path)) / (2**bits - 1) * 65535
    assert np.abs(display_pixels(RAMP, display) - expected).max() <= 0.5 + 1e-6


def test_a_lut_of_65536_entries_says_0_of_them(tmp_path: Path) -> None:
    entries = np.arange(65536)[::-1] // 16  # PS3.3 C.11.2.1.1: 0 stands for 2^16
    sequence = lut(0, entries, 12, "OW", entries.astype("<u2").tobytes())
    display = table_of(header_of(tmp_path, VOILUTSequence=sequence), breast=BREAST / 10)
    assert display.voi == "range"  # in 12 bits of 65536 values a breast has no contrast
    wide = (RAMP * 16).astype(np.uint16)
    header = header_of(tmp_path, wide, 16, VOILUTSequence=sequence)
    display = display_table(header, 0, 65535, BREAST * 16, "uint16")
    assert display.voi == "lut"
    assert np.abs(display.table - entries / 4095 * 65535).max() <= 0.51


@pytest.mark.parametrize("kind", ["VOILUTSequence", "ModalityLUTSequence"])
def test_the_first_value_of_a_lut_for_signed_pixels_may_be_negative(kind: str, tmp_path: Path) -> None:
    signed = (RAMP.astype(np.int32) - 2048).astype(np.int16)
    entries = gamma_lut(3000, 16)
    more = {"WindowCenter": 32768, "WindowWidth": 65536} if kind.startswith("M") else {}
    header = header_of(tmp_path, signed, **{kind: lut(-1500, entries, 16)}, **more)
    display = display_table(header, -2048, 2047, BREAST - 2048, "uint16")
    # C.11.1.1: below the first mapped value the first entry, beyond the last the last.
    index = [min(max(value + 1500, 0), 2999) for value in range(-2048, 2048)]
    assert np.abs(display.table.astype(int) - entries[index]).max() <= 1


@pytest.mark.parametrize("first", [0, 100])
def test_a_lut_of_8_bit_entries_may_have_more_than_256_of_them(first: int, tmp_path: Path) -> None:
    # Here pydicom is no reference: its apply_voi keeps the index in the type of the entries.
    entries = gamma_lut(3900, 8)
    display = table_of(header_of(tmp_path, VOILUTSequence=lut(first, entries, 8)), "uint8")
    expected = [entries[min(max(value - first, 0), 3899)] for value in range(4096)]  # C.11.2.1.1
    assert display.table.tolist() == expected


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ExplicitVRBigEndian])
def test_lut_data_may_be_words_of_bytes(syntax: str, tmp_path: Path) -> None:
    entries = gamma_lut(4096, 12)
    order = "<u2" if syntax == ExplicitVRLittleEndian else ">u2"
    sequence = lut(0, entries, 12, "OW", entries.astype(order).tobytes())
    expected = table_of(header_of(tmp_path, VOILUTSequence=lut(0, entries, 12))).table
    path = make_dicom(tmp_path, RAMP, syntax, VOILUTSequence=sequence)
    assert np.array_equal(table_of(read_image(path).header).table, expected)
    assert np.array_equal(apply_voi(RAMP, pydicom.dcmread(path)).ravel(), entries)


def test_eight_bit_entries_may_be_packed_two_to_a_word(tmp_path: Path) -> None:
    entries = gamma_lut(4096, 8)
    packed = lut(0, entries, 8, "OW", entries.astype(np.uint8).tobytes())
    display = table_of(header_of(tmp_path, VOILUTSequence=packed), "uint8")
    assert np.array_equal(display.table, entries)


def test_a_lut_goes_before_a_window_unless_another_is_chosen(tmp_path: Path) -> None:
    header = header_of(
        tmp_path, WindowCenter=2000, WindowWidth=1000, VOILUTSequence=lut(0, gamma_lut(4096, 12), 12)
    )
    assert [table_of(header, choice=choice).voi for choice in ("auto", "lut", "window", "range")] == [
        "lut",
        "lut",
        "window",
        "range",
    ]


def test_more_bits_in_lut_data_than_its_descriptor_says_do_not_clip(tmp_path: Path) -> None:
    # As some scanners write: 8 in the descriptor, entries to 4095.
    display = table_of(header_of(tmp_path, VOILUTSequence=lut(0, gamma_lut(4096, 12), 8)))
    assert display.table[4095] == 65535
    assert display.table[1000] == pytest.approx(gamma_lut(4096, 12)[1000] / 4095 * 65535, abs=0.51)


@pytest.mark.parametrize(
    "sequence",
    [
        Sequence([]),
        Sequence([Dataset()]),
        lut(0, gamma_lut(4096, 12), 12, data=[1, 2, 3]),
        lut(0, gamma_lut(4096, 12), 0),
        lut(0, gamma_lut(4096, 12), 65535),
        lut(0, gamma_lut(4096, 12), 12, "OW", b"\0\1\2\3"),
        lut(0, gamma_lut(4096, 12), 12, "OW", b""),
    ],
)
def test_an_unreadable_lut_gives_way_to_the_window(sequence: Sequence, tmp_path: Path) -> None:
    header = header_of(tmp_path, VOILUTSequence=sequence, WindowCenter=2000, WindowWidth=1000)
    assert table_of(header).voi == "window"
