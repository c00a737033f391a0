"""How well scores tell values apart: AUCs, and of numbers their like, whose bootstrap draws can be combined.

A ratio or a difference of two AUCs has an interval only through the draws of both, so these are kept;
one AUC alone with its interval is :func:`nlbs.evaluate.measures.intervals.auroc_interval`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from nlbs.evaluate.measures.intervals import Interval
from nlbs.manifests.conditions import UNKNOWN

Floats = npt.NDArray[np.float64]

DRAWS = 1000  #: bootstrap draws
LEVEL = 0.95  #: of confidence
FEWEST_PATIENTS = 2  #: with a value, and as many without: below, its AUC is that of one person
_AT_ONCE = 4_000_000  #: weights held at one time
_ROWS_AT_ONCE = 512  #: of a matrix of pairs


@dataclass(frozen=True)
class Auc:
    """An AUC: of a yes-or-no condition its own, of several values the mean of each against the rest.

    Of numbers it is the concordance index, which is the AUC where there are two of them. Chance is .5.
    """

    value: float
    draws: Floats  #: (DRAWS,) of the bootstrap; nan where a value was not drawn
    values: tuple[int, ...]  #: those that were judged; none of numbers
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
    point = np.mean([weighted_auc(scores[known, value], codes[known] == value, ones)[0] for value in judged])
    parts = []
    for weights in _drawn(groups, known, seed):
        one_by_one = [weighted_auc(scores[known, value], codes[known] == value, weights) for value in judged]
        parts.append(np.mean(one_by_one, axis=0))
    return Auc(float(point), np.concatenate(parts), tuple(present), len(np.unique(groups[known])))


def concordance(
    scores: npt.ArrayLike, numbers: npt.ArrayLike, clusters: npt.ArrayLike | None = None, seed: int = 0
) -> Auc | None:
    """Return the concordance index of scores for numbers; None where too few clusters lie on either side of their mean.

    Of the pairs whose numbers differ, the share that the scores have in the same order, ties counting half (Harrell
    et al. 1982, JAMA 247:2543): (1 + Somers' D) / 2, whatever the scale of either.

    Args:
        scores: (n,).
        numbers: (n,), NaN unknown: left out.
        clusters, seed: as :func:`condition_auc` has them.
    """
    found, wanted = np.asarray(scores, np.float64), np.asarray(numbers, np.float64)
    groups = np.arange(len(wanted)) if clusters is None else np.asarray(clusters)
    _, groups = np.unique(groups, return_inverse=True)
    known = ~np.isnan(wanted)
    found, wanted = found[known], wanted[known]
    if not len(wanted) or not _is_judged(wanted > wanted.mean(), groups[known], known[known], True):
        return None
    point = _concordances(found, wanted, np.ones((1, len(found))))[0]
    draws = [_concordances(found, wanted, weights) for weights in _drawn(groups, known, seed)]
    return Auc(float(point), np.concatenate(draws), (), len(np.unique(groups[known])))


def _concordances(scores: Floats, numbers: Floats, weights: Floats) -> Floats:
    """Return the concordance index for each row of weights (B, n): (B,), nan where no numbers differ."""
    times = weights.astype(np.float32)  # small whole numbers: these sums are exact
    alike, pairs = np.zeros(len(weights)), np.zeros(len(weights))
    for start in range(0, len(scores), _ROWS_AT_ONCE):
        some = slice(start, start + _ROWS_AT_ONCE)
        larger = numbers[some, None] > numbers
        ahead = np.sign(scores[some, None] - scores) / 2 + 0.5
        own = weights[:, some]
        pairs += (own * (times @ larger.T.astype(np.float32))).sum(axis=1)
        alike += (own * (times @ (larger * ahead).T.astype(np.float32))).sum(axis=1)
    with np.errstate(invalid="ignore"):
        found: Floats = alike / pairs
    return found


def _drawn(groups: npt.NDArray[np.int64], known: npt.NDArray[np.bool_], seed: int) -> Iterator[Floats]:
    """Yield how many times each known row counts in bootstrap draws of whole groups: (B, rows), DRAWS rows in all."""
    count, generator = int(groups.max()) + 1, np.random.default_rng(seed)
    most = max(1, _AT_ONCE // max(1, int(known.sum())))
    for start in range(0, DRAWS, most):
        times = generator.multinomial(count, np.full(count, 1 / count), min(most, DRAWS - start))
        yield times[:, groups[known]].astype(np.float64)


def _is_judged(
    codes: npt.NDArray[Any], groups: npt.NDArray[np.int64], known: npt.NDArray[np.bool_], value: int
) -> bool:
    have = len(np.unique(groups[known & (codes == value)]))
    have_not = len(np.unique(groups[known & (codes != value)]))
    return have >= FEWEST_PATIENTS and have_not >= FEWEST_PATIENTS
