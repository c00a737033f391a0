"""A shard set is cut from the image store into a dataset root: plan, cut in parallel, commit. No DICOM is opened."""

import json
from collections.abc import Collection, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa

from nlbs.errors import DatasetError, ShardError
from nlbs.files import make_folder, move_file, remove_folder, remove_partials, write_json, write_with
from nlbs.manifests.conditions import AGE_BINS, LATERALITIES, VIEWS
from nlbs.manifests.splits import SPLITS
from nlbs.paths import AnyPath
from nlbs.preprocess.cut import PARTS, cut_shard, read_part
from nlbs.preprocess.grid import CutOptions
from nlbs.preprocess.progress import Progress
from nlbs.preprocess.shard_plan import LabelledImage, ShardPlan, plan_shards
from nlbs.preprocess.store import ImageStore
from nlbs.preprocess.workers import Workers
from nlbs.shards.container import remove_shard, shard_name
from nlbs.shards.layout import (
    FORMAT,
    FORMAT_VERSION,
    RECORD_SHA256,
    SHARD_SET_JSON,
    manifest_name,
    read_shard_set_json,
    record_digest,
)
from nlbs.shards.manifest import SCHEMA, condition_codes, manifest_table, read_manifest, write_manifest
from nlbs.shards.verify import sha256_of

#: In the folder of parts: the shard_set.json of a set that is being overwritten.
_REPLACED = "replaced.json"


@dataclass(frozen=True)
class CutSummary:
    """What a shard set holds."""

    folder: AnyPath
    images: int
    patches: int
    shards: int
    nbytes: int  #: of all shards
    reused: int  #: shards that were there already
    unknown_spacing: int = 0  #: images left out, because their spacing is unknown


def cut_shard_set(
    root: AnyPath,
    store: ImageStore,
    images: Sequence[LabelledImage],
    options: CutOptions,
    workers: Workers,
    overwrite: bool,
    images_generation: int = 1,
    folder: AnyPath | None = None,
) -> CutSummary:
    """Cuts a shard set into ``root``/``options.name``, or finishes one that was interrupted.

    The unit of work is a shard: a fixed group of images, so that the bytes do not depend on the
    number of jobs. ``shard_set.json`` comes last and makes the set complete.

    Args:
        root: the dataset root.
        store: the decoded images.
        images: what to cut, in any order.
        options: what a patch is, and what it is stored as.
        workers: who cuts.
        overwrite: cut anew what is there for other images or options.
        images_generation: the newest one of images.csv.
        folder: of the set; None is the one of ``root`` that the options name.

    Raises:
        DatasetError: a complete set of other images or options stands there and is not to be
            overwritten; no patch is left; or the spacing of images is unknown and has to be known.
        ConfigError: the store holds less than the options ask for.
    """
    options = options.for_store(str((store.attributes or {})["dtype"]))
    folder = folder or root / options.name
    plan = replace(plan_shards(images, store, options), images_generation=images_generation)
    if is_complete(folder, plan.dataset_id, overwrite):
        info = read_shard_set_json(folder)
        if (folder / PARTS).is_dir():  # left where a run ended just after its last commit
            remove_parts(folder, {shard["name"] for shard in info["shards"]}, options.container)
        summary = summary_of(folder)
        return replace(summary, reused=summary.shards, unknown_spacing=plan.unknown_spacing)
    reused = cut_groups(folder, plan, store, options, workers)
    commit(folder, plan)
    return replace(summary_of(folder), reused=reused, unknown_spacing=plan.unknown_spacing)


