"""Scores of patches over the image that they were cut from."""

import numpy as np
import pytest

from nlbs.evaluate.sections.charts import Places, lay_out, painted


def places(*corners: tuple[float, float], edge: float) -> Places:
    y, x = np.array(corners, np.float64).T
    return Places(y, x, np.full(len(corners), edge))


def test_patches_lie_at_their_places_and_overlaps_are_averaged() -> None:
    maps = np.stack([np.full((4, 4), 10.0), np.full((4, 4), 30.0)])
    found = lay_out(maps, places((100, 50), (102, 52), edge=4))
    expected = np.full((6, 6), np.nan)
    expected[:4, :4], expected[2:, 2:] = 10, 30
    expected[2:4, 2:4] = 20
    np.testing.assert_array_equal(found, expected)


def test_a_patch_that_begins_beside_the_image_is_whole() -> None:
    found = lay_out(np.arange(4.0).reshape(1, 2, 2), places((0, -1), edge=2))
    np.testing.assert_array_equal(found, [[0, 1], [2, 3]])


def test_a_large_image_is_reduced_and_one_value_fills_its_patch() -> None:
    found = lay_out(np.array([1.0, 2.0]).reshape(2, 1, 1), places((0, 0), (0, 1000), edge=1000), most_px=20)
    assert found.shape == (10, 20)
    np.testing.assert_array_equal(found[:, :10], 1)
    np.testing.assert_array_equal(found[:, 10:], 2)


def test_cool_places_stay_as_they_are_and_hot_ones_do_not() -> None:
    grey = np.array([[0.0, 200.0, 200.0, np.nan]])
    found = painted(grey, np.array([[0.0, 1.0, 9.0, np.nan]]), low=1, high=5)
    np.testing.assert_array_equal(found[0, :2], [[0, 0, 0], [200, 200, 200]])
    assert found[0, 2].tolist() == pytest.approx([0.25 * 200 + 0.75 * c for c in (255, 255, 200)], abs=1)
    np.testing.assert_array_equal(found[0, 3], [0, 0, 0])
