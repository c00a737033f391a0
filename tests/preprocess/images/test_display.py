"""Stored to display values against PS3.3's formulas written out, and against pydicom's functions.

Also covers: preprocess/images/corrections.py.
"""

import math
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.pixels.processing import apply_modality_lut, apply_voi, apply_windowing
from pydicom.sequence import Sequence

from nlbs.preprocess.formats.image_file import read_image
from nlbs.preprocess.images.display import (
    Display,
    display_pixels,
    display_table,
    modality_falls,
    window_fractions,
)
from tests.preprocess.dicom_files import make_dicom, public_file
from tests.preprocess.display_tables import BREAST, RAMP, header_of, lut, table_of


def linear(x: float, center: float, width: float) -> float:
    """PS3.3 C.11.2.1.2.1, the three cases of equation C.11-1, for the output range 0 to 1."""
    if x <= center - 0.5 - (width - 1) / 2:
        return 0.0
    if x > center - 0.5 + (width - 1) / 2:
        return 1.0
    return (x - (center - 0.5)) / (width - 1) + 0.5


def linear_exact(x: float, center: float, width: float) -> float:
    """PS3.3 C.11.2.1.3.2, in its three cases."""
    if x <= center - width / 2:
        return 0.0
    if x > center + width / 2:
        return 1.0
    return (x - center) / width + 0.5


def sigmoid(x: float, center: float, width: float) -> float:
    """PS3.3 C.11.2.1.3.1, equation C.11-2."""
    return 1 / (1 + math.exp(-4 * (x - center) / width))


FORMULAS = {"LINEAR": linear, "LINEAR_EXACT": linear_exact, "SIGMOID": sigmoid}


# --- Windows ---------------------------------------------------------------------------------------


@given(
    st.sampled_from(sorted(FORMULAS)),
    st.floats(-2000, 5000),
    st.integers(1, 4000) | st.floats(1, 4000),
    st.lists(st.integers(-3000, 6000), min_size=1, max_size=20),
)
def test_a_window_is_the_standards_formula(
    function: str, center: float, width: float, values: list[int]
) -> None:
    found = window_fractions(np.array(values, float), center, width, function)
    expected = [
        FORMULAS[function](x, center, width) if abs(4 * (x - center) / width) < 700 else float(x > center)
        for x in values
    ]
    np.testing.assert_allclose(found, expected, atol=1e-9)


@pytest.mark.parametrize("function", [None, "LINEAR", "LINEAR_EXACT", "SIGMOID"])
@pytest.mark.parametrize(("center", "width"), [(2048, 4096), (2000.5, 1201), (1500, 2)])
def test_a_windowed_image_is_that_of_pydicom(
    function: str | None, center: float, width: float, tmp_path: Path
) -> None:
    elements = {"VOILUTFunction": function} if function else {}
    path = make_dicom(tmp_path, RAMP, WindowCenter=center, WindowWidth=width, **elements)
    header = read_image(path).header
    display = table_of(header, choice="window", breast=np.array([center - width / 3, center + width / 3]))
    assert display.voi == "window"
    # pydicom scales to the range of the stored bits, 0 to 4095.
    with np.errstate(over="ignore"):
        expected = apply_windowing(RAMP, pydicom.dcmread(path)) / 4095 * 65535
    assert np.abs(display_pixels(RAMP, display) - expected).max() <= 0.5 + 1e-6


