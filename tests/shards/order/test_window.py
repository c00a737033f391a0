"""The window order: few shards at a time, and mixed within them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nlbs.errors import ConfigError
from nlbs.shards.order.window import Window, window_table


def by_the_book(order_of_shards: list[int], sizes: list[int], window: Window) -> list[list[set[int]]]:
    """Gives the sets of samples of each block of each stream, by walking along lists of all samples."""
    starts = np.cumsum([0, *sizes])
    sequence = [(s, sample) for s in order_of_shards for sample in range(starts[s], starts[s + 1])]
    streams, begin = [], 0
    for stream in range(window.streams):
        length = len(sequence[stream :: window.streams])
        blocks: list[set[int]] = []
        used: list[int] = []
        for shard, sample in sequence[begin : begin + length]:
            if shard not in used:
                if len(used) % (window.shards // 2) == 0:
                    blocks.append(set())
                used.append(shard)
            blocks[-1].add(sample)
        streams.append(blocks)
        begin += length
    return streams


@given(
    sizes=st.lists(st.integers(0, 12), min_size=1, max_size=20).filter(any),
    streams=st.integers(1, 5),
    shards=st.integers(2, 7),
    seed=st.integers(0, 10**9),
)
def test_a_stream_goes_through_its_blocks_of_half_a_window_one_after_the_other(
    sizes: list[int], streams: int, shards: int, seed: int
) -> None:
    window, n = Window(streams, shards), sum(sizes)
    table = window_table(sizes, seed, 1, window)
    order = table.samples(np.arange(n))
    owner = np.repeat(np.arange(len(sizes)), sizes)
    # The table's own sequence, without what is permuted inside blocks, names the shards in order.
    sequence = np.arange(n) + np.repeat(table.offsets, np.diff(table.shard_starts))
    order_of_shards = list(dict.fromkeys(owner[sequence].tolist()))
    assert sorted(order_of_shards) == [shard for shard, size in enumerate(sizes) if size]
    for stream, blocks in enumerate(by_the_book(order_of_shards, sizes, window)):
        seen = order[stream::streams].tolist()
        for block in blocks:
            assert set(seen[: len(block)]) == block
            seen = seen[len(block) :]
        assert not seen


@given(
    size=st.integers(4, 30),
    count=st.integers(1, 60),
    window=st.builds(Window, streams=st.integers(1, 6), shards=st.integers(2, 8)),
    seed=st.integers(0, 10**9),
)
def test_a_batch_touches_no_more_than_the_windows_of_all_streams(
    size: int, count: int, window: Window, seed: int
) -> None:
    n, batch = size * count, 4 * window.streams  # 4 of each stream: not more than a shard
    shards = window_table([size] * count, seed, 0, window).samples(np.arange(n)) // size
    touched = [len(set(shards[i : i + batch].tolist())) for i in range(0, n, batch)]
    assert max(touched) <= window.streams * window.shards


def test_a_batch_mixes_many_shards_and_an_epoch_starts_with_others() -> None:
    window = Window(8, 16)
    firsts = []
    for epoch in range(2):
        shards = window_table([100] * 400, 0, epoch, window).samples(np.arange(256)) // 100
        firsts.append(set(shards.tolist()))
        assert len(firsts[-1]) > 56  # of the 64 of the first blocks (some are parts): 256 draws miss 1 or 2
    assert firsts[0] != firsts[1]


def test_blocks_and_epochs_are_permuted_each_in_their_own_way() -> None:
    inner = set()
    for epoch in range(4):
        samples = window_table([50] * 6, 0, epoch, Window(1, 2)).samples(np.arange(300))  # blocks of a shard
        inner |= {tuple(block % 50) for block in samples.reshape(6, 50)}
    assert len(inner) == 24


@pytest.mark.parametrize(("streams", "shards"), [(0, 16), (8, 1)])
def test_a_window_that_holds_nothing_is_refused(streams: int, shards: int) -> None:
    with pytest.raises(ConfigError, match="at least 1 stream and 2 shards"):
        Window(streams, shards)
