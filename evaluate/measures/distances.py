"""Distances between two sets of features: Fréchet, kernel, precision and recall.

All take the features of real and of generated patches, (n, d), by one and the same extractor.
Figures of different extractors, or of different numbers of patches, do not compare.
"""

from dataclasses import dataclass
from typing import cast

import numpy as np
import numpy.typing as npt

from nlbs.errors import EvaluationError
from nlbs.evaluate.measures.arrays import Features, Floats, Groups, check_features, check_widths
from nlbs.evaluate.measures.intervals import Interval, bootstrap, mean_interval

_BLOCK = 2048  #: rows of a distance matrix that are held at once
_REPEATS = 100  #: resamples of an interval of a distance
_DIRECTIONS = 256  #: in which features are resampled: a distance of 1280 numbers takes seconds


def frechet_distance(a: Features, b: Features) -> float:
    """Return the squared Fréchet (2-Wasserstein) distance of two Gaussians fitted to the features.

    ``|mu_a - mu_b|^2 + tr(S_a + S_b - 2 (S_a S_b)^(1/2))`` with unbiased covariances (Heusel et al.
    2017, arXiv 1706.08500, Eq. 6). 0 for equal sets, in squared units of the features. Biased
    upwards for small sets, by about 1/n: compare at equal n only.

    Args:
        a: (n, d).
        b: (m, d).

    Raises:
        EvaluationError: fewer than two rows, other dimensions, values not finite.
    """
    a, b = check_features(a, "first features"), check_features(b, "second features")
    check_widths(a, b)
    factor_a, factor_b = _factor(a), _factor(b)
    # tr (S_a S_b)^(1/2) is the sum of singular values of F_a F_b^T where S = F^T F: unlike a matrix root of
    # S_a S_b it stays real and exact for covariances without full rank.
    cross = np.linalg.svd(factor_a @ factor_b.T, compute_uv=False).sum()
    means = ((a.mean(axis=0) - b.mean(axis=0)) ** 2).sum()
    distance = means + (factor_a**2).sum() + (factor_b**2).sum() - 2 * cross
    return max(0.0, float(distance))


def _factor(features: Floats) -> Floats:
    """Return F, (at most d, d), with F^T F the covariance of the features."""
    centred = (features - features.mean(axis=0)) / np.sqrt(len(features) - 1)
    if len(centred) <= centred.shape[1]:
        return cast(Floats, centred)
    return cast(Floats, np.linalg.qr(centred, mode="r"))


def _principal(a: Floats, b: Floats, most: int) -> tuple[Floats, Floats]:
    """Return both sets in the principal directions of their union, (n, most) and (m, most); all where there are few."""
    if a.shape[1] <= most:
        return a, b
    both = np.concatenate([a, b])
    _, directions = np.linalg.eigh(np.cov(both, rowvar=False))
    return a @ directions[:, -most:], b @ directions[:, -most:]


@dataclass(frozen=True)
class KernelDistance:
    """The kernel distance, and how it varies over subsets."""

    value: float  #: mean over the subsets; unbiased, so around 0 for equal distributions
    std: float  #: of one subset
    low: float  #: 2.5 % point over the subsets
    high: float  #: 97.5 % point over the subsets
    subset_size: int
    subsets: int


def kernel_distance(
    a: Features, b: Features, subset_size: int = 1000, subsets: int = 100, seed: int = 0
) -> KernelDistance:
    """Return the squared maximum mean discrepancy with the kernel (x.y / d + 1)^3.

    The unbiased estimator, averaged over random subsets (Binkowski et al. 2018, arXiv 1801.01401).

    Args:
        a: (n, d).
        b: (m, d).
        subset_size: rows of one subset, drawn from each set without repeats; all rows of the smaller
            set at most.
        subsets: number of subsets.
        seed: of the subsets.

    Raises:
        EvaluationError: fewer than two rows, other dimensions, values not finite.
    """
    a, b = check_features(a, "first features"), check_features(b, "second features")
    check_widths(a, b)
    size = min(subset_size, len(a), len(b))
    if size == len(a) == len(b):
        subsets = 1  # every subset is the whole
    generator = np.random.default_rng(seed)
    values = np.array(
        [
            _unbiased_mmd(a[generator.permutation(len(a))[:size]], b[generator.permutation(len(b))[:size]])
            for _ in range(subsets)
        ]
    )
    low, high = np.quantile(values, [0.025, 0.975])
    return KernelDistance(
        float(values.mean()), float(values.std()), float(low), float(high), size, len(values)
    )


