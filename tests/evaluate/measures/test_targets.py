"""What can be read off a patch, for each kind of condition."""

import numpy as np
import pytest

from nlbs.evaluate.measures.targets import Target, targets_of
from nlbs.manifests.schema import AGE_YEARS, NLBS, POSITION, Condition, Schema
from tests.evaluate.made_up import OTHER, draw_other_conditions

DENSITY, FINDINGS = OTHER["density"], OTHER["findings"]


def test_codes_have_a_target_each_and_labels_and_numbers_as_many_as_there_are() -> None:
    assert [target.name for target in targets_of(NLBS)] == list(NLBS.names)
    names = [
        "view",
        "density",
        "findings: Calcification",
        "findings: Mass",
        "position: across",
        "position: down",
    ]
    assert [target.name for target in targets_of(OTHER)] == names
    assert [target.name for target in targets_of(Schema((AGE_YEARS,)))] == ["age_years"]
    assert Target(AGE_YEARS).label == "age years"


def test_values_are_taken_from_their_place_and_put_back_there_alone() -> None:
    columns = draw_other_conditions(9, np.random.default_rng(0))
    columns["findings"][0], columns["position"][1] = -1, np.nan
    for target in targets_of(OTHER):
        values = target.of(columns)
        assert values.shape == (9,)
        assert target.known(values).all() == (target.condition.name in ("view", "density"))
        again = target.put(columns, values)
        for name, column in columns.items():
            assert again[name].dtype == column.dtype
            np.testing.assert_array_equal(again[name], column)
    changed = Target(FINDINGS, 1).put(columns, np.ones(9, np.int64))["findings"]
    np.testing.assert_array_equal(changed[:, 0], columns["findings"][:, 0])
    assert (changed[:, 1] == 1).all()


def test_flipped_codes_differ_and_are_never_unknown() -> None:
    codes = np.array([-1, 0, 1, 2, 3] * 40)
    flipped = Target(DENSITY).flipped(codes, seed=0)
    assert flipped is not None
    before, after = flipped
    np.testing.assert_array_equal(before[codes >= 0], codes[codes >= 0])
    assert (before != after).all()
    assert set(before) == set(after) == {0, 1, 2, 3}


def test_flipped_labels_are_the_opposite() -> None:
    flipped = Target(FINDINGS).flipped(np.array([0, 1, -1, 1]), seed=0)
    assert flipped is not None
    np.testing.assert_array_equal(flipped[0] + flipped[1], 1)


@pytest.mark.parametrize("condition", [POSITION, AGE_YEARS])
def test_flipped_numbers_move_by_a_quarter_of_their_range_at_least_and_stay_in_it(
    condition: Condition,
) -> None:
    low, high = condition.low, condition.high
    numbers = np.where(np.arange(200) % 5 == 0, np.nan, np.linspace(low, high, 200))
    flipped = Target(condition).flipped(numbers, seed=0)
    assert flipped is not None
    before, after = flipped
    known = ~np.isnan(numbers)
    np.testing.assert_array_equal(before[known], numbers[known])
    assert ((low <= after) & (after < high)).all()
    assert (np.abs(after - before) >= (high - low) / 4 - 1e-9).all()


def test_what_has_one_value_alone_cannot_be_flipped() -> None:
    assert Target(Condition("scanner", "categorical", ("x",))).flipped(np.zeros(3, np.int64), 0) is None


def test_each_kind_is_told_apart_by_its_own_readings() -> None:
    """Readings that are the truth have an AUC of 1, and their reverse one of 0; unknown ones do not count."""
    columns = draw_other_conditions(60, np.random.default_rng(0))
    columns["findings"][:9], columns["position"][:9] = -1, np.nan
    for target in targets_of(OTHER):
        values, rows = target.of(columns), np.arange(60)
        readings = np.zeros((60, len(target.values) or 1))
        if target.is_number:
            readings[:, 0] = np.nan_to_num(values)
        else:
            readings[rows, np.maximum(values, 0)] = 1
        right, wrong = target.auc(readings, values), target.auc(-readings, values)
        assert right is not None and wrong is not None
        assert (right.value, wrong.value) == (1, 0)
        assert right.groups == (60 if target.condition.is_coded else 51)
        assert right.values == tuple(range(len(target.values)))
