"""A shard set is cut from the image store into a dataset root: plan, cut in parallel, commit. No DICOM is opened."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import joblib
import pyarrow as pa

from nlbs.errors import DatasetError, ShardError
from nlbs.files import make_folder, remove_folder, remove_partials, write_json
from nlbs.manifests.conditions import AGE_BINS, LATERALITIES, VIEWS
from nlbs.manifests.splits import SPLITS
from nlbs.paths import AnyPath
from nlbs.preprocess.cut import PARTS, cut_shard, read_part, shard_name
from nlbs.preprocess.grid import CutOptions
from nlbs.preprocess.progress import Progress
from nlbs.preprocess.shard_plan import LabelledImage, ShardPlan, plan_shards
from nlbs.preprocess.store import ImageStore
from nlbs.shards.layout import FORMAT, FORMAT_VERSION, MANIFEST, SHARD_SET_JSON, read_shard_set_json
from nlbs.shards.manifest import SCHEMA, condition_codes, manifest_table, write_manifest
from nlbs.shards.verify import sha256_of


@dataclass(frozen=True)
class CutSummary:
    """What a shard set holds."""

    folder: AnyPath
    images: int
    patches: int
    shards: int
    nbytes: int  #: of all shards
    reused: int  #: shards that were there already


def cut_shard_set(
    root: AnyPath,
    store: ImageStore,
    images: Sequence[LabelledImage],
    options: CutOptions,
    jobs: int,
    overwrite: bool,
) -> CutSummary:
    """Cuts a shard set into ``root``/``options.name``, or finishes one that was interrupted.

    The unit of work is a shard: a fixed group of images, so that the bytes do not depend on the
    number of jobs. ``shard_set.json`` comes last and makes the set complete.

    Args:
        root: the dataset root.
        store: the decoded images.
        images: what to cut, in any order.
        options: resolution, stride, least foreground.
        jobs: worker processes; -1 is one per core.
        overwrite: cut anew what is there for other images or options.

    Raises:
        DatasetError: a complete set of other images or options stands there and is not to be
            overwritten; or no patch is left.
    """
    folder = root / options.name
    plan = plan_shards(images, store, options)
    if _is_complete(folder, plan.dataset_id, overwrite):
        summary = _summary_of(folder)
        return replace(summary, reused=summary.shards)
    make_folder(folder / PARTS)
    for place in (folder, folder / PARTS):
        remove_partials(place)
    reused = 0
    with Progress("Cutting", len(images)) as progress:
        tasks = (
            joblib.delayed(cut_shard)(folder, number, group, store, options, plan.dataset_id)
            for number, group in enumerate(plan.groups)
        )
        run = joblib.Parallel(n_jobs=jobs, return_as="generator_unordered", batch_size=1)
        for done in run(tasks):
            reused += done.reused
            progress.advance(done.images, done.patches)
    _commit(folder, plan)
    return replace(_summary_of(folder), reused=reused)


def _is_complete(folder: AnyPath, dataset_id: str, overwrite: bool) -> bool:
    if not (folder / SHARD_SET_JSON).exists():
        return False
    info = read_shard_set_json(folder)
    if info["dataset_id"] == dataset_id:
        return True
    if not overwrite:
        raise DatasetError(
            f"{folder} is a shard set of other images, conditions or options ({info['counts']['images']} images): "
            "pass --overwrite to cut it anew, or choose another folder for --out"
        )
    (folder / SHARD_SET_JSON).unlink()  # first: from here on the set is not complete
    for name in [shard["name"] for shard in info["shards"]] + [MANIFEST]:
        (folder / name).unlink(missing_ok=True)
    return False


def _commit(folder: AnyPath, plan: ShardPlan) -> None:
    """Writes the manifest, then ``shard_set.json``, and removes the records of the single shards."""
    columns: dict[str, list[Any]] = {field: [] for field in SCHEMA.names}
    shards = []
    for number in range(len(plan.groups)):
        part = read_part(folder, number)
        if part is None:
            raise ShardError(
                f"shard {folder / shard_name(number)} has vanished while it was cut: run it again"
            )
        for field, values in part["columns"].items():
            columns[field].extend(values)
        committed = {key: part[key] for key in ("bytes", "crc32c")}
        shards.append({"name": shard_name(number), **committed, "patches": len(part["columns"]["offset"])})
    if not columns["offset"]:
        raise DatasetError(
            f"not one patch of {plan.parameters['resolution']} pixels is breast to a share of "
            f"{plan.parameters['min_foreground']}: lower --min-foreground or --resolution"
        )
    table = manifest_table(columns, [str(shard["name"]) for shard in shards])
    write_manifest(folder / MANIFEST, table, plan.dataset_id)
    info = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "dataset_id": plan.dataset_id,
        "parameters": plan.parameters,
        "counts": {**_counts(table), "images": sum(len(group) for group in plan.groups)},
        "code_books": {
            "view": list(VIEWS),
            "laterality": list(LATERALITIES),
            "age_bin": list(AGE_BINS),
            "cancer": ["no", "yes"],
            "false_positive": ["no", "yes"],
            "split": list(SPLITS),
        },
        "manifest": {
            "name": MANIFEST,
            "rows": table.num_rows,
            "sha256": sha256_of(folder / MANIFEST),
        },
        "shards": shards,
    }
    write_json(folder / SHARD_SET_JSON, info)
    _remove_parts(folder, {str(shard["name"]) for shard in shards})


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


def _remove_parts(folder: AnyPath, shards: set[str]) -> None:
    """Removes the records of single shards, and shards of an earlier, longer plan that they name."""
    for part in (folder / PARTS).glob("[0-9]*.json"):
        name = shard_name(int(part.stem))
        if name not in shards:
            (folder / name).unlink(missing_ok=True)
    remove_folder(folder / PARTS)


def _summary_of(folder: AnyPath) -> CutSummary:
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
