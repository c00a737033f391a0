"""The orders of the samples of an epoch: pure functions of (sizes, seed, epoch, position)."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from nlbs.shards.order.permutation import Positions, permutation
from nlbs.shards.order.window import Window, WindowTable, window_table

__all__ = ["ORDERS", "Order", "Positions", "permutation"]

#: (epoch, positions) -> samples, both int64 in 0..n-1; a permutation of them for every epoch.
Order = Callable[[int, Positions], Positions]


def sequential_order(sizes: npt.ArrayLike, seed: int, window: Window) -> Order:
    """Return the order in which the samples stand, the same in every epoch."""
    total = int(np.sum(np.asarray(sizes, dtype=np.int64)))

    def samples(epoch: int, positions: Positions) -> Positions:
        if positions.size and (positions.min() < 0 or positions.max() >= total):
            raise IndexError(f"positions {positions.min()}..{positions.max()} do not lie in 0..{total - 1}")
        return positions

    return samples


def global_order(sizes: npt.ArrayLike, seed: int, window: Window) -> Order:
    """Return random orders over all samples: for local disks, where it does not matter what is read next."""
    total = int(np.sum(np.asarray(sizes, dtype=np.int64)))
    return lambda epoch, positions: permutation(total, seed, epoch, positions)


def window_order(sizes: npt.ArrayLike, seed: int, window: Window) -> Order:
    """Return random orders that need few shards at a time: for network folders and object stores.

    ``window.shards`` shards of each of ``window.streams`` streams are in use at one time, see
    :class:`nlbs.shards.order.window.WindowTable`.
    """
    last: list[WindowTable] = []  # of the epoch that was asked for last: a cache, no state

    def samples(epoch: int, positions: Positions) -> Positions:
        table = last[0] if last else None
        if table is None or table.epoch != epoch:
            table = window_table(sizes, seed, epoch, window)
            last[:] = [table]
        return table.samples(positions)

    return samples


#: name -> (patches per shard, seed, window) -> order. ``window`` is the window order's alone.
ORDERS: dict[str, Callable[[npt.ArrayLike, int, Window], Order]] = {
    "global": global_order,
    "window": window_order,
    "sequential": sequential_order,
}
