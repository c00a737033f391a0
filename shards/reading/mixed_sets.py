"""Several shard sets that are trained on together, each with its share of every batch."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from nlbs.errors import ConfigError
from nlbs.manifests.schema import NLBS, Columns, Schema
from nlbs.manifests.schema_choice import chosen
from nlbs.paths import AnyPath
from nlbs.shards.reading.shard_set import ShardSet, open_shards

Rows = npt.NDArray[np.int64]


class MixedSource:
    """Shard sets end to end: the rows of the second follow those of the first, and so on.

    Reads like a :class:`nlbs.shards.ShardSet`. ``shares`` is what a stream goes by that trains;
    one that evaluates gives each patch of all sets once.
    """

    def __init__(self, sets: Sequence[ShardSet], shares: Sequence[float]) -> None:
        """Put sets together.

        Args:
            sets: opened, all of one resolution and dtype.
            shares: one for each set, above 0; only their ratios count.

        Raises:
            ConfigError: the sets do not go together, or the shares do not fit them.
        """
        self.sets = tuple(sets)
        self.shares = tuple(shares_of_sets(shares, len(self.sets)))
        for other in self.sets[1:]:
            _check_alike(self.sets[0], other)
        ids = [shards.dataset_id for shards in self.sets]
        if len(set(ids)) < len(ids):
            raise ConfigError(
                f"{self.name} are not different shard sets: two have the id {max(ids, key=ids.count)}; name each once"
            )
        #: (sets + 1,) the first row of each set
        self.starts = np.concatenate([[0], np.cumsum([len(shards) for shards in self.sets])]).astype(np.int64)

    def __len__(self) -> int:
        """Return the number of patches."""
        return int(self.starts[-1])

    def __repr__(self) -> str:
        return f"MixedSource({self.name})"

    @property
    def name(self) -> str:
        """The folders and their shares, for messages."""
        return ", ".join(
            f"{shards.folder} ({share:.4g})" for shards, share in zip(self.sets, self.shares, strict=True)
        )

    @property
    def dataset_id(self) -> str:
        """A digest of the ids of the sets and their shares."""
        text = " ".join(
            f"{shards.dataset_id}:{share!r}" for shards, share in zip(self.sets, self.shares, strict=True)
        )
        return hashlib.sha256(f"nlbs mixture {text}".encode()).hexdigest()[:32]

    @property
    def parameters(self) -> Mapping[str, Any]:
        """What all sets were cut with; parameters in which they differ are left out."""
        first = self.sets[0].parameters
        return {
            key: value
            for key, value in first.items()
            if all(shards.parameters.get(key) == value for shards in self.sets)
        }

    @property
    def resolution(self) -> int:
        """The edge of a patch in pixels."""
        return self.sets[0].resolution

    @property
    def channels(self) -> int:
        """1 of grey patches, 3 of coloured ones."""
        return self.sets[0].channels

    @property
    def patch_shape(self) -> tuple[int, ...]:
        """The shape of a patch; see ``ShardSet.patch_shape``."""
        return self.sets[0].patch_shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """uint8 or uint16."""
        return self.sets[0].dtype

    def rows(self, split: str | None = None, where: str | None = None) -> Rows:
        """Return the rows of a split that a filter takes, of all sets, in order."""
        pairs = zip(self.sets, self.starts[:-1], strict=True)
        return np.concatenate([shards.rows(split, where) + start for shards, start in pairs])

    @property
    def code_books(self) -> Mapping[str, Sequence[str]]:
        """The words that each column of text has in any set."""
        books: dict[str, dict[str, None]] = {}
        for shards in self.sets:
            for name, words in shards.code_books.items():
                books.setdefault(name, {}).update(dict.fromkeys(words))
        return {name: list(words) for name, words in books.items()}

    def schema(self, names: Sequence[str] | None = None) -> Schema:
        """Return the schema of some conditions; see ``ShardSet.schema``."""
        return NLBS if names is None else chosen(names, self.code_books)

    def occurring(
        self, split: str | None = None, where: str | None = None, schema: Schema = NLBS
    ) -> dict[str, set[int]]:
        """Return the codes of each condition that occur among such rows of any set; see ``ShardSet.occurring``."""
        of_each = [shards.occurring(split, where, schema) for shards in self.sets]
        return {name: set().union(*(found[name] for found in of_each)) for name in of_each[0]}

    def shard_sizes(self, rows: Rows) -> npt.NDArray[np.int64]:
        """Return how many of some rows, sorted, each shard of each set holds."""
        cuts = np.searchsorted(rows, self.starts)
        parts = zip(self.sets, self.starts[:-1], cuts[:-1], cuts[1:], strict=True)
        return np.concatenate([shards.shard_sizes(rows[a:b] - start) for shards, start, a, b in parts])

    def conditions(self, rows: npt.ArrayLike | None = None, schema: Schema = NLBS) -> Columns:
        """Return the conditions of some rows, or of all; see ``ShardSet.conditions``."""
        wanted = np.arange(len(self)) if rows is None else np.asarray(rows, dtype=np.int64)
        found = schema.unknown(len(wanted))
        for shards, places, local in self._by_set(wanted):
            for name, values in shards.conditions(local, schema).items():
                found[name][places] = values
        return found

    def read(self, rows: npt.ArrayLike, out: npt.NDArray[Any] | None = None) -> npt.NDArray[Any]:
        """Return the pixels of some rows, (n, *patch_shape), in the order asked; see ``ShardSet.read``."""
        wanted = np.asarray(rows, dtype=np.int64)
        if out is None:
            out = np.empty((len(wanted), *self.patch_shape), dtype=self.dtype)
        for shards, places, local in self._by_set(wanted):
            out[places] = shards.read(local)
        return out

    def _by_set(self, rows: Rows) -> list[tuple[ShardSet, npt.NDArray[np.int64], Rows]]:
        """Return the sets that have some of the rows, with the places of these and their rows there."""
        if rows.size and (rows.min() < 0 or rows.max() >= len(self)):
            raise IndexError(f"rows {rows.min()}..{rows.max()} do not lie in 0..{len(self) - 1} of {self}")
        number = np.searchsorted(self.starts, rows, side="right") - 1
        found = [(index, np.flatnonzero(number == index)) for index in range(len(self.sets))]
        return [(self.sets[i], places, rows[places] - self.starts[i]) for i, places in found if places.size]


def sets_of(shards: Any) -> tuple[Any, ...]:
    """Return the sets of a mixture; of anything else, that itself."""
    return shards.sets if isinstance(shards, MixedSource) else (shards,)


def shares_of_sets(shares: Sequence[float], sets: int) -> list[float]:
    """Return the shares so that they sum to 1.

    Raises:
        ConfigError: not one positive number for each set.
    """
    if len(shares) != sets or not all(0 < share < float("inf") for share in shares):
        given = ", ".join(f"{share:g}" for share in shares) or "nothing"
        raise ConfigError(
            f"{sets} shard sets cannot be mixed by {given}; give one share above 0 for each, in the order of the "
            f"sets, for example --mix {','.join(['1'] * sets)}"
        )
    return [share / sum(shares) for share in shares]


def _check_alike(one: ShardSet, other: ShardSet) -> None:
    kinds = [f"{' x '.join(map(str, shards.patch_shape))} {shards.dtype}" for shards in (one, other)]
    if kinds[0] != kinds[1]:
        raise ConfigError(
            f"the shard sets cannot be mixed: {one.folder} has patches of {kinds[0]}, {other.folder} of {kinds[1]}; "
            "cut one of them again with nlbs-preprocess reshard"
        )


#: What a run reads: one shard set, or several in given shares.
Source = ShardSet | MixedSource


def open_source(
    folders: Sequence[AnyPath],
    mix: Sequence[float] | None,
    cache_gb: float | None = None,
    generation: int | None = None,
    verify: str = "first",
    on_damage: str = "raise",
) -> Source:
    """Open the shard sets of a run.

    Args:
        folders: shard sets, or dataset roots that hold one each.
        mix: the share of each in every batch; None where there is one.
        cache_gb, verify, on_damage: as for :func:`nlbs.shards.open_shards`.
        generation: likewise, of one set.

    Raises:
        ShardError: a set cannot be opened.
        ConfigError: shares that do not fit the sets, or sets that cannot be mixed.
    """
    if len(folders) == 1 and (mix is None or len(mix) == 1):
        return open_shards(folders[0], generation, cache_gb, verify, on_damage)
    if generation is not None:
        raise ConfigError(
            f"--generation {generation} is that of one shard set, but {len(folders)} are given; give one --shards, or "
            "mix the sets as they are now"
        )
    if mix is None:
        raise ConfigError(
            f"{len(folders)} shard sets are given; say what share of each batch every one has, for example --mix "
            f"{','.join(['1'] * len(folders))}"
        )
    return MixedSource([open_shards(folder, None, cache_gb, verify, on_damage) for folder in folders], mix)


def earlier_generations(source: Source) -> dict[str, int]:
    """Return the numbers of a set's earlier generations by their ids; nothing of a mixture."""
    if isinstance(source, MixedSource):
        return {}
    history = source.info.get("history", [])
    return {str(one["dataset_id"]): number for number, one in enumerate(history, 1)}