@pytest.mark.parametrize(
    ("elements", "kind"),
    [
        ({"WindowCenter": 2000, "WindowWidth": 1000}, "window"),
        ({"WindowCenter": [2000, 1000], "WindowWidth": [1000, 10]}, "window"),
        ({"WindowCenter": 2000, "WindowWidth": 0}, "range"),
        ({"WindowCenter": 2000, "WindowWidth": -5}, "range"),
        ({"WindowCenter": 2000, "WindowWidth": 0.5}, "range"),
        ({"WindowCenter": 2000, "WindowWidth": 0.5, "VOILUTFunction": "LINEAR_EXACT"}, "window"),
        ({"WindowCenter": 2000}, "range"),
        ({"WindowWidth": 2000}, "range"),
        ({"WindowCenter": 2000, "WindowWidth": 1000, "VOILUTFunction": "CUBIC"}, "range"),
        ({"WindowCenter": 2000, "WindowWidth": 1000, "VOILUTFunction": ""}, "window"),
        ({}, "range"),
    ],
)
def test_a_window_counts_only_where_it_is_one(elements: dict[str, Any], kind: str, tmp_path: Path) -> None:
    display = table_of(header_of(tmp_path, **elements))
    left_out = "the header's window cannot be used: it is left out" if elements and kind == "range" else None
    assert (display.voi, display.note) == (kind, left_out)


def test_half_of_a_rescale_is_left_out_with_a_note(tmp_path: Path) -> None:
    # PS3.3 C.11.1 has both or none; pydicom's apply_rescale changes nothing where one is missing.
    for elements, noted in (
        ({"RescaleSlope": 2}, True),
        ({"RescaleIntercept": -1000}, True),
        ({"RescaleSlope": 1}, False),
        ({"RescaleIntercept": 0}, False),
    ):
        header = header_of(tmp_path, **elements)
        assert np.array_equal(apply_modality_lut(RAMP, header.dataset), RAMP)
        display = table_of(header)
        assert np.array_equal(display.table, table_of(header_of(tmp_path)).table)
        assert ("only one of" in (display.note or "")) is noted


def test_of_several_windows_the_first_counts(tmp_path: Path) -> None:
    one = table_of(header_of(tmp_path, WindowCenter=2000, WindowWidth=1000))
    many = table_of(header_of(tmp_path, WindowCenter=[2000, 1000, 50], WindowWidth=[1000, 10, 20]))
    assert np.array_equal(one.table, many.table)


def test_text_in_a_window_leaves_the_breasts_own_range(tmp_path: Path) -> None:
    path = make_dicom(tmp_path, RAMP, WindowCenter="2000", WindowWidth="1000")
    data = path.read_bytes()
    element = b"\x28\x00\x51\x10DS\x04\x00"
    assert data.count(element + b"1000") == 1
    path.write_bytes(data.replace(element + b"1000", element + b"1A00"))
    assert table_of(read_image(path).header).voi == "range"


# --- LUT sequences ---------------------------------------------------------------------------------


def gamma_lut(count: int, bits: int) -> np.ndarray:
    return np.rint((np.arange(count) / (count - 1)) ** 0.7 * (2**bits - 1)).astype(np.int64)


def test_the_rescale_type_says_what_values_mean_and_changes_none(tmp_path: Path) -> None:
    more = {"RescaleSlope": 2, "RescaleIntercept": -7, "WindowCenter": 4000, "WindowWidth": 3000}
    expected = table_of(header_of(tmp_path, **more)).table
    for kind in ("HU", "US", "OD", "1A"):
        assert np.array_equal(table_of(header_of(tmp_path, RescaleType=kind, **more)).table, expected)


def test_the_ge_file_shows_its_breast_with_contrast() -> None:
    path = Path(__file__).parents[4] / "shared" / "data" / "ge-senographe-mlo.dcm"
    if not path.is_file():
        pytest.skip("../shared is not on this machine")
    image = read_image(path)
    breast = image.stored[1000:2000, 1700:2200]
    display = display_table(image.header, 0, int(image.stored.max()), breast, "uint8")
    assert display.voi == "lut"
    expected = apply_voi(image.stored, pydicom.dcmread(path)) / 4095 * 255
    shown = display_pixels(image.stored, display)
    outside_padding = image.stored > 30
    assert np.abs(shown - expected)[outside_padding].max() <= 0.5 + 1e-6
    assert shown[1000:2000, 1700:2200].std() > 20


# --- Where there is no usable VOI ------------------------------------------------------------------


