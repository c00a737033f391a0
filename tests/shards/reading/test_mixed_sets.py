"""Several sets as one: rows end to end, read as each set reads.

Also covers: shards/order/strata.py.
"""

from pathlib import Path

import numpy as np
import pytest

from nlbs.errors import ConfigError
from nlbs.shards import ShardSet, open_shards
from nlbs.shards.order.balance import Balance
from nlbs.shards.order.strata import proportions, strata_of
from nlbs.shards.reading.mixed_sets import MixedSource, sets_of
from tests.shards.conftest import make_shard_set

IDS = ["a" * 32, "b" * 32, "c" * 32]


@pytest.fixture
def sets(tmp_path: Path) -> list[ShardSet]:
    """Two sets, of 12 patches in 3 shards and of 20 in 4, with other pixels."""
    make_shard_set(tmp_path / "one", patches=12, dataset_id=IDS[0], seed=1)
    make_shard_set(tmp_path / "two", patches=20, shards=4, dataset_id=IDS[1], seed=2)
    return [open_shards(tmp_path / name) for name in ("one", "two")]


def test_the_rows_of_the_second_set_follow_those_of_the_first(sets: list[ShardSet]) -> None:
    mixed = MixedSource(sets, [1, 3])
    assert (len(mixed), mixed.resolution, mixed.dtype) == (32, 16, np.dtype("uint8"))
    assert mixed.shares == (0.25, 0.75)
    rows = np.array([31, 0, 12, 11, 12, 5])
    pixels, codes = mixed.read(rows), mixed.conditions(rows)
    for place, row in enumerate(rows.tolist()):
        one, own = (sets[0], row) if row < 12 else (sets[1], row - 12)
        np.testing.assert_array_equal(pixels[place], one.read([own])[0])
        assert {name: values[place] for name, values in codes.items()} == {
            name: values[0] for name, values in one.conditions([own]).items()
        }
    np.testing.assert_array_equal(mixed.read(rows, out=np.zeros_like(pixels)), pixels)
    for split, where in (("val", None), (None, "view == 'MLO'"), ("train", "cancer == 0")):
        expected = [*sets[0].rows(split, where), *(sets[1].rows(split, where) + 12)]
        assert mixed.rows(split, where).tolist() == expected
    assert mixed.conditions([])["view"].shape == (0,)
    assert all(len(values) == 32 for values in mixed.conditions().values())
    with pytest.raises(IndexError, match=r"do not lie in 0\.\.31"):
        mixed.read([32])


def test_the_shards_of_all_sets_are_counted_one_after_the_other(sets: list[ShardSet]) -> None:
    mixed = MixedSource(sets, [1, 1])
    assert mixed.shard_sizes(mixed.rows()).tolist() == [4, 4, 4, 5, 5, 5, 5]
    assert mixed.shard_sizes(np.array([3, 4, 12, 31])).tolist() == [1, 1, 0, 1, 0, 0, 1]
    assert sets[0].shard_sizes(np.array([], dtype=np.int64)).tolist() == [0, 0, 0]


def test_the_id_depends_on_the_sets_and_the_ratio_of_their_shares(sets: list[ShardSet]) -> None:
    one, two = sets
    ids = [
        MixedSource(*given).dataset_id
        for given in (([one, two], [1, 3]), ([one, two], [0.25, 0.75]), ([one, two], [1, 1]), ([two, one], [1, 3]))
    ]  # fmt: skip
    assert ids[0] == ids[1]
    assert len(set(ids)) == 3
    assert all(len(one) == 32 for one in ids)
    assert not set(ids) & set(IDS)


def test_sets_that_do_not_go_together_are_refused(sets: list[ShardSet], tmp_path: Path) -> None:
    make_shard_set(tmp_path / "large", resolution=32, dataset_id=IDS[2])
    make_shard_set(tmp_path / "deep", dtype="uint16", dataset_id=IDS[2])
    for name, found in (("large", "32 x 32 uint8"), ("deep", "16 x 16 uint16")):
        with pytest.raises(ConfigError, match=rf"one has patches of 16 x 16 uint8, .*{name} of {found}; cut"):
            MixedSource([sets[0], open_shards(tmp_path / name)], [1, 1])
    with pytest.raises(ConfigError, match="two have the id aaaa"):
        MixedSource([sets[0], open_shards(tmp_path / "one")], [1, 1])
    for shares in ([1.0], [1.0, 0.0], [1.0, -1.0], [1.0, float("nan")], [1.0, float("inf")], []):
        with pytest.raises(ConfigError, match="give one share above 0 for each"):
            MixedSource(sets, shares)


def test_the_parameters_are_those_in_which_all_agree(sets: list[ShardSet]) -> None:
    mixed = MixedSource(sets, [1, 1])
    assert mixed.parameters == sets[0].parameters
    sets[1].info["parameters"]["stride"] = 99
    assert "stride" not in mixed.parameters
    assert mixed.parameters["resolution"] == 16


def test_each_set_is_a_stratum_and_its_classes_divide_its_share(sets: list[ShardSet]) -> None:
    mixed = MixedSource(sets, [1, 3])
    rows = mixed.rows("train")
    plain = strata_of(mixed, rows, None, with_sizes=True)
    assert [part.share for part in plain] == [0.25, 0.75]
    np.testing.assert_array_equal(np.concatenate([part.rows for part in plain]), rows)
    assert [len(part.sizes) for part in plain] == [3, 4]
    balanced = strata_of(mixed, rows, Balance(("cancer",), power=1, cap=100))
    assert [part.name for part in balanced] == ["cancer=0", "cancer=1", "cancer=unknown"] * 2
    np.testing.assert_allclose([part.share for part in balanced], [0.25 / 3] * 3 + [0.75 / 3] * 3)
    codes = mixed.conditions()["cancer"]
    for part, code in zip(balanced, [0, 1, -1] * 2, strict=True):
        assert (codes[part.rows] == code).all()
    assert sorted(np.concatenate([part.rows for part in balanced])) == rows.tolist()
    lines = proportions(tuple(balanced))
    assert lines[0].startswith(f"{sets[0].folder} cancer=0: ")
    assert lines[0].endswith(" of all, 8.33% of each batch")


def test_a_share_for_a_set_without_patches_is_refused(sets: list[ShardSet]) -> None:
    mixed = MixedSource(sets, [1, 3])
    with pytest.raises(ConfigError, match=r"two has no patches to mix in, but a share of 0.75"):
        strata_of(mixed, np.arange(12), None)


def test_a_single_set_is_its_own_only_set(sets: list[ShardSet]) -> None:
    assert sets_of(sets[0]) == (sets[0],)
    assert sets_of(MixedSource(sets, [1, 1])) == tuple(sets)