def cut_groups(
    folder: AnyPath,
    plan: ShardPlan,
    store: ImageStore,
    options: CutOptions,
    workers: Workers,
    only: Collection[int] | None = None,
) -> int:
    """Cuts the shards of a plan; gives how many were there already.

    Args:
        folder: of the shard set.
        plan: which images stand in which shard.
        store: the decoded images.
        options: how to cut.
        workers: who cuts.
        only: numbers of shards; None is all of the plan.
    """
    folder, store = folder.absolute(), type(store)(store.path.absolute())
    begin_set(folder)
    groups = [
        (number, group)
        for number, group in enumerate(plan.groups, start=plan.first)
        if only is None or number in only
    ]
    ids = (plan.content_id, plan.dataset_id)
    tasks = ((folder, number, group, store, options, *ids) for number, group in groups)
    reused = 0
    with (
        Progress("Cutting", sum(len(group) for _, group in groups)) as progress,
        closing(workers.run(cut_shard, tasks, folder)) as results,
    ):
        for done in results:
            reused += done.reused
            progress.advance(done.images, done.patches)
    for place in (folder, folder / PARTS):
        remove_partials(place)  # of a cluster's workers that died
    return reused


def begin_set(folder: AnyPath) -> None:
    """Makes the folder of a set that is to be written, and removes what a killed process left half-written in it."""
    make_folder(folder / PARTS)
    _remove_replaced(folder)
    for place in (folder, folder / PARTS):
        remove_partials(place)


def is_complete(folder: AnyPath, dataset_id: str, overwrite: bool) -> bool:
    """Says whether a set stands there whole; one of another id goes, where it may.

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
            f"{folder} is a shard set of other images, conditions or options ({info['counts']['images']} images): "
            "pass --overwrite to cut it anew, or choose another folder for --out"
        )
    make_folder(folder / PARTS)
    # First: from here on the set is not complete. Its names are kept until the last of its files is gone.
    move_file(folder / SHARD_SET_JSON, folder / PARTS / _REPLACED)
    _remove_replaced(folder)
    return False


def _remove_replaced(folder: AnyPath) -> None:
    """Removes the files of a set that is being overwritten."""
    record = folder / PARTS / _REPLACED
    try:
        info = json.loads(record.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return
    earlier = [
        name for entry in info.get("history", ()) for name in (entry["name"], entry["manifest"]["name"])
    ]
    for name in [*earlier, info["manifest"]["name"]]:
        (folder / name).unlink(missing_ok=True)
    for shard in info["shards"]:
        remove_shard(folder, shard["name"])
    record.unlink()


def commit(folder: AnyPath, plan: ShardPlan, before: Sequence[Mapping[str, Any]] = ()) -> None:
    """Makes the shards of a plan a set, or the next generation of one.

    Args:
        folder: of the shard set, every shard of the plan cut.
        plan: what was cut.
        before: shards of earlier generations, as in their ``shard_set.json``.
    """
    table, shards = assemble(folder, plan, before)
    if plan.history:  # a copy of what now stands there, for whoever opens the earlier generation
        kept, data = folder / plan.history[-1]["name"], (folder / SHARD_SET_JSON).read_bytes()
        write_with(kept, lambda file: file.write(data))
    finish_set(folder, table, description(plan, table, shards))


def assemble(
    folder: AnyPath, plan: ShardPlan, before: Sequence[Mapping[str, Any]]
) -> tuple[pa.Table, list[Mapping[str, Any]]]:
    """Gives the manifest of a plan whose shards are cut, and what ``shard_set.json`` says of each shard.

    Args: as for :func:`commit`.
    """
    columns: dict[str, list[Any]] = {field: [] for field in (*SCHEMA.names, *plan.kept)}
    shards = list(before)
    for number in range(plan.first, plan.first + len(plan.groups)):
        shard, part = committed_shard(folder, number, plan.parameters["container"])
        for field, values in part.items():
            columns[field].extend(values)
        shards.append(shard)
    table = manifest_table(columns, [str(shard["name"]) for shard in shards])
    if plan.history:
        last = plan.history[-1]
        manifest = last["manifest"]
        old = read_manifest(folder / manifest["name"], last["dataset_id"], manifest["rows"])
        # Values keep their places in the dictionaries, and new ones follow.
        table = pa.concat_tables([old.replace_schema_metadata(None), table]).unify_dictionaries()
    if not table.num_rows:
        raise DatasetError(
            f"not one patch of {plan.parameters['resolution']} pixels is breast to a share of "
            f"{plan.parameters['min_foreground']}: lower --min-foreground or --resolution"
        )
    return table, shards


def description(plan: ShardPlan, table: pa.Table, shards: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Gives what ``shard_set.json`` says of a plan that is cut, but for its manifest."""
    return {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "dataset_id": plan.dataset_id,
        "content_id": plan.content_id,
        "parameters": plan.parameters,
        "counts": {**_counts(table), "images": plan.images},
        "code_books": {
            "view": list(VIEWS),
            "laterality": list(LATERALITIES),
            "age_bin": list(AGE_BINS),
            "cancer": ["no", "yes"],
            "false_positive": ["no", "yes"],
            "split": list(SPLITS),
            **{name: table[name].chunk(0).dictionary.to_pylist() for name in plan.kept},
        },
        "shards": list(shards),
        "generation": plan.generation,
        "images_generation": plan.images_generation,
        "history": list(plan.history),
    }


