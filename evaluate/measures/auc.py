"""How well scores tell the values of a condition apart: AUCs whose bootstrap draws can be combined.

A ratio or a difference of two AUCs has an interval only through the draws of both, so these are kept;
one AUC alone with its interval is :func:`nlbs.evaluate.measures.intervals.auroc_interval`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from nlbs.evaluate.measures.intervals import Interval
from nlbs.manifests.conditions import UNKNOWN

Floats = npt.NDArray[np.float64]

DRAWS = 1000  #: bootstrap draws
LEVEL = 0.95  #: of confidence
FEWEST_PATIENTS = 2  #: with a value, and as many without: below, its AUC is that of one person
_AT_ONCE = 4_000_000  #: weights held at one time


@dataclass(frozen=True)
class Auc:
    """An AUC: of a yes-or-no condition its own, of several values the mean of each against the rest."""

    value: float
    draws: Floats  #: (DRAWS,) of the bootstrap; nan where a value was not drawn
    values: tuple[int, ...]  #: those that were judged
    groups: int  #: patients, or patches drawn by themselves, of which the condition is known

    @property
    def interval(self) -> Interval:
        """The AUC with its interval."""
        return interval_of(self.value, self.draws, self.groups)


def interval_of(value: float, draws: Floats, groups: int) -> Interval:
    """Return a figure with the percentile interval of its bootstrap draws; those that are nan do not count."""
    known = draws[~np.isnan(draws)]
    if groups < FEWEST_PATIENTS or len(known) < DRAWS / 2:
        return Interval(value, None, None, LEVEL, groups)
    low, high = np.quantile(known, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(value, float(low), float(high), LEVEL, groups)


def weighted_auc(scores: npt.ArrayLike, labels: npt.ArrayLike, weights: npt.ArrayLike) -> Floats:
    """Return P(score of a positive > score of a negative), ties counting half (Mann and Whitney 1947).

    Args:
        scores: (n,).
        labels: (n,) true for a positive.
        weights: (B, n) how many times each counts; one AUC for each row.

    Returns:
        (B,), nan where there are no positives or no negatives.
    """
    scores, labels = np.asarray(scores, np.float64), np.asarray(labels, np.bool_)
    order = np.argsort(scores, kind="stable")
    ordered, weights = scores[order], np.atleast_2d(np.asarray(weights, np.float64))[:, order]
    starts = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]]))
    positive = np.add.reduceat(weights * labels[order], starts, axis=1)
    negative = np.add.reduceat(weights * ~labels[order], starts, axis=1)
    below = np.cumsum(negative, axis=1) - negative
    pairs = positive.sum(axis=1) * negative.sum(axis=1)
    with np.errstate(invalid="ignore"):
        found: Floats = (positive * (below + negative / 2)).sum(axis=1) / pairs
    return found


def condition_auc(
    scores: npt.ArrayLike,
    codes: npt.ArrayLike,
    clusters: npt.ArrayLike | None = None,
    seed: int = 0,
    values: Sequence[int] | None = None,
) -> Auc | None:
    """Return how well scores tell the values of a condition apart; None where nothing can be told.

    Args:
        scores: (n, values), the higher the likelier.
        codes: (n,), -1 unknown: left out.
        clusters: (n,) the patient of each, who is drawn as a whole; None: each is drawn by itself.
        seed: of the bootstrap: the same clusters and seed draw the same patients.
        values: judges these; None: all that at least two clusters have, and two have not.
    """
    scores, codes = np.asarray(scores, np.float64), np.asarray(codes)
    groups = np.arange(len(codes)) if clusters is None else np.asarray(clusters)
    _, groups = np.unique(groups, return_inverse=True)
    known = codes != UNKNOWN
    if values is None:
        values = [value for value in range(scores.shape[1]) if _is_judged(codes, groups, known, value)]
    present = [value for value in values if 0 < (codes[known] == value).sum() < known.sum()]
    if not present:
        return None
    # Of two values, the one is the other's reverse.
    judged = present[-1:] if scores.shape[1] == 2 else present
    ones = np.ones((1, int(known.sum())))
    count = int(groups.max()) + 1
    generator = np.random.default_rng(seed)
    point = np.mean([weighted_auc(scores[known, value], codes[known] == value, ones)[0] for value in judged])
    parts, most = [], max(1, _AT_ONCE // max(1, ones.size))
    for start in range(0, DRAWS, most):
        times = generator.multinomial(count, np.full(count, 1 / count), min(most, DRAWS - start))
        weights = times[:, groups[known]].astype(np.float64)
        one_by_one = [weighted_auc(scores[known, value], codes[known] == value, weights) for value in judged]
        parts.append(np.mean(one_by_one, axis=0))
    return Auc(float(point), np.concatenate(parts), tuple(present), len(np.unique(groups[known])))


def _is_judged(
    codes: npt.NDArray[np.int64], groups: npt.NDArray[np.int64], known: npt.NDArray[np.bool_], value: int
) -> bool:
    have = len(np.unique(groups[known & (codes == value)]))
    have_not = len(np.unique(groups[known & (codes != value)]))
    return have >= FEWEST_PATIENTS and have_not >= FEWEST_PATIENTS
