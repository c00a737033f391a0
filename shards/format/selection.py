"""Some rows of a manifest, held in a bit per row: 10^8 rows take 14 MB, where their numbers would take 800."""

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

Rows = npt.NDArray[np.int64]

_WORD = 64  # bits
_WORDS = 8  # of a block whose bits are counted beforehand
_BLOCK = _WORD * _WORDS


class Selection:
    """Rows, sorted. Reads like an array of their numbers: ``selection[positions]`` gives rows."""

    def __init__(self, parts: Iterable[npt.NDArray[np.bool_]]) -> None:
        """Take which rows are in, (rows,) bool, in parts that follow each other.

        Args:
            parts: all but the last of a multiple of 512 rows.
        """
        packed = [np.packbits(part, bitorder="little") for part in parts]
        size = sum(map(len, packed))
        words = np.zeros(-(-size * 8 // _BLOCK) * _WORDS, dtype="<u8")
        if packed:
            words.view(np.uint8)[:size] = np.concatenate(packed)
        self._blocks = words.reshape(-1, _WORDS)
        counts = np.bitwise_count(self._blocks).sum(axis=1, dtype=np.int64)
        self._ends = np.cumsum(counts)  # rows up to the end of each block
        self._count = int(self._ends[-1]) if len(counts) else 0

    def __len__(self) -> int:
        """Return how many rows there are."""
        return self._count

    def __getitem__(self, positions: npt.ArrayLike) -> Rows:
        """Return the rows at some positions, which lie in 0..len-1; int64, the shape of ``positions``."""
        number: Rows = np.asarray(positions, dtype=np.int64)
        block = np.searchsorted(self._ends, number, side="right")
        words = self._blocks[block]
        counts = np.bitwise_count(words).astype(np.int64)
        ends = np.cumsum(counts, axis=-1)
        # Which bit of its block, then in which word of the block, then which bit of that.
        number = np.asarray(number - (self._ends[block] - ends[..., -1]), dtype=np.int64)
        place = (ends <= number[..., None]).sum(axis=-1, dtype=np.int64)
        word = np.take_along_axis(words, place[..., None], axis=-1)[..., 0]
        before = np.take_along_axis(ends - counts, place[..., None], axis=-1)[..., 0]
        rows: Rows = block * _BLOCK + place * _WORD + _nth_bit(word, number - before)
        return rows

    def rank(self, rows: npt.ArrayLike) -> Rows:
        """Return how many of the rows stand before each of some rows; of one that is in, its position."""
        row = np.asarray(rows, dtype=np.int64)
        block, bit = np.divmod(np.minimum(row, self._blocks.size * _WORD - 1), _BLOCK)
        if not self._blocks.size:
            return np.zeros_like(row)
        words = self._blocks[block]
        first = np.arange(_WORDS) * _WORD
        taken = np.clip(bit[..., None] + (row >= self._blocks.size * _WORD)[..., None] - first, 0, _WORD)
        some = (np.uint64(1) << (taken % _WORD).astype(np.uint64)) - np.uint64(1)
        mask = np.where(taken == _WORD, ~np.uint64(0), some)
        inside = np.bitwise_count(words & mask).sum(axis=-1, dtype=np.int64)
        whole = np.bitwise_count(words).sum(axis=-1, dtype=np.int64)
        return np.asarray(self._ends[block] - whole + inside, dtype=np.int64)

    def numbers(self) -> Rows:
        """Return the numbers of all rows, (len,) int64."""
        return np.flatnonzero(np.unpackbits(self._blocks.view(np.uint8), bitorder="little")).astype(np.int64)


class AllRows:
    """All rows of a manifest, read like a :class:`Selection`."""

    def __init__(self, count: int) -> None:
        """Take how many there are."""
        self._count = count

    def __len__(self) -> int:
        """Return how many rows there are."""
        return self._count

    def __getitem__(self, positions: npt.ArrayLike) -> Rows:
        """Return the rows at some positions: these."""
        return np.array(positions, dtype=np.int64)

    def rank(self, rows: npt.ArrayLike) -> Rows:
        """Return how many rows stand before each of some rows."""
        return np.array(rows, dtype=np.int64)

    def numbers(self) -> Rows:
        """Return the numbers of all rows, (len,) int64."""
        return np.arange(self._count, dtype=np.int64)


def _nth_bit(words: npt.NDArray[np.uint64], number: Rows) -> Rows:
    """Return the place of the set bit of that number, from 0, in each word: a search that halves the word."""
    place = np.zeros_like(number)
    rest = words.astype(np.uint64)
    for width in (32, 16, 8, 4, 2, 1):
        low = rest & np.uint64((1 << width) - 1)
        count = np.bitwise_count(low)
        above = number >= count
        number = number - np.where(above, count, 0)
        place = place + np.where(above, width, 0)
        rest = np.where(above, rest >> np.uint64(width), low)
    return place