def committed_shard(
    folder: AnyPath, number: int, container: str
) -> tuple[dict[str, Any], dict[str, list[Any]]]:
    """Gives what shard_set.json says of a shard that was written, and its columns of the manifest.

    Raises:
        ShardError: its commit record is gone.
    """
    name, part = shard_name(number, container), read_part(folder, number)
    if part is None:
        raise ShardError(f"shard {folder / name} has vanished while it was written: run it again")
    columns: dict[str, list[Any]] = part["columns"]
    return {"name": name, **part["entry"], "patches": len(columns["offset"])}, columns


def finish_set(folder: AnyPath, table: pa.Table, info: dict[str, Any]) -> None:
    """Writes the manifest, then ``shard_set.json``, and removes the records of the single shards.

    Args:
        folder: of the set, with all its shards.
        table: the manifest.
        info: all that shard_set.json says, but for the manifest.
    """
    write_manifest(folder / manifest_name(info["generation"]), table, info["dataset_id"])
    write_json(folder / SHARD_SET_JSON, with_manifest(folder, info, table.num_rows))
    remove_parts(folder, {str(shard["name"]) for shard in info["shards"]}, info["parameters"]["container"])


def with_manifest(folder: AnyPath, info: dict[str, Any], rows: int) -> dict[str, Any]:
    """Gives what ``shard_set.json`` says in whole, of a set whose manifest is in place."""
    name = manifest_name(info["generation"])
    whole = {**info, "manifest": {"name": name, "rows": rows, "sha256": sha256_of(folder / name)}}
    return {**whole, RECORD_SHA256: record_digest(whole)}


def _counts(table: pa.Table) -> dict[str, Any]:
    """Gives the patches per split and per value of each condition; "unknown" where a value is null."""
    books = {"view": VIEWS, "laterality": LATERALITIES, "age_bin": AGE_BINS}
    counts: dict[str, Any] = {"patches": table.num_rows}
    counts["patients"] = len(table["patient"].unique())
    splits = table["split"].to_pylist()
    counts["split"] = {split: splits.count(split) for split in SPLITS}
    for name, codes in condition_codes(table).items():
        names = books.get(name, ("no", "yes"))
        counts[name] = {value: int((codes == code).sum()) for code, value in enumerate(names)}
        counts[name]["unknown or other"] = int((codes < 0).sum())
    return counts


def remove_parts(folder: AnyPath, shards: Collection[str], container: str) -> None:
    """Removes the records of single shards, and shards of an earlier, longer plan that they name."""
    for part in (folder / PARTS).glob("[0-9]*.json"):
        name = shard_name(int(part.stem), container)
        if name not in shards:
            remove_shard(folder, name)
    remove_folder(folder / PARTS)


def summary_of(folder: AnyPath) -> CutSummary:
    """Gives what the newest generation of a shard set holds."""
    info = read_shard_set_json(folder)
    shards = info["shards"]
    return CutSummary(
        folder=folder,
        images=info["counts"]["images"],
        patches=info["counts"]["patches"],
        shards=len(shards),
        nbytes=sum(shard["bytes"] for shard in shards),
        reused=0,
    )
