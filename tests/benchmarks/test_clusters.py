"""The adjusted Rand index of benchmarks/clusters.py is scikit-learn's."""

import numpy as np
import pytest
from benchmarks.clusters import adjusted_rand, patterns, shapes
from sklearn.metrics import adjusted_rand_score


def test_the_index_is_that_of_scikit_learn() -> None:
    generator = np.random.default_rng(0)
    true = generator.integers(5, size=200)
    for found in (generator.integers(7, size=200), true, (true + 1) % 3, np.arange(200)):
        assert adjusted_rand(true, found) == pytest.approx(adjusted_rand_score(true, found))


def test_patches_are_tissue_of_each_kind() -> None:
    for make in (patterns, shapes):
        pixels, kind = make(40, 5, 32, 1)
        assert pixels.shape == (40, 32, 32)
        assert pixels.min() > 0
        assert set(kind) == set(range(5))
