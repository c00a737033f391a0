"""Whether every row of a manifest can be true: dictionaries, ids, places in the shards, numbers and their bounds."""

from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

import numpy as np
import pyarrow as pa

from nlbs.errors import ShardError
from nlbs.manifests.conditions import LATERALITIES, OTHER_VIEWS, VIEWS
from nlbs.manifests.people.splits import SPLITS
from nlbs.manifests.schema import NLBS
from nlbs.names import ID
from nlbs.paths import AnyPath
from nlbs.shards.format.layout import how_to_restore
from nlbs.shards.format.manifest import indices
from nlbs.shards.format.payload import fewest_stored_bytes, most_stored_bytes
from nlbs.text import shown

_ROWS_AT_ONCE = 1 << 22
_MOST_NAME_CHARS, _MOST_VALUE_CHARS = 200, 4000
_NEVER_NULL = ("shard", "offset", "nbytes", "crc32c", "image", "y", "x", "patient", "split")
#: Column -> least and greatest value; null is unknown.
_BOUNDS: dict[str, tuple[float, float]] = {
    "y": (-1e6, 1e6), "x": (-1e6, 1e6), "scale": (1e-6, 1e6), "foreground": (0.0, 1.01), "age_years": (0, 150),
    **{condition.name: (0, len(condition.values) - 1) for condition in NLBS if condition.kind != "categorical"},
}  # fmt: skip


def check_rows(table: pa.Table, info: Mapping[str, Any], path: AnyPath) -> None:
    """Raise ShardError where a manifest holds what none can hold. Reads the whole of it: 0.1 s for 10^6 rows.

    Args:
        table: with the columns of a manifest.
        info: the checked ``shard_set.json`` of the set.
        path: of the manifest, for messages.
    """
    try:
        table.validate(full=True)
    except pa.ArrowException as error:
        _refuse(path, " ".join(str(error).split())[:200])
    for name in table.column_names:
        if not 0 < len(name) <= _MOST_NAME_CHARS:
            _refuse(path, f"a column has the name {shown(name)}")
        if pa.types.is_dictionary(table[name].type):
            for chunk in table[name].chunks:
                _check_dictionary(name, chunk.dictionary, info, path)
    check_known(table, path)
    sizes = np.array([shard["bytes"] for shard in info["shards"]], dtype=np.int64)
    fewest, most = fewest_stored_bytes(info["parameters"]), most_stored_bytes(info["parameters"])
    last = 0
    for start in range(0, table.num_rows, _ROWS_AT_ONCE):
        part = table.slice(start, _ROWS_AT_ONCE)
        for name, (low, high) in _BOUNDS.items():
            _check_bounds(name, part[name], low, high, path)
        shard = indices(part["shard"]).to_numpy()
        problem = misplaced(shard, part["offset"].to_numpy(), part["nbytes"].to_numpy(), sizes, fewest, most)
        if problem is not None:
            _refuse(path, problem)
        if shard[0] < last or (np.diff(shard) < 0).any():
            _refuse(path, "its rows are not in the order of the shards")
        last = shard[-1]


def check_known(table: pa.Table, path: AnyPath) -> None:
    """Raise ShardError where what has to be known of every row is not. Reads next to nothing."""
    for name in _NEVER_NULL:
        if table[name].null_count:
            _refuse(path, f"{name} is unknown of some rows")


def misplaced(
    shard: "np.ndarray[Any, Any]",
    offset: "np.ndarray[Any, Any]",
    nbytes: "np.ndarray[Any, Any]",
    sizes: "np.ndarray[Any, Any]",
    fewest: int,
    most: int,
) -> str | None:
    """Return what is wrong with the places of some patches; None where each lies in its shard.

    Args:
        shard, offset, nbytes: (n,) of the manifest.
        sizes: (shards,) bytes.
        fewest, most: bytes that a patch can have as it is stored.
    """
    if not len(shard):
        return None
    if shard.min() < 0 or shard.max() >= len(sizes):
        return f"a patch is in shard {int(shard.max()) if shard.min() >= 0 else int(shard.min())} of {len(sizes)}"
    if nbytes.min() < fewest or nbytes.max() > most:
        found = int(nbytes.max()) if nbytes.min() >= fewest else int(nbytes.min())
        return f"a patch has {found} bytes, expected {most if fewest == most else f'{fewest} to {most}'}"
    if offset.min() < 0 or (offset > sizes[shard] - nbytes).any():
        return "a patch lies outside its shard"
    return None


def _check_dictionary(name: str, values: pa.Array, info: Mapping[str, Any], path: AnyPath) -> None:
    import pyarrow.compute as pc  # takes a fifth of a second, and a set of many rows is opened without

    if values.null_count:
        _refuse(path, f"{name} has a value that is unknown")
    fixed: dict[str, Sequence[str]] = {"view": VIEWS, "laterality": LATERALITIES, "split": SPLITS}
    if name == "shard":
        names = [shard["name"] for shard in info["shards"]]
        if len(values) != len(names) or values.to_pylist() != names:
            _refuse(path, "its shards are not those of the set")
    elif name in ("image", "patient"):
        _require(pc.match_substring_regex(values, f"^{ID}$"), values, name, path)
    elif name in fixed:
        known = fixed[name]
        first = values.slice(0, len(known)).to_pylist()
        others = values.slice(len(known)).to_pylist()
        if tuple(first) != tuple(known) or not set(others) <= (set(OTHER_VIEWS) if name == "view" else set()):
            _refuse(path, f"the values of {name} are {shown(', '.join(values.slice(0, 20).to_pylist()))}")
    else:
        _require(pc.less_equal(pc.utf8_length(values), _MOST_VALUE_CHARS), values, name, path)


def _require(good: pa.BooleanArray, values: pa.Array, name: str, path: AnyPath) -> None:
    import pyarrow.compute as pc

    if len(values) and not pc.all(good).as_py():
        first = values[pc.index(good, False).as_py()].as_py()
        _refuse(path, f"it names the {name} {shown(first)}, which is no such name or value")


def _check_bounds(name: str, column: pa.ChunkedArray, low: float, high: float, path: AnyPath) -> None:
    import pyarrow.compute as pc

    found = pc.min_max(column).as_py()
    if found["min"] is None:
        return
    nan = pa.types.is_floating(column.type) and pc.any(pc.is_nan(column)).as_py()
    if nan or found["min"] < low or found["max"] > high:
        _refuse(path, f"{name} is from {found['min']:g} to {found['max']:g}, expected {low:g} to {high:g}")


def _refuse(path: AnyPath, what: str) -> NoReturn:
    raise ShardError(f"the manifest {path} is damaged: {what}; {how_to_restore(path.parent)}")
