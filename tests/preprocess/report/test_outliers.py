"""Odd images among usual ones."""

import numpy as np

from nlbs.preprocess.report.outliers import Usual, distances, outliers

VALUES = np.random.default_rng(0).normal(10.0, 1.0, 2000)


def test_the_distance_is_in_standard_deviations_of_a_normal_distribution() -> None:
    values = np.append(VALUES, [20.0, 0.0])
    found = distances(values, Usual(0.0, low_too=True))
    assert abs(found[-2] - 10) < 0.6
    assert abs(found[-1] + 10) < 0.6
    assert distances(values, Usual(0.0))[-1] == 0  # only the high side counts


def test_a_fifth_of_garbage_does_not_hide_itself() -> None:
    values = np.concatenate([VALUES, np.full(500, 60.0)])
    assert set(outliers({"a": values}, {"a": Usual(0.1)})) == set(range(2000, 2500))


def test_alike_images_are_not_told_apart_by_their_noise() -> None:
    values = np.array([1.0] * 20 + [1.4])
    assert outliers({"a": values}, {"a": Usual(0.1)}) == {}
    assert list(outliers({"a": values}, {"a": Usual(0.05)})) == [20]


def test_few_images_and_unknown_values_flag_nothing() -> None:
    assert outliers({"a": np.array([1.0] * 6 + [9.0])}, {"a": Usual(0.1)}) == {}
    assert outliers({"a": np.array([1.0] * 8 + [np.nan])}, {"a": Usual(0.1), "b": Usual(0.1)}) == {}


def test_the_oddest_comes_first_with_its_worst_figure() -> None:
    a, b = np.append(np.ones(20), [2.0, 9.0]), np.append(np.ones(20), [5.0, 1.0])
    found = outliers({"a": a, "b": b}, {"a": Usual(0.1), "b": Usual(0.1)})
    assert list(found) == [21, 20]
    assert found[20].startswith("b 40.0")