def _unbiased_mmd(a: Floats, b: Floats) -> float:
    return _mmd_of_kernels(_kernels(a, a), _kernels(b, b), _kernels(a, b))


def _kernels(a: Floats, b: Floats) -> Floats:
    return cast(Floats, (a @ b.T / a.shape[1] + 1) ** 3)


def _mmd_of_kernels(within_a: Floats, within_b: Floats, between: Floats) -> float:
    """Eq. 4 of Binkowski et al.: both diagonals are left out."""
    n = len(within_a)
    own = within_a.sum() - np.trace(within_a) + within_b.sum() - np.trace(within_b)
    return float(own / (n * (n - 1)) - 2 * between.mean())


@dataclass(frozen=True)
class Manifold:
    """How far the generated features lie among the real ones, and the real among the generated; shares."""

    precision: float  #: generated within the real manifold: fidelity
    recall: float  #: real within the generated manifold: variety
    density: float  #: real neighbourhoods round a generated patch, relative to k; may exceed 1
    coverage: float  #: real patches with a generated one in their neighbourhood
    k: int


def precision_recall(real: Features, generated: Features, k: int = 3) -> Manifold:
    """Return improved precision and recall, density and coverage.

    A manifold is the union of balls round each feature that reach its k-th neighbour within its own
    set (Kynkäänniemi et al. 2019, arXiv 1904.06991); density and coverage are those of Naeem et al.
    2020, arXiv 2002.09797. Use sets of equal size: balls shrink as a set grows.

    Args:
        real: (n, d).
        generated: (m, d).
        k: neighbour that bounds a ball.

    Raises:
        EvaluationError: no more than k rows, other dimensions, values not finite.
    """
    hits = manifold_hits(real, generated, k)
    return Manifold(
        precision=float((hits.within > 0).mean()),
        recall=float(hits.recalled.mean()),
        density=float(hits.within.mean() / k),
        coverage=float(hits.covered.mean()),
        k=k,
    )


@dataclass(frozen=True)
class ManifoldHits:
    """What each feature says of :class:`Manifold`."""

    within: npt.NDArray[np.int64]  #: (m,) real balls that hold each generated feature
    recalled: npt.NDArray[np.bool_]  #: (n,) whether each real one lies in a generated ball
    covered: npt.NDArray[np.bool_]  #: (n,) whether the ball of each real one holds a generated feature


def manifold_hits(real: Features, generated: Features, k: int = 3) -> ManifoldHits:
    """Return for each feature whether it lies in the other manifold; see :func:`precision_recall`."""
    real = check_features(real, "real features", k + 1)
    generated = check_features(generated, "generated features", k + 1)
    check_widths(real, generated)
    radius_real, radius_generated = _radii(real, k), _radii(generated, k)
    within = np.zeros(len(generated), dtype=np.int64)
    closest = np.full(len(real), np.inf)
    recalled = np.zeros(len(real), dtype=bool)
    for start in range(0, len(generated), _BLOCK):
        part = slice(start, start + _BLOCK)
        distance = pairwise_distances(real, generated[part])
        within[part] = (distance <= radius_real[:, None]).sum(axis=0)
        recalled |= (distance <= radius_generated[None, part]).any(axis=1)
        closest = np.minimum(closest, distance.min(axis=1))
    return ManifoldHits(within, recalled, closest <= radius_real)


