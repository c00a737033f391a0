"""Floor and point mass, with features whose distances are known."""

import numpy as np
import pytest

from nlbs.evaluate.features import random_convolutions
from nlbs.evaluate.references import measure_references, point_mass
from tests.evaluate.textures import power_law_patches


class Means:
    """The mean of each half of a patch, as a feature extractor."""

    name = "means"
    dim = 2

    def __call__(self, patches: np.ndarray) -> np.ndarray:
        half = patches.shape[2] // 2
        return np.stack(
            [patches[:, :, :half].mean(axis=(1, 2)), patches[:, :, half:].mean(axis=(1, 2))], axis=1
        ).astype(np.float32)


def test_a_point_mass_is_the_mean_of_all_patches_again_and_again() -> None:
    real = np.stack([np.full((16, 16), value, np.uint8) for value in (10, 20, 31)])
    mass = point_mass(real, 4)
    assert mass.shape == (4, 16, 16) and mass.dtype == np.uint8
    assert (mass == 20).all()


def test_a_point_mass_has_the_distance_of_the_spread_it_lacks() -> None:
    """Var of each feature, added up; of patches of one grey each that is twice the variance of the grey."""
    generator = np.random.default_rng(0)
    greys = generator.integers(100, 140, 2000).astype(np.uint8)
    patches = np.broadcast_to(greys[:, None, None], (2000, 16, 16))
    found = measure_references(patches[:1000], patches[1000:], Means())
    assert found.point_mass_frechet == pytest.approx(2 * greys.astype(float).var(), rel=0.1)
    assert found.floor_frechet < 0.02 * found.point_mass_frechet
    assert (found.patches, found.extractor) == (1000, "means")


def test_the_floor_lies_far_below_the_point_mass_for_textures() -> None:
    patches = power_law_patches(240, 32, 2.5, seed=1)
    extractor = random_convolutions()
    found = measure_references(patches[:160], patches[160:], extractor)
    assert found.patches == 80
    assert found.floor_frechet < 0.5 * found.point_mass_frechet
    assert abs(found.floor_kernel.value) < 0.1 * found.point_mass_kernel.value
    known = measure_references(
        patches[:160], patches[160:], extractor, held_out_features=extractor(patches[160:])
    )
    assert known.floor_frechet == pytest.approx(found.floor_frechet)
