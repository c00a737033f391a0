"""Damaged files of a shard set are cut anew from the decoded images beside it: the same bytes as before."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from nlbs.errors import ConfigError, DatasetError
from nlbs.files import only_one, read_json, write_json
from nlbs.paths import AnyPath
from nlbs.preprocess.images.grid import CutOptions
from nlbs.preprocess.images.store import ImageStore
from nlbs.preprocess.root.tables import read_generations
from nlbs.preprocess.sets.cut import assemble, cut_groups, description
from nlbs.preprocess.sets.grow import (
    Generations,
    cut_options_of,
    history_entry,
    images_between,
    plan_generation,
)
from nlbs.preprocess.sets.plan import ShardPlan
from nlbs.preprocess.workers import Workers
from nlbs.shards.format.commit import PARTS, finish_set, remove_parts, with_manifest
from nlbs.shards.format.layout import (
    IMAGES_CSV,
    RECORD_SHA256,
    SHARD_SET_JSON,
    STORE,
    can_be_repaired,
    description_name,
    manifest_name,
    read_description,
    read_shard_set_json,
    record_digest,
)
from nlbs.shards.format.manifest import dataset_id_of, read_manifest, write_manifest
from nlbs.shards.format.verify import damages


def repair(folder: AnyPath, workers: Workers) -> None:
    """Restore what is damaged in a shard set, of whichever generation.

    Raises:
        DatasetError: the images, conditions or splits are no longer those that the set was cut from.
    """
    root = folder.parent
    if not can_be_repaired(folder):
        raise DatasetError(
            f"{folder} stands alone, without the decoded images it was cut from, so it cannot be restored: copy it "
            f"again from where it came, or put it back beside its {STORE} and {IMAGES_CSV}"
        )
    with only_one(root, "nlbs-preprocess"):
        store, generations = ImageStore.existing(root / STORE), read_generations(root)
        if any(damage.name == SHARD_SET_JSON for damage in damages(folder)):
            _restore_description(folder, store, generations, workers)
        info = read_shard_set_json(folder)
        plans = _plans(folder, info, store, generations)
        damaged = {damage.name.split("/")[0] for damage in damages(folder)}  # a shard may be a folder
        for plan in plans:
            _restore(folder, info, plan, store, damaged, workers)
        if (folder / PARTS).exists():
            names = {shard["name"] for shard in info["shards"]}
            remove_parts(folder, names, info["parameters"]["container"])


def _restore_description(
    folder: AnyPath, store: ImageStore, generations: Generations, workers: Workers
) -> None:
    """Restore a damaged ``shard_set.json``, with the shards that only it describes."""
    history: list[dict[str, Any]] = []
    before: list[dict[str, Any]] = []
    while (folder / description_name(len(history) + 1)).is_file():
        name = description_name(len(history) + 1)
        earlier = read_description(folder, name)
        if earlier.get(RECORD_SHA256) != record_digest(earlier):
            raise _cut_from_others(folder)
        history.append(history_entry(folder, earlier, name))
        before = earlier["shards"]
    cut = _what_was_cut(folder)
    dataset_id = dataset_id_of(folder / manifest_name(len(history) + 1))
    after = history[-1]["images_generation"] if history else 0
    for until in sorted(generations, reverse=True):  # the set need not have grown as often as the root
        images = images_between(generations, after, until)
        plan = plan_generation(images, store, cut, history, until) if images else None
        # The manifest knows the id too. Another set than the damaged one cannot have it.
        if plan is not None and plan.dataset_id == dataset_id:
            cut_groups(folder, plan, store, cut, workers)
            table, shards = assemble(folder, plan, before)
            finish_set(folder, table, description(plan, table, shards))
            return
    raise _cut_from_others(folder)


def _what_was_cut(folder: AnyPath) -> CutOptions:
    """Return the options of a set with a damaged description: what can still be read there; else by its name."""
    try:
        return cut_options_of(read_json(folder / SHARD_SET_JSON))
    except (OSError, ValueError, TypeError, LookupError, AttributeError, ConfigError):
        match = re.fullmatch(r"r(\d+)-s(\d+)", folder.name)
        return CutOptions(int(match[1]), int(match[2])) if match else CutOptions()


def _cut_from_others(folder: AnyPath) -> DatasetError:
    return DatasetError(
        f"{folder} was cut from other images or conditions than {folder.parent} holds now, so its bytes "
        "cannot be restored: cut it anew with reshard --overwrite"
    )


def _plans(
    folder: AnyPath, info: Mapping[str, Any], store: ImageStore, generations: Generations
) -> list[ShardPlan]:
    """Return the plan of each generation of a set, checked against what the set says of itself."""
    history: Sequence[dict[str, Any]] = info.get("history", ())
    plans, before = [], 0
    for number, entry in enumerate([*history, history_entry(folder, info)]):
        until = entry["images_generation"]
        images = images_between(generations, before, until)
        plan = (
            plan_generation(images, store, cut_options_of(info), history[:number], until) if images else None
        )
        if plan is None or plan.dataset_id != entry["dataset_id"]:
            raise _cut_from_others(folder)
        if plan.first + len(plan.groups) > len(info["shards"]):
            raise _cut_from_others(folder)
        plans.append(plan)
        before = until
    return plans


def _restore(
    folder: AnyPath,
    info: Mapping[str, Any],
    plan: ShardPlan,
    store: ImageStore,
    damaged: set[str],
    workers: Workers,
) -> None:
    """Restore the damaged files of one generation; those before it are whole."""
    until = plan.first + len(plan.groups)
    numbers = [n for n in range(plan.first, until) if info["shards"][n]["name"] in damaged]
    name = manifest_name(plan.generation)
    if name in damaged:  # its rows come with the shards
        numbers = list(range(plan.first, until))
    if numbers:
        cut_groups(folder, plan, store, cut_options_of(info), workers, only=numbers)
    if name in damaged:
        table, _ = assemble(folder, plan, info["shards"][: plan.first])
        write_manifest(folder / name, table, plan.dataset_id)
    kept = description_name(plan.generation)
    if kept in damaged:
        rows = info["history"][plan.generation - 1]["manifest"]["rows"]
        table = read_manifest(folder / name, plan.dataset_id, rows)
        described = description(plan, table, info["shards"][:until])
        write_json(folder / kept, with_manifest(folder, described, rows))
