"""Synthetic patches as a shard set in the product's own format, which says in every record that it is synthetic."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from nlbs.generate.folder import Provenance, set_name
from nlbs.generate.plan import Plan
from nlbs.generate.png_folder import Draw, Read
from nlbs.manifests.schema import AGE_YEARS, NLBS, Condition, Schema, Value
from nlbs.progress import Progress
from nlbs.shards import open_shards
from nlbs.shards.format.commit import (
    begin_set,
    committed_rows,
    committed_shard,
    described,
    finish_set,
    manifest_columns,
    write_part,
)
from nlbs.shards.format.container import Patch, PatchFormat, shard_name, write_shard
from nlbs.shards.format.layout import SHARD_SET_JSON, format_version
from nlbs.shards.format.manifest import SCHEMA, manifest_table

SYNTHETIC = "synthetic"
#: Columns of the manifest beside those of the format: what makes a patch known as synthetic wherever it goes.
SAID_OF_EACH = ("synthetic", "model", "seed", "sampler")
#: Conditions that the format has columns for.
_OF_FORMAT = (*NLBS, AGE_YEARS)

_SHARD_BYTES = 32 << 20  # small, as an interrupted call draws its last shard again
_MOST_PATCHES = (
    4096  # in a shard; a multiple of the patches that are drawn together, as every power of two is
)


def write_shards(
    root: Path, plan: Plan, draw: Draw, provenance: Provenance, record: Mapping[str, Any]
) -> Read:
    """Write patches as the shard set ``root/r64-synthetic``; go on where it was interrupted.

    Memory holds one shard's patches at a time, and some 200 bytes for every row of the manifest.

    Args:
        root: made ready by :func:`nlbs.generate.folder.is_finished`.
        plan: the conditions.
        draw: gives the patches.
        provenance: goes into manifest and record of every patch.
        record: of the call, goes into shard_set.json.
    """
    folder = root / set_name(provenance.resolution)
    if not (folder / SHARD_SET_JSON).exists():
        _write_missing(folder, plan, draw, provenance, str(record["request"]))
        _commit(folder, plan, provenance, record)

    def read(places: Sequence[int]) -> list[npt.NDArray[np.uint8]]:
        with open_shards(folder) as shards:
            return list(shards.read(places))

    return read


def left_out(schema: Schema) -> list[str]:
    """Return the conditions that the manifest of a shard set cannot hold: it has a column of that name already."""
    return [c.name for c in schema if c not in _kept(schema) and c not in _OF_FORMAT]


def _kept(schema: Schema) -> list[Condition]:
    """Return the conditions that are columns of text, as those that are kept from a table of a dataset."""
    taken = {*SCHEMA.names, *SAID_OF_EACH}
    return [c for c in schema if c not in _OF_FORMAT and c.name not in taken]


def _write_missing(folder: Path, plan: Plan, draw: Draw, provenance: Provenance, request: str) -> None:
    """Write the shards that are missing, each followed by its commit record."""
    begin_set(folder)
    form = PatchFormat("tar", "none", provenance.resolution, "uint8", provenance.channels)
    with Progress("Drawing", len(plan), "sample") as progress:
        each = _per_shard(provenance)
        for number, start in enumerate(range(0, len(plan), each)):
            places = range(start, min(start + each, len(plan)))
            if committed_rows(folder, number, form, request) is not None:
                progress.advance(len(places))
                continue
            rows: list[dict[str, Any]] = []
            name = shard_name(number, form.container)
            patches = _patches(plan, draw, places, provenance, request, rows, progress)
            written = write_shard(folder / name, patches, form)
            write_part(folder, number, request, written, manifest_columns(rows, written.placements, name))


def _patches(
    plan: Plan,
    draw: Draw,
    places: range,
    provenance: Provenance,
    request: str,
    rows: list[dict[str, Any]],
    progress: Progress,
) -> Iterator[Patch]:
    """Yield some patches as a shard takes them, and what the manifest says of each to ``rows``."""
    for index, pixels in zip(places, draw(places.start), strict=False):
        row = manifest_row(plan, index, pixels, provenance, request)
        rows.append(row)
        progress.advance()
        yield f"{row['image']}_{row['y']:05d}_{row['x']:05d}", pixels, row


def manifest_row(
    plan: Plan, index: int, pixels: npt.NDArray[np.uint8], provenance: Provenance, request: str
) -> dict[str, Any]:
    """Return what the manifest says of a synthetic patch beside its place.

    Image and patient begin with ``s``, which is no hexadecimal digit: no real one is named so. Each patch is
    an image and a patient of its own.
    """
    digits = hashlib.sha256(f"nlbs synthetic {request} {index}".encode()).hexdigest()
    values = plan.at(index)
    conditions = {c.name: _stored(c, values[c.name]) if c in plan.schema else None for c in _OF_FORMAT}
    return {
        "image": f"s{digits[:15]}",
        "y": 0,
        "x": 0,
        "scale": 1.0,
        "foreground": round(float(np.count_nonzero(pixels) / pixels.size), 4),
        **{name: conditions[name] for name in SCHEMA.names if name in conditions},
        "patient": f"s{digits[-12:]}",
        "split": "train",  # nobody is to be judged by synthetic patches
        "synthetic": "yes",
        "model": provenance.model,
        "seed": str(provenance.seed),
        "sampler": provenance.sampler,
        **{c.name: c.word(values[c.name]) or None for c in _kept(plan.schema)},
    }


def _stored(condition: Condition, value: Value) -> str | int | None:
    """Return a condition that the format has a column for as that column has it."""
    word = condition.word(value)
    if not word:
        return None
    if pa.types.is_dictionary(SCHEMA.field(condition.name).type):
        return word
    return int(value[0]) if isinstance(value, tuple) else value


def _commit(folder: Path, plan: Plan, provenance: Provenance, record: Mapping[str, Any]) -> None:
    """Make the shards a set."""
    parameters = {
        "resolution": provenance.resolution,
        "stride": None,
        "min_foreground": 0.0,
        "mode": SYNTHETIC,
        "spacing_mm": None,
        "dtype": "uint8",
        "container": "tar",
        "compression": "none",
        **({} if provenance.channels == 1 else {"channels": provenance.channels}),
    }
    parts, shards = [], []
    numbers = range(-(-len(plan) // _per_shard(provenance)))
    names = [shard_name(number, "tar") for number in numbers]
    for number in numbers:
        shard, columns = committed_shard(folder, number, "tar")
        shards.append(shard)
        parts.append(
            manifest_table(columns, names)
        )  # at once: lists of Python objects take ten times the memory
    table = pa.concat_tables(parts).unify_dictionaries().combine_chunks()
    content_id = _content_id(record, table, provenance.channels)
    kept = [*SAID_OF_EACH, *(condition.name for condition in _kept(plan.schema))]
    known = described(table, kept, provenance.channels)
    finish_set(
        folder,
        table,
        {
            **known,
            "dataset_id": _digest({"content_id": content_id, "container": "tar", "compression": "none"}),
            "content_id": content_id,
            "parameters": parameters,
            "counts": {**known["counts"], "images": len(plan)},
            "shards": shards,
            "generation": 1,
            "images_generation": 0,  # of no images.csv
            "history": [],
            SYNTHETIC: dict(record),
        },
    )


def _content_id(record: Mapping[str, Any], table: pa.Table, channels: int) -> str:
    """Return a digest of what was asked for and of what came: the checksums of all pixels."""
    checksums = hashlib.sha256(table["crc32c"].to_numpy().astype("<u4").tobytes()).hexdigest()
    version = format_version(channels)
    return _digest({"format_version": version, "request": record["request"], "crc32c": checksums})


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:32]


def _per_shard(provenance: Provenance) -> int:
    """Return how many patches a shard holds: a power of two."""
    fitting = max(16, _SHARD_BYTES // (provenance.channels * provenance.resolution**2))
    return int(min(_MOST_PATCHES, 1 << (fitting.bit_length() - 1)))
