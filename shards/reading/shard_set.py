"""An opened shard set: the manifest, the conditions, and batches of patches by row."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import count
from operator import index
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from nlbs.errors import ConfigError, ShardError
from nlbs.local_store import LocalStore
from nlbs.manifests.people.splits import SPLITS
from nlbs.manifests.schema import NLBS, Columns, Schema
from nlbs.manifests.schema_choice import chosen
from nlbs.paths import AnyPath, as_path
from nlbs.remote_store import RemoteStore
from nlbs.shards.format.condition_columns import ConditionColumns
from nlbs.shards.format.container import CONTAINERS, PatchFormat, pixels_name
from nlbs.shards.format.layout import find_shard_set, how_to_restore, read_shard_set_json
from nlbs.shards.format.manifest import indices, one_array
from nlbs.shards.format.manifest_rows import check_known, check_rows
from nlbs.shards.format.payload import Pixels, channels_of, patch_shape, pixel_dtype
from nlbs.shards.format.selection import AllRows, Selection
from nlbs.shards.format.where import select
from nlbs.shards.reading.local_shards import LocalShards
from nlbs.shards.reading.patch import Patch, html_of, patch_of
from nlbs.shards.reading.reader import ON_DAMAGE, VERIFY, Reader
from nlbs.shards.reading.remote_shards import RemoteShards
from nlbs.stores import store_of
from nlbs.text import counted

Rows = npt.NDArray[np.int64]

_CHECKED_AT_ONCE = 1 << 20  # rows: a tenth of a second at most; 10^8 would take several
_ROWS_AT_ONCE = 1 << 22  # a multiple of 512, as Selection takes them

#: How the files of a set are read, by the store that it lies in.
_SHARDS: dict[type, Callable[..., LocalShards | RemoteShards]] = {
    LocalStore: LocalShards,
    RemoteStore: RemoteShards,
}


def open_shards(
    path: str | AnyPath,
    generation: int | None = None,
    cache_gb: float | None = None,
    verify: str = "first",
    on_damage: str = "raise",
) -> "ShardSet":
    """Open a shard set: its folder, or a dataset root that holds just one.

    Args:
        path: local, or in an object store: "s3://bucket/shards".
        generation: the set as it was after so many appends and one; None is as it is now.
        cache_gb: how much of remote shards is kept on the local disk, in gigabytes; 0 is nothing;
            None is ``$NLBS_CACHE_GB``, or else 20. They lie in ``~/.cache/nlbs-cvae`` or ``$NLBS_CACHE_DIR``.
        verify: when a patch is compared with its CRC-32C: "first", the first time this process reads
            it (of a remote set, each time); "always", each time; "off", never, though what a local
            cache holds of a remote set is. Damage in a local manifest above 64 MiB is found while the set
            is read, and with "always" on opening.
        on_damage: what comes of a patch that is damaged or missing: "raise", a ShardError; "replace",
            another of the same split and conditions, always the same one, see ``ShardSet.replaced``.

    Raises:
        ConfigError: there is no such ``verify`` or ``on_damage``.
        ObjectStoreError: the object store cannot be reached, or refuses.
        ShardError: nothing there, several to choose from, another format version, a missing or
            shortened shard, or a manifest that is damaged or another set's.
    """
    return ShardSet(find_shard_set(as_path(path)), generation, cache_gb, verify, on_damage)


class ShardSet:
    """A complete shard set on disk. Rows are rows of its manifest, counted from 0.

    May be read from several threads at once, after a fork, and pickled: it is then opened anew.
    """

    def __init__(
        self,
        folder: AnyPath,
        generation: int | None = None,
        cache_gb: float | None = None,
        verify: str = "first",
        on_damage: str = "raise",
    ) -> None:
        """Open the set in ``folder``. Raises as :func:`open_shards` does."""
        for name, value, known in (("verify", verify, VERIFY), ("on_damage", on_damage, ON_DAMAGE)):
            if value not in known:
                raise ConfigError(f"{name} is {value!r}: expected one of {', '.join(map(repr, known))}")
        # Absolute, as files are opened when they are first read, perhaps from elsewhere.
        self.folder: AnyPath = folder.absolute()
        self.info: Mapping[str, Any] = read_shard_set_json(folder, generation)
        self._options = {
            "generation": generation, "cache_gb": cache_gb, "verify": verify, "on_damage": on_damage
        }  # fmt: skip
        shards = _SHARDS[type(store_of(self.folder))](self.folder, self.info, cache_gb)
        self._table: pa.Table = shards.manifest()
        self._check_format()
        self._check_files()
        self._manifest_check = shards.manifest_check(at_once=verify == "always")
        self._columns: dict[Schema, ConditionColumns] = {}
        self._selections: dict[tuple[str | None, str | None], Selection] = {}
        check_known(self._table, self._manifest_path)
        self._rows_are_checked = False
        if len(self) <= _CHECKED_AT_ONCE or verify == "always":
            self._check_rows()
        self._reader = Reader(self.folder, self.info, self._table, shards, verify, on_damage)

    def __len__(self) -> int:
        """Return the number of patches."""
        return int(self._table.num_rows)

    def __repr__(self) -> str:
        patches = counted(len(self), "patch", "patches")
        return f"ShardSet({str(self.folder)!r}, {patches} of {self.resolution}x{self.resolution})"

    def _repr_html_(self) -> str:
        return html_of(self)

    def __getitem__(self, row: int) -> Patch:
        """Return a patch with its conditions in words; -1 is the last. :meth:`read` takes many at once.

        Raises:
            IndexError: the manifest has no such row.
            ShardError: as :meth:`read`.
        """
        if not -len(self) <= (number := index(row)) < len(self):
            raise IndexError(f"there is no row {number} of {self}")
        return patch_of(self, number % len(self))

    @property
    def manifest(self) -> pa.Table:
        """The manifest, one row per patch; of a very large one every value is checked when it is first asked for.

        Raises:
            ShardError: it holds what no manifest holds.
        """
        self._check_rows()
        return self._table

    @property
    def dataset_id(self) -> str:
        """A digest of all that went into the set: equal ids mean equal bytes."""
        return str(self.info["dataset_id"])

    @property
    def generation(self) -> int:
        """1 for a set as it was cut, one more for each append since."""
        return int(self.info.get("generation", 1))

    @property
    def parameters(self) -> Mapping[str, Any]:
        """What the set was cut with: resolution, stride, min_foreground, dtype, ..."""
        parameters: Mapping[str, Any] = self.info["parameters"]
        return parameters

    @property
    def resolution(self) -> int:
        """The edge of a patch in pixels."""
        return int(self.parameters["resolution"])

    @property
    def channels(self) -> int:
        """1 of grey patches, 3 of coloured ones."""
        return channels_of(self.parameters)

    @property
    def patch_shape(self) -> tuple[int, ...]:
        """The shape of a patch: (R, R), or (R, R, 3) for red, green and blue."""
        return patch_shape(self.resolution, self.channels)

    @property
    def dtype(self) -> np.dtype[Any]:
        """uint8 or uint16."""
        return pixel_dtype(self.parameters["dtype"])

    @property
    def compression(self) -> str:
        """What a patch is stored as: "none", "png" or "zstd"."""
        return PatchFormat.of(self.parameters).compression

    @property
    def synthetic(self) -> Mapping[str, Any] | None:
        """What made the patches: model, sampler, seed, ...; None where they are cut from images."""
        made_by: Mapping[str, Any] | None = self.info.get("synthetic")
        return made_by

    def require_real(self) -> None:
        """Raise ConfigError where the patches are synthetic: no figure, no picture may take them for real ones."""
        if self.synthetic is not None:
            raise ConfigError(
                f"{self.folder} holds synthetic patches, drawn by model {self.synthetic.get('model', 'unknown')}; "
                "expected patches cut from images: name a real shard set, such as the one that it was trained on"
            )

    @property
    def replaced(self) -> Mapping[int, int]:
        """Rows that were damaged -> rows that were read instead, since this process opened the set.

        At most 100, or 0.1 % of all where that is more; the next one is an error.
        """
        return dict(self._reader.replaced)

    def rows(self, split: str | None = None, where: str | None = None) -> Rows:
        """Return the rows of a split in the order of the manifest; all rows for None.

        Args:
            split: "train", "val" or "test".
            where: takes of these what the filter takes, such as ``"view == 'MLO' and cancer == 0"``; see
                :mod:`nlbs.shards.format.where`.

        Raises:
            ShardError: there is no split of that name.
            ConfigError: the filter cannot be read, or asks for what does not exist.
        """
        return self.selection(split, where).numbers()

    def selection(self, split: str | None = None, where: str | None = None) -> Selection | AllRows:
        """Return the same as :meth:`rows` in a bit per row: for sets whose rows are too many to list."""
        if split is not None and split not in SPLITS:
            raise ShardError(f"there is no split {split!r}; a shard set has {', '.join(SPLITS)}")
        if split is None and where is None:
            return AllRows(len(self))
        if (split, where) not in self._selections:
            self._selections[split, where] = Selection(self._taken(split, where))
        return self._selections[split, where]

    @property
    def code_books(self) -> Mapping[str, Sequence[str]]:
        """The words of each column of text of the manifest, in the order of their codes."""
        books: Mapping[str, Sequence[str]] = self.info["code_books"]
        return books

    def schema(self, names: Sequence[str] | None = None) -> Schema:
        """Return the schema of some of its conditions, by name; None: the five of NLBS.

        Raises:
            ConfigError: there is no such condition.
        """
        return NLBS if names is None else chosen(names, self.code_books)

    def occurring(
        self, split: str | None = None, where: str | None = None, schema: Schema = NLBS
    ) -> dict[str, set[int]]:
        """Return which values of each condition occur among such rows as :meth:`rows` gives, as codes.

        Of labels, the places of those that some patch has; of numbers, 0 where some are known; -1: some are unknown.
        """
        found: dict[str, set[int]] = {name: set() for name in schema.names}
        self.selection(split, where)  # raises what there is to raise
        for start, taken in zip(count(step=_ROWS_AT_ONCE), self._taken(split, where), strict=False):
            values = self.conditions(start + np.flatnonzero(taken), schema)
            for condition in schema:
                found[condition.name] |= condition.codes_met(values[condition.name])
        return found

    def shard_sizes(self, rows: Rows | Selection | AllRows) -> npt.NDArray[np.int64]:
        """Return how many of some rows, sorted, each shard holds, (shards,) int64."""
        shards, count = one_array(indices(self._table["shard"])), len(self.info["shards"])
        if isinstance(rows, Selection | AllRows):
            ends = np.searchsorted(shards, np.arange(count), side="right")
            sizes = np.diff(rows.rank(ends), prepend=0)
            if (sizes < 0).any() or sizes.sum() != len(rows):
                self._check_rows()  # which says what is wrong with them
                raise self._damaged("its rows are not in the order of the shards")
            return sizes
        of_rows = shards[rows]
        if len(of_rows) and not 0 <= of_rows.min() <= of_rows.max() < count:
            raise self._damaged(f"a patch is in none of its {count} shards")
        return np.bincount(of_rows, minlength=count).astype(np.int64)

    def conditions(self, rows: npt.ArrayLike | None = None, schema: Schema = NLBS) -> Columns:
        """Return the conditions of some rows, or of all.

        Args:
            rows: (n,) rows of the manifest.
            schema: which conditions; one that the set does not have is unknown.

        Returns:
            view, laterality, age_bin, cancer, false_positive -> (n,) int64 codes, -1 where unknown; of other kinds of
            conditions see :mod:`nlbs.manifests.schema`.
        """
        wanted = np.arange(len(self)) if rows is None else self._checked(rows)
        if schema not in self._columns:
            self._columns[schema] = ConditionColumns(self._table, schema, self.resolution)
        return self._columns[schema].values(wanted)

    def read(self, rows: npt.ArrayLike, out: Pixels | None = None) -> Pixels:
        """Return the pixels of some rows, in the order asked.

        Args:
            rows: (n,) rows of the manifest, repeats allowed.
            out: ``(n, *patch_shape)``, C-contiguous array of the set's dtype to fill; made when None.

        Returns:
            (n, R, R) uint8 or uint16; of coloured patches (n, R, R, 3).

        Raises:
            ShardError: a shard is missing or too short, or a patch does not match its checksum; with
                ``on_damage="replace"`` only where nothing can stand in for it, or too much is damaged.
            IndexError: a row that the manifest does not have.
        """
        wanted = self._checked(rows)
        shape = (len(wanted), *self.patch_shape)
        if out is not None and (out.shape != shape or out.dtype != self.dtype or not out.flags.c_contiguous):
            raise ValueError(f"out must be a C-contiguous {self.dtype} array of shape {shape}")
        if self._manifest_check is not None:
            self._manifest_check.refuse()
        return self._reader.read(wanted, out)

    def close(self) -> None:
        """Close the files; the set opens them again when it is next read."""
        self._reader.close()

    def __enter__(self) -> "ShardSet":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        if hasattr(self, "_reader"):
            self.close()

    def __getstate__(self) -> dict[str, Any]:
        return {**self._options, "folder": self.folder, "generation": self.generation}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]  # files and maps are opened anew per process

    def _taken(self, split: str | None, where: str | None) -> Iterator[npt.NDArray[np.bool_]]:
        """Yield which rows are of a split and taken by a filter, some at a time."""
        table = self._table if where is None else self.manifest  # a filter goes by the values of dictionaries
        for start in range(0, max(1, len(self)), _ROWS_AT_ONCE):
            part = table.slice(start, _ROWS_AT_ONCE)
            taken = None if where is None else select(part, where)
            if split is not None:
                in_split = one_array(indices(part["split"])) == SPLITS.index(split)
                taken = in_split if taken is None else taken & in_split
            yield np.ones(len(part), np.bool_) if taken is None else taken

    def _checked(self, rows: npt.ArrayLike) -> Rows:
        given = np.asarray(rows)
        given = given if given.ndim else given.reshape(1)
        if given.size and given.dtype.kind not in "iu":
            raise ValueError(
                f"rows must be row numbers, not {given.dtype}; of a mask, give np.flatnonzero(mask)"
            )
        wanted = given.astype(np.int64, copy=False)
        if wanted.ndim != 1:
            raise ValueError(f"rows must be one list of row numbers, not an array of shape {wanted.shape}")
        if wanted.size and wanted.view(np.uint64).max() >= len(self):  # below 0 is very large there
            raise IndexError(
                f"rows {wanted.min()}..{wanted.max()} do not lie in 0..{len(self) - 1} of {self}"
            )
        return wanted

    def _check_rows(self) -> None:
        if not self._rows_are_checked:
            check_rows(self._table, self.info, self._manifest_path)
            self._rows_are_checked = True

    def _damaged(self, what: str) -> ShardError:
        return ShardError(
            f"the manifest {self._manifest_path} is damaged: {what}; {how_to_restore(self.folder)}"
        )

    def _check_format(self) -> None:
        found = PatchFormat.of(self.parameters)
        if found.compression not in CONTAINERS.get(found.container, ()):
            raise ShardError(
                f"{self.folder} holds {found.container} shards of compression {found.compression}, which this "
                "release does not read: install the release that wrote it"
            )

    def _check_files(self) -> None:
        sizes = store_of(self.folder).sizes(
            self.folder, [pixels_name(shard["name"], self.channels) for shard in self.info["shards"]]
        )
        for shard in self.info["shards"]:
            name = pixels_name(shard["name"], self.channels)
            path, found = self.folder / name, sizes.get(name)
            if found != shard["bytes"]:
                state = "is missing" if found is None else f"has {found} bytes instead of {shard['bytes']}"
                raise ShardError(f"shard {path} {state}; {how_to_restore(self.folder)}")

    @property
    def _manifest_path(self) -> AnyPath:
        return self.folder / str(self.info["manifest"]["name"])
