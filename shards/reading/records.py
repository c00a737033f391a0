"""Where the patches of a batch lie, which of them are read in one go, and which were compared with their checksums."""

from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

_LARGEST_GAP = 4096  # bytes between two patches: headers and records of a tar, checksums of an array
_MOST_BUFFERS = 512  # POSIX allows systems to take as few as 16 at once, those in use take 1024
_SKIPPED = memoryview(bytearray(_LARGEST_GAP))  # where threads let fall what lies between patches


class Record(NamedTuple):
    """One patch of a batch as it is stored."""

    place: int  #: in the batch
    row: int  #: of the manifest
    shard: int  #: number of it
    offset: int  #: of its first byte in the shard
    crc32c: int  #: of its bytes
    unsure: bool  #: whether its bytes are still to be compared with that
    target: memoryview  #: where they go


def runs(records: Iterable[Record]) -> Iterator[tuple[list[Record], list[memoryview]]]:
    """Yield records that lie next to each other in a shard, and the buffers that one read fills with them.

    Args:
        records: sorted by shard and offset; the same one may come several times.
    """
    run: list[Record] = []
    buffers: list[memoryview] = []
    shard, end = -1, 0
    for record in records:
        gap = record.offset - end
        if record.shard == shard and 0 <= gap <= _LARGEST_GAP and len(buffers) < _MOST_BUFFERS:
            if gap:
                buffers.append(_SKIPPED[:gap])
        elif run:
            yield run, buffers
            run, buffers = [], []
        run.append(record)
        buffers.append(record.target)
        shard, end = record.shard, record.offset + len(record.target)
    if run:
        yield run, buffers


def run_starts(
    shards: npt.NDArray[np.integer[Any]], offsets: npt.NDArray[np.integer[Any]], nbytes: int
) -> list[int]:
    """Return where runs of records of one size begin, as :func:`runs` makes them, and at the end their number.

    Args:
        shards, offsets: (n,) sorted; the same record may come several times.
        nbytes: of each record.
    """
    gaps = offsets[1:] - offsets[:-1] - nbytes
    apart = (shards[1:] != shards[:-1]) | (gaps < 0) | (gaps > _LARGEST_GAP)
    starts = [0, *(np.flatnonzero(apart) + 1).tolist(), len(shards)]
    most = _MOST_BUFFERS // 2  # half of them for what lies between
    return sorted({at for first, end in pairwise(starts) for at in (*range(first, end, most), end)})


def buffers_of(targets: list[memoryview], offsets: list[int], nbytes: int) -> list[memoryview]:
    """Return the buffers that one read of a run fills: the targets, and what takes the gaps between the records."""
    buffers = [targets[0]]
    for before, offset, target in zip(offsets, offsets[1:], targets[1:], strict=False):
        if gap := offset - before - nbytes:
            buffers.append(_SKIPPED[:gap])
        buffers.append(target)
    return buffers


class Marks:
    """A bit per row. Threads that set bits at the same time may lose one, and never set one too many."""

    def __init__(self, rows: int) -> None:
        self._bits = np.zeros(-(-rows // 8), dtype=np.uint8)  # takes memory only where a bit is set

    def add(self, row: int) -> None:
        """Mark a row."""
        self._bits[row >> 3] |= 1 << (row & 7)

    def add_all(self, rows: npt.NDArray[np.int64]) -> None:
        """Mark rows."""
        np.bitwise_or.at(self._bits, rows >> 3, (1 << (rows & 7)).astype(np.uint8))

    def missing(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        """Say of each row whether it is not marked."""
        unset: npt.NDArray[np.bool_] = (self._bits[rows >> 3] >> (rows & 7)) & 1 == 0
        return unset
