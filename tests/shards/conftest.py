"""Tiny shard sets, written by the writers of nlbs.shards with pixels and conditions that the test knows."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from nlbs.files import write_json
from nlbs.manifests.people.splits import SPLITS
from nlbs.manifests.schema import NLBS
from nlbs.shards.format.container import PatchFormat, write_shard
from nlbs.shards.format.manifest import SCHEMA, manifest_table, write_manifest

TAKEN_IN_TURN: dict[str, Sequence[Any]] = {
    "view": ["CC", "MLO", None, "ML"],
    "laterality": ["L", "R", None],
    "age_years": [44, None, 50, 60, 90],
    "age_bin": [0, None, 1, 2, 3],
    "cancer": [0, 1, None],
    "false_positive": [1, 0, 0, None],
    "split": ["train", "train", "val", "test"],
    "foreground": [1.0, 0.25, 0.5],
}


def seal_and_write(path: Path, info: dict[str, Any]) -> None:
    """Writes a shard_set.json with the digest of what it says."""
    digest = hashlib.sha256(json.dumps(info, sort_keys=True).encode()).hexdigest()
    write_json(path, {**info, "record_sha256": digest})


def make_shard_set(
    folder: Path,
    patches: int = 12,
    resolution: int = 16,
    dtype: str = "uint8",
    shards: int = 3,
    seed: int = 0,
    dataset_id: str = "0123456789abcdef0123456789abcdef",
    columns: Mapping[str, Sequence[Any]] | None = None,
    container: str = "tar",
    compression: str = "none",
    pixels: npt.NDArray[Any] | None = None,
) -> npt.NDArray[Any]:
    """Writes a complete shard set and gives its pixels, (patches, resolution, resolution), by row.

    Args:
        folder: of the shard set; made where it is missing.
        patches: how many; row r stands in shard r * shards // patches.
        resolution: edge of a patch.
        dtype: "uint8" or "uint16"; the pixels are noise over its whole range.
        shards: how many files.
        seed: of the noise.
        dataset_id: as in shard_set.json and the manifest.
        columns: values of manifest columns, one per patch, instead of those of TAKEN_IN_TURN.
        container, compression: what the patches are stored as.
        pixels: of that shape and type, in place of noise.
    """
    folder.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed)
    if pixels is None:
        pixels = noise.integers(
            0, np.iinfo(dtype).max, (patches, resolution, resolution), dtype=dtype, endpoint=True
        )
    values: dict[str, list[Any]] = {
        name: [turn[row % len(turn)] for row in range(patches)] for name, turn in TAKEN_IN_TURN.items()
    }
    values["image"] = [f"{row // 4:016x}" for row in range(patches)]
    values["patient"] = [f"p{row // 8:012x}" for row in range(patches)]
    values["y"] = [resolution * (row % 4) for row in range(patches)]
    values["x"] = [7] * patches
    values["scale"] = [1.0] * patches
    values |= {name: list(given) for name, given in (columns or {}).items()}
    columns_in_tar = [name for name in SCHEMA.names if name in values]
    values |= {name: [] for name in ("shard", "offset", "nbytes", "crc32c")}
    infos = []
    for shard in range(shards):
        rows = [row for row in range(patches) if row * shards // patches == shard]
        name = f"{shard:05d}.{container}"
        members = [
            (
                f"{values['image'][row]}_{values['y'][row]:05d}_{values['x'][row]:05d}",
                pixels[row],
                {column: values[column][row] for column in columns_in_tar},
            )
            for row in rows
        ]
        written = write_shard(folder / name, members, PatchFormat(container, compression, resolution, dtype))
        for placement in written.placements:
            values["shard"].append(name)
            values["offset"].append(placement.offset)
            values["nbytes"].append(placement.nbytes)
            values["crc32c"].append(placement.crc32c)
        infos.append({"name": name, **written.entry, "patches": len(rows)})
    write_manifest(folder / "manifest.arrow", manifest_table(values, [i["name"] for i in infos]), dataset_id)
    parameters = {
        "resolution": resolution, "stride": resolution, "min_foreground": 0.1, "dtype": dtype, "container": container,
        "compression": compression,
    }  # fmt: skip
    _describe(folder, dataset_id, parameters, values, infos)
    return pixels


def _describe(
    folder: Path,
    dataset_id: str,
    parameters: dict[str, Any],
    values: dict[str, list[Any]],
    infos: list[dict[str, Any]],
) -> None:
    """Writes the shard_set.json of shards and a manifest that are there."""
    books = {condition.name: list(condition.values) for condition in NLBS}
    books |= {name: sorted(set(values[name]) - {None}) for name in values if name not in SCHEMA.names}
    rows, digest = len(values["image"]), hashlib.sha256((folder / "manifest.arrow").read_bytes()).hexdigest()
    info = {
        "format": "nlbs-shards",
        "format_version": 1,
        "dataset_id": dataset_id,
        "parameters": parameters,
        "counts": {"patches": rows, "images": len(set(values["image"]))},
        "code_books": {**books, "split": list(SPLITS)},
        "manifest": {"name": "manifest.arrow", "rows": rows, "sha256": digest},
        "shards": infos,
    }
    seal_and_write(folder / "shard_set.json", info)


@pytest.fixture
def shard_folder(tmp_path: Path) -> Path:
    """A complete shard set of 12 patches of 16x16 uint8 in 3 shards, in a dataset root of its own."""
    folder = tmp_path / "root" / "r16-s16"
    make_shard_set(folder)
    return folder
