"""How a shard set comes to be: shards, each with its commit record, then the manifest, then ``shard_set.json``.

Whoever stops in between is continued: a shard with its record is not written again.
"""

import json
import re
from collections.abc import Collection, Sequence
from typing import Any

import pyarrow as pa

from nlbs.errors import DatasetError, ShardError
from nlbs.files import (
    atomic_file,
    make_folder,
    read_json,
    refuse_link,
    remove_partials,
    write_json,
)
from nlbs.manifests.people.splits import SPLITS
from nlbs.manifests.schema import NLBS
from nlbs.paths import AnyPath
from nlbs.shards.format.container import PatchFormat, WrittenShard, pixels_file, remove_shard, shard_name
from nlbs.shards.format.layout import (
    FORMAT,
    RECORD_SHA256,
    SHARD_SET_JSON,
    format_version,
    manifest_name,
    read_description,
    read_shard_set_json,
    record_digest,
)
from nlbs.shards.format.manifest import SCHEMA, condition_codes, write_manifest
from nlbs.shards.format.tar import Placement
from nlbs.shards.format.verify import sha256_of
from nlbs.stores import store_of
from nlbs.text import counted

PARTS = "parts"
#: In that folder: the shard_set.json of a set that is being overwritten.
_REPLACED = "replaced.json"
_MOST_PART_BYTES = 1 << 30  # of a commit record: two million patches of 8x8 pixels, the most that a shard has
_PLACE_BITS = {"offset": 63, "nbytes": 31, "crc32c": 32}  # as the manifest has them
_ENTRY = {"bytes", "crc32c", "zarr_json_crc32c"}  # what a commit record says of a shard


def begin_set(folder: AnyPath) -> None:
    """Make the folder of a set that is to be written, and remove what a killed process left half-written in it."""
    _refuse_links(folder)
    make_folder(folder / PARTS)
    _remove_replaced(folder)
    for place in (folder, folder / PARTS):
        remove_partials(place)


def is_complete(folder: AnyPath, dataset_id: str, overwrite: bool) -> bool:
    """Return whether a set stands there whole; one of another id goes, where it may.

    Raises:
        DatasetError: one of another id stands there and is not to be overwritten.
    """
    if not (folder / SHARD_SET_JSON).exists():
        _remove_replaced(folder)
        return False
    info = read_shard_set_json(folder)
    if info["dataset_id"] == dataset_id:
        return True
    if not overwrite:
        raise DatasetError(
            f"{folder} is a shard set of other images, conditions or options "
            f"({counted(info['counts']['images'], 'image')}): "
            "pass --overwrite to cut it anew, or choose another folder for --out"
        )
    _refuse_links(folder)
    make_folder(folder / PARTS)
    # First: from here on the set is not complete. Its names are kept until the last of its files is gone.
    store_of(folder).move(folder / SHARD_SET_JSON, folder / PARTS / _REPLACED)
    _remove_replaced(folder)
    return False


def _refuse_links(folder: AnyPath) -> None:
    """Raise NlbsError where what is written or removed in a set would be so elsewhere."""
    refuse_link(folder)
    refuse_link(folder / PARTS)


def _remove_replaced(folder: AnyPath) -> None:
    """Remove the files of a set that is being overwritten."""
    record = folder / PARTS / _REPLACED
    try:
        record.stat()
    except FileNotFoundError:
        return
    _refuse_links(folder)
    try:
        info = read_description(folder / PARTS, _REPLACED)  # its names are names, and so lead nowhere else
    except ShardError as error:
        raise ShardError(
            f"{record} does not describe a set that was being overwritten, so nothing is removed by it: delete it, "
            f"and run the command again ({error})"
        ) from None
    earlier = [
        name for entry in info.get("history", ()) for name in (entry["name"], entry["manifest"]["name"])
    ]
    for name in [*earlier, info["manifest"]["name"]]:
        (folder / name).unlink(missing_ok=True)
    for shard in info["shards"]:
        remove_shard(folder, shard["name"])
    record.unlink()


def manifest_columns(
    rows: Sequence[dict[str, Any]], placements: Sequence[Placement], name: str
) -> dict[str, list[Any]]:
    """Return the columns of the manifest of one shard.

    Args:
        rows: what is said of each patch beside its place; every row has the same names.
        placements: where its pixels are.
        name: of the shard.
    """
    names = (
        rows[0] if rows else [field for field in SCHEMA.names if field not in ("shard", *Placement._fields)]
    )
    return {
        "shard": [name] * len(rows),
        **{field: [getattr(placement, field) for placement in placements] for field in Placement._fields},
        **{field: [row[field] for row in rows] for field in names},
    }


def write_part(
    folder: AnyPath, number: int, dataset_id: str, written: WrittenShard, columns: dict[str, list[Any]]
) -> None:
    """Write the commit record of one shard."""
    with atomic_file(_part_path(folder, number), "w", encoding="utf-8") as file:
        # dumps: dump goes through a slower encoder, written in Python.
        file.write(json.dumps({"dataset_id": dataset_id, "entry": written.entry, "columns": columns}))


