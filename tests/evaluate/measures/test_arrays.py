"""Arrays that cannot be measured are refused, and it is said what was found and expected."""

import numpy as np
import pytest

from nlbs.errors import EvaluationError
from nlbs.evaluate.measures.arrays import check_features, check_pair, check_patches, check_widths

PATCHES = np.zeros((3, 4, 4), np.uint8)


def test_patches_come_back_as_they_are() -> None:
    assert check_patches(PATCHES, at_least=3) is PATCHES


def test_colours_are_measured_by_their_luminance_and_grey_ones_keep_their_value() -> None:
    colours = np.random.default_rng(0).integers(0, 256, (3, 4, 4, 3), dtype=np.uint8)
    red, green, blue = np.moveaxis(colours.astype(float), -1, 0)
    expected = 0.299 * red + 0.587 * green + 0.114 * blue  # Rec. ITU-R BT.601
    assert np.abs(check_patches(colours) - expected).max() <= 0.5
    levels = np.broadcast_to(np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1), (1, 16, 16, 3))
    np.testing.assert_array_equal(check_patches(levels)[0], levels[0, ..., 0])


@pytest.mark.parametrize(
    ("patches", "says"),
    [
        (PATCHES.astype(float), r"drawn: found float64 \(3, 4, 4\), expected uint8"),
        (PATCHES[0], r"found uint8 \(4, 4\)"),
        (PATCHES[:, :2], r"found uint8 \(3, 2, 4\)"),
        (PATCHES[:1], "found 1 patches, expected 2 or more"),
    ],
)
def test_what_are_no_patches_is_refused(patches: np.ndarray, says: str) -> None:
    with pytest.raises(EvaluationError, match=says):
        check_patches(patches, "drawn", at_least=2)


def test_a_pair_has_one_shape() -> None:
    check_pair(PATCHES, PATCHES + 1, "drawn")
    with pytest.raises(EvaluationError, match=r"drawn: found \(2, 4, 4\), expected the \(3, 4, 4\)"):
        check_pair(PATCHES, PATCHES[:2], "drawn")


def test_features_are_finite_rows_of_one_length() -> None:
    single = np.ones((2, 3), np.float32)
    assert check_features(single, "x").dtype == np.float64
    for wrong in (single[:1], single[0]):
        with pytest.raises(EvaluationError, match="2 rows or more"):
            check_features(wrong, "x")
    with pytest.raises(EvaluationError, match="1 of 2 rows hold NaN or infinity"):
        check_features(np.array([[1.0], [np.inf]]), "x")
    check_widths(single, np.ones((5, 3)))
    with pytest.raises(EvaluationError, match="of 3 and of 2 numbers"):
        check_widths(single, np.ones((2, 2)))
