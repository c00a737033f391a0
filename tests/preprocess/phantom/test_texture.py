"""Textures of the phantom: their spectrum measured on its own, by a radial average."""

import numpy as np
import pytest

from nlbs.preprocess.phantom.texture import converging, power_law, ridges, vessels


def exponent_of(image: np.ndarray, low: float, high: float) -> float:
    """Slope of the radially averaged power spectrum between two frequencies in cycles per pixel."""
    window = np.outer(np.hanning(image.shape[0]), np.hanning(image.shape[1]))
    power = np.abs(np.fft.fft2((image - image.mean()) * window)) ** 2
    frequency = np.hypot(*np.meshgrid(*(np.fft.fftfreq(size) for size in image.shape), indexing="ij"))
    edges = np.geomspace(low, high, 12)
    ring = np.digitize(frequency.ravel(), edges)
    mean = np.array([power.ravel()[ring == index].mean() for index in range(1, len(edges))])
    centres = np.sqrt(edges[1:] * edges[:-1])
    return float(-np.polyfit(np.log(centres), np.log(mean), 1)[0])


@pytest.mark.parametrize("beta", [2.8, 3.17, 3.30])
@pytest.mark.parametrize("shape", [(512, 512), (701, 433)])
def test_power_of_the_texture_falls_with_the_asked_exponent(beta: float, shape: tuple[int, int]) -> None:
    texture = power_law(*shape, beta, 1 / 400, np.random.default_rng(3))
    assert exponent_of(texture, 0.02, 0.35) == pytest.approx(beta, abs=0.15)


def test_texture_is_standardised_and_grows_no_further_than_its_corner() -> None:
    texture = power_law(512, 512, 3.2, 1 / 8, np.random.default_rng(0))
    assert texture.dtype == np.float32
    assert texture.mean() == pytest.approx(0, abs=1e-3)
    assert texture.std() == pytest.approx(1, abs=1e-3)
    assert exponent_of(texture, 0.01, 0.05) == pytest.approx(0, abs=0.3)  # below 1 / 8 it is flat


def test_texture_depends_on_its_generator_only() -> None:
    first, again, other = (power_law(64, 80, 3.0, 0.02, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_converging_texture_varies_less_along_the_way_to_the_nipple_than_across_it() -> None:
    y, x = (
        grid.astype(np.float32) for grid in np.meshgrid(np.arange(200.0), np.arange(100.0), indexing="ij")
    )
    texture = converging(y, x, (100.0, 100.0), 3.5, 40, np.random.default_rng(0))
    band = texture[85:115]  # where the way to the nipple is along a row
    assert np.abs(np.diff(band, axis=1)).mean() < 0.8 * np.abs(np.diff(band, axis=0)).mean()


def test_ridges_lie_where_the_texture_crosses_zero() -> None:
    lines = ridges(np.array([[-2.0, 0.0, 0.1, 2.0]], np.float32), 0.1)
    assert lines == pytest.approx(np.array([[0, 1, np.exp(-1), 0]]), abs=1e-6)


def test_a_vessel_follows_its_curve() -> None:
    straight = ((20.0, 0.0), (20.0, 15.0), (20.0, 30.0), (20.0, 45.0))
    field = vessels((160, 200), 0.25, (straight,))
    assert field.sum(axis=1).argmax() == pytest.approx(20 / 0.25, abs=1.5)
    assert 0.5 < field.max() <= 1
    assert field[:60].max() < 1e-3