def test_without_a_voi_the_breasts_own_range_fills_the_output(tmp_path: Path) -> None:
    display = table_of(header_of(tmp_path), "uint8")
    assert display.voi == "range"
    assert display.table[0] == 0
    assert display.table[4095] == 255
    shown = display.table[BREAST.astype(int)]
    assert (shown == 0).mean() < 0.01
    assert (shown == 255).mean() < 0.01
    assert np.ptp(shown) == 255
    # A straight line in between.
    assert np.abs(np.diff(shown.astype(int), n=2)).max() <= 1


@pytest.mark.parametrize(
    "elements",
    [
        {"WindowCenter": 100, "WindowWidth": 50},
        {"WindowCenter": 30000, "WindowWidth": 50},
        {"WindowCenter": 2000, "WindowWidth": 4_000_000},
        {"VOILUTSequence": lut(3500, gamma_lut(500, 12), 12)},
    ],
)
def test_a_voi_that_flattens_the_breast_is_replaced_with_a_note(
    elements: dict[str, Any], tmp_path: Path
) -> None:
    display = table_of(header_of(tmp_path, **elements))
    assert display.voi == "range"
    assert display.note is not None
    assert "without contrast" in display.note
    assert np.ptp(display.table[1000:3001].astype(int)) > 60000


def test_a_breast_of_one_value_does_not_divide_by_zero(tmp_path: Path) -> None:
    display = table_of(header_of(tmp_path), breast=np.full(10, 2000.0))
    assert display.table[0] == 0
    assert display.table[4095] == 65535


# --- Polarity, padding, sign -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "elements", [{"PhotometricInterpretation": "MONOCHROME1"}, {"PresentationLUTShape": "INVERSE"}]
)
@pytest.mark.parametrize("voi", [{"WindowCenter": 2000, "WindowWidth": 3000}, {}])
@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_an_inverted_image_is_the_other_one_upside_down(
    dtype: str, voi: dict[str, Any], elements: dict[str, str], tmp_path: Path
) -> None:
    plain = table_of(header_of(tmp_path, **voi), dtype, breast=np.linspace(0, 4095, 5000))
    inverted = table_of(header_of(tmp_path, **voi, **elements), dtype, breast=np.linspace(0, 4095, 5000))
    top = np.iinfo(dtype).max
    # The own range leaves a little more black than white, whichever end that is.
    tolerance = 1 if voi else 0.004 * top
    assert np.abs(inverted.table.astype(int) - (top - plain.table.astype(int))).max() <= tolerance
    assert inverted.table[4095] == 0
    assert inverted.table[0] == top or voi


