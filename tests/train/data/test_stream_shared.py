"""Streams over ranks, filters, balances and mixtures: one sequence of batches, whoever reads it."""

import json
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from nlbs.errors import ConfigError, ShardError
from nlbs.shards import ShardSet, open_shards
from nlbs.shards.order.balance import Balance
from nlbs.shards.order.window import Window
from nlbs.shards.reading.mixed_sets import MixedSource
from nlbs.train import PatchStream
from tests.conftest import some
from tests.shards.conftest import make_shard_set
from tests.train.conftest import MemoryShards

#: Ways to stream a set; each with another sequence.
WAYS: dict[str, dict[str, Any]] = {
    "global": {},
    "window": {"order": "window", "window": Window(3, 2)},
    "sequential": {"order": "sequential"},
    "filtered": {"where": "view == 'MLO' or cancer is null"},
    "balanced": {"balance": Balance(("cancer", "view"))},
    "balanced window": {"balance": Balance(("cancer",)), "order": "window", "window": Window(3, 2)},
}


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> ShardSet:
    """A set of 150 patches in 12 shards."""
    folder = tmp_path_factory.mktemp("set")
    make_shard_set(folder, patches=150, shards=12, resolution=8)
    return open_shards(folder)


@pytest.fixture(scope="module")
def mixed(shards: ShardSet, tmp_path_factory: pytest.TempPathFactory) -> MixedSource:
    """The set, and one of 40 patches with 30 % of each batch."""
    folder = tmp_path_factory.mktemp("other")
    make_shard_set(folder, patches=40, shards=2, resolution=8, dataset_id="f" * 32, seed=5)
    return MixedSource([shards, open_shards(folder)], [7, 3])


def rows_of(stream: PatchStream, epochs: int = 2) -> list[list[int]]:
    return [stream.batch_rows(epoch, step).tolist() for epoch in range(epochs) for step in range(len(stream))]


