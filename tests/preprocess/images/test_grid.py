"""Patch positions and foreground fractions, as properties and against loops over single pixels."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nlbs.errors import ConfigError
from nlbs.preprocess.images.grid import (
    CutOptions,
    Sampling,
    as_dtype,
    at_spacing,
    axis_positions,
    fitted,
    foreground_fractions,
    patches_of,
    resampled,
    wall_is_right,
)
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


def record(rows: int, columns: int, spacing_mm: list[float] | None = None) -> dict[str, Any]:
    return {"crop_rows": rows, "crop_columns": columns, "spacing_mm": spacing_mm}


def half(side: str, rows: int = 20, columns: int = 10) -> npt.NDArray[np.bool_]:
    """A breast at one side of its crop: a half disc."""
    y, x = np.mgrid[:rows, :columns]
    bits = ((y - rows / 2 + 0.5) / (rows / 2)) ** 2 + ((x + 0.5) / columns) ** 2 < 1
    return bits if side == "left" else bits[:, ::-1]


@pytest.mark.parametrize("spacing_mm", [0.05, 0.13, 0.2, 0.31])
def test_a_linear_ramp_stays_linear(spacing_mm: float) -> None:
    """Pixel centres: grid pixel j lies at (j + 1/2) * scale - 1/2 of the source, and the ramp is its own place."""
    ramp = np.add.outer(40 * np.arange(300), 25 * np.arange(200)).astype(np.uint16)
    grid = at_spacing(record(300, 200, [0.1, 0.1]), spacing_mm)
    assert grid is not None
    found = resampled(ramp, grid)
    scale = spacing_mm / 0.1
    y, x = ((np.arange(length) + 0.5) * scale - 0.5 for length in found.shape)
    expected = np.add.outer(40 * y, 25 * x)
    inner = np.s_[2:-2, 2:-2]  # at the edges the triangle has one side only
    # A sampled triangle is not quite centred where the scale is no whole number: by less than a tenth of a pixel.
    np.testing.assert_allclose(found[inner], expected[inner], atol=65 * 0.1)


@pytest.mark.parametrize("spacing_mm", [0.2, 0.25, 0.4, 0.5])
def test_the_mean_of_a_large_area_is_kept(spacing_mm: float) -> None:
    noise = np.random.default_rng(0).integers(0, 65535, (400, 400), dtype=np.uint16)
    grid = at_spacing(record(400, 400, [0.1, 0.1]), spacing_mm)
    assert grid is not None
    found = resampled(noise, grid)
    assert found.shape == (round(40 / spacing_mm), round(40 / spacing_mm))
    assert found.mean() == pytest.approx(noise.mean(), rel=2e-3)
    assert found.std() < noise.std() / (spacing_mm / 0.1)  # averaged, not picked


@pytest.mark.parametrize("spacing", [[0.1, 0.1], [0.07, 0.1], [0.1, 0.05]])
def test_a_disc_keeps_its_area_and_its_roundness_in_mm(spacing: list[float]) -> None:
    """Radius 12 mm: pi r^2 = 452 mm^2, however the pixels of the source are shaped."""
    rows, columns = round(30 / spacing[0]), round(30 / spacing[1])
    y, x = np.mgrid[:rows, :columns]
    away = np.hypot((y + 0.5) * spacing[0] - 15, (x + 0.5) * spacing[1] - 15)
    disc = np.where(away < 12, 200, 0).astype(np.uint8)
    grid = at_spacing(record(rows, columns, spacing), 0.25)
    assert grid is not None
    assert (grid.scale_y, grid.scale_x) == pytest.approx((0.25 / spacing[0], 0.25 / spacing[1]))
    found = resampled(disc, grid)
    assert found.shape == (120, 120)
    assert found.sum() / 200 * 0.25**2 == pytest.approx(np.pi * 12**2, rel=2e-3)
    edges = found > 100
    assert edges.any(1).sum() == pytest.approx(96, abs=1)
    assert edges.any(0).sum() == pytest.approx(96, abs=1)


def test_the_spacing_of_the_image_itself_changes_no_pixel() -> None:
    noise = np.random.default_rng(0).integers(0, 65535, (2999, 7), dtype=np.uint16)
    grid = at_spacing(record(2999, 7, [0.07, 0.07]), 0.07)
    assert grid is not None
    np.testing.assert_array_equal(resampled(noise, grid), noise)
    np.testing.assert_array_equal(resampled(noise, Sampling(2999, 7)), noise)


@given(st.integers(1, 60), st.integers(1, 60), st.floats(0.02, 3), st.floats(0.05, 0.2), st.floats(0.05, 0.2))
def test_a_grid_ends_with_the_last_pixel_that_lies_wholly_in_the_crop(
    rows: int, columns: int, spacing_mm: float, down: float, across: float
) -> None:
    grid = at_spacing(record(rows, columns, [down, across]), spacing_mm)
    assert grid is not None
    for length, count, own in ((rows, grid.rows, down), (columns, grid.columns, across)):
        assert count == 1 or count * spacing_mm <= length * own * (1 + 1e-4)
        assert (count + 1) * spacing_mm > length * own * (1 - 1e-4)
    found = resampled(np.full((rows, columns), 77, np.uint8), grid)
    assert found.shape == (grid.rows, grid.columns)
    if grid.rows * grid.scale_y <= rows and grid.columns * grid.scale_x <= columns:
        np.testing.assert_allclose(found, 77, rtol=1e-5)  # no air is mixed in


def test_air_stays_air_and_nothing_rings_beside_a_bright_edge() -> None:
    step = np.zeros((90, 90), np.uint16)
    step[:, 45:] = 65535
    for spacing_mm in (0.03, 0.17, 0.3):
        grid = at_spacing(record(90, 90, [0.1, 0.1]), spacing_mm)
        assert grid is not None
        found = as_dtype(resampled(step, grid), step.dtype, step.dtype)
        reach = max(1.0, spacing_mm / 0.1) * 1.5
        x = (np.arange(grid.columns) + 0.5) * grid.scale_x
        assert (found[:, x < 45 - reach] == 0).all()
        assert (found[:, x > 45 + reach] == 65535).all()


def test_an_image_of_unknown_spacing_has_no_grid() -> None:
    assert at_spacing(record(10, 10), 0.1) is None


@pytest.mark.parametrize("side", ["left", "right"])
def test_a_whole_breast_fits_keeps_its_aspect_and_stays_at_the_chest_wall(side: str) -> None:
    bits = half(side, 200, 100)
    crop = (
        np.where(bits, 200, 0).astype(np.uint8)[:, :-1] if side == "left" else np.where(bits, 200, 0)[:, 1:]
    )
    grid = fitted(record(200, 99), bits, 64)
    assert (grid.rows, grid.columns) == (64, 32)  # 99 / (200 / 64) = 31.68
    assert grid.scale_y == grid.scale_x == 200 / 64
    found = resampled(crop.astype(np.uint8), grid)
    assert found.shape == (64, 32)
    wall, nipple = (found[:, 0], found[:, -1]) if side == "left" else (found[:, -1], found[:, 0])
    assert (wall > 100).mean() > 0.9
    assert (nipple > 100).mean() < 0.3
    area = crop.astype(bool).sum() / (200 / 64) ** 2
    assert found.sum() / 200 == pytest.approx(area, rel=0.01)


def test_a_whole_image_that_is_no_breast_stands_in_the_middle() -> None:
    of_body = {**record(200, 100), "mask_method": "body 1"}
    grid = fitted(of_body, half("right", 200, 100), 64)
    assert (grid.rows, grid.columns, grid.indent) == (64, 32, 16)
    mask = {"step": 1, "rows": 200, "columns": 100, "runs": [0, 20_000]}
    (patch,) = patches_of({**of_body, "mask": mask}, CutOptions(resolution=64, mode="whole"))
    assert (patch.y, patch.x, patch.crop_x) == (0, -16, -50)


def test_pixels_that_are_not_square_make_a_breast_that_is() -> None:
    grid = fitted(record(100, 100, [0.2, 0.1]), half("left"), 50)  # 20 x 10 mm
    assert (grid.rows, grid.columns) == (50, 25)
    assert (grid.scale_y * 0.2, grid.scale_x * 0.1) == pytest.approx((0.4, 0.4))


@given(st.integers(1, 400), st.integers(1, 400), st.integers(8, 90), st.booleans())
def test_every_breast_fits_with_one_side_as_long_as_the_patch(
    rows: int, columns: int, resolution: int, right: bool
) -> None:
    grid = fitted(record(rows, columns), half("right" if right else "left"), resolution)
    assert max(grid.rows, grid.columns) == resolution
    assert resampled(np.ones((rows, columns), np.uint8), grid).shape == (grid.rows, grid.columns)
    end = grid.left + grid.columns * grid.scale_x
    assert (end == pytest.approx(columns)) if right else (grid.left == 0)
    assert grid.rows * grid.scale_y >= rows - 1e-3 or grid.rows == resolution  # nothing is cut off
    assert end >= columns - 1e-3


def test_the_chest_wall_is_where_the_edge_touches_more_breast() -> None:
    assert not wall_is_right(half("left"))
    assert wall_is_right(half("right"))
    inside = np.pad(half("right"), ((0, 0), (2, 2)))  # neither edge touches it: a rim was cut off
    assert wall_is_right(inside)
    assert not wall_is_right(inside[:, ::-1])
    assert not wall_is_right(np.ones((4, 1), bool))


def test_uint16_becomes_uint8_by_the_nearest_257th_of_its_value() -> None:
    values = np.arange(65536, dtype=np.uint16)
    found = as_dtype(values, np.dtype(np.uint16), np.dtype(np.uint8))
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, (values.astype(np.int64) * 2 + 257) // 514)  # nearest, in integers
    assert (found[0], found[-1]) == (0, 255)
    assert as_dtype(values, np.dtype(np.uint16), np.dtype(np.uint16)) is values


def test_resampled_values_are_rounded_once_halves_to_even() -> None:
    values = np.array([0.4, 0.5, 1.5, 2.5, 254.6], np.float32)
    assert as_dtype(values, np.dtype(np.uint8), np.dtype(np.uint8)).tolist() == [0, 0, 2, 2, 255]
    wide = np.array([128.4, 128.6, 65535.0], np.float32)  # 128.5 / 257 is one half
    assert as_dtype(wide, np.dtype(np.uint16), np.dtype(np.uint8)).tolist() == [0, 1, 255]
