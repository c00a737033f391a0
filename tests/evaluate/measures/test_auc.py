"""AUCs whose bootstrap draws can be combined, against the rank formula of nlbs.evaluate.measures.intervals."""

import numpy as np
import pytest
from scipy import stats

from nlbs.evaluate.measures.auc import DRAWS, concordance, condition_auc, interval_of, weighted_auc
from nlbs.evaluate.measures.intervals import auroc


@pytest.mark.parametrize("levels", [4, 10_000], ids=["many ties", "few ties"])
def test_equal_weights_give_the_auc_of_ranks(levels: int) -> None:
    generator = np.random.default_rng(0)
    scores, labels = generator.integers(0, levels, 200), generator.random(200) < 0.3
    assert weighted_auc(scores, labels, np.ones((1, 200)))[0] == pytest.approx(auroc(scores, labels))


def test_a_weight_counts_as_that_many_repeats() -> None:
    generator = np.random.default_rng(1)
    scores, labels = generator.integers(0, 20, 50), generator.random(50) < 0.5
    times = generator.integers(0, 4, 50)
    repeated = auroc(np.repeat(scores, times), np.repeat(labels, times))
    assert weighted_auc(scores, labels, times)[0] == pytest.approx(repeated)


def test_without_positives_there_is_no_auc() -> None:
    assert np.isnan(weighted_auc([1, 2], [False, False], np.ones((1, 2)))).all()


def test_several_values_give_the_mean_of_each_against_the_rest() -> None:
    generator = np.random.default_rng(2)
    codes, scores = generator.integers(0, 4, 300), generator.random((300, 4))
    scores[np.arange(300), codes] += 0.5
    found = condition_auc(scores, codes, clusters=np.arange(300) % 40)
    assert found is not None
    expected = np.mean([auroc(scores[:, value], codes == value) for value in range(4)])
    assert found.value == pytest.approx(expected)
    assert found.values == (0, 1, 2, 3)
    assert found.draws.shape == (DRAWS,)


def test_of_two_values_it_is_the_auc_of_the_second() -> None:
    generator = np.random.default_rng(3)
    codes, scores = generator.integers(0, 2, 100), generator.random((100, 2))
    found = condition_auc(scores, codes)
    assert found is not None
    assert found.value == pytest.approx(auroc(scores[:, 1], codes))


def test_unknown_codes_are_left_out() -> None:
    codes = np.array([0, 1, -1, 0, 1, -1])
    scores = np.stack([np.zeros(6), [0, 1, 9, 0, 1, -9]], axis=1)
    found = condition_auc(scores, codes)
    assert found is not None
    assert found.value == 1
    assert found.groups == 4


def test_a_value_of_one_patient_alone_is_not_judged() -> None:
    codes = np.array([1, 1, 1, 0, 0, 0])
    scores = np.eye(2)[codes]
    assert condition_auc(scores, codes, clusters=[7, 7, 7, 8, 9, 10]) is None
    assert condition_auc(scores, codes, clusters=[7, 7, 6, 8, 9, 10]) is not None


def test_patients_are_drawn_whole() -> None:
    """Ten equal patches of each patient tell no more than one: the interval is as wide."""
    generator = np.random.default_rng(4)
    codes = np.arange(30) % 2
    scores = np.stack([np.zeros(30), codes + generator.normal(0, 2, 30)], axis=1)
    once = condition_auc(scores, codes, np.arange(30))
    tenfold = condition_auc(np.repeat(scores, 10, 0), np.repeat(codes, 10), np.repeat(np.arange(30), 10))
    assert once is not None and tenfold is not None
    np.testing.assert_allclose(once.draws, tenfold.draws)


def test_draws_without_a_value_do_not_count_and_too_few_give_no_interval() -> None:
    draws = np.full(DRAWS, np.nan)
    assert interval_of(0.7, draws, groups=5).low is None
    draws[: DRAWS // 2] = 0.6
    assert interval_of(0.7, draws, groups=5).low == pytest.approx(0.6)


def test_the_concordance_of_numbers_is_that_of_somers() -> None:
    generator = np.random.default_rng(5)
    numbers = generator.integers(0, 12, 700).astype(float)
    scores = (numbers + generator.normal(0, 6, 700)).round()
    found = concordance(scores, numbers)
    assert found is not None
    assert found.value == pytest.approx((1 + stats.somersd(numbers, scores).statistic) / 2)
    assert found.values == () and found.groups == 700


def test_the_concordance_of_two_numbers_is_their_auc_draw_by_draw() -> None:
    generator = np.random.default_rng(6)
    codes = generator.integers(0, 2, 90)
    scores, people = codes + generator.normal(0, 1, 90), np.arange(90) % 15
    as_numbers = concordance(scores, codes.astype(float), people, seed=3)
    as_codes = condition_auc(np.stack([-scores, scores], axis=1), codes, people, seed=3)
    assert as_numbers is not None and as_codes is not None
    assert as_numbers.value == pytest.approx(as_codes.value)
    np.testing.assert_allclose(as_numbers.draws, as_codes.draws)


def test_unknown_numbers_are_left_out_and_few_people_or_one_number_tell_nothing() -> None:
    numbers = np.array([1.0, np.nan, 2, 3, 4])
    found = concordance([0, 99, 1, 2, 3], numbers)
    assert found is not None and found.value == 1 and found.groups == 4
    assert concordance([0, 99, 1, 2, 3], numbers, clusters=[0, 9, 1, 2, 2]) is None
    assert concordance([0, 1, 2, 3], [5.0] * 4) is None