def committed_rows(
    folder: AnyPath, number: int, form: PatchFormat, dataset_id: str
) -> dict[str, list[Any]] | None:
    """Return the manifest rows of a shard that this plan has already written; None where it has to be cut."""
    part = read_part(folder, number)
    shard = pixels_file(folder, shard_name(number, form.container), form.channels)
    if part is None or part["dataset_id"] != dataset_id:
        return None
    if not shard.is_file() or shard.stat().st_size != part["entry"]["bytes"]:
        return None
    columns: dict[str, list[Any]] = part["columns"]
    return columns


def read_part(folder: AnyPath, number: int) -> dict[str, Any] | None:
    """Return the commit record of a shard; None where there is none, or none that can be read."""
    try:
        part = read_json(_part_path(folder, number), _MOST_PART_BYTES)
    except (FileNotFoundError, ValueError):
        return None
    return part if _is_part(part) else None


def _is_part(part: Any) -> bool:
    """Return whether a value has the form of a commit record: sizes, and columns of one length, places first."""
    if not isinstance(part, dict) or not {"dataset_id", "entry", "columns"} <= part.keys():
        return False
    entry, columns = part["entry"], part["columns"]
    if not isinstance(entry, dict) or not {"bytes", "crc32c"} <= entry.keys() <= _ENTRY:
        return False
    if not all(type(value) is int and value >= 0 for value in entry.values()):
        return False
    if not isinstance(columns, dict) or not set(Placement._fields) <= columns.keys():
        return False
    if not all(isinstance(values, list) for values in columns.values()):
        return False
    if len({len(values) for values in columns.values()}) != 1:
        return False
    return all(_are_whole(columns[name], 1 << bits) for name, bits in _PLACE_BITS.items())


def _are_whole(values: list[Any], end: int) -> bool:
    """Return whether values are whole numbers from 0 to below ``end``."""
    return not values or (set(map(type, values)) == {int} and min(values) >= 0 and max(values) < end)


def _part_path(folder: AnyPath, number: int) -> AnyPath:
    return folder / PARTS / f"{number:05d}.json"


def committed_shard(
    folder: AnyPath, number: int, container: str
) -> tuple[dict[str, Any], dict[str, list[Any]]]:
    """Return what shard_set.json says of a shard that was written, and its columns of the manifest.

    Raises:
        ShardError: its commit record is gone.
    """
    name, part = shard_name(number, container), read_part(folder, number)
    if part is None:
        raise ShardError(f"shard {folder / name} has vanished while it was written: run it again")
    columns: dict[str, list[Any]] = part["columns"]
    return {"name": name, **part["entry"], "patches": len(columns["offset"])}, columns


def finish_set(folder: AnyPath, table: pa.Table, info: dict[str, Any], like: AnyPath | None = None) -> None:
    """Write the manifest, the card, then ``shard_set.json``, and remove the records of the single shards.

    Args:
        folder: of the set, with all its shards.
        table: the manifest.
        info: all that shard_set.json says, but for the manifest.
        like: a set whose licence and name it has; None: another one of its root.
    """
    from nlbs.shards.format.card import write_set_card  # with pandas, of which workers that cut need nothing

    write_manifest(folder / manifest_name(info["generation"]), table, info["dataset_id"])
    whole = with_manifest(folder, info, table.num_rows)
    write_set_card(folder, table, whole, like)
    write_json(folder / SHARD_SET_JSON, whole)
    remove_parts(folder, {str(shard["name"]) for shard in info["shards"]}, info["parameters"]["container"])


def with_manifest(folder: AnyPath, info: dict[str, Any], rows: int) -> dict[str, Any]:
    """Return what ``shard_set.json`` says in whole, of a set whose manifest is in place."""
    name = manifest_name(info["generation"])
    whole = {**info, "manifest": {"name": name, "rows": rows, "sha256": sha256_of(folder / name)}}
    return {**whole, RECORD_SHA256: record_digest(whole)}


def remove_parts(folder: AnyPath, shards: Collection[str], container: str) -> None:
    """Remove the records of single shards, and shards of an earlier, longer plan that they name."""
    for part in (folder / PARTS).glob("[0-9]*.json"):
        if not re.fullmatch(r"[0-9]{5,9}", part.stem):
            continue
        name = shard_name(int(part.stem), container)
        if name not in shards:
            remove_shard(folder, name)
    store_of(folder).remove(folder / PARTS)


def described(table: pa.Table, kept: Sequence[str] = (), channels: int = 1) -> dict[str, Any]:
    """Return what ``shard_set.json`` says of a manifest: format, counts and code books.

    Args:
        table: the manifest.
        kept: columns of text beside those of the format.
        channels: of a patch.
    """
    return {
        "format": FORMAT,
        "format_version": format_version(channels),
        "counts": _counts(table),
        "code_books": {
            **{condition.name: list(condition.values) for condition in NLBS},
            "split": list(SPLITS),
            **{name: table[name].chunk(0).dictionary.to_pylist() for name in kept},
        },
    }


def _counts(table: pa.Table) -> dict[str, Any]:
    """Return the patches per split and per value of each condition; "unknown" where a value is null."""
    counts: dict[str, Any] = {"patches": table.num_rows}
    counts["patients"] = len(table["patient"].unique())
    splits = table["split"].to_pylist()
    counts["split"] = {split: splits.count(split) for split in SPLITS}
    for name, codes in condition_codes(table).items():
        counts[name] = {value: int((codes == code).sum()) for code, value in enumerate(NLBS[name].values)}
        counts[name]["unknown or other"] = int((codes < 0).sum())
    return counts
