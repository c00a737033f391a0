"""Whether a shard set is still what was written: every byte of it, and which patches are lost where it is not."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, Any

import google_crc32c
import numpy as np

from nlbs.errors import ShardError
from nlbs.paths import AnyPath
from nlbs.shards.format.container import pixels_file
from nlbs.shards.format.layout import RECORD_SHA256, SHARD_SET_JSON, read_shard_set_json, record_digest
from nlbs.shards.format.manifest import indices, read_manifest
from nlbs.shards.format.manifest_rows import check_rows
from nlbs.shards.format.payload import channels_of
from nlbs.shards.format.zarr_shard import ZARR_JSON
from nlbs.text import counted

_CHUNK = 1 << 20


@dataclass(frozen=True)
class Damage:
    """One file of a shard set that is not as it was written."""

    name: str
    what: str


def damages(folder: AnyPath) -> Iterator[Damage]:
    """Yield each file of a shard set that is missing, cut short, changed or another set's.

    Args:
        folder: of a complete shard set. Where its ``shard_set.json`` is damaged, no other file can be judged.
    """
    try:
        info = read_shard_set_json(folder)
    except ShardError as error:
        yield Damage(SHARD_SET_JSON, f"is damaged: {error}")
        return
    if info.get(RECORD_SHA256) != record_digest(info):
        yield Damage(SHARD_SET_JSON, "is not what was written: its checksum does not match")
        return
    for entry in info.get("history", ()):
        yield from _damages_of_earlier(folder, entry)
    manifest = folder / info["manifest"]["name"]
    intact = manifest.is_file() and sha256_of(manifest) == info["manifest"]["sha256"]
    trouble = _manifest_trouble(manifest, info, intact)
    if trouble is not None:
        intact = False
        yield Damage(manifest.name, trouble)
    channels = channels_of(info["parameters"])
    for number, shard in enumerate(info["shards"]):
        path = pixels_file(folder, shard["name"], channels)
        if not path.is_file():
            yield Damage(shard["name"], "is missing")
        elif path.stat().st_size != shard["bytes"]:
            yield Damage(shard["name"], f"has {path.stat().st_size} bytes instead of {shard['bytes']}")
        elif crc32c_of(path) != shard["crc32c"]:
            lost = _lost_patches(folder, info, number) if intact else "its patches cannot be told apart"
            yield Damage(shard["name"], f"is not what was written: {lost}")
        if "zarr_json_crc32c" in shard:
            described = folder / shard["name"] / ZARR_JSON
            if not described.is_file():
                yield Damage(f"{shard['name']}/{ZARR_JSON}", "is missing")
            elif crc32c_of(described) != shard["zarr_json_crc32c"]:
                yield Damage(
                    f"{shard['name']}/{ZARR_JSON}", "is not what was written; every patch can be read"
                )


def _damages_of_earlier(folder: AnyPath, entry: dict[str, Any]) -> Iterator[Damage]:
    """Yield what is wrong with description and manifest of an earlier generation, an entry of ``history``."""
    for name, digest in (
        (entry["name"], entry["sha256"]),
        (entry["manifest"]["name"], entry["manifest"]["sha256"]),
    ):
        path = folder / name
        if not path.is_file():
            yield Damage(name, "is missing")
        elif sha256_of(path) != digest:
            yield Damage(name, "is not what was written: its checksum does not match")


def crc32c_of(path: AnyPath) -> int:
    """Return the CRC-32C of a whole file."""
    checksum = 0
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            checksum = int(google_crc32c.extend(checksum, chunk))
    return checksum


def sha256_of(path: AnyPath) -> str:
    """Return the SHA-256 of a whole file, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _manifest_trouble(path: AnyPath, info: dict[str, Any], intact: bool) -> str | None:
    """Return what is wrong with a manifest, also where it is as it was written: it may hold what none can hold."""
    if not path.is_file():
        return "is missing"
    try:
        table = read_manifest(path, str(info["dataset_id"]), int(info["manifest"]["rows"]))
        check_rows(table, info, path)
    except ShardError as error:
        return str(error)
    return None if intact else "is not what was written: its checksum does not match"


def _lost_patches(folder: AnyPath, info: dict[str, Any], number: int) -> str:
    """Return in words which patches of a changed shard do not match their checksums."""
    table = read_manifest(
        folder / info["manifest"]["name"], str(info["dataset_id"]), int(info["manifest"]["rows"])
    )
    rows = np.flatnonzero(indices(table["shard"]).to_numpy() == number)
    offsets, sizes, sums = (table[name].to_numpy() for name in ("offset", "nbytes", "crc32c"))
    name, channels = info["shards"][number]["name"], channels_of(info["parameters"])
    with pixels_file(folder, name, channels).open("rb") as file:
        lost = [
            int(row)
            for row in rows
            if google_crc32c.value(_record(file, int(offsets[row]), int(sizes[row]))) != sums[row]
        ]
    if not lost:
        return "every patch is intact, but a header or a record between them is not"
    named = ", ".join(str(row) for row in lost[:8]) + (", ..." if len(lost) > 8 else "")
    of, which = (
        counted(len(rows), "patch", "patches"),
        "is damaged (row" if len(lost) == 1 else "are damaged (rows",
    )
    return f"{len(lost)} of {of} {which} {named} of the manifest)"


def _record(file: IO[bytes], offset: int, nbytes: int) -> bytes:
    file.seek(offset)
    return file.read(nbytes)