def distance_intervals(
    real: Features, generated: Features, patients: Groups, seed: int = 0, repeats: int = _REPEATS
) -> dict[str, Interval]:
    """Return distances and shares of equal sets with intervals by patient.

    Both sides of a distance are resampled together, a patient with all real patches and what was drawn by their
    conditions, and the interval is centred: resamples lie farther apart, as they have fewer different rows. The ends
    of the Fréchet distance are those of the :data:`_DIRECTIONS` principal directions of both sets, about the value of
    all. Of the shares the manifolds stay as they are.

    Args:
        real: (n, d), of held-out patches.
        generated: (n, d), the i-th drawn by the conditions of the i-th real one.
        patients: (n,) of the real patches.
        seed: of the resamples.
        repeats: resamples of each distance.

    Returns:
        "frechet", "kernel" (of all rows, not of subsets), "precision", "recall" and "coverage".

    Raises:
        EvaluationError: see the functions of each.
    """
    a, b = check_features(real, "real features"), check_features(generated, "generated features")
    check_widths(a, b)
    kernels = _kernels(a, a), _kernels(b, b), _kernels(a, b)
    few_a, few_b = _principal(a, b, _DIRECTIONS)

    def frechet(rows: npt.NDArray[np.intp]) -> float:
        return frechet_distance(few_a[rows], few_b[rows])

    def kernel(rows: npt.NDArray[np.intp]) -> float:
        return _mmd_of_kernels(*(one[np.ix_(rows, rows)] for one in kernels))

    hits = manifold_hits(a, b)
    shares = {"precision": hits.within > 0, "recall": hits.recalled, "coverage": hits.covered}
    few = bootstrap(frechet, patients, repeats, seed=seed, centred=True)
    return {
        "frechet": few.moved_to(frechet_distance(a, b)),
        "kernel": bootstrap(kernel, patients, repeats, seed=seed, centred=True),
        **{name: mean_interval(hit.astype(float), patients, seed=seed) for name, hit in shares.items()},
    }


def _radii(features: Floats, k: int) -> Floats:
    """Return the distance of each row to its k-th neighbour, itself not counted, (n,)."""
    distances, _ = nearest(features, features, k + 1)
    return distances[:, k]


def pairwise_distances(a: Floats, b: Floats) -> Floats:
    """Return the Euclidean distance of each row of ``a`` (n, d) to each of ``b`` (m, d), (n, m)."""
    squares = (a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1)[None, :] - 2 * (a @ b.T)
    return cast(Floats, np.sqrt(np.maximum(squares, 0)))


def nearest(queries: Features, references: Features, k: int = 1) -> tuple[Floats, npt.NDArray[np.intp]]:
    """Return the k smallest Euclidean distances of each query, ascending, and whose they are.

    Args:
        queries: (n, d).
        references: (m, d), m at least k.
        k: neighbours.

    Returns:
        Distances (n, k) float64 and rows of ``references`` (n, k).

    Raises:
        EvaluationError: fewer references than neighbours, other dimensions, values not finite.
    """
    queries = check_features(queries, "queries", 1)
    references = check_features(references, "references", 1)
    check_widths(queries, references)
    if len(references) < k:
        raise EvaluationError(f"nearest neighbours: found {len(references)} references, expected {k} or more")
    distances = np.empty((len(queries), k))
    rows = np.empty((len(queries), k), dtype=np.intp)
    for start in range(0, len(queries), _BLOCK):
        part = slice(start, start + _BLOCK)
        block = pairwise_distances(queries[part], references)
        some = np.argpartition(block, k - 1, axis=1)[:, :k]
        values = np.take_along_axis(block, some, axis=1)
        order = np.argsort(values, axis=1, kind="stable")
        distances[part] = np.take_along_axis(values, order, axis=1)
        rows[part] = np.take_along_axis(some, order, axis=1)
    return distances, rows
