"""A shard set moves to another container, shard by shard: the same pixels, the same rows, no image store needed."""

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from nlbs.errors import ConfigError, DatasetError, ShardError
from nlbs.files import only_one
from nlbs.paths import AnyPath
from nlbs.preprocess.sets.cut import CutSummary, summary_of
from nlbs.preprocess.sets.plan import dataset_id_of
from nlbs.preprocess.workers import Workers
from nlbs.progress import Progress
from nlbs.shards import ShardSet, open_shards
from nlbs.shards.format.commit import (
    begin_set,
    committed_rows,
    committed_shard,
    finish_set,
    is_complete,
    write_part,
)
from nlbs.shards.format.container import (
    CONTAINERS,
    Patch,
    PatchFormat,
    misfit,
    shard_name,
    suffix,
    write_shard,
)
from nlbs.shards.format.layout import IMAGES_CSV
from nlbs.shards.format.manifest import SCHEMA, indices

_PLACE = ("shard", "offset", "nbytes", "crc32c")
_AT_ONCE = 64  # patches read together: threads have something to do, and memory stays small
_SHARDS_PER_TASK = 8  # a task opens the set once


@dataclass(frozen=True)
class ConvertOptions:
    """What a shard set is to be moved to."""

    container: str  #: one of nlbs.shards.format.container.CONTAINERS
    compression: str = "none"
    out: AnyPath | None = None  #: the new folder; None is beside the old one
    workers: Workers = field(default_factory=Workers)
    overwrite: bool = False  #: write anew where another set stands

    def __post_init__(self) -> None:
        """Raise ConfigError where the container does not hold what is so compressed."""
        problem = misfit(self.container, self.compression)
        if problem is not None:
            raise ConfigError(problem)


def convert(shards: AnyPath, options: ConvertOptions) -> CutSummary:
    """Move a shard set to another container, or finishes a move that was interrupted.

    What comes is to the last byte the set that a cut into that container gives, so that a way
    there and back ends with the bytes that it began with.

    Args:
        shards: a shard set, or a dataset root with one.
        options: where to.

    Raises:
        ShardError: the set cannot be read, or a patch of it is damaged.
        DatasetError: another set stands in the new folder.
    """
    with open_shards(shards) as source:
        if "content_id" not in source.info:
            raise ShardError(f"{source.folder} does not say its content_id: cut it again with this release")
        parameters = {
            **source.parameters,
            "container": options.container,
            "compression": options.compression,
        }
        dataset_id = dataset_id_of(str(source.info["content_id"]), parameters)
        folder = (options.out or source.folder.with_name(_name(source, options))).absolute()
        if folder == source.folder:
            raise DatasetError(f"{folder} cannot be moved onto itself: choose another folder with --out")
        root = folder.parent if (folder.parent / IMAGES_CSV).is_file() else folder
        with only_one(root, "nlbs-preprocess"):
            if is_complete(folder, dataset_id, options.overwrite):
                return replace(summary_of(folder), reused=len(source.info["shards"]))
            begin_set(folder)
            reused = _convert_shards(source, folder, PatchFormat.of(parameters), dataset_id, options.workers)
            _commit(source, folder, parameters, dataset_id)
    return replace(summary_of(folder), reused=reused)


def _convert_shards(
    source: ShardSet, folder: AnyPath, form: PatchFormat, dataset_id: str, workers: Workers
) -> int:
    """Write what is missing of all shards; return how many were there."""
    numbers = range(len(source.info["shards"]))
    missing = [n for n in numbers if committed_rows(folder, n, form, dataset_id) is None]
    tasks = (
        (source.folder, folder, missing[i : i + _SHARDS_PER_TASK], form, dataset_id)
        for i in range(0, len(missing), _SHARDS_PER_TASK)
    )
    with (
        Progress("Moving", len(missing), "shard") as progress,
        closing(workers.run(_convert_some, tasks, folder)) as results,
    ):
        for shards, patches in results:
            progress.advance(shards, patches)
    return len(numbers) - len(missing)


def _convert_some(
    source: AnyPath, folder: AnyPath, numbers: Sequence[int], form: PatchFormat, dataset_id: str
) -> tuple[int, int]:
    """Write some shards, each followed by its commit record; return how many shards and patches these are."""
    patches = 0
    with ShardSet(source) as shards:
        of_shard = indices(shards.manifest["shard"]).to_numpy()
        for number in numbers:
            rows = np.flatnonzero(of_shard == number)
            written = write_shard(
                folder / shard_name(number, form.container), _patches(shards, rows, form.container), form
            )
            places = [place._asdict() for place in written.placements]
            columns = {name: [place[name] for place in places] for name in _PLACE[1:]}
            write_part(folder, number, dataset_id, written, columns)
            patches += len(rows)
    return len(numbers), patches


def _patches(shards: ShardSet, rows: npt.NDArray[np.int64], container: str) -> Iterator[Patch]:
    """Yield the patches of some rows, as a cut gives them to a shard."""
    for start in range(0, len(rows), _AT_ONCE):
        some = rows[start : start + _AT_ONCE]
        pixels = shards.read(some)
        if container == "tar":
            known = shards.manifest.take(some).drop_columns(list(_PLACE)).to_pylist()
        else:  # whose shards say nothing but pixels
            known = [{}] * len(some)
        for record, patch in zip(known, pixels, strict=True):
            key = f"{record['image']}_{record['y']:05d}_{record['x']:05d}" if record else ""
            # A cut rounds to four digits what the manifest then holds as float32.
            rounded = {"foreground": round(record["foreground"], 4)} if record else {}
            yield key, patch, {**record, **rounded}


def _commit(source: ShardSet, folder: AnyPath, parameters: dict[str, Any], dataset_id: str) -> None:
    """Make the shards a set: the rows of the old manifest at their new places."""
    shards: list[dict[str, Any]] = []
    columns: dict[str, list[Any]] = {name: [] for name in _PLACE[1:]}
    for number in range(len(source.info["shards"])):
        shard, places = committed_shard(folder, number, parameters["container"])
        shards.append(shard)
        for name in columns:
            columns[name].extend(places[name])
    table, names = source.manifest, pa.array([shard["name"] for shard in shards], type=pa.string())
    # In the order of the shards, as they stand in the manifest.
    by_shard = pa.DictionaryArray.from_arrays(indices(table["shard"]).combine_chunks(), names)
    arrays = {name: pa.array(columns[name], type=SCHEMA.field(name).type) for name in columns}
    for name, array in {"shard": by_shard, **arrays}.items():
        table = table.set_column(table.schema.get_field_index(name), table.schema.field(name), array)
    moved: dict[str, Any] = {"dataset_id": dataset_id, "parameters": parameters, "shards": shards}
    moved |= {"generation": 1, "history": []}  # what was appended is one with the rest here
    finish_set(folder, table, {**source.info, **moved}, source.folder)


def _name(source: ShardSet, options: ConvertOptions) -> str:
    """Return the name of the old folder with the ending of the new container."""
    endings = {suffix(container, kind) for container, kinds in CONTAINERS.items() for kind in kinds}
    base = source.folder.name
    for ending in sorted(endings - {""}, key=len, reverse=True):
        if base.endswith(ending):
            base = base.removesuffix(ending)
            break
    return base + suffix(options.container, options.compression)
