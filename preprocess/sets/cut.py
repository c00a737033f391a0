"""A shard set is cut from the image store into a dataset root: plan, cut in parallel, commit. No DICOM is opened."""

from collections.abc import Collection, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from nlbs.errors import DatasetError
from nlbs.files import remove_partials, write_with
from nlbs.paths import AnyPath
from nlbs.preprocess.images.grid import CutOptions, Patch, as_dtype, patches_of, resampled, sampling_of
from nlbs.preprocess.images.store import ImageStore
from nlbs.preprocess.sets.plan import LabelledImage, ShardPlan, plan_shards, record_of
from nlbs.preprocess.workers import Workers
from nlbs.progress import Progress
from nlbs.shards.format.commit import (
    PARTS,
    begin_set,
    committed_rows,
    committed_shard,
    described,
    finish_set,
    is_complete,
    manifest_columns,
    remove_parts,
    write_part,
)
from nlbs.shards.format.container import PatchFormat, shard_name, write_shard
from nlbs.shards.format.layout import SHARD_SET_JSON, read_shard_set_json
from nlbs.shards.format.manifest import SCHEMA, manifest_table, read_manifest
from nlbs.shards.format.payload import channels_of, foreground_word, pixel_dtype


@dataclass(frozen=True)
class CutShard:
    """What came of one shard."""

    images: int
    patches: int
    reused: bool


def cut_shard(
    folder: AnyPath,
    number: int,
    group: Sequence[LabelledImage],
    store: ImageStore,
    options: CutOptions,
    content_id: str,
    dataset_id: str,
) -> CutShard:
    """Write one shard and then, as its commit record, its rows of the manifest."""
    name = shard_name(number, options.container)
    attributes = store.attributes or {}
    dtype, channels = options.dtype or str(attributes["dtype"]), channels_of(attributes)
    form = PatchFormat(options.container, options.compression, options.resolution, dtype, channels)
    committed = committed_rows(folder, number, form, dataset_id)
    if committed is not None:
        return CutShard(len(group), len(committed["offset"]), reused=True)
    patches = [item for labelled in group for item in _cut_image(labelled, store, options)]
    # Not of the dataset_id, so that the same patches stand in the same order in every container.
    order = np.random.Generator(np.random.Philox(key=int(content_id[:16], 16) + number)).permutation(
        len(patches)
    )
    patches = [patches[index] for index in order]
    rows = [patch.row() for patch in patches]
    members = (patch.member(row) for patch, row in zip(patches, rows, strict=True))
    written = write_shard(folder / name, members, form)
    columns = manifest_columns(rows, written.placements, name)
    write_part(folder, number, dataset_id, written, columns)
    return CutShard(len(group), len(patches), reused=False)


@dataclass(frozen=True)
class _CutPatch:
    labelled: LabelledImage
    patch: Patch
    y: int  # in pixels of the source image
    x: int
    scale: float  # source pixels per pixel of the patch
    pixels: npt.NDArray[Any]

    def row(self) -> dict[str, Any]:
        """Return what the manifest says of the patch beside its place."""
        return {
            "image": self.labelled.image,
            "y": self.y,
            "x": self.x,
            "scale": self.scale,
            "foreground": round(self.patch.foreground, 4),
            **self.labelled.conditions.cells(),
            "patient": self.labelled.patient,
            "split": self.labelled.split,
            **self.labelled.kept,
        }

    def member(self, row: dict[str, Any]) -> tuple[str, npt.NDArray[Any], dict[str, Any]]:
        """Return key, pixels and record of the patch in a tar shard."""
        return f"{self.labelled.image}_{self.y:05d}_{self.x:05d}", self.pixels, row


def _cut_image(labelled: LabelledImage, store: ImageStore, options: CutOptions) -> list[_CutPatch]:
    record, crop = record_of(store, labelled.image), store.pixels(labelled.image)
    grid = sampling_of(record, options)
    if grid is None:
        raise AssertionError("the plan leaves out images whose spacing is unknown")
    pixels = as_dtype(resampled(crop, grid), crop.dtype, pixel_dtype(options.dtype or crop.dtype.name))
    return [
        _CutPatch(
            labelled,
            patch,
            y=record["crop_y"] + patch.crop_y,
            x=record["crop_x"] + patch.crop_x,
            scale=float(np.float32(grid.scale_y)),  # the same number in the manifest and beside the pixels
            pixels=patch_pixels(pixels, patch, options.resolution),
        )
        for patch in patches_of(record, options)
    ]


def patch_pixels(crop: npt.NDArray[Any], patch: Patch, resolution: int) -> npt.NDArray[Any]:
    """Return a patch of a crop, (resolution, resolution) or with channels; what lies outside the crop is air, 0."""
    left = max(0, patch.x)
    part = crop[patch.y : patch.y + resolution, left : patch.x + resolution]
    if part.shape[:2] == (resolution, resolution):
        return part.copy()  # a view would keep every crop of the shard in memory until it is written
    padded = np.zeros((resolution, resolution, *crop.shape[2:]), crop.dtype)
    padded[: part.shape[0], left - patch.x :][:, : part.shape[1]] = part
    return padded


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

    Raises:
        DatasetError: a complete set of other images or options stands there and is not to be
            overwritten; no patch is left; or the spacing of images is unknown and has to be known.
        ConfigError: the store holds less than the options ask for.
    """
    options = options.for_store(str((store.attributes or {})["dtype"]))
    folder = root / options.name
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
        what, least = foreground_word(plan.parameters), plan.parameters["min_foreground"]
        raise DatasetError(
            f"not one patch of {plan.parameters['resolution']} pixels is {what} to a share of {least}: "
            "lower --min-foreground or --resolution"
        )
    return table, shards


def description(plan: ShardPlan, table: pa.Table, shards: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return what ``shard_set.json`` says of a plan that is cut, but for its manifest."""
    known = described(table, plan.kept, channels_of(plan.parameters))
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
