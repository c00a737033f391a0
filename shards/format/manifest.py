"""The condition manifest: an Arrow IPC file with one row per patch, opened by memory map."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from nlbs.errors import ShardError
from nlbs.files import atomic_file
from nlbs.manifests.conditions import LATERALITIES, UNKNOWN, VIEWS
from nlbs.manifests.people.splits import SPLITS
from nlbs.manifests.schema import NLBS
from nlbs.paths import AnyPath
from nlbs.shards.format.arrow_file import mapped, read_arrow
from nlbs.shards.format.layout import how_to_restore
from nlbs.stores import store_of
from nlbs.text import printable, shown

#: split is fixed: the index of a value is its code (views beside CC and MLO follow after them).
SCHEMA = pa.schema(
    [
        ("shard", pa.dictionary(pa.int32(), pa.string())),  # file name in the shard set
        ("offset", pa.int64()),  # of the pixels as stored, in bytes from the start of the file
        ("nbytes", pa.int32()),  # of the pixels as stored
        ("crc32c", pa.uint32()),  # of these bytes
        ("image", pa.dictionary(pa.int32(), pa.string())),  # pseudonymous image id
        ("y", pa.int32()),  # top-left corner in pixels of the source image
        ("x", pa.int32()),
        ("scale", pa.float32()),  # source pixels per pixel of the patch, from row to row
        ("foreground", pa.float32()),  # fraction of the patch inside the breast
        ("view", pa.dictionary(pa.int8(), pa.string())),
        ("laterality", pa.dictionary(pa.int8(), pa.string())),
        ("age_years", pa.int16()),
        ("age_bin", pa.int8()),
        ("cancer", pa.int8()),
        ("false_positive", pa.int8()),
        ("patient", pa.dictionary(pa.int32(), pa.string())),  # pseudonymous patient id
        ("split", pa.dictionary(pa.int8(), pa.string())),
    ]
)

#: Type of a column beside them, kept from a dataset's table on request: density, BI-RADS, ...
_KEPT = pa.dictionary(pa.int32(), pa.string())

_FIXED_VALUES: dict[str, tuple[str, ...]] = {"view": VIEWS, "laterality": LATERALITIES, "split": SPLITS}


def manifest_table(columns: Mapping[str, Sequence[Any]], shard_names: Sequence[str]) -> pa.Table:
    """Return the manifest of plain columns, one value per patch.

    Args:
        columns: the names of :data:`SCHEMA`; strings for view, laterality, image, patient, split
            and shard; None where a value is unknown. Further names are columns of text that a
            dataset's table had beside: they follow, in their order.
        shard_names: every shard of the set in order, those without a patch too: the index of a
            name in the manifest is the number of the shard.
    """
    arrays = []
    schema = pa.schema([*SCHEMA, *((name, _KEPT) for name in columns if name not in SCHEMA.names)])
    for field in schema:
        values = columns[field.name]
        if pa.types.is_dictionary(field.type):
            known = list(shard_names) if field.name == "shard" else list(_FIXED_VALUES.get(field.name, ()))
            others = sorted({value for value in values if value is not None} - set(known))
            arrays.append(_encode(values, known + others, field.type))
        else:
            arrays.append(pa.array(values, type=field.type, from_pandas=False))
    return pa.Table.from_arrays(arrays, schema=schema)


def write_manifest(path: AnyPath, table: pa.Table, dataset_id: str) -> None:
    """Write a manifest as one Arrow IPC file that knows which shard set it belongs to."""
    table = table.combine_chunks().replace_schema_metadata({"dataset_id": dataset_id})
    with atomic_file(path) as file, pa.ipc.new_file(file, table.schema) as writer:
        writer.write_table(table)


def read_manifest(path: AnyPath, dataset_id: str, rows: int) -> pa.Table:
    """Return a manifest by memory map: no row is read before it is used.

    That its values are sound is seen by :func:`~nlbs.shards.format.manifest_rows.check_rows`; until then only its
    numbers may be used, each within bounds, and no value of a dictionary.

    Raises:
        ShardError: missing, damaged, or the manifest of another shard set.
    """
    try:
        with store_of(path).local_file(path) as local:
            table = read_arrow(local, _refuse_other)
    except (OSError, pa.ArrowException) as error:
        what = printable(" ".join(str(error).split()), 300)
        raise ShardError(f"cannot read the manifest {path} ({what}); {how_to_restore(path.parent)}") from None
    except _OtherColumnsError:
        raise ShardError(
            f"{path} does not have the columns of a manifest; {how_to_restore(path.parent)}"
        ) from None
    found = (table.schema.metadata or {}).get(b"dataset_id", b"").decode(errors="replace")
    if found != dataset_id or table.num_rows != rows:
        raise ShardError(
            f"{path} belongs to another shard set (it says {shown(found)}, {table.num_rows} rows; "
            f"expected {dataset_id!r}, {rows} rows); put the right one back, or {how_to_restore(path.parent)}"
        )
    return table


def dataset_id_of(path: AnyPath) -> str | None:
    """Return which shard set a manifest says it belongs to; None where it cannot be read."""
    try:
        with store_of(path).local_file(path) as local, mapped(local) as source:
            metadata = pa.ipc.open_file(source).schema.metadata or {}
    except (OSError, pa.ArrowException):
        return None
    found: bytes = metadata.get(b"dataset_id", b"")
    return found.decode(errors="replace") or None


class _OtherColumnsError(Exception):
    """A table that is no manifest."""


def _refuse_other(schema: pa.Schema) -> None:
    if not _is_manifest(schema):
        raise _OtherColumnsError


def _is_manifest(schema: pa.Schema) -> bool:
    """Return whether a schema has the columns of a manifest, and after them at most columns of text."""
    fields = list(schema.remove_metadata())
    try:
        names = set(schema.names)
    except UnicodeDecodeError:
        return False
    kept = (pa.dictionary(pa.int8(), pa.string()), _KEPT)
    return (
        len(names) == len(fields)
        and fields[: len(SCHEMA)] == list(SCHEMA)
        and all(field.type in kept for field in fields[len(SCHEMA) :])
    )


def condition_codes(table: pa.Table) -> dict[str, npt.NDArray[np.int8]]:
    """Return the codes of each condition, (rows,) int8 each, -1 where unknown or no condition of a model."""
    codes = {}
    for condition in NLBS:
        name, count = condition.name, len(condition.values)
        column = indices(table[name]) if pa.types.is_dictionary(table[name].type) else table[name]
        filled = pc.fill_null(column, pa.scalar(UNKNOWN, column.type)).to_numpy()
        codes[name] = np.where((filled >= 0) & (filled < count), filled, UNKNOWN).astype(np.int8)
    return codes


def indices(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return the integers behind a dictionary column, null where it is null."""
    return pa.chunked_array([chunk.indices for chunk in column.chunks], type=column.type.index_type)


def one_array(column: pa.ChunkedArray) -> npt.NDArray[Any]:
    """Return a column of numbers without nulls; where it is one piece, as it is in a manifest, without a copy."""
    if column.num_chunks == 1:
        found: npt.NDArray[Any] = column.chunk(0).to_numpy()
        return found
    return np.asarray(column.to_numpy())


def _encode(values: Sequence[Any], dictionary: list[str], kind: pa.DictionaryType) -> pa.Array:
    number = {value: index for index, value in enumerate(dictionary)}
    codes = pa.array([None if value is None else number[value] for value in values], type=kind.index_type)
    return pa.DictionaryArray.from_arrays(codes, pa.array(dictionary, type=pa.string()))
