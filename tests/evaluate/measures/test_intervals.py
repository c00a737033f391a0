"""Bootstrap intervals and AUROC against closed forms and scikit-learn."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from nlbs.errors import EvaluationError
from nlbs.evaluate.measures.intervals import (
    Interval,
    apart,
    auroc,
    auroc_interval,
    bootstrap,
    leaders,
    mean_interval,
    places,
)


def test_auroc_is_that_of_scikit_learn_with_and_without_ties() -> None:
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 2, 500)
    for scores in (generator.normal(labels, 1.0), generator.integers(0, 5, 500) + labels):
        assert auroc(scores, labels) == pytest.approx(roc_auc_score(labels, scores), abs=1e-12)


def test_auroc_of_one_class_is_unknown() -> None:
    assert np.isnan(auroc(np.arange(3), np.ones(3)))


def test_the_interval_of_a_mean_has_the_width_of_the_normal_law() -> None:
    values = np.random.default_rng(1).normal(size=2000)
    found = mean_interval(values, np.arange(2000))
    assert found.value == pytest.approx(values.mean())
    assert found.low is not None and found.high is not None
    assert found.high - found.low == pytest.approx(2 * 1.96 / np.sqrt(2000), rel=0.1)


def test_patches_of_one_patient_count_once() -> None:
    """Repeating each value 20 times adds nothing known: the interval of 50 patients stays as wide."""
    values = np.random.default_rng(2).normal(size=50)
    few = mean_interval(values, np.arange(50))
    many = mean_interval(np.repeat(values, 20), np.repeat(np.arange(50), 20))
    assert many.groups == 50
    assert (many.low, many.high) == pytest.approx((few.low, few.high))


def test_a_nominal_95_percent_interval_of_patients_covers_the_truth_about_95_times_in_100() -> None:
    generator = np.random.default_rng(3)
    hits = 0
    for trial in range(100):
        patients = np.repeat(generator.normal(size=40), 10)
        values = patients + generator.normal(size=400)
        found = mean_interval(values, np.repeat(np.arange(40), 10), repeats=200, seed=trial)
        assert found.low is not None and found.high is not None
        hits += found.low <= 0 <= found.high
    assert hits >= 86


def test_unknown_values_and_unknown_labels_are_left_out() -> None:
    assert mean_interval(np.array([1.0, np.nan, 3.0]), np.array([0, 0, 1])).value == 2
    found = auroc_interval(np.array([0.1, 0.9, 5.0]), np.array([0, 1, -1]), np.arange(3))
    assert (found.value, found.groups) == (1.0, 2)


def test_one_group_has_no_interval_and_says_so() -> None:
    found = mean_interval(np.array([1.0, 2.0]), np.array(["p", "p"]))
    assert (found.value, found.low, found.high) == (1.5, None, None)
    assert str(found) == "1.500 (no interval: 1 groups)"


@pytest.mark.parametrize(("groups", "told"), [(2, False), (3, False), (4, True)])
def test_groups_too_few_for_a_tail_of_2_5_percent_have_no_interval(groups: int, told: bool) -> None:
    """Of n groups all of a resample are the same one with probability n^-n: 25 %, 3.7 %, 0.4 %."""
    found = mean_interval(np.arange(groups * 5.0), np.repeat(np.arange(groups), 5))
    assert (found.low is not None, found.high is not None, found.groups) == (told, told, groups)


def test_the_same_seed_gives_the_same_interval() -> None:
    values = np.random.default_rng(4).normal(size=30)
    first, again = (mean_interval(values, np.arange(30), seed=5) for _ in range(2))
    assert first == again
    assert first != mean_interval(values, np.arange(30), seed=6)


def test_no_rows_are_an_error() -> None:
    with pytest.raises(EvaluationError, match="no rows"):
        bootstrap(lambda rows: 0.0, np.array([]))


def spanning(low: float | None, high: float | None, value: float | None = None) -> Interval:
    middle = ((low or 0) + (high or 0)) / 2 if value is None else value
    return Interval(middle, low, high, 0.95, 10)


def test_intervals_apart_are_ranked() -> None:
    figures = {"c": spanning(5, 6), "a": spanning(1, 2), "b": spanning(3, 4)}
    assert places(figures) == {"a": (1, 1), "b": (2, 2), "c": (3, 3)}
    assert places(figures, more_is_better=True) == {"a": (3, 3), "b": (2, 2), "c": (1, 1)}
    assert leaders(figures) == ["a"]
    assert leaders(figures, more_is_better=True) == ["c"]


def test_nothing_is_ranked_whose_intervals_overlap() -> None:
    figures = {"a": spanning(1, 3.1), "b": spanning(3, 4)}
    assert places(figures) == {"a": (1, 2), "b": (1, 2)}
    assert leaders(figures) == ["a", "b"]
    assert leaders(figures, more_is_better=True) == ["b", "a"]


def test_intervals_that_touch_overlap() -> None:
    assert not apart(spanning(1, 2), spanning(2, 3))
    assert apart(spanning(1, 2), spanning(2.001, 3))


def test_a_chain_of_overlaps_ranks_its_ends_alone() -> None:
    figures = {"a": spanning(0, 2), "b": spanning(1, 4), "c": spanning(3, 5), "d": spanning(6, 7)}
    assert places(figures) == {"a": (1, 2), "b": (1, 3), "c": (2, 3), "d": (4, 4)}


def test_a_figure_without_interval_may_have_any_place() -> None:
    figures = {"a": spanning(1, 2), "b": spanning(None, None, 9.0), "c": spanning(3, 4)}
    assert places(figures) == {"a": (1, 2), "b": (1, 3), "c": (2, 3)}


def test_the_only_model_is_first() -> None:
    assert places({"a": spanning(None, None, 1.0)}) == {"a": (1, 1)}
    assert places({}) == {} and leaders({}) == []


def test_a_centred_interval_takes_the_bias_of_resamples_away() -> None:
    """Of n values the mean variance of a resample is (n - 1) / n of theirs: too small by 1 / n."""
    values = np.random.default_rng(3).normal(size=8)
    plain, centred = (
        bootstrap(lambda rows: float(values[rows].var()), np.arange(8), 5_000, centred=centred)
        for centred in (False, True)
    )
    assert centred.value == plain.value
    assert centred.high - plain.high == pytest.approx(values.var() / 8, rel=0.1)  # type: ignore[operator]
    assert centred.low - plain.low == pytest.approx(values.var() / 8, rel=0.1)  # type: ignore[operator]


def test_the_ends_of_an_interval_are_quantiles_of_its_resamples_to_the_bit() -> None:
    values, generator = np.random.default_rng(6).normal(size=30), np.random.default_rng(7)
    means = [values[generator.integers(0, 30, 30)].mean() for _ in range(200)]
    found = bootstrap(lambda rows: float(values[rows].mean()), np.arange(30), 200, seed=7)
    assert (found.low, found.high) == tuple(np.quantile(means, [0.025, 0.975]))
