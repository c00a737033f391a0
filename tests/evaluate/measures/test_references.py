"""Floor and point mass, with features whose distances are known."""

import numpy as np
import pytest

from nlbs.evaluate.measures.distances import frechet_distance
from nlbs.evaluate.measures.features import random_convolutions
from nlbs.evaluate.measures.references import point_mass, subset
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
    mass, train, held_out = (
        Means()(x) for x in (point_mass(patches[:1000], 1000), patches[:1000], patches[1000:])
    )
    distance = frechet_distance(mass, held_out)
    assert distance == pytest.approx(2 * greys.astype(float).var(), rel=0.1)
    assert frechet_distance(train, held_out) < 0.02 * distance


def test_the_floor_lies_far_below_the_point_mass_for_textures() -> None:
    patches = power_law_patches(240, 32, 2.5, seed=1)
    extractor = random_convolutions()
    held_out = extractor(patches[160:])
    floor = frechet_distance(extractor(patches[subset(160, 80, seed=0)]), held_out)
    assert floor < 0.5 * frechet_distance(extractor(point_mass(patches[:160], 80)), held_out)


def test_a_subset_has_no_row_twice_and_all_where_there_are_no_more() -> None:
    some = subset(100, 30, seed=1)
    assert len(set(some.tolist())) == 30
    assert (np.diff(some) > 0).all()
    assert some.max() < 100
    assert subset(5, 30, seed=1).tolist() == [0, 1, 2, 3, 4]
