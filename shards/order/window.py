"""The order for storage that likes few files at a time: shards at random, patches at random within windows."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from nlbs.errors import ConfigError
from nlbs.shards.order.permutation import Positions, permutation, permutation_of_parts


@dataclass(frozen=True)
class Window:
    """How far the window order mixes. Part of the order, so that it never depends on who reads it."""

    streams: int = 8  #: C, read side by side
    shards: int = 16  #: W, as many a stream has in use at one time

    def __post_init__(self) -> None:
        """Raise ConfigError where a number is too small."""
        if self.streams < 1 or self.shards < 2:
            raise ConfigError(
                f"a window order of {self.streams} streams of {self.shards} shards cannot be made; take at "
                "least 1 stream and 2 shards"
            )


@dataclass(frozen=True)
class WindowTable:
    """The shards of one epoch in the order in which they are read. O(shards + streams) memory.

    The samples of the shards, which are permuted, form one sequence. It is cut into C streams
    of equal length (within shards, where need be), and each stream into blocks of W/2 shards:
    a batch that goes from one block to the next has W in use, never more. Position p of the
    order is place p // C of stream p mod C; inside a block the places are permuted.
    """

    stream_starts: Positions  #: (C + 1,) in the sequence
    block_starts: Positions  #: (blocks + 1,) in the sequence; streams start blocks
    shard_starts: Positions  #: (shards + 1,) in the sequence, in its order
    offsets: Positions  #: (shards,) sample = place in the sequence + offset, in the same order
    seed: int
    epoch: int

    def samples(self, positions: Positions) -> Positions:
        """Return the samples at some positions of the epoch, (m,) int64."""
        total, streams = int(self.stream_starts[-1]), len(self.stream_starts) - 1
        if positions.size and (positions.min() < 0 or positions.max() >= total):
            raise IndexError(f"positions {positions.min()}..{positions.max()} do not lie in 0..{total - 1}")
        place = self.stream_starts[positions % streams] + positions // streams
        block = np.searchsorted(self.block_starts, place, side="right") - 1
        first = self.block_starts[block]
        sizes = self.block_starts[block + 1] - first
        place = first + permutation_of_parts(sizes, self.seed, block, self.epoch, place - first)
        return place + self.offsets[np.searchsorted(self.shard_starts, place, side="right") - 1]


def window_table(sizes: npt.ArrayLike, seed: int, epoch: int, window: Window) -> WindowTable:
    """Return the table of an epoch.

    Args:
        sizes: (shards,) patches in each shard, as they stand one after the other.
        seed, epoch: choose the order.
        window: how far it mixes.
    """
    counts = np.asarray(sizes, dtype=np.int64)
    first = np.concatenate([[0], np.cumsum(counts)[:-1]]) if counts.size else counts
    first, counts = first[counts > 0], counts[counts > 0]
    order = permutation(len(counts), seed, epoch, np.arange(len(counts)))
    first, counts = first[order], counts[order]
    shard_starts = np.concatenate([[0], np.cumsum(counts)])
    total = int(shard_starts[-1])
    # Stream c has the positions p with p mod C = c.
    lengths = [len(range(stream, total, window.streams)) for stream in range(window.streams)]
    stream_starts = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
    block_starts = [
        _blocks(shard_starts, begin, end, window.shards // 2)
        for begin, end in pairwise(stream_starts.tolist())
        if begin < end
    ]
    return WindowTable(
        stream_starts,
        np.concatenate([*block_starts, [total]]).astype(np.int64),
        shard_starts,
        first - shard_starts[:-1],
        seed,
        epoch,
    )


def _blocks(shard_starts: Positions, begin: int, end: int, shards: int) -> Positions:
    """Return where the blocks of the stream ``begin``..``end`` start: every so many shards, or parts of one."""
    inside = shard_starts[
        np.searchsorted(shard_starts, begin, side="right") : np.searchsorted(shard_starts, end)
    ]
    return np.concatenate([[begin], inside])[::shards]
