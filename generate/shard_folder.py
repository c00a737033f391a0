"""Synthetic patches as a shard set in the product's own format, which says in every record that it is synthetic."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from nlbs.files import only_one
from nlbs.generate.folder import CONTACT_SHEET, DATASHEET, finish, is_finished, set_name
from nlbs.generate.plan import Plan
from nlbs.generate.png_folder import Draw, sheet_title, spread, write_sheet, write_text
from nlbs.generate.provenance import Provenance
from nlbs.generate.words import caption, in_words
from nlbs.progress import Progress
from nlbs.shards import ShardSet, open_shards
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
from nlbs.shards.format.layout import FORMAT_VERSION, SHARD_SET_JSON
from nlbs.shards.format.manifest import manifest_table

SYNTHETIC = "synthetic"
#: Columns of the manifest beside those of the format: what makes a patch known as synthetic wherever it goes.
SAID_OF_EACH = ("synthetic", "model", "seed", "sampler")

_SHARD_BYTES = 32 << 20  # small, as an interrupted call draws its last shard again
_MOST_PATCHES = (
    4096  # in a shard; a multiple of the patches that are drawn together, as every power of two is
)


def write_synthetic_set(
    root: Path, plan: Plan, draw: Draw, provenance: Provenance, overwrite: bool, datasheet: str | None = None
) -> bool:
    """Write patches as the shard set ``root/r64-synthetic`` and a contact sheet; goes on where it was interrupted.

    Memory holds one shard's patches at a time, and some 200 bytes for every row of the manifest.

    Args:
        root: made where it is missing; other files in it stay.
        plan: the conditions.
        draw: gives the patches.
        provenance: goes into shard_set.json, and into manifest and record of every patch.
        overwrite: replace the set of an earlier call.
        datasheet: text of a README.md beside the set.

    Returns:
        Whether anything was left to do.

    Raises:
        ConfigError: the folder holds something that is not to be replaced, or the disk is too small.
    """
    record = provenance.record(patches=len(plan), codes=plan.digest, format="shards")
    with only_one(root, "nlbs-generate"):
        if is_finished(root, record, overwrite):
            return False
        folder = root / set_name(provenance.resolution)
        if not (folder / SHARD_SET_JSON).exists():
            _write_shards(folder, plan, draw, provenance, str(record["request"]))
            _commit(folder, plan, provenance, record)
        with open_shards(folder) as shards:
            _write_sheet(root / CONTACT_SHEET, shards, plan, provenance)
        if datasheet is not None:
            write_text(root / DATASHEET, datasheet)
        finish(root, record)
    return True


def _write_shards(folder: Path, plan: Plan, draw: Draw, provenance: Provenance, request: str) -> None:
    """Write the shards that are missing, each followed by its commit record."""
    begin_set(folder)
    form = _format(provenance)
    with Progress("Drawing", len(plan), "sample") as progress:
        for number, start in enumerate(range(0, len(plan), _per_shard(provenance.resolution))):
            count = min(_per_shard(provenance.resolution), len(plan) - start)
            if committed_rows(folder, number, form.container, request) is not None:
                progress.advance(count)
                continue
            rows: list[dict[str, Any]] = []
            patches = _patches(plan, draw, start, count, provenance, request, rows, progress)
            name = shard_name(number, form.container)
            written = write_shard(folder / name, patches, form)
            columns = manifest_columns(rows, written.placements, name)
            write_part(folder, number, request, written, columns)


def _patches(
    plan: Plan,
    draw: Draw,
    start: int,
    count: int,
    provenance: Provenance,
    request: str,
    rows: list[dict[str, Any]],
    progress: Progress,
) -> Iterator[Patch]:
    """Yield some patches as a shard takes them, and what the manifest says of each to ``rows``."""
    for index, pixels in enumerate(islice(draw(start), count), start=start):
        row = manifest_row(plan.at(index), index, pixels, provenance, request)
        rows.append(row)
        progress.advance()
        yield f"{row['image']}_{row['y']:05d}_{row['x']:05d}", pixels, row


def manifest_row(
    codes: Mapping[str, int], index: int, pixels: npt.NDArray[np.uint8], provenance: Provenance, request: str
) -> dict[str, Any]:
    """Return what the manifest says of a synthetic patch beside its place.

    Image and patient begin with ``s``, which is no hexadecimal digit: no real one is named so. Each patch is
    an image and a patient of its own.
    """
    digits = hashlib.sha256(f"nlbs synthetic {request} {index}".encode()).hexdigest()
    words = in_words(codes)
    return {
        "image": f"s{digits[:15]}",
        "y": 0,
        "x": 0,
        "scale": 1.0,
        "foreground": round(float(np.count_nonzero(pixels) / pixels.size), 4),
        "view": words["view"] or None,
        "laterality": words["laterality"] or None,
        "age_years": None,  # a model knows the bin
        **{
            name: None if codes[name] < 0 else int(codes[name])
            for name in ("age_bin", "cancer", "false_positive")
        },
        "patient": f"s{digits[-12:]}",
        "split": "train",  # nobody is to be judged by synthetic patches
        "synthetic": "yes",
        "model": provenance.model,
        "seed": str(provenance.seed),
        "sampler": provenance.sampler,
    }


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
    }
    parts, shards = [], []
    numbers = range(-(-len(plan) // _per_shard(provenance.resolution)))
    names = [shard_name(number, "tar") for number in numbers]
    for number in numbers:
        shard, columns = committed_shard(folder, number, "tar")
        shards.append(shard)
        parts.append(
            manifest_table(columns, names)
        )  # at once: lists of Python objects take ten times the memory
    table = pa.concat_tables(parts).unify_dictionaries().combine_chunks()
    content_id = _content_id(record, table)
    known = described(table, SAID_OF_EACH)
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


def _content_id(record: Mapping[str, Any], table: pa.Table) -> str:
    """Return a digest of what was asked for and of what came: the checksums of all pixels."""
    checksums = hashlib.sha256(table["crc32c"].to_numpy().astype("<u4").tobytes()).hexdigest()
    return _digest({"format_version": FORMAT_VERSION, "request": record["request"], "crc32c": checksums})


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:32]


def _format(provenance: Provenance) -> PatchFormat:
    return PatchFormat("tar", "none", provenance.resolution, "uint8")


def _per_shard(resolution: int) -> int:
    """Return how many patches a shard holds: a power of two."""
    fitting = max(16, _SHARD_BYTES // resolution**2)
    return int(min(_MOST_PATCHES, 1 << (fitting.bit_length() - 1)))


def _write_sheet(path: Path, shards: ShardSet, plan: Plan, provenance: Provenance) -> None:
    shown = spread(len(plan))
    images = list(shards.read(shown))
    captions = [caption(in_words(plan.at(index))) for index in shown]
    write_sheet(path, images, captions, sheet_title(len(plan)), provenance)