@pytest.mark.parametrize("way", [*WAYS, "mixed"])
@pytest.mark.parametrize("world_size", [2, 3, 12])
def test_the_batches_are_the_same_for_any_number_of_ranks(
    shards: ShardSet, mixed: MixedSource, way: str, world_size: int
) -> None:
    source, options = (mixed, {}) if way == "mixed" else (shards, WAYS[way])
    alone = rows_of(PatchStream(source, 12, seed=1, **options))
    ranks = [
        rows_of(PatchStream(source, 12, seed=1, rank=rank, world_size=world_size, **options))
        for rank in range(world_size)
    ]
    assert [list(chain(*parts)) for parts in zip(*ranks, strict=True)] == alone
    assert all(len(part) == 12 // world_size for part in ranks[-1])


@pytest.mark.parametrize("way", [*WAYS, "mixed"])
def test_each_way_continues_exactly_with_other_ranks_from_its_state(
    shards: ShardSet, mixed: MixedSource, way: str
) -> None:
    source, options = (mixed, {}) if way == "mixed" else (shards, WAYS[way])
    stream = PatchStream(source, 12, seed=1, **options)
    undisturbed = rows_of(stream)
    batches = iter(stream)
    for _ in range(2):
        batch = next(batches)
    state = json.loads(json.dumps(stream.state(after=batch)))
    assert len(json.dumps(state)) < 400
    ranks = [PatchStream(source, 12, seed=1, rank=rank, world_size=2, **options) for rank in range(2)]
    for rank in ranks:
        rank.load_state(state)
    seen = [list(chain(*(part.rows.tolist() for part in parts))) for parts in zip(*ranks, strict=True)]
    assert seen == undisturbed[2 : len(stream)]
    np.testing.assert_array_equal(batch.pixels[:, 0].numpy(), source.read(batch.rows))


@given(patches=st.integers(1, 60), per_rank=st.integers(1, 5), world_size=st.integers(1, 6))
def test_an_evaluation_covers_each_patch_once_and_gives_every_rank_as_many_batches(
    patches: int, per_rank: int, world_size: int
) -> None:
    source, size = MemoryShards(train=1, val=patches), per_rank * world_size
    seen: list[int] = []
    streams = [
        PatchStream(
            source, size, split="val", order="sequential", drop_last=False, rank=r, world_size=world_size
        )
        for r in range(world_size)
    ]
    for step in range(-(-patches // size)):
        for stream in some(streams):
            assert len(stream) == -(-patches // size)
            batch = stream.read(0, step)
            assert len(batch.rows) == len(batch.pixels) == len(batch.valid)
            assert world_size == 1 or len(batch.rows) == per_rank
            kept = batch.only_valid()
            np.testing.assert_array_equal(kept.rows, batch.rows[batch.valid.numpy()])
            np.testing.assert_array_equal(kept.pixels[:, 0].numpy(), source.read(kept.rows))
            assert all(len(codes) == len(kept.rows) for codes in some(kept.conditions.values()))
            seen += kept.rows.tolist()
    assert seen == list(range(1, patches + 1))


def test_a_training_batch_is_valid_throughout(shards: ShardSet) -> None:
    for options in WAYS.values():
        batch = PatchStream(shards, 12, rank=1, world_size=2, **options).read(0, 0)
        assert batch.valid.dtype == torch.bool
        assert batch.valid.all()
        assert batch.only_valid() is batch


def test_a_filter_leaves_only_what_it_takes(shards: ShardSet) -> None:
    stream = PatchStream(shards, 4, where="view == 'MLO' and cancer == 0", drop_last=False)
    rows = sorted(chain(*rows_of(stream, epochs=1)))
    table = shards.manifest.to_pylist()
    assert rows == [
        n
        for n, row in enumerate(table)
        if row["split"] == "train" and row["view"] == "MLO" and row["cancer"] == 0
    ]
    assert stream.num_patches == len(rows)


def test_a_filter_that_leaves_nothing_says_what_each_part_leaves(
    shards: ShardSet, mixed: MixedSource
) -> None:
    where = "view == 'XCCL' and cancer == 0"
    said = r"leaves nothing of the split 'train': of 76 patches it takes none \(view == 'XCCL': 0; cancer == 0: 25\)"
    with pytest.raises(ConfigError, match=said):
        PatchStream(shards, 4, where=where)
    with pytest.raises(ConfigError, match=said + "; of 20 patches"):
        PatchStream(mixed, 4, where=where)


def test_a_balanced_stream_shows_classes_by_the_root_of_their_frequency(tmp_path: Path) -> None:
    cancer = [1 if row % 10 == 0 else 0 for row in range(200)]  # 10 %: roots 3 to 1
    columns = {"cancer": cancer, "split": ["train"] * 200}
    make_shard_set(tmp_path / "set", patches=200, resolution=4, columns=columns)
    stream = PatchStream(open_shards(tmp_path / "set"), 16, balance=Balance(("cancer",)))
    batches = rows_of(stream, epochs=10)
    assert len(stream) == 200 // 16
    assert [sum(cancer[row] for row in batch) for batch in batches] == [4] * len(batches)
    shown = [row for batch in batches for row in batch if cancer[row]]
    assert sorted(shown[:20]) == list(range(0, 200, 10))  # across epochs: all twenty, before one comes again
    assert stream.strata is not None
    assert [round(part.share, 6) for part in stream.strata.strata] == [0.75, 0.25]


def test_a_mixture_has_the_given_share_in_every_batch(mixed: MixedSource) -> None:
    stream = PatchStream(mixed, 10)
    assert [sum(row >= 150 for row in batch) for batch in rows_of(stream)] == [3] * 2 * len(stream)
    assert len(stream) == (76 + 20) // 10
    both = PatchStream(mixed, 10, where="view is not null", balance=Balance(("view",)))
    assert {sum(row >= 150 for row in batch) for batch in rows_of(both)} == {3}


def test_a_mixture_is_evaluated_whole(mixed: MixedSource) -> None:
    stream = PatchStream(mixed, 10, split="val", order="sequential", drop_last=False)
    assert list(chain(*rows_of(stream, epochs=1))) == mixed.rows("val").tolist()


def test_a_window_stream_touches_few_shards_in_a_batch(tmp_path: Path) -> None:
    make_shard_set(tmp_path / "set", patches=400, shards=40, resolution=4, columns={"split": ["train"] * 400})
    shards = open_shards(tmp_path / "set")
    window = PatchStream(shards, 20, order="window", window=Window(streams=2, shards=4))
    everywhere = PatchStream(shards, 20)
    touched = [
        max(len({row // 10 for row in batch}) for batch in rows_of(stream)) for stream in (window, everywhere)
    ]
    assert touched[0] <= 8 < touched[1]


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ({"seed": 2}, "seed 1, now it is 2"),
        ({"batch_size": 6}, "batch_size 12, now it is 6"),
        ({"order": "window"}, "order 'global', now it is 'window'"),
        ({"where": "cancer == 0"}, "where None, now it is"),
        ({"split": None}, "split 'train', now it is None"),
        ({"balance": Balance(("view",))}, "weights None, now it is"),
        ({"drop_last": False}, "drop_last True, now it is False"),
    ],
)
def test_a_state_of_another_stream_is_refused_unless_it_is_forced(
    shards: ShardSet, change: dict[str, Any], key: str
) -> None:
    options: dict[str, Any] = {"batch_size": 12, "seed": 1}
    state = PatchStream(shards, **options, epoch=4, step=1).state()
    other = PatchStream(shards, **(options | change))
    with pytest.raises(ConfigError, match=f"saved with {key}"):
        other.load_state(state)
    assert (other.epoch, other.step) == (0, 0)
    other.load_state(state, force=True)
    assert (other.epoch, other.step) == (4, 1)


def test_a_state_of_another_set_is_refused(shards: ShardSet, mixed: MixedSource) -> None:
    state = PatchStream(shards, 12).state()
    with pytest.raises(
        ConfigError, match="saved with dataset_id '0123456789abcdef0123456789abcdef', now it is"
    ):
        PatchStream(mixed, 12).load_state(state)


@pytest.mark.parametrize("place", [{"step": 99}, {"epoch": -1}, {"step": None}, {"epoch": "x"}])
def test_a_state_that_names_no_place_is_refused(shards: ShardSet, place: dict[str, Any]) -> None:
    stream = PatchStream(shards, 12)
    with pytest.raises(ConfigError, match="names no place"):
        stream.load_state(stream.state() | place)
    with pytest.raises(ConfigError, match="names no place"):
        stream.load_state({}, force=True)


def test_the_state_after_the_last_batch_is_the_start_of_the_next_epoch(shards: ShardSet) -> None:
    stream = PatchStream(shards, 12)
    state = stream.state(after=stream.read(0, len(stream) - 1))
    assert (state["epoch"], state["step"]) == (1, 0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"world_size": 5}, r"rank 0 of 5 .* batches of 12; .* multiple of 5"),
        ({"rank": 2, "world_size": 2}, "rank 2 of 2"),
        ({"rank": -1}, "rank -1 of 1"),
        ({"world_size": 0}, "rank 0 of 0"),
        ({"order": "shuffled"}, "no order 'shuffled'; known: global, window, sequential"),
        ({"balance": Balance(("view",)), "drop_last": False}, "evaluate without one"),
        ({"balance": Balance(("veiw",))}, "did you mean 'view'"),
        ({"where": "veiw == 'CC'"}, "did you mean 'view'"),
    ],
)
def test_options_that_do_not_go_together_are_refused(
    shards: ShardSet, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        PatchStream(shards, 12, **options)


def test_a_split_without_patches_is_not_blamed_on_the_filter(tmp_path: Path) -> None:
    make_shard_set(tmp_path / "set", columns={"split": ["train"] * 12})
    with pytest.raises(ShardError, match="no patches of the split 'val'"):
        PatchStream(open_shards(tmp_path / "set"), 4, split="val", where="cancer == 0")
