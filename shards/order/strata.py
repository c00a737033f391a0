"""The strata of a shard set or a mixture: what has a share of every batch, and how large it is."""

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from nlbs.errors import ConfigError
from nlbs.shards.order.balance import Balance, balanced_shares, classes_of
from nlbs.shards.order.sampling import Stratum
from nlbs.shards.reading.mixed_sets import MixedSource

Rows = npt.NDArray[np.int64]


def strata_of(shards: Any, rows: Rows, balance: Balance | None, with_sizes: bool = False) -> list[Stratum]:
    """Return the strata of some rows.

    Args:
        shards: a shard set, or a mixture: then the classes of each set divide its share.
        rows: sorted rows of it.
        balance: the classes of a set; None: each set is one.
        with_sizes: count the rows of each shard too, for orders that go by shards.

    Raises:
        ConfigError: a set of the mixture has none of the rows, or the balance makes no sense.
    """
    if not isinstance(shards, MixedSource):
        return _of_one_set(shards, rows, balance, 1.0, with_sizes)
    cuts = np.searchsorted(rows, shards.starts)
    strata = []
    for number, (one, share) in enumerate(zip(shards.sets, shards.shares, strict=True)):
        start = int(shards.starts[number])
        own = rows[cuts[number] : cuts[number + 1]] - start
        if not len(own):
            raise ConfigError(
                f"the shard set {one.folder} has no patches to mix in, but a share of {share:.4g}; leave it out, or "
                "take another split or filter"
            )
        for stratum in _of_one_set(one, own, balance, share, with_sizes):
            strata.append(replace(stratum, rows=stratum.rows + start, source=str(one.folder)))
    return strata


def proportions(strata: tuple[Stratum, ...]) -> list[str]:
    """Return a line per stratum: its patches, how often it occurs, and its share of the batches."""
    total = sum(len(stratum.rows) for stratum in strata)
    return [
        f"{stratum.label}: {len(stratum.rows):,} patches, {len(stratum.rows) / total:.2%} of all, "
        f"{stratum.share:.2%} of each batch"
        for stratum in strata
    ]


def _of_one_set(
    shards: Any, rows: Rows, balance: Balance | None, share: float, with_sizes: bool
) -> list[Stratum]:
    classes = {"": rows} if balance is None else classes_of(shards.manifest, balance.columns, rows)
    counts = [len(own) for own in classes.values()]
    shares = [1.0] if balance is None else balanced_shares(counts, balance.power, balance.cap).tolist()
    return [
        Stratum(label, own, shards.shard_sizes(own) if with_sizes else np.array([len(own)]), share * part)
        for (label, own), part in zip(classes.items(), shares, strict=True)
    ]
