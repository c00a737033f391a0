"""Measures of memorisation on a generator that copies and on one that does not."""

import numpy as np
import pytest
from scipy import stats

from nlbs.errors import EvaluationError
from nlbs.evaluate.measures.memorisation import (
    authenticity,
    copy_test,
    membership_auc,
    nearest_neighbour_ratio,
)


def gaussian(n: int, seed: int, d: int = 4) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, d))


TRAIN, HELD_OUT, FRESH = gaussian(600, 0), gaussian(600, 1), gaussian(600, 2)
COPIES = TRAIN[:300] + 0.02 * gaussian(300, 3)


def test_the_nearest_neighbour_ratio_is_one_for_new_samples_and_small_for_copies() -> None:
    fresh = nearest_neighbour_ratio(FRESH, TRAIN, HELD_OUT)
    assert fresh.ratio.low is not None and fresh.ratio.high is not None
    assert fresh.ratio.low < 1 < fresh.ratio.high
    assert fresh.nearer_to_train.value == pytest.approx(0.5, abs=0.05)
    copies = nearest_neighbour_ratio(COPIES, TRAIN, HELD_OUT)
    assert copies.ratio.value < 0.2
    assert copies.nearer_to_train.value > 0.95


def test_a_larger_training_set_does_not_pass_for_copying() -> None:
    found = nearest_neighbour_ratio(FRESH, gaussian(6000, 4), HELD_OUT)
    assert found.references == 600
    assert found.ratio.value == pytest.approx(1, abs=0.1)


def test_c_t_of_one_cell_is_the_mann_whitney_z_score_of_scipy() -> None:
    found = copy_test(COPIES[:100], TRAIN, HELD_OUT[:150], cells=1)
    distance = np.linalg.norm(np.vstack([COPIES[:100], HELD_OUT[:150]])[:, None] - TRAIN[None], axis=2).min(1)
    expected = stats.mannwhitneyu(
        distance[:100], distance[100:], method="asymptotic", use_continuity=False, alternative="less"
    )
    assert stats.norm.cdf(found.c_t) == pytest.approx(expected.pvalue, rel=1e-6)
    assert found.cells == 1


def test_c_t_is_small_for_new_samples_and_far_below_zero_for_copies() -> None:
    assert abs(copy_test(FRESH, TRAIN, HELD_OUT, cells=5).c_t) < 2
    copies = copy_test(COPIES, TRAIN, HELD_OUT, cells=5)
    assert copies.c_t < -5
    assert copies.cells_copied == copies.cells > 1
    assert copy_test(FRESH * 3, TRAIN, HELD_OUT, cells=1).c_t > 5


def test_copying_one_region_alone_shows_in_its_cell() -> None:
    """What a single number over all data hides, and the reason for the cells."""
    far = TRAIN + np.where(np.arange(600) < 300, 40.0, 0.0)[:, None]
    held_out = HELD_OUT + np.where(np.arange(600) < 300, 40.0, 0.0)[:, None]
    generated = np.concatenate([far[:300] + 0.01, FRESH[300:]])
    found = copy_test(generated, far, held_out, cells=2)
    assert (found.cells, found.cells_copied) == (2, 1)


def test_auth_pct_is_its_definition() -> None:
    """Distances on a line: radii of 0, 1, 10 are 1, 1, 9 when all are of different images."""
    train = np.array([[0.0], [1.0], [10.0]])
    generated = np.array(
        [[0.4], [-1.5], [3.0], [18.0], [20.0]]
    )  # .4 < 1 no; 1.5 yes; 2 yes; 8 < 9 no; 10 yes
    found = authenticity(generated, train, generated, np.arange(3), np.arange(5))
    assert found.generated.value == pytest.approx(3 / 5)
    # With 0 and 1 of one image their radii are 10 and 9.
    found = authenticity(generated, train, generated, np.array([0, 0, 1]), np.arange(5))
    assert found.generated.value == pytest.approx(1 / 5)


def test_copies_are_not_authentic_and_held_out_patches_are_the_measure() -> None:
    found = authenticity(COPIES, TRAIN, HELD_OUT, np.arange(600), np.arange(600))
    assert found.generated.value < 0.05
    assert 0.35 < found.held_out.value < 0.65


def test_membership_is_half_where_scores_tell_nothing_and_that_of_two_gaussians_else() -> None:
    generator = np.random.default_rng(5)
    train, held_out = generator.normal(size=2000), generator.normal(size=2000)
    patients = np.repeat(np.arange(200), 10)
    blind = membership_auc(train, held_out, patients, patients)
    assert blind.value == pytest.approx(0.5, abs=0.03)
    assert blind.groups == 400  # patient 3 of training is not patient 3 of the held-out set
    # AUROC of N(d, 1) against N(0, 1) is Phi(d / sqrt 2).
    found = membership_auc(train + 1, held_out, patients, patients)
    assert found.value == pytest.approx(stats.norm.cdf(1 / np.sqrt(2)), abs=0.02)


def test_what_cannot_be_compared_is_refused_in_words() -> None:
    with pytest.raises(EvaluationError, match="none of 10 cells holds 20"):
        copy_test(FRESH[:10], TRAIN, HELD_OUT)
    with pytest.raises(EvaluationError, match="are of one group"):
        authenticity(FRESH, TRAIN, HELD_OUT, np.zeros(600), np.arange(600))
    with pytest.raises(EvaluationError, match="NaN"):
        membership_auc(np.array([np.nan]), np.array([1.0]), np.arange(1), np.arange(1))
