"""A shard set is cut from the image store into a dataset root: plan, cut in parallel, commit. No DICOM is opened."""

from collections.abc import Collection, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa

from nlbs.errors import DatasetError
from nlbs.files import remove_partials, write_with
from nlbs.paths import AnyPath
from nlbs.preprocess.images.grid import CutOptions
from nlbs.preprocess.images.store import ImageStore
from nlbs.preprocess.sets.cut import cut_shard
from nlbs.preprocess.sets.plan import LabelledImage, ShardPlan, plan_shards
from nlbs.preprocess.workers import Workers
from nlbs.progress import Progress
from nlbs.shards.format.commit import (
    PARTS,
    begin_set,
    committed_shard,
    described,
    finish_set,
    is_complete,
    remove_parts,
)
from nlbs.shards.format.layout import SHARD_SET_JSON, read_shard_set_json
from nlbs.shards.format.manifest import SCHEMA, manifest_table, read_manifest


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
    """Cut a shard set into ``root``/``options.name``, or finishes one that was interrupted.

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
    """Cut the shards of a plan; return how many were there already.

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


def commit(folder: AnyPath, plan: ShardPlan, before: Sequence[Mapping[str, Any]] = ()) -> None:
    """Make the shards of a plan a set, or the next generation of one.

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
    """Return the manifest of a plan whose shards are cut, and what ``shard_set.json`` says of each shard.

    Args: as for :func:`commit`.
    """
    columns: dict[str, list[Any]] = {field: [] for field in (*SCHEMA.names, *plan.kept)}
    shards = list(before)
    for number in range(plan.first, plan.first + len(plan.groups)):
        shard, part = committed_shard(folder, number, plan.parameters["container"])
        for field in columns:
            columns[field].extend(part.get(field, ()))
        shards.append(shard)
    try:
        table = manifest_table(columns, [str(shard["name"]) for shard in shards])
    except (pa.ArrowException, TypeError, ValueError, KeyError, OverflowError):
        raise DatasetError(
            f"the records in {folder / PARTS} are not of this set: delete that folder, and run the command again"
        ) from None
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
    """Return what ``shard_set.json`` says of a plan that is cut, but for its manifest."""
    known = described(table, plan.kept)
    return {
        **known,
        "dataset_id": plan.dataset_id,
        "content_id": plan.content_id,
        "parameters": plan.parameters,
        "counts": {**known["counts"], "images": plan.images},
        "shards": list(shards),
        "generation": plan.generation,
        "images_generation": plan.images_generation,
        "history": list(plan.history),
    }


def summary_of(folder: AnyPath) -> CutSummary:
    """Return what the newest generation of a shard set holds."""
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
