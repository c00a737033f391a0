"""Figures of masks and pixels against shapes whose figures are known."""

import numpy as np
import pytest

from nlbs.preprocess.images.quality import mask_figures, mask_flags, pixel_figures
from tests.conftest import some


def flags(bits: np.ndarray, **others: float) -> list[str]:
    record = {"mask_fraction": 0.3, **mask_figures(bits, 4, (0, 0), (4 * bits.shape[0], 4 * bits.shape[1]))}
    return mask_flags({**record, **others})


def test_the_bounding_box_is_in_source_pixels_and_ends_with_the_image() -> None:
    bits = np.zeros((10, 8), bool)
    bits[3:10, 2:5] = True
    found = mask_figures(bits, step=4, corner=(100, 50), source=(139, 300))
    assert (found["mask_y"], found["mask_x"]) == (112, 58)
    assert (found["mask_rows"], found["mask_columns"]) == (27, 12)  # the last mask row has 3 of its 4 pixels
    assert found["mask_borders"] == 1


def test_a_convex_shape_is_not_ragged_and_each_notch_and_hole_counts_its_walls() -> None:
    y, x = np.mgrid[:61, :61]
    disc = (y - 30) ** 2 + (x - 30) ** 2 <= 900
    assert mask_figures(disc, 1, (5, 5), (80, 80))["mask_raggedness"] == 1
    square = np.ones((20, 20), bool)
    square[5:15, 8:12] = False  # a hole adds its outline of 2 * (10 + 4) to that of 80
    assert mask_figures(square, 1, (9, 9), (60, 60))["mask_raggedness"] == pytest.approx(108 / 80)
    comb = np.ones((20, 20), bool)
    comb[:10, 3] = False  # a notch adds two walls of 10
    assert mask_figures(comb, 1, (9, 9), (60, 60))["mask_raggedness"] == pytest.approx(100 / 80)


def test_parts_and_borders_are_counted() -> None:
    bits = np.zeros((30, 30), bool)
    bits[:, :10] = True
    assert flags(bits) == ["borders"]
    bits[0], bits[-1] = False, False
    bits[1], bits[-2] = False, False
    assert flags(bits) == []
    bits[12:15, 20:25] = True
    assert "components" in flags(bits)


def test_size_and_aspect_are_flagged_beyond_their_bounds() -> None:
    bits = np.ones((30, 10), bool)
    bits = np.pad(bits, 5)
    assert flags(bits) == []
    assert flags(bits, mask_fraction=0.049) == ["small"]
    assert flags(bits, mask_fraction=0.901) == ["large"]
    assert flags(np.pad(np.ones((10, 30), bool), 5)) == ["aspect"]
    assert flags(bits, mask_raggedness=1.3) == ["ragged"]


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_brightness_is_that_of_the_breast_as_a_share_of_the_range(dtype: str) -> None:
    top = np.iinfo(dtype).max
    pixels = np.zeros((400, 400), dtype)
    bits = np.zeros((100, 100), bool)
    bits[:, :50] = True
    pixels[:, :200] = np.linspace(0.2 * top, 0.6 * top, 400).astype(dtype)[:, None]
    found = pixel_figures(pixels, bits, 4)
    assert found["breast_median"] == pytest.approx(0.4, abs=0.01)
    assert found["breast_p1"] == pytest.approx(0.204, abs=0.01)
    assert found["breast_p99"] == pytest.approx(0.596, abs=0.01)


def tissue(dtype: str = "uint8") -> tuple[np.ndarray, np.ndarray]:
    """Gives smooth noise and a mask of all of it."""
    noise = np.random.default_rng(0).normal(0, 6, (480, 480))
    scale = np.iinfo(dtype).max / 255
    return (np.clip(110 + noise, 1, 254) * scale).astype(dtype), np.ones((120, 120), bool)


def test_a_damaged_band_raises_the_figure_that_is_made_for_it() -> None:
    pixels, bits = tissue()
    whole = pixel_figures(pixels, bits, 4)
    shifted, streaked, empty = pixels.copy(), pixels.copy(), pixels.copy()
    shifted[240:] += 90
    streaked[:] = np.random.default_rng(1).integers(0, 255, (480, 1)) // 8 + pixels // 2
    empty[160:360] = 0
    assert (pixel_figures(shifted, bits, 4)["qc_row_jump"] or 0) > 4 * (whole["qc_row_jump"] or 0)
    assert abs(whole["qc_streaks"] or 0) < 0.1
    assert (pixel_figures(streaked, bits, 4)["qc_streaks"] or 0) > 1
    assert (pixel_figures(empty, bits, 4)["qc_flattest"] or 0) > 5 * (whole["qc_flattest"] or 0)


def test_sixteen_bits_give_the_figures_of_eight() -> None:
    eight = pixel_figures(*tissue("uint8"), 4)
    sixteen = pixel_figures(*tissue("uint16"), 4)
    for name, value in some(eight.items()):
        assert sixteen[name] == pytest.approx(value, rel=0.1, abs=0.02)


def test_a_breast_of_few_blocks_has_no_signs_of_damage() -> None:
    pixels, bits = tissue()
    small = np.zeros_like(bits)
    small[:20, :20] = True
    assert pixel_figures(pixels, small, 4)["qc_streaks"] is None
