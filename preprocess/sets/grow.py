"""A shard set grows: new images become a new generation in shards of their own, old files stay as they are."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from nlbs.errors import DatasetError
from nlbs.paths import AnyPath
from nlbs.preprocess.images.grid import CutOptions
from nlbs.preprocess.images.store import ImageStore
from nlbs.preprocess.sets.cut import CutSummary, commit, cut_groups, summary_of
from nlbs.preprocess.sets.plan import LabelledImage, ShardPlan, dataset_id_of, digest_of, plan_shards
from nlbs.preprocess.workers import Workers
from nlbs.shards.format.layout import SHARD_SET_JSON, description_name, read_shard_set_json
from nlbs.shards.format.verify import sha256_of

Generations = Mapping[int, Sequence[LabelledImage]]


def add_generation(
    folder: AnyPath, store: ImageStore, generations: Generations, workers: Workers
) -> CutSummary | None:
    """Cut the images that a shard set lacks into new shards; None where it lacks none.

    Readers see the set as it was until ``shard_set.json`` is replaced, last of all.

    Args:
        folder: of a complete shard set.
        store: the decoded images.
        generations: all images of the dataset root.
        workers: who cuts.

    Raises:
        DatasetError: the set was cut from a store that was decoded otherwise.
    """
    info = read_shard_set_json(folder)
    newest = max(generations, default=1)
    images = images_between(generations, images_generation(info), newest)
    if not images:
        return None
    options = cut_options_of(info)
    plan = plan_generation(
        images, store, options, (*info.get("history", ()), history_entry(folder, info)), newest
    )
    if json.loads(json.dumps(plan.parameters)) != info["parameters"]:
        raise DatasetError(
            f"{folder} was cut with other parameters than {store.path} gives now: cut it anew with reshard --overwrite"
        )
    reused = cut_groups(folder, plan, store, options, workers)
    commit(folder, plan, info["shards"])
    return replace(summary_of(folder), reused=reused)


def plan_generation(
    images: Sequence[LabelledImage],
    store: ImageStore,
    options: CutOptions,
    history: Sequence[dict[str, Any]],
    newest: int,
) -> ShardPlan:
    """Return the plan of one generation of a shard set.

    Args:
        images: that came with it.
        store: the decoded images.
        options: how to cut.
        history: of the set before, as in ``shard_set.json``.
        newest: generation of images.csv.
    """
    plan = replace(plan_shards(images, store, options), images_generation=newest)
    if not history:
        return plan
    last = history[-1]
    # Shards as large as those before: few new images need not become many small files.
    own = len(plan.groups[0]) if plan.groups else 1  # all of them may be left out
    size = max(own, -(-int(last["images"]) // int(last["shards"])))
    ordered = [image for group in plan.groups for image in group]
    content_id = digest_of([last["content_id"], plan.content_id])
    return replace(
        plan,
        groups=[ordered[start : start + size] for start in range(0, len(ordered), size)],
        content_id=content_id,
        dataset_id=dataset_id_of(content_id, plan.parameters),
        history=tuple(history),
    )


def history_entry(folder: AnyPath, info: Mapping[str, Any], name: str = SHARD_SET_JSON) -> dict[str, Any]:
    """Return what ``shard_set.json`` of the next generation says about this one, whose description has a name."""
    return {
        "name": description_name(int(info.get("generation", 1))),
        "sha256": sha256_of(folder / name),
        "dataset_id": info["dataset_id"],
        "content_id": info["content_id"],
        "images_generation": images_generation(info),
        "images": info["counts"]["images"],
        "shards": len(info["shards"]),
        "manifest": info["manifest"],
    }


def images_generation(info: Mapping[str, Any]) -> int:
    """Return the newest generation of images.csv that a shard set holds."""
    return int(info.get("images_generation", 1))


def images_between(generations: Generations, after: int, until: int) -> list[LabelledImage]:
    """Return the images of the generations after one, until another and with it."""
    return [
        image
        for generation in sorted(generations)
        if after < generation <= until
        for image in generations[generation]
    ]


def cut_options_of(info: Mapping[str, Any]) -> CutOptions:
    """Return how a shard set was cut."""
    return CutOptions.from_parameters(info["parameters"])
