"""Confidence intervals by the bootstrap over patients or images, places by them, and the area under the ROC curve.

Patches of one patient resemble each other, so whole groups are drawn, never single patches:
an interval over patches would be too narrow (Field and Welsh 2007, J. R. Statist. Soc. B 69:369).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import stats

from nlbs.errors import EvaluationError
from nlbs.evaluate.measures.arrays import Floats, Groups

Rows = npt.NDArray[np.intp]
_FEWEST_USABLE = 0.5  #: share of the draws that must give a number


@dataclass(frozen=True)
class Interval:
    """A figure with its bootstrap percentile interval."""

    value: float  #: of all rows
    low: float | None  #: None where there are too few groups for an interval: fewer than four for 95 %
    high: float | None
    level: float  #: confidence, .95 for example
    groups: int  #: independent groups (patients, images) behind it

    def moved_to(self, value: float) -> "Interval":
        """Return the interval about another value, as wide."""
        low, high = (None if end is None else end + value - self.value for end in (self.low, self.high))
        return replace(self, value=value, low=low, high=high)

    def __str__(self) -> str:
        """Return "0.812 [0.774, 0.850]"."""
        if self.low is None or self.high is None:
            return f"{self.value:.3f} (no interval: {self.groups} groups)"
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


def bootstrap(
    statistic: Callable[[Rows], float],
    groups: Groups,
    repeats: int = 1000,
    level: float = 0.95,
    seed: int = 0,
    centred: bool = False,
) -> Interval:
    """Return ``statistic`` of all rows with its percentile interval over resampled groups.

    Args:
        statistic: takes row numbers (repeats occur) and gives a number; NaN where these rows
            have none, for example an AUROC of one class; such draws are left out.
        groups: (n,), the patient or image of each row. With ``np.arange(n)`` rows are independent.
        repeats: draws.
        level: confidence.
        seed: of the draws; the same seed gives the same interval.
        centred: move the interval so that the mean of the draws lies on the statistic of all rows. For one whose
            resamples are all larger, as distances of sets are: a set with repeats has fewer different rows.

    Raises:
        EvaluationError: no rows.
    """
    if len(groups) == 0:
        raise EvaluationError("an interval: found no rows, expected at least one")
    _, member = np.unique(groups, return_inverse=True)
    order = np.argsort(member, kind="stable").astype(np.intp)
    members = np.split(order, np.cumsum(np.bincount(member))[:-1])
    value = float(statistic(np.arange(len(groups))))
    if not has_tails(len(members), level):
        return Interval(value, None, None, level, len(members))
    generator = np.random.default_rng(seed)
    draws = np.array(
        [
            statistic(np.concatenate([members[i] for i in generator.integers(0, len(members), len(members))]))
            for _ in range(repeats)
        ]
    )
    usable = draws[~np.isnan(draws)]
    if len(usable) < _FEWEST_USABLE * repeats:
        return Interval(value, None, None, level, len(members))
    low, high = np.quantile(usable, [(1 - level) / 2, (1 + level) / 2])
    found = Interval(value, float(low), float(high), level, len(members))
    return replace(found, value=float(usable.mean())).moved_to(value) if centred else found


def has_tails(groups: int, level: float = 0.95) -> bool:
    """Return whether resampled groups can tell a tail from the rest.

    The most extreme resample is n times the same group, which has the probability n^-n: with two or three groups more
    than a tail of 2.5 %, so the "interval" would only be the smallest and the largest of them.
    """
    return groups > 1 and float(groups) ** -groups <= (1 - level) / 2


def mean_interval(values: npt.NDArray[Any], groups: Groups, repeats: int = 1000, seed: int = 0) -> Interval:
    """Return the mean of the known values with its interval; NaN is unknown.

    Args:
        values: (n,) numbers.
        groups: (n,), the patient or image of each.
    """
    known = ~np.isnan(values)
    kept = np.asarray(values, dtype=np.float64)[known]
    return bootstrap(lambda rows: float(kept[rows].mean()), groups[known], repeats, seed=seed)


def share_interval(hits: int, rows: int, level: float = 0.95) -> Interval:
    """Return a share of independent rows with Wilson's interval (1927, J. Am. Statist. Assoc. 22:209).

    Unlike the bootstrap's it has a width for 0 and for all hits.

    Raises:
        EvaluationError: no rows.
    """
    if rows < 1:
        raise EvaluationError("a share: found no rows, expected at least one")
    z = float(stats.norm.ppf((1 + level) / 2))
    share = hits / rows
    centre = (share + z**2 / (2 * rows)) / (1 + z**2 / rows)
    half = z / (1 + z**2 / rows) * np.sqrt(share * (1 - share) / rows + z**2 / (4 * rows**2))
    return Interval(share, max(0.0, float(centre - half)), min(1.0, float(centre + half)), level, rows)


def auroc(scores: npt.NDArray[Any], labels: npt.NDArray[Any]) -> float:
    """Return the area under the ROC curve, 0 to 1; NaN where one class is missing.

    The probability that a positive scores above a negative, ties counted half
    (Hanley and McNeil 1982, Radiology 143:29).

    Args:
        scores: (n,), larger means more likely positive.
        labels: (n,), 0 or 1.
    """
    positive = np.asarray(labels) == 1
    n_positive, n_negative = int(positive.sum()), int((~positive).sum())
    if not n_positive or not n_negative:
        return float("nan")
    ranks: Floats = stats.rankdata(scores)
    return float((ranks[positive].sum() - n_positive * (n_positive + 1) / 2) / (n_positive * n_negative))


def auroc_interval(
    scores: npt.NDArray[Any], labels: npt.NDArray[Any], groups: Groups, repeats: int = 1000, seed: int = 0
) -> Interval:
    """Return the AUROC with its interval over resampled groups.

    Args:
        scores: (n,), larger means more likely positive.
        labels: (n,), 0 or 1; rows with another label (-1, unknown) are left out.
        groups: (n,), the patient or image of each row.

    Raises:
        EvaluationError: no row with a known label.
    """
    known = np.isin(labels, (0, 1))
    kept, truth = np.asarray(scores)[known], np.asarray(labels)[known]
    return bootstrap(
        lambda rows: auroc(kept[rows], truth[rows]), np.asarray(groups)[known], repeats, seed=seed
    )


def apart(less: Interval, more: Interval) -> bool:
    """Return whether one interval ends before another begins; one without ends overlaps with all."""
    return less.high is not None and more.low is not None and less.high < more.low


def places(figures: Mapping[str, Interval], more_is_better: bool = False) -> dict[str, tuple[int, int]]:
    """Return the best and the last place that each model may have, from 1.

    Only what lies apart counts: the best place of a model comes after all that are better for certain, its last one
    before all that are worse for certain. Overlaps do not chain: of 1, 2 and 3, each overlapping with the next alone,
    the third is behind the first, and the second may be anywhere.

    Args:
        figures: model -> figure.
        more_is_better: or less is.
    """

    def better(one: Interval, other: Interval) -> bool:
        return apart(other, one) if more_is_better else apart(one, other)

    every = list(figures.values())
    return {
        name: (
            1 + sum(better(other, figure) for other in every),
            len(every) - sum(better(figure, other) for other in every),
        )
        for name, figure in figures.items()
    }


def leaders(figures: Mapping[str, Interval], more_is_better: bool = False) -> list[str]:
    """Return the models that may be first, the best figure first; several where their intervals overlap."""
    found = places(figures, more_is_better)
    first = [name for name in figures if found[name][0] == 1]
    return sorted(first, key=lambda name: figures[name].value, reverse=more_is_better)
