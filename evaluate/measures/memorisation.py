"""Whether generated patches lie nearer to the training patches than new patients do.

All take features (n, d) of one extractor. Every figure says "nearer", not "copied": for copies,
planted and found, see ``copies``.
"""

from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import numpy.typing as npt
from scipy import stats
from scipy.cluster import vq

from nlbs.errors import EvaluationError
from nlbs.evaluate.measures.arrays import Features, Floats, Groups, check_features, check_widths
from nlbs.evaluate.measures.distances import nearest, pairwise_distances
from nlbs.evaluate.measures.intervals import Interval, auroc_interval, bootstrap, mean_interval

_BLOCK = 1024
_SMALLEST_CELL = 20  #: generated or held-out rows below which a cell says nothing


@dataclass(frozen=True)
class NearestRatio:
    """Distances of generated patches to the nearest training and to the nearest held-out patch."""

    ratio: (
        Interval  #: median distance to training over median distance to held-out; below 1: nearer to training
    )
    nearer_to_train: Interval  #: share of generated patches that are nearer to a training patch; .5 is right
    references: int  #: training and held-out patches each


def nearest_neighbour_ratio(
    generated: Features, train: Features, held_out: Features, seed: int = 0, repeats: int = 200
) -> NearestRatio:
    """Return how much nearer generated patches lie to training than to held-out patches.

    Both reference sets are brought to the size of the smaller one: the nearest of many is nearer.

    Args:
        generated: (n, d), independent samples.
        train: (m, d).
        held_out: (k, d), patches of other patients, of the same distribution.
        seed: of the subset and the bootstrap.
        repeats: draws of the bootstrap, over generated patches.

    Raises:
        EvaluationError: fewer than two rows, other dimensions, values not finite.
    """
    generated = check_features(generated, "generated features")
    train, held_out = (
        check_features(train, "training features"),
        check_features(held_out, "held-out features"),
    )
    count = min(len(train), len(held_out))
    generator = np.random.default_rng(seed)
    some_train, some_held_out = (
        rows[np.sort(generator.permutation(len(rows))[:count])] for rows in (train, held_out)
    )
    to_train = nearest(generated, some_train)[0][:, 0]
    to_held_out = nearest(generated, some_held_out)[0][:, 0]

    def ratio(rows: npt.NDArray[np.intp]) -> float:
        held_out_median = float(np.median(to_held_out[rows]))
        return float(np.median(to_train[rows])) / held_out_median if held_out_median > 0 else float("nan")

    nearer = (to_train < to_held_out) + 0.5 * (to_train == to_held_out)
    alone = np.arange(len(generated))
    return NearestRatio(
        bootstrap(ratio, alone, repeats, seed=seed),
        mean_interval(nearer, alone, repeats, seed=seed),
        count,
    )


@dataclass(frozen=True)
class CopyTest:
    """The test of Meehan et al.; below about -3 the generator copies, above 3 it underfits."""

    c_t: float  #: z-score, averaged over the cells by held-out share
    cells: int  #: cells that hold enough rows of both sets
    cells_copied: int  #: cells with a z-score below -3: copying may be local


def copy_test(
    generated: Features, train: Features, held_out: Features, cells: int = 10, seed: int = 0
) -> CopyTest:
    """Return C_T: whether generated rows lie nearer to training than held-out rows do.

    The training rows are divided into cells by k-means. In each cell the distances to the nearest
    training row of generated and of held-out rows are compared by the Mann-Whitney z-score; C_T is
    their mean, weighted by the held-out rows of the cell (Meehan, Chaudhuri and Dasgupta 2020, arXiv
    2004.05675, Eqs. 2 and 4). Standard normal for a perfect generator if rows are independent; patches of
    one patient are not, so hold it against that of held-out patches of other patients as "generated".

    Args:
        generated: (n, d).
        train: (m, d).
        held_out: (k, d).
        cells: of the division; cells with fewer than 20 rows of either set are left out.
        seed: of k-means.

    Raises:
        EvaluationError: no cell holds 20 rows of both sets; other dimensions, values not finite.
    """
    generated = check_features(generated, "generated features")
    train, held_out = (
        check_features(train, "training features"),
        check_features(held_out, "held-out features"),
    )
    check_widths(train, held_out)
    centres, train_cell = vq.kmeans2(
        train, min(cells, len(train)), minit="++", rng=np.random.default_rng(seed)
    )
    held_out_cell = pairwise_distances(held_out, centres).argmin(axis=1)
    generated_cell = pairwise_distances(generated, centres).argmin(axis=1)
    scores, weights = [], []
    for cell in np.unique(train_cell):
        ours, theirs = generated[generated_cell == cell], held_out[held_out_cell == cell]
        if min(len(ours), len(theirs)) < _SMALLEST_CELL:
            continue
        known = train[train_cell == cell]
        scores.append(_rank_z(nearest(ours, known)[0][:, 0], nearest(theirs, known)[0][:, 0]))
        weights.append(len(theirs))
    if not scores:
        raise EvaluationError(
            f"C_T: none of {cells} cells holds {_SMALLEST_CELL} generated and held-out patches "
            f"({len(generated)} and {len(held_out)} in all); take more patches or fewer cells"
        )
    return CopyTest(float(np.average(scores, weights=weights)), len(scores), sum(z < -3 for z in scores))


