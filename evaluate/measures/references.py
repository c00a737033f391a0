"""What a figure stands beside: the floor (real against real) and a point mass at the real mean.

A distance means nothing alone. The floor is what finitely many real patches of other patients
reach; a model that always draws the mean of all real patches reaches the point mass.
"""

import numpy as np

from nlbs.evaluate.measures.arrays import Patches, check_patches

POINT_MASS = "point mass: always the mean training patch"


def point_mass(real: Patches, count: int) -> Patches:
    """Return ``count`` copies of the mean of all patches, uint8 (count, R, R).

    Raises:
        EvaluationError: no patches, or another type or shape.
    """
    check_patches(real, "real patches")
    mean = np.rint(real.mean(axis=0, dtype=np.float64)).astype(np.uint8)
    return np.repeat(mean[None], count, axis=0)


def subset(rows: int, count: int, seed: int) -> np.ndarray[tuple[int], np.dtype[np.intp]]:
    """Return ``count`` of ``rows`` row numbers without repeats, ascending; all where there are no more."""
    return np.sort(np.random.default_rng(seed).permutation(rows)[:count]).astype(np.intp)
