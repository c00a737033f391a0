"""Neighbours that overlap, and how well they agree, against patches cut from one image by hand."""

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest

from nlbs.generate.seams import Pairs, Places, nearest_of_others, neighbours, places_of, seam_errors

EDGE = 8


def cut(stride: int, scale: int = 1) -> tuple[npt.NDArray[np.uint8], pa.Table]:
    """Returns the patches of two images of 20 x 16 pixels, and their manifest, in an order that is none."""
    noise = np.random.default_rng(0)
    images = noise.integers(0, 256, (2, 20, 16), dtype=np.uint8)
    corners = [
        (i, y, x)
        for i in (0, 1)
        for y in range(0, 20 - EDGE + 1, stride)
        for x in range(0, 16 - EDGE + 1, stride)
    ]
    corners = [corners[place] for place in noise.permutation(len(corners))]
    patches = np.stack([images[i, y : y + EDGE, x : x + EDGE] for i, y, x in corners])
    image, y, x = zip(*corners, strict=True)
    columns = {
        "image": pa.array([f"i{number}" for number in image]).dictionary_encode(),
        "x": pa.array([scale * value for value in x], pa.int32()),
        "y": pa.array([scale * value for value in y], pa.int32()),
        "scale": pa.array([float(scale)] * len(corners), pa.float32()),
    }
    return patches, pa.table(columns)


@pytest.mark.parametrize("scale", [1, 3])
def test_neighbours_of_one_image_agree_to_the_grey_level(scale: int) -> None:
    patches, manifest = cut(stride=4, scale=scale)
    pairs = neighbours(places_of(manifest), EDGE)
    # 4 rows and 3 columns of patches: 4 * 2 beside, 3 * 3 below each other, in either image.
    assert len(pairs.first) == 2 * (4 * 2 + 3 * 3)
    assert {*zip(pairs.across.tolist(), pairs.down.tolist(), strict=True)} == {(4, 0), (0, 4)}
    assert not seam_errors(patches, patches, pairs).any()
    assert seam_errors(patches, patches[::-1], pairs).mean() > 50


def test_patches_that_do_not_overlap_are_no_neighbours() -> None:
    _, manifest = cut(stride=8)
    assert not len(neighbours(places_of(manifest), EDGE).first)


def test_the_error_of_a_seam_is_the_mean_difference_on_the_overlap() -> None:
    ramp = np.arange(16, dtype=np.uint8).reshape(1, 4, 4)
    pair = Pairs(*np.array([[0, 0], [0, 0], [3, 0], [0, 1]]).astype(np.int64))
    # To the right by 3: column 3 against column 0. Below by 1: each row against the one before.
    np.testing.assert_array_equal(seam_errors(ramp, ramp, pair), [3, 4])


def test_places_are_in_pixels_of_the_model() -> None:
    _, manifest = cut(stride=4, scale=2)
    halved = places_of(manifest, 0.5)
    assert set(halved.x.tolist()) == {0, 2, 4}
    assert isinstance(halved.at([0, 1]), Places)


def test_the_nearest_is_of_another_image() -> None:
    where = np.array([[0.1, 0.1], [0.9, 0.9]], np.float32)
    others = np.array([[0.1, 0.1], [0.2, 0.1], [0.8, 0.9]], np.float32)
    found = nearest_of_others(where, np.array([0, 0]), others, np.array([0, 1, 2]))
    assert found.tolist() == [1, 2]
