"""Conditions as they occur in a training split, on a set whose counts are known."""

from pathlib import Path

import numpy as np
import pytest

from nlbs.errors import ConfigError
from nlbs.generate.distribution import Distribution, rare
from nlbs.manifests.schema import NLBS
from nlbs.shards import open_shards
from tests.shards.conftest import make_shard_set

#: (view, laterality, age_bin, cancer, false_positive), patients, split
ROWS = [
    *[("CC", "L", 0, 0, 0, f"p{i:012x}", "train") for i in range(6)],
    *[("CC", "R", 1, 0, 0, "paaaaaaaaaaaa", "train") for _ in range(3)],  # one patient, three patches
    ("MLO", "R", 3, 1, 0, "pbbbbbbbbbbbb", "train"),
    ("MLO", "R", 3, 1, 0, "pcccccccccccc", "train"),
    ("MLO", None, 3, 1, 0, "pdddddddddddd", "train"),  # rare, but not known
    ("MLO", "L", 2, 1, 1, "peeeeeeeeeeee", "val"),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("set") / "r16-s16"
    names = ("view", "laterality", "age_bin", "cancer", "false_positive", "patient", "split")
    columns = {name: [row[place] for row in ROWS] for place, name in enumerate(names)}
    make_shard_set(folder, patches=len(ROWS), columns=columns)
    return folder


@pytest.fixture
def distribution(folder: Path) -> Distribution:
    with open_shards(folder) as shards:
        return Distribution(shards, NLBS)


def rows_of(plan_codes: object) -> list[tuple[int, ...]]:
    codes = plan_codes
    return list(zip(*(codes[name].tolist() for name in NLBS.names), strict=True))  # type: ignore[index]


def test_conditions_are_drawn_jointly_and_as_often_as_in_training(distribution: Distribution) -> None:
    rows = rows_of(distribution.drawn(12_000, seed=1).values)
    expected = {(0, 0, 0, 0, 0): 6, (0, 1, 1, 0, 0): 3, (1, 1, 3, 1, 0): 2, (1, -1, 3, 1, 0): 1}
    assert set(rows) == set(expected)  # nothing of the validation split, no new combination
    for row, patches in expected.items():
        share = patches / 12
        deviation = np.sqrt(share * (1 - share) / len(rows))
        assert abs(rows.count(row) / len(rows) - share) < 4 * deviation


def test_a_condition_that_is_drawn_depends_on_seed_and_place_alone(distribution: Distribution) -> None:
    many = rows_of(distribution.drawn(500, seed=1).values)
    assert rows_of(distribution.drawn(20, seed=1).values) == many[:20]
    assert rows_of(distribution.drawn(500, seed=2).values) != many


def test_a_filter_leaves_some_training_patches(folder: Path) -> None:
    with open_shards(folder) as shards:
        assert set(rows_of(Distribution(shards, NLBS, "cancer == 1").drawn(50, 0).values)) <= {
            *((1, 1, 3, 1, 0), (1, -1, 3, 1, 0))
        }
        with pytest.raises(ConfigError, match="no training patch"):
            Distribution(shards, NLBS, "false_positive == 1")


def test_augmented_conditions_are_those_of_each_training_patch_in_turn(distribution: Distribution) -> None:
    plan = distribution.varied(3, seed=0, ordinal=0, mirror=0)
    once = rows_of(distribution.values)
    assert rows_of(plan.values) == once * 3
    assert plan.columns["row"].tolist() == list(range(12)) * 3
    longer = distribution.varied(5, seed=9, ordinal=0.5, mirror=0.5)
    shorter = distribution.varied(2, seed=9, ordinal=0.5, mirror=0.5)
    assert rows_of(longer.values)[:24] == rows_of(shorter.values)


def test_variations_touch_age_and_side_by_their_probability_and_leave_unknown_alone(
    distribution: Distribution,
) -> None:
    plan = distribution.varied(1000, seed=0, ordinal=0.1, mirror=0.5)
    before = {name: np.tile(codes, 1000) for name, codes in distribution.values.items()}
    for name in ("view", "cancer", "false_positive"):
        np.testing.assert_array_equal(plan.values[name], before[name])
    step = plan.values["age_bin"] - before["age_bin"]
    assert set(step[before["age_bin"] == 0]) == {0, 1}  # inwards at the ends
    assert set(step[before["age_bin"] == 3]) == {0, -1}
    assert set(step[before["age_bin"] == 1]) == {0, 1, -1}
    assert abs((step != 0).mean() - 0.1) < 4 * np.sqrt(0.1 * 0.9 / len(step))
    known = before["laterality"] >= 0
    flipped = plan.values["laterality"] != before["laterality"]
    assert abs(flipped[known].mean() - 0.5) < 4 * np.sqrt(0.25 / known.sum())
    assert not flipped[~known].any()


def test_the_rarest_combinations_are_those_of_the_fewest_patients(distribution: Distribution) -> None:
    found = distribution.rarest(5, {})
    assert [(tuple(one.values.values()), one.patches, one.patients) for one in found] == [
        ((0, 1, 1, 0, 0), 3, 1),
        ((1, 1, 3, 1, 0), 2, 2),
        ((0, 0, 0, 0, 0), 6, 6),
    ]
    assert [one.patients for one in distribution.rarest(1, {"cancer": 1})] == [2]
    with pytest.raises(ConfigError, match="no patch of the training split"):
        distribution.rarest(1, {"false_positive": 1})
    plan = rare(NLBS, found[:2], 2, distribution.source)
    assert rows_of(plan.values) == [(0, 1, 1, 0, 0)] * 2 + [(1, 1, 3, 1, 0)] * 2