@pytest.mark.parametrize("polarity", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize("padding", [(0, 0), (4095, 4095), (4000, 4095), (0, 30)])
def test_padding_is_air_in_both_polarities(polarity: str, padding: tuple[int, int], tmp_path: Path) -> None:
    header = header_of(
        tmp_path,
        PhotometricInterpretation=polarity,
        PixelPaddingValue=padding[1],
        PixelPaddingRangeLimit=padding[0],
        WindowCenter=2000,
        WindowWidth=9000,  # so wide that nothing else is 0
    )
    table = table_of(header).table
    inside = np.zeros(4096, bool)
    inside[padding[0] : padding[1] + 1] = True
    assert np.array_equal(table == 0, inside)


@pytest.mark.parametrize(("slope", "intercept"), [(1, 0), (2, -1000), (0.25, 12.5), (-1, 4095), (-0.5, 100)])
def test_slope_and_intercept_are_applied_as_pydicom_applies_them(
    slope: float, intercept: float, tmp_path: Path
) -> None:
    center, width = 2000 * slope + intercept, abs(3000 * slope)
    path = make_dicom(
        tmp_path, RAMP, RescaleSlope=slope, RescaleIntercept=intercept, WindowCenter=center, WindowWidth=width
    )
    dataset = pydicom.dcmread(path)
    display = table_of(read_image(path).header)
    assert display.voi == "window"
    expected = window_fractions(apply_modality_lut(RAMP, dataset), center, width, "LINEAR") * 65535
    assert np.abs(display_pixels(RAMP, display) - expected).max() <= 0.5 + 1e-6
    assert modality_falls(read_image(path).header) is (slope < 0)


def test_a_falling_slope_turns_the_polarity_and_monochrome1_turns_it_back(tmp_path: Path) -> None:
    falling = {"RescaleSlope": -1, "RescaleIntercept": 4095}
    for voi in ({}, {"WindowCenter": 2048, "WindowWidth": 4096}):
        for polarity, darkest in (("MONOCHROME2", 4095), ("MONOCHROME1", 0)):
            display = table_of(header_of(tmp_path, PhotometricInterpretation=polarity, **falling, **voi))
            assert display.table[darkest] == 0
            assert display.table[4095 - darkest] == 65535


def test_a_modality_lut_is_applied_as_pydicom_applies_it(tmp_path: Path) -> None:
    entries = gamma_lut(3000, 16)
    path = make_dicom(
        tmp_path, RAMP, ModalityLUTSequence=lut(500, entries, 16), WindowCenter=32768, WindowWidth=65536
    )
    expected = apply_modality_lut(RAMP, pydicom.dcmread(path))
    shown = display_pixels(RAMP, table_of(read_image(path).header))
    assert (
        np.abs(shown - window_fractions(expected.astype(float), 32768, 65536, "LINEAR") * 65535).max() <= 0.51
    )


def test_a_public_signed_file_with_a_modality_lut_is_shown_as_pydicom_reads_it() -> None:
    path = public_file("mlut_18.dcm")
    image = read_image(path)
    first, last = int(image.stored.min()), int(image.stored.max())
    assert first < 0
    display = display_table(image.header, first, last, image.stored.ravel(), "uint8")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        values = apply_modality_lut(image.stored, pydicom.dcmread(path)).astype(float)
    low, high = np.percentile(values, (0.5, 99.8))
    expected = np.clip((values - low) / (high - low), 0, 1) * 255
    assert np.abs(display_pixels(image.stored, display) - expected).max() < 2


@pytest.mark.parametrize(
    "elements",
    [
        {"RescaleSlope": 0, "RescaleIntercept": 5},
        {"RescaleSlope": [1, 2], "RescaleIntercept": 5},
        {"RescaleSlope": "", "RescaleIntercept": 5},
        {"ModalityLUTSequence": Sequence([Dataset()])},
        {"ModalityLUTSequence": lut(0, gamma_lut(4096, 12), 12, data=[1, 2, 3])},
    ],
)
def test_a_modality_lut_that_cannot_be_read_is_left_out_with_a_note(
    elements: dict[str, Any], tmp_path: Path
) -> None:
    header = header_of(tmp_path, **elements, WindowCenter=2000, WindowWidth=1000)
    display = table_of(header)
    assert display.note is not None
    assert "modality LUT" in display.note
    assert np.array_equal(
        display.table, table_of(header_of(tmp_path, WindowCenter=2000, WindowWidth=1000)).table
    )


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_signed_stored_values_find_their_place_in_the_table(data: st.DataObject) -> None:
    first = data.draw(st.integers(-2000, 100))
    table = np.arange(3000, dtype=np.uint16)
    values = data.draw(st.lists(st.integers(first, first + 2999), min_size=1, max_size=30))
    shown = display_pixels(np.array(values, np.int16), Display(table, first, "range", None))
    assert shown.tolist() == [value - first for value in values]


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_the_output_has_the_asked_type_and_uses_its_whole_range(dtype: str, tmp_path: Path) -> None:
    display = table_of(header_of(tmp_path, WindowCenter=2000, WindowWidth=1000), dtype)
    shown = display_pixels(RAMP, display)
    assert shown.dtype == dtype
    assert (shown.min(), shown.max()) == (0, np.iinfo(dtype).max)
