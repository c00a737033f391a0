"""Distortions that a network is told of.

Also covers: models/distortion.py.
"""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from nlbs.models.distortion import DISTORTIONS
from nlbs.train.data.distort import Numbers, distorted, draw_distortions, matrices

EDGE = 16
NAMES = ("size", "angle", "stretch_x", "stretch_y", "x", "y")


def one(**changes: float) -> Numbers:
    return np.array([[changes.get(name, 0.0) for name in NAMES]])


@pytest.fixture
def pixels() -> Tensor:
    return 2 * torch.rand(1, 2, EDGE, EDGE, generator=torch.Generator().manual_seed(0)) - 1


def test_what_is_not_distorted_stays_to_the_bit_also_beside_others(pixels: Tensor) -> None:
    assert len(NAMES) == DISTORTIONS
    assert distorted(pixels, one()) is pixels
    found = distorted(torch.cat([pixels, pixels]), np.concatenate([one(), one(x=0.5)]))
    assert torch.equal(found[:1], pixels) and not torch.equal(found[1:], pixels)


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_quarter_turns_move_whole_pixels(pixels: Tensor, turns: int) -> None:
    expected = pixels.rot90(-turns, (-2, -1))  # y is downwards: clockwise
    torch.testing.assert_close(distorted(pixels, one(angle=turns * math.pi / 2)), expected, atol=1e-5, rtol=0)


def test_a_shift_moves_pixels_and_air_comes_in(pixels: Tensor) -> None:
    found = distorted(pixels, one(x=2 * 3 / EDGE, y=-2 * 2 / EDGE))  # 3 pixels to the right, 2 up
    torch.testing.assert_close(found[..., :-2, 3:], pixels[..., 2:, :-3], atol=1e-5, rtol=0)
    assert torch.equal(found[..., -2:, :], torch.full((1, 2, 2, EDGE), -1.0))
    assert torch.equal(found[..., :3], torch.full((1, 2, EDGE, 3), -1.0))


def test_an_octave_of_size_doubles_lengths_and_a_stretch_keeps_areas() -> None:
    np.testing.assert_allclose(matrices(one(size=1))[0], np.diag([2.0, 2.0, 1.0]))
    np.testing.assert_allclose(matrices(one(stretch_x=1))[0], np.diag([2.0, 0.5, 1.0]), atol=1e-12)
    np.testing.assert_allclose(matrices(one(stretch_x=-1))[0], np.diag([0.5, 2.0, 1.0]), atol=1e-12)
    np.testing.assert_allclose(matrices(one(stretch_y=1))[0], [[1.25, 0.75, 0], [0.75, 1.25, 0], [0, 0, 1]])
    told = draw_distortions(1.0, 500, seed=3, number=0)
    np.testing.assert_allclose(np.linalg.det(matrices(told)[:, :2, :2]), 4.0 ** told[:, 0])


def test_each_way_is_taken_as_often_as_asked_for_and_by_itself() -> None:
    told = draw_distortions(0.3, 20_000, seed=0, number=5)
    taken = told[:, [0, 1, 2, 4]] != 0
    assert taken.mean(axis=0) == pytest.approx([0.3] * 4, abs=4 * (0.21 / 20_000) ** 0.5)
    np.testing.assert_allclose(np.corrcoef(taken.T), np.eye(4), atol=4 / 20_000**0.5)
    assert [column[column != 0].std() for column in told.T] == pytest.approx(
        [0.12, 0.09, 0.1, 0.1, 0.08, 0.08], rel=0.04
    )


def test_numbers_are_those_of_seed_and_batch() -> None:
    assert not draw_distortions(0.0, 50, 1, 2).any()
    told = draw_distortions(0.5, 50, 1, 2)
    np.testing.assert_array_equal(told, draw_distortions(0.5, 50, 1, 2))
    for other in (draw_distortions(0.5, 50, 2, 2), draw_distortions(0.5, 50, 1, 3)):
        assert not np.array_equal(told, other)
