"""What a figure stands beside: the floor (real against real) and a point mass at the real mean.

A distance means nothing alone. The floor is what finitely many real patches of other patients
reach; a model that always draws the mean of all real patches reaches the point mass.
"""

from dataclasses import dataclass

import numpy as np

from nlbs.evaluate.arrays import Features, Patches, check_patches
from nlbs.evaluate.distances import KernelDistance, frechet_distance, kernel_distance
from nlbs.evaluate.features import FeatureExtractor


@dataclass(frozen=True)
class References:
    """Distances to the held-out patches of two sets that are no model's."""

    extractor: str  #: name of the features
    patches: int  #: on each side of every distance
    floor_frechet: float  #: real training patches
    point_mass_frechet: float  #: one patch, the mean of the training patches, again and again
    floor_kernel: KernelDistance
    point_mass_kernel: KernelDistance


def point_mass(real: Patches, count: int) -> Patches:
    """Gives ``count`` copies of the mean of all patches, uint8 (count, R, R).

    Raises:
        EvaluationError: no patches, or another type or shape.
    """
    check_patches(real, "real patches")
    mean = np.rint(real.mean(axis=0, dtype=np.float64)).astype(np.uint8)
    return np.repeat(mean[None], count, axis=0)


def subset(rows: int, count: int, seed: int) -> np.ndarray[tuple[int], np.dtype[np.intp]]:
    """Gives ``count`` of ``rows`` row numbers without repeats, ascending; all where there are no more."""
    return np.sort(np.random.default_rng(seed).permutation(rows)[:count]).astype(np.intp)


def measure_references(
    train: Patches,
    held_out: Patches,
    extractor: FeatureExtractor,
    seed: int = 0,
    held_out_features: Features | None = None,
) -> References:
    """Gives floor and point mass against the held-out patches.

    Both sides take as many patches as the smaller set has, since small sets lie farther apart:
    hold a model's distance against these at the same number only.

    Args:
        train: uint8, (n, R, R), real training patches.
        held_out: uint8, (m, R, R), real patches of other patients.
        extractor: gives the features.
        seed: of the subset.
        held_out_features: (m, d), of ``held_out`` by this extractor, where they are known already.

    Raises:
        EvaluationError: fewer than two patches, or another type or shape.
    """
    check_patches(train, "training patches", at_least=2)
    check_patches(held_out, "held-out patches", at_least=2)
    count = min(len(train), len(held_out))
    known = extractor(held_out) if held_out_features is None else held_out_features
    real = known[subset(len(held_out), count, seed)]
    floor = extractor(train[subset(len(train), count, seed)])
    point = np.repeat(extractor(point_mass(train, 1)), count, axis=0)
    return References(
        extractor.name,
        count,
        frechet_distance(floor, real),
        frechet_distance(point, real),
        kernel_distance(floor, real, seed=seed),
        kernel_distance(point, real, seed=seed),
    )
