"""Which rows make a batch: pure functions of (epoch, step), the same for any number of readers."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from nlbs.shards.order.order import ORDERS, Order, Positions
from nlbs.shards.order.permutation import permutation_of_parts, permutations
from nlbs.shards.order.quotas import Quotas
from nlbs.shards.order.window import Window

Rows = npt.NDArray[np.int64]


class RowNumbers(Protocol):
    """Rows by position: an array of them, or a :class:`nlbs.shards.format.selection.Selection`."""

    def __len__(self) -> int: ...
    def __getitem__(self, positions: Positions, /) -> Rows: ...


@dataclass(frozen=True)
class Stratum:
    """Rows that have a share of every batch: a class of a balance, a set of a mixture, or a class of a set."""

    name: str
    rows: Rows
    sizes: npt.NDArray[np.int64]  #: of these, per shard
    share: float  #: of the places of a batch
    source: str = ""  #: the set it is from, where there are several; for people, no result depends on it

    @property
    def label(self) -> str:
        """The stratum in words."""
        return " ".join(filter(None, (self.source, self.name)))


class Epochs:
    """Batches of an order that is gone through once in each epoch, and then drawn anew."""

    def __init__(self, rows: RowNumbers, order: Order, batch_size: int) -> None:
        """Take the rows, by position, an order of as many samples, and the size of a batch."""
        self._rows = rows
        self._order = order
        self._batch_size = batch_size

    def rows(self, epoch: int, step: int, places: Positions) -> Rows:
        """Return the rows at some places of a batch."""
        return self.rows_of_steps(epoch, step, 1, places).reshape(-1)

    def rows_of_steps(self, epoch: int, step: int, steps: int, places: Positions) -> Rows:
        """Return the rows at some places of batches that follow each other in an epoch, (steps, places) int64.

        Behind the last sample of the epoch stands the last again.
        """
        firsts = np.arange(step, step + steps, dtype=np.int64)[:, None] * self._batch_size
        positions = np.minimum(firsts + places, len(self._rows) - 1)
        return self._rows[self._order(epoch, positions)]


class Strata:
    """Batches that hold each stratum by its share, rounded up or down, and exactly in the long run.

    Within a stratum the order goes on from batch to batch and from epoch to epoch, so that each
    of its rows is used before one comes again. Which places of a batch a stratum has is random.
    """

    def __init__(
        self,
        strata: Sequence[Stratum],
        order: str,
        batch_size: int,
        steps_per_epoch: int,
        seed: int,
        window: Window,
    ) -> None:
        """Take the strata, each with at least one row, the name of the order in them, and what it goes by."""
        self.strata = tuple(strata)
        self._counts = np.array([len(stratum.rows) for stratum in strata], dtype=np.int64)
        self._starts = np.cumsum(self._counts) - self._counts
        self._rows = np.concatenate([stratum.rows for stratum in strata])
        self._quotas = Quotas([stratum.share for stratum in strata], batch_size)
        self._batch_size, self._steps, self._seed = batch_size, steps_per_epoch, seed
        self._orders: list[Order] | None = None  # the global order is computed for all strata at once
        if order != "global":
            self._orders = [ORDERS[order](s.sizes, seed + number, window) for number, s in enumerate(strata)]

    def rows(self, epoch: int, step: int, places: Positions) -> Rows:
        """Return the rows at some places of a batch."""
        return self.rows_of_steps(epoch, step, 1, places).reshape(-1)

    def rows_of_steps(self, epoch: int, step: int, steps: int, places: Positions) -> Rows:
        """Return the rows at some places of batches that follow each other in an epoch, (steps, places) int64."""
        first = epoch * self._steps + step
        quotas, before = self._quotas.of_steps(first, steps)
        where = np.broadcast_to(places, (steps, len(places)))
        slots = permutations(self._batch_size, self._seed, range(first, first + steps), where)
        ends = np.cumsum(quotas, axis=1)
        pairs = zip(ends, slots, strict=True)
        part = np.stack([np.searchsorted(end, slot, side="right") for end, slot in pairs])
        draws = np.take_along_axis(before - ends + quotas, part, axis=1) + slots
        passes, positions = np.divmod(draws, self._counts[part])
        chosen: Rows = self._rows[self._starts[part] + self._within(part, passes, positions)]
        return chosen

    @property
    def digest(self) -> str:
        """Tell strata of other rows or shares apart, 16 hexadecimal digits."""
        text = "\n".join(f"{s.name} {len(s.rows)} {s.share!r}" for s in self.strata)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def _within(self, part: Positions, passes: Positions, positions: Positions) -> Positions:
        if self._orders is None:
            return permutation_of_parts(self._counts[part], self._seed, part, passes, positions)
        samples = np.empty_like(positions)
        for number in np.unique(part).tolist():
            for one in np.unique(passes[part == number]).tolist():
                places = (part == number) & (passes == one)
                samples[places] = self._orders[number](one, positions[places])
        return samples
