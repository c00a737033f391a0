from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from nlbs.errors import ConfigError
from nlbs.models.pixels import (
    FITS,
    area_means,
    as_patches,
    crop,
    downsample,
    require_channels,
    to_float,
    with_channels,
)


@pytest.mark.parametrize(("kind", "half"), [(np.uint8, 127.5), (np.uint16, 32767.5)])
def test_the_darkest_pixel_is_minus_one_and_the_brightest_one(kind: type, half: float) -> None:
    values = np.array([[0, 1, np.iinfo(kind).max]], dtype=kind)
    found = to_float(torch.from_numpy(values))
    assert found.dtype == torch.float32
    np.testing.assert_allclose(found.numpy(), values / half - 1, atol=1e-6)
    assert found[0, 0] == -1
    assert found[0, 2] == 1


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
@pytest.mark.parametrize(
    ("size", "resolution"), [(16, 4), (12, 4), (8, 8), (254, 2), (256, 2), (258, 2), (300, 1)]
)
def test_downsampling_is_the_mean_of_the_area(kind: type, size: int, resolution: int) -> None:
    pixels = _patches(kind, 3, size)
    pixels[0] = np.iinfo(kind).max  # the largest sum there is
    block = size // resolution
    mean = pixels.astype(np.float64).reshape(3, 1, resolution, block, resolution, block).mean(axis=(3, 5))
    stored = torch.from_numpy(pixels)
    means = area_means(stored, resolution)
    assert means.dtype == torch.float32
    # The largest areas of 16 bits are added up in single precision.
    tolerance = 1e-6 if kind is np.uint8 or block <= 128 else 3e-5
    np.testing.assert_allclose(means.numpy(), mean, rtol=tolerance)
    expected = mean / (np.iinfo(kind).max / 2) - 1
    np.testing.assert_allclose(downsample(stored, resolution).numpy(), expected, atol=2 * tolerance)
    assert np.array_equal(stored.numpy(), pixels)


def test_downsampling_takes_patches_that_lie_apart_in_memory() -> None:
    pixels = torch.from_numpy(_patches(np.uint8, 2, 16))
    apart = pixels.transpose(2, 3)
    assert torch.equal(downsample(apart, 4), downsample(apart.contiguous(), 4))


def test_colours_go_through_as_their_channels_do_by_themselves() -> None:
    stored = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (3, 8, 8, 3), dtype=np.uint8))
    pixels = with_channels(stored)
    assert pixels.shape == (3, 3, 8, 8)
    np.testing.assert_array_equal(as_patches(pixels), stored)
    corners = np.random.default_rng(1).random((3, 2))
    for fit, size in (("downsample", 4), ("downsample", 8), ("crop", 5)):
        whole = FITS[fit](pixels, size, corners)
        assert whole.is_contiguous()
        for channel in range(3):
            alone = FITS[fit](with_channels(stored[..., channel]), size, corners)
            torch.testing.assert_close(whole[:, channel], alone[:, 0], rtol=0, atol=0)


def test_patches_of_other_channels_than_the_models_are_refused() -> None:
    with pytest.raises(ConfigError, match="shards has patches of 3 channels, and the model images of 1"):
        require_channels(3, 1, "shards")


def test_downsampling_by_a_fraction_keeps_a_constant_and_the_shape() -> None:
    found = downsample(torch.full((2, 1, 10, 10), 51, dtype=torch.uint8), 8)
    assert found.shape == (2, 1, 8, 8)
    torch.testing.assert_close(found, torch.full((2, 1, 8, 8), 51 / 127.5 - 1))


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_a_crop_without_corners_is_the_centre(kind: type) -> None:
    pixels = torch.from_numpy(_patches(kind, 2, 10))
    assert torch.equal(crop(pixels, 4), to_float(pixels)[:, :, 3:7, 3:7])


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_corners_reach_every_window_and_none_outside(kind: type) -> None:
    pixels = torch.from_numpy(_patches(kind, 4, 10))
    corners = np.array([[0, 0], [0.999, 0.999], [0.5, 0.0], [0.0, 0.15]])
    found = crop(pixels, 4, corners)
    places = [(0, 0), (6, 6), (3, 0), (0, 1)]
    whole = to_float(pixels)
    expected = [whole[i, :, y : y + 4, x : x + 4] for i, (y, x) in enumerate(places)]
    assert torch.equal(found, torch.stack(expected))


def _patches(kind: type, count: int, size: int) -> npt.NDArray[Any]:
    return np.random.default_rng(0).integers(0, np.iinfo(kind).max, (count, 1, size, size), kind, True)
