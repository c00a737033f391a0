"""Which conditions are drawn: by flags, in every combination, and what the digest tells apart."""

import numpy as np
import pytest

from nlbs.errors import ConfigError
from nlbs.generate.plan import combinations, grid, one_condition, uniform
from nlbs.manifests.schema import NLBS

UNKNOWN = dict.fromkeys(NLBS.names, -1)


def test_a_grid_has_every_combination_of_known_values_once_and_then_times_num() -> None:
    plan = grid(NLBS, {}, 3)
    rows = [tuple(plan.at(index).values()) for index in range(len(plan))]
    assert len(rows) == 2 * 2 * 4 * 2 * 2 * 3
    assert rows[0] == rows[1] == rows[2] != rows[3]
    assert len(set(rows)) == 64
    assert all(code >= 0 for row in rows for code in row)


def test_what_is_fixed_stays_in_a_grid_unknown_too() -> None:
    plan = grid(NLBS, {"view": 1, "cancer": -1}, 1)
    assert len(plan) == 2 * 4 * 2
    assert {(plan.at(i)["view"], plan.at(i)["cancer"]) for i in range(len(plan))} == {(1, -1)}


def test_a_hundred_million_equal_conditions_take_no_memory_and_more_are_refused() -> None:
    plan = one_condition(NLBS, UNKNOWN, 100_000_000)
    assert len(plan) == 100_000_000
    assert sum(codes.strides[0] for codes in plan.values.values()) == 0
    for ask in (
        lambda: one_condition(NLBS, UNKNOWN, 100_000_001),
        lambda: grid(NLBS, {}, 10_000_000),
        lambda: combinations(NLBS, [UNKNOWN] * 3, 50_000_000, "three"),
    ):
        with pytest.raises(ConfigError, match="100,000,000"):
            ask()


def test_the_digest_is_of_the_codes_however_they_are_kept() -> None:
    one = one_condition(NLBS, {**UNKNOWN, "view": 1}, 5)
    other = combinations(NLBS, [{**UNKNOWN, "view": 1}], 5, "the same, written out")
    assert one.digest == other.digest
    assert one.digest != one_condition(NLBS, {**UNKNOWN, "view": 0}, 5).digest
    assert one.digest != one_condition(NLBS, {**UNKNOWN, "view": 1}, 6).digest
    assert one.digest != one_condition(NLBS, {**UNKNOWN, "laterality": 1}, 5).digest


def test_random_numbers_do_not_depend_on_how_many_follow() -> None:
    few, many = uniform("test", 3, 10), uniform("test", 3, 10_000)
    np.testing.assert_array_equal(few, many[:10])
    assert (many >= 0).all()
    assert (many < 1).all()
    assert abs(many.mean() - 0.5) < 4 / np.sqrt(12 * 10_000)  # four standard errors
    assert not (uniform("test", 4, 10) == few).any()
    assert not (uniform("another", 3, 10) == few).any()