def _rank_z(a: Floats, b: Floats) -> float:
    """Return the z-score of the Mann-Whitney statistic; negative where ``a`` is smaller. Ties count half."""
    ranks = stats.rankdata(np.concatenate([a, b]))
    u = ranks[: len(a)].sum() - len(a) * (len(a) + 1) / 2
    spread = np.sqrt(len(a) * len(b) * (len(a) + len(b) + 1) / 12)
    return float((u - len(a) * len(b) / 2) / spread)


@dataclass(frozen=True)
class Authenticity:
    """AuthPct of generated patches, and what held-out real patches reach."""

    generated: Interval  #: share of authentic patches, 0 to 1
    held_out: Interval  #: the same of real patches of other patients: what a perfect generator reaches


def authenticity(
    generated: Features,
    train: Features,
    held_out: Features,
    train_groups: Groups,
    held_out_groups: Groups,
    repeats: int = 200,
    seed: int = 0,
) -> Authenticity:
    """Return the share of patches that are farther from their nearest training patch than that is from its own.

    Section 4.2 of Alaa et al. 2022, arXiv 2102.08921. The neighbour of a training patch is looked for
    in other groups: patches of one image overlap. About half for a perfect generator, never 1.

    Args:
        generated: (n, d).
        train: (m, d).
        held_out: (k, d).
        train_groups: (m,), the image or patient of each.
        held_out_groups: (k,), the patient of each.
        repeats, seed: of the bootstrap.

    Raises:
        EvaluationError: training patches of one group only; other dimensions, values not finite.
    """
    train = check_features(train, "training features")
    radius = _distance_to_other_groups(train, train_groups)

    def authentic(features: Features) -> Floats:
        distances, rows = nearest(features, train)
        return (distances[:, 0] > radius[rows[:, 0]]).astype(np.float64)

    return Authenticity(
        mean_interval(authentic(generated), np.arange(len(generated)), repeats, seed),
        mean_interval(authentic(held_out), held_out_groups, repeats, seed),
    )


def _distance_to_other_groups(features: Floats, groups: Groups) -> Floats:
    """Return each row's distance to the nearest row of another group, (n,)."""
    _, member = np.unique(groups, return_inverse=True)
    if member.max() == 0:
        raise EvaluationError("AuthPct: all training patches are of one group, expected two or more")
    found = np.empty(len(features))
    for start in range(0, len(features), _BLOCK):
        part = slice(start, start + _BLOCK)
        distance = pairwise_distances(features[part], features)
        distance[member[part, None] == member[None, :]] = np.inf
        found[part] = distance.min(axis=1)
    return cast(Floats, found)


def membership_auc(
    train_scores: npt.NDArray[Any],
    held_out_scores: npt.NDArray[Any],
    train_groups: Groups,
    held_out_groups: Groups,
    repeats: int = 200,
    seed: int = 0,
) -> Interval:
    """Return how well a score tells training patches from held-out ones: AUROC, .5 where it tells nothing.

    With the evidence lower bound as score this is the membership attack on a VAE
    (Hilprecht et al. 2019, PoPETs 2019/4:232, by likelihood).

    Args:
        train_scores: (n,), larger for patches that look like training patches, for example the ELBO in nats.
        held_out_scores: (m,), of other patients.
        train_groups: (n,), the patient of each.
        held_out_groups: (m,), the patient of each.
        repeats, seed: of the bootstrap over patients.

    Raises:
        EvaluationError: scores that are not finite, or none.
    """
    scores = np.concatenate([train_scores, held_out_scores]).astype(np.float64)
    if not np.isfinite(scores).all():
        raise EvaluationError("membership: scores hold NaN or infinity")
    labels = np.repeat([1, 0], [len(train_scores), len(held_out_scores)])
    _, train_member = np.unique(train_groups, return_inverse=True)
    _, held_out_member = np.unique(held_out_groups, return_inverse=True)
    groups = np.concatenate([train_member, held_out_member + len(train_scores)])
    return auroc_interval(scores, labels, groups, repeats, seed)
