"""Patch positions and foreground fractions, as properties and against loops over single pixels."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nlbs.errors import ConfigError
from nlbs.preprocess.images.grid import CutOptions, axis_positions, foreground_fractions, patches_of
from nlbs.preprocess.images.store import run_lengths
from tests.conftest import some

lengths, edges, strides = st.integers(1, 3000), st.integers(8, 700), st.integers(1, 900)


@given(lengths, edges, strides)
def test_patches_lie_inside_the_crop_in_ascending_order(length: int, resolution: int, stride: int) -> None:
    positions = axis_positions(length, resolution, stride)
    assert positions[0] == 0
    assert positions == sorted(set(positions))
    assert positions[-1] + resolution <= max(length, resolution)


@given(lengths, edges, st.data())
def test_strides_of_at_most_a_patch_cover_every_pixel(
    length: int, resolution: int, data: st.DataObject
) -> None:
    stride = data.draw(st.integers(1, resolution))
    covered = np.zeros(length, bool)
    for position in axis_positions(length, resolution, stride):
        covered[position : position + resolution] = True
    assert covered.all()


@given(lengths, edges, st.integers(0, 500))
def test_strides_of_at_least_a_patch_never_overlap_and_leave_no_room(
    length: int, resolution: int, more: int
) -> None:
    positions = axis_positions(length, resolution, resolution + more)
    if more:
        assert np.diff(positions).min(initial=resolution) >= resolution
    # No gap at the end takes another patch.
    assert length - (positions[-1] + resolution) < resolution + more


def test_positions_of_the_default_cut_are_these() -> None:
    assert axis_positions(2048, 256, 512) == [0, 512, 1024, 1536, 1792]
    assert axis_positions(2047, 256, 512) == [0, 512, 1024, 1536]
    assert axis_positions(600, 256, 256) == [0, 256, 344]
    assert axis_positions(256, 256, 512) == [0]
    assert axis_positions(100, 256, 512) == [0]


def upsampled(bits: np.ndarray, step: int) -> np.ndarray:
    return np.kron(bits, np.ones((step, step))).astype(bool)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_the_foreground_is_counted_as_a_loop_over_single_pixels_counts_it(data: st.DataObject) -> None:
    rows, columns, step = (data.draw(st.integers(1, top)) for top in (14, 12, 7))
    bits = np.array(data.draw(st.lists(st.booleans(), min_size=rows * columns, max_size=rows * columns)))
    bits = bits.reshape(rows, columns)
    resolution, stride = data.draw(st.integers(8, 40)), data.draw(st.integers(1, 50))
    tops = axis_positions(rows * step, resolution, stride)
    lefts = axis_positions(columns * step, resolution, stride)
    fractions = foreground_fractions(bits, step, tops, lefts, resolution)
    full = upsampled(bits, step)
    for i, top in some(enumerate(tops)):
        for j, left in some(enumerate(lefts)):
            inside = full[top : top + resolution, left : left + resolution].sum()
            assert fractions[i, j] == pytest.approx(inside / resolution**2)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(0, 1))
def test_exactly_the_patches_with_enough_breast_are_kept(seed: int, least: float) -> None:
    generator = np.random.default_rng(seed)
    bits, step = generator.random((9, 7)) < generator.random(), 6
    record = {
        "crop_rows": 54,
        "crop_columns": 42,
        "mask": {"step": step, "rows": 9, "columns": 7, "runs": run_lengths(bits)},
    }
    options = CutOptions(resolution=16, stride=11, min_foreground=least)
    patches = patches_of(record, options)
    full, expected = upsampled(bits, step), []
    for top in axis_positions(54, 16, 11):
        for left in axis_positions(42, 16, 11):
            share = full[top : top + 16, left : left + 16].mean()
            if share >= least and share > 0:
                expected.append((top, left, share))
    assert [(patch.y, patch.x) for patch in patches] == [(y, x) for y, x, _ in expected]
    assert [patch.foreground for patch in patches] == pytest.approx([share for *_, share in expected])


def test_a_crop_smaller_than_a_patch_gives_one_patch_whose_rest_is_air() -> None:
    bits = np.ones((5, 4), bool)
    record = {
        "crop_rows": 50,
        "crop_columns": 40,
        "mask": {"step": 10, "rows": 5, "columns": 4, "runs": run_lengths(bits)},
    }
    (patch,) = patches_of(record, CutOptions(resolution=100, stride=100))
    assert (patch.y, patch.x) == (0, 0)
    assert patch.foreground == pytest.approx(50 * 40 / 100**2)


def test_an_image_without_foreground_gives_no_patch_even_when_none_is_asked_for() -> None:
    record = {
        "crop_rows": 64,
        "crop_columns": 64,
        "mask": {"step": 8, "rows": 8, "columns": 8, "runs": run_lengths(np.zeros((8, 8), bool))},
    }
    assert patches_of(record, CutOptions(resolution=32, stride=32, min_foreground=0)) == []


@pytest.mark.parametrize(
    ("numbers", "words"),
    [
        ({"resolution": 7}, "--resolution 7"),
        ({"resolution": 4097}, "--resolution 4097"),
        ({"stride": 0}, "--stride 0"),
        ({"stride": -4}, "--stride -4"),
        ({"min_foreground": 1.01}, "--min-foreground 1.01"),
        ({"min_foreground": -0.1}, "--min-foreground -0.1"),
        ({"min_foreground": float("nan")}, "--min-foreground nan"),
    ],
)
def test_numbers_that_no_patch_can_have_are_refused(numbers: dict[str, float], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        CutOptions(**numbers)  # type: ignore[arg-type]


def test_the_folder_name_tells_resolution_and_stride() -> None:
    assert CutOptions().name == "r256-s512"
    assert CutOptions(resolution=512, stride=256).name == "r512-s256"
