"""Distances of feature sets against closed forms, scipy, scikit-learn and torchmetrics."""

import numpy as np
import pytest
import scipy.linalg
import torch
from sklearn.neighbors import NearestNeighbors
from torchmetrics.image.fid import _compute_fid
from torchmetrics.image.kid import poly_mmd

from nlbs.errors import EvaluationError
from nlbs.evaluate.measures import distances
from nlbs.evaluate.measures.distances import (
    distance_intervals,
    frechet_distance,
    kernel_distance,
    nearest,
    precision_recall,
)


def gaussian(n: int, d: int, seed: int, shift: float = 0.0, scale: float = 1.0) -> np.ndarray:
    return np.random.default_rng(seed).normal(shift, scale, (n, d))


def test_frechet_distance_is_the_closed_form_of_two_gaussians() -> None:
    """|shift|^2 d + d (s - 1)^2 for N(0, 1) against N(shift, s^2), in the limit of many rows."""
    found = frechet_distance(gaussian(60_000, 6, 0), gaussian(60_000, 6, 1, shift=0.5, scale=2.0))
    assert found == pytest.approx(6 * 0.25 + 6 * 1.0, rel=0.02)


def test_frechet_distance_is_that_of_a_matrix_root_and_of_torchmetrics() -> None:
    mix = np.random.default_rng(2).normal(size=(20, 20))
    a, b = gaussian(300, 20, 3) @ mix, gaussian(200, 20, 4, shift=0.3)
    cov_a, cov_b = np.cov(a.T), np.cov(b.T)
    root = scipy.linalg.sqrtm(cov_a @ cov_b).real
    expected = ((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(cov_a + cov_b - 2 * root)
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-9)
    theirs = _compute_fid(*(torch.from_numpy(x) for x in (a.mean(0), cov_a, b.mean(0), cov_b)))
    assert frechet_distance(a, b) == pytest.approx(float(theirs), rel=1e-6)


def test_frechet_distance_is_stable_with_fewer_rows_than_dimensions() -> None:
    a, b = gaussian(40, 300, 5), gaussian(30, 300, 6, shift=1.0)
    cov_a, cov_b = np.cov(a.T), np.cov(b.T)
    roots = scipy.linalg.eigvals(cov_a @ cov_b).real.clip(0) ** 0.5
    expected = ((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(cov_a + cov_b) - 2 * roots.sum()
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-4)
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-9)
    assert frechet_distance(a, a + 2.0) == pytest.approx(4 * 300)


def test_a_point_has_the_distance_of_mean_and_spread() -> None:
    a = gaussian(500, 8, 7)
    point = np.repeat(a.mean(axis=0, keepdims=True), 50, axis=0)
    assert frechet_distance(a, point) == pytest.approx(a.var(axis=0, ddof=1).sum())


def test_kernel_distance_is_that_of_torchmetrics() -> None:
    a, b = gaussian(80, 12, 10), gaussian(80, 12, 11, shift=0.4)
    found = kernel_distance(a, b)
    assert (found.subsets, found.subset_size) == (1, 80)
    theirs = poly_mmd(torch.from_numpy(a), torch.from_numpy(b), degree=3, gamma=None, coef=1.0)
    assert found.value == pytest.approx(float(theirs), rel=1e-9)


def test_kernel_distance_is_unbiased() -> None:
    """Of one distribution it scatters round 0, on both sides, however small the subsets."""
    found = kernel_distance(gaussian(3000, 6, 12), gaussian(3000, 6, 13), subset_size=50, subsets=200)
    assert found.low < 0 < found.high
    assert abs(found.value) < 3 * found.std / np.sqrt(200) + 0.01
    far = kernel_distance(gaussian(500, 6, 12), gaussian(500, 6, 13, shift=1.0), subset_size=50)
    assert far.low > 0


def brute_manifold(real: np.ndarray, fake: np.ndarray, k: int) -> tuple[float, float, float, float]:
    """The definitions, with scikit-learn's neighbours."""

    def radii(x: np.ndarray) -> np.ndarray:
        return NearestNeighbors(n_neighbors=k + 1).fit(x).kneighbors(x)[0][:, -1]

    distance = np.linalg.norm(real[:, None] - fake[None], axis=2)
    inside = distance <= radii(real)[:, None]
    return (
        float(inside.any(axis=0).mean()),
        float((distance <= radii(fake)[None, :]).any(axis=1).mean()),
        float(inside.sum(axis=0).mean() / k),
        float(inside.any(axis=1).mean()),
    )


def test_precision_recall_density_and_coverage_are_their_definitions() -> None:
    real, fake = gaussian(150, 3, 14), gaussian(120, 3, 15, shift=1.0, scale=0.7)
    found = precision_recall(real, fake)
    expected = brute_manifold(real, fake, 3)
    assert (found.precision, found.recall, found.density, found.coverage) == pytest.approx(expected)


def test_a_collapsed_model_is_precise_and_recalls_nothing() -> None:
    real = gaussian(400, 4, 16)
    found = precision_recall(real, gaussian(400, 4, 17, scale=0.01))
    assert found.precision == 1
    assert found.recall < 0.05
    far = precision_recall(real, gaussian(400, 4, 17, shift=50.0))
    assert (far.precision, far.recall, far.density, far.coverage) == (0, 0, 0, 0)


def test_nearest_neighbours_are_those_of_scikit_learn() -> None:
    queries, references = gaussian(50, 5, 18), gaussian(80, 5, 19)
    distances, rows = nearest(queries, references, 4)
    expected, expected_rows = NearestNeighbors(n_neighbors=4).fit(references).kneighbors(queries)
    np.testing.assert_allclose(distances, expected, atol=1e-9)
    np.testing.assert_array_equal(rows, expected_rows)


def test_features_that_do_not_compare_are_refused_in_words() -> None:
    with pytest.raises(EvaluationError, match="of 3 and of 4 numbers"):
        frechet_distance(gaussian(5, 3, 0), gaussian(5, 4, 0))
    with pytest.raises(EvaluationError, match="1 of 2 rows hold NaN"):
        kernel_distance(np.array([[0.0], [np.nan]]), gaussian(5, 1, 0))
    with pytest.raises(EvaluationError, match="4 rows or more"):
        precision_recall(gaussian(3, 2, 0), gaussian(9, 2, 0))


def test_intervals_of_distances_hold_the_distances_and_narrow_with_patients() -> None:
    real, drawn = gaussian(240, 4, 7), gaussian(240, 4, 8, shift=0.5)
    widths = []
    for people in (12, 240):
        patients = np.arange(240) % people
        found = distance_intervals(real, drawn, patients)
        assert found["frechet"].value == frechet_distance(real, drawn)
        assert found["kernel"].value == pytest.approx(kernel_distance(real, drawn).value)
        shares = precision_recall(real, drawn)
        for name in ("precision", "recall", "coverage"):
            assert found[name].value == pytest.approx(getattr(shares, name))
        for name in ("frechet", "kernel", "precision", "recall", "coverage"):
            low, high = found[name].low, found[name].high
            assert low is not None and high is not None
            assert low < found[name].value < high and found[name].groups == people
        # Drawn is N(1/2, I): the expected distance is |shift|^2 = 1, beside what so few rows add.
        assert found["frechet"].low < 1.1 and found["frechet"].high > 1
        widths.append(found["frechet"].high - found["frechet"].low)
    # Rows of few patients are as independent as those of many here.
    assert widths[0] == pytest.approx(widths[1], rel=0.6)


def test_an_interval_of_patients_who_differ_is_wide() -> None:
    """Real features of a patient share an offset of variance 1, and so are 20 values rather than 240."""
    people = np.repeat(np.arange(20), 12)
    offset = gaussian(20, 1, 9)[people]
    real, drawn = gaussian(240, 1, 10, scale=0.1) + offset, gaussian(240, 1, 11, shift=2.0, scale=1.0)
    by_patient = distance_intervals(real, drawn, people)["frechet"]
    by_row = distance_intervals(real, drawn, np.arange(240))["frechet"]
    assert by_patient.high - by_patient.low > 1.5 * (by_row.high - by_row.low)  # type: ignore[operator]


def test_sets_that_are_equal_have_intervals_around_no_distance() -> None:
    found = distance_intervals(gaussian(200, 3, 12), gaussian(200, 3, 13), np.arange(200))
    assert found["kernel"].low < 0 < found["kernel"].high  # type: ignore[operator]
    assert found["precision"].value > 0.8


def test_an_interval_in_few_directions_is_about_that_in_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """Deviations fall as 1 / i: four of 24 directions hold 89 % of the variance."""
    scale = 1 / np.arange(1, 25)
    real, drawn = gaussian(150, 24, 14) * scale, (gaussian(150, 24, 15) + 0.5) * scale
    every = distance_intervals(real, drawn, np.arange(150) % 30)["frechet"]
    monkeypatch.setattr(distances, "_DIRECTIONS", 4)
    few = distance_intervals(real, drawn, np.arange(150) % 30)["frechet"]
    assert few.value == every.value == frechet_distance(real, drawn)
    assert few.low == pytest.approx(every.low, rel=0.1)
    assert few.high == pytest.approx(every.high, rel=0.1)
