import numpy as np
import pytest
import torch

from nlbs.train.fit import crop, downsample, to_float


@pytest.mark.parametrize(("kind", "half"), [(np.uint8, 127.5), (np.uint16, 32767.5)])
def test_the_darkest_pixel_is_minus_one_and_the_brightest_one(kind: type, half: float) -> None:
    values = np.array([[0, 1, np.iinfo(kind).max]], dtype=kind)
    found = to_float(torch.from_numpy(values))
    assert found.dtype == torch.float32
    np.testing.assert_allclose(found.numpy(), values / half - 1, atol=1e-6)
    assert found[0, 0] == -1
    assert found[0, 2] == 1


@pytest.mark.parametrize(("size", "resolution"), [(16, 4), (12, 4), (8, 8)])
def test_downsampling_is_the_mean_of_the_area(size: int, resolution: int) -> None:
    pixels = torch.rand(3, 1, size, size)
    block = size // resolution
    expected = pixels.numpy().reshape(3, 1, resolution, block, resolution, block).mean(axis=(3, 5))
    np.testing.assert_allclose(downsample(pixels, resolution).numpy(), expected, atol=1e-6)


def test_downsampling_by_a_fraction_keeps_a_constant_and_the_shape() -> None:
    found = downsample(torch.full((2, 1, 10, 10), -0.5), 8)
    assert found.shape == (2, 1, 8, 8)
    torch.testing.assert_close(found, torch.full((2, 1, 8, 8), -0.5))


def test_a_crop_without_corners_is_the_centre() -> None:
    pixels = torch.rand(2, 1, 10, 10)
    assert torch.equal(crop(pixels, 4), pixels[:, :, 3:7, 3:7])


def test_corners_reach_every_window_and_none_outside() -> None:
    pixels = torch.arange(4 * 100.0).reshape(4, 1, 10, 10)
    corners = np.array([[0, 0], [0.999, 0.999], [0.5, 0.0], [0.0, 0.15]])
    found = crop(pixels, 4, corners)
    places = [(0, 0), (6, 6), (3, 0), (0, 1)]
    expected = [pixels[i, :, y : y + 4, x : x + 4] for i, (y, x) in enumerate(places)]
    assert torch.equal(found, torch.stack(expected))
