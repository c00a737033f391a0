"""Dots against the closed form of their response, and reconstructions that keep or lose them."""

import numpy as np
import pytest
from scipy import ndimage

from nlbs.errors import EvaluationError
from nlbs.evaluate.measures.dots import dot_recall, dot_response, find_dots, plant_dots
from tests.evaluate.textures import power_law_patches


def test_a_dot_of_the_filters_width_answers_with_half_its_height() -> None:
    """-s^2 times the Laplacian of (G_s * h exp(-r^2 / 2 s^2)) at 0 is h / 2: convolution doubles the variance."""
    flat = np.full((1, 64, 64), 100, np.uint8)
    dots = plant_dots(flat, per_patch=1, diameter_px=6.0, contrast=0.4)
    response = dot_response(dots.patches, 6.0)
    assert response.max() == pytest.approx(0.4 * 255 / 2, rel=0.02)
    assert np.unravel_index(response.argmax(), response.shape) == tuple(dots.positions[0])


def test_planted_dots_lie_in_the_breast_and_are_found_again() -> None:
    tissue = power_law_patches(16, 64, 3.2, seed=0, std=20)
    tissue[:, :, 40:] = 0
    dots = plant_dots(tissue, per_patch=3, contrast=0.3)
    assert len(dots.positions) == 48
    assert dots.positions[:, 2].max() < 36
    assert not dots.patches[:, :, 40:].any()
    planted = {tuple(place) for place in dots.positions}
    found = {tuple(place) for place in find_dots(dots.patches)}
    assert len(planted & found) >= 46


def test_dots_survive_a_copy_and_die_of_blur() -> None:
    tissue = power_law_patches(24, 64, 3.2, seed=1, std=20)
    dots = plant_dots(tissue, contrast=0.25)
    patients = np.repeat(np.arange(8), 3)
    copied = dot_recall(dots.patches, dots.patches, dots.positions, patients)
    assert (copied.recall.value, copied.dots, copied.recall.groups) == (1.0, 72, 8)
    assert copied.chance < 0.15
    lost = dot_recall(dots.patches, tissue, dots.positions, patients)
    assert lost.recall.value < 0.1
    blurred = np.stack([ndimage.gaussian_filter(patch, 3) for patch in dots.patches])
    assert dot_recall(dots.patches, blurred, dots.positions, patients).recall.value < 0.1


def test_noise_does_not_pass_for_recall() -> None:
    """Bright noise everywhere shows a dot wherever one looks: recall is high, and chance as high."""
    dots = plant_dots(power_law_patches(24, 64, 3.2, seed=2, std=20), contrast=0.1)
    noise = np.random.default_rng(3).normal(128, 60, dots.patches.shape).clip(0, 255).astype(np.uint8)
    found = dot_recall(dots.patches, noise, dots.positions, np.arange(24))
    assert found.chance == pytest.approx(found.recall.value, abs=0.2)
    assert found.chance > 0.3


def test_no_dots_are_an_error_in_words() -> None:
    air = np.zeros((2, 64, 64), np.uint8)
    dots = plant_dots(air)
    assert len(dots.positions) == 0
    assert len(find_dots(air)) == 0
    with pytest.raises(EvaluationError, match="found no dots"):
        dot_recall(air, air, dots.positions, np.arange(2))
