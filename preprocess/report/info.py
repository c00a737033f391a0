"""What a shard set holds: sizes, counts, and how well a batch mixes; as values, and in lines of text."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from nlbs.errors import ShardError
from nlbs.local_store import TEMPORARY_SUFFIX
from nlbs.manifests.people.splits import SPLITS
from nlbs.paths import AnyPath
from nlbs.preprocess.images.store import ImageStore
from nlbs.preprocess.report.survey import Survey, survey
from nlbs.shards import ShardSet
from nlbs.shards.format.counts import by_condition, by_split, images_of
from nlbs.shards.format.layout import IMAGES_CSV, STORE, read_shard_set_json, shard_sets_in
from nlbs.shards.format.payload import channels_of, foreground_word, pixel_dtype
from nlbs.stores import store_of
from nlbs.text import counted


def root_info(root: AnyPath) -> dict[str, Any]:
    """Return what the sets of a dataset root share: ``shard_sets_bytes``, ``store`` and ``kinds``.

    ``store`` is None where there are no decoded images, ``kinds`` where there is no ``images.csv``.
    """
    found = survey(root, most_skipped=0) if (root / IMAGES_CSV).is_file() else None
    return {
        "shard_sets_bytes": {folder.name: _bytes_or_none(folder) for folder in shard_sets_in(root)},
        "store": store_info(root, found),
        "kinds": {kind: dict(counts) for kind, counts in sorted(found.kinds.items())} if found else None,
    }


def shard_set_info(
    shards: ShardSet, batch_size: int = 64, of_root: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Return parameters, sizes in bytes, counts and the mix of a batch of a shard set, as plain JSON values.

    ``store`` is None where the set stands without the decoded images. ``batch`` has an entry per split with
    patches: how many images and patients a batch of random patches is of, on average (a global shuffle).

    Args:
        shards: the set.
        batch_size: patches of a batch.
        of_root: what :func:`root_info` says of its root; None: it is asked.
    """
    images = images_of(shards.manifest)
    shared = root_info(shards.folder.parent) if of_root is None else of_root
    return {
        "shard_set": str(shards.folder),
        "dataset_id": shards.dataset_id,
        "format_version": shards.info["format_version"],
        "parameters": dict(shards.parameters),
        "synthetic": shards.synthetic,
        "shards": len(shards.info["shards"]),
        "history": list(shards.info.get("history", ())),
        "bytes": set_bytes(shards.folder),
        **shared,
        "counts": by_split(images),
        "conditions": by_condition(images),
        "batch": {
            split: batch_mix(images[images["split"] == split], batch_size)
            for split in SPLITS
            if (images["split"] == split).any()
        },
    }


def info_lines(info: dict[str, Any]) -> list[str]:
    """Return what shard_set_info says, in lines of text."""
    counts = info["counts"]
    lines = [*_set_lines(info), *_root_lines(info)]
    lines += ["", f"{'patches / images / patients':<30}" + "".join(f"{name:>21}" for name in counts)]
    lines.append(_counts_line("all", counts))
    for name, values in info["conditions"].items():
        for value, splits in values.items():
            lines.append(_counts_line(f"{name.replace('_', ' ')} {value}", splits))
    lines.append("")
    for split, mix in info["batch"].items():
        lines.append(
            f"{'A batch':<16}of {mix['batch_size']} random {split} patches mixes {mix['images']:.1f} of "
            f"{counted(mix['of_images'], 'image')} and {mix['patients']:.1f} of "
            f"{counted(mix['of_patients'], 'patient')} on average"
        )
    return lines


def _set_lines(info: dict[str, Any]) -> list[str]:
    """Return what a shard set is: its patches, what they come from, its size and generations."""
    cut, of_all, synthetic, history = (
        info["parameters"],
        info["counts"]["all"],
        info["synthetic"],
        info["history"],
    )
    where = (
        f"the whole {foreground_word(cut)} in each"
        if cut.get("mode") == "whole"
        else f"stride {cut['stride']}"
    )
    if cut.get("spacing_mm") is not None:
        where += f", {cut['spacing_mm']:g} mm per pixel"
    if synthetic is not None:
        where = "SYNTHETIC"
    compression = cut.get("compression", "none")
    stored = cut["container"] + ("" if compression == "none" else f" {compression}")
    lines = [
        f"Shard set       {info['shard_set']}  (id {info['dataset_id'][:12]}, format version {info['format_version']})"
    ]
    if synthetic is not None:
        lines.append(
            f"Synthetic       drawn by model {synthetic['model']}, {synthetic['sampler']}, seed {synthetic['seed']}; "
            f"conditions {synthetic['conditions']}"
        )
    lines += [
        f"Patches         {of_all['patches']:,} of {cut['resolution']}x{cut['resolution']} {cut['dtype']}"
        f"{' in colour' if channels_of(cut) == 3 else ''}, {where}, "
        f"at least {100 * cut['min_foreground']:g} % {foreground_word(cut)}",
        f"From            {counted(of_all['images'], 'image')} of {counted(of_all['patients'], 'patient')}",
        f"On disk         {info['bytes'] / 1e6:,.1f} MB in {counted(info['shards'], f'{stored} shard')}",
    ]
    if history:
        earlier = [
            f"{number}: {counted(entry['images'], 'image')} in {counted(entry['shards'], 'shard')}"
            for number, entry in enumerate(history, start=1)
        ]
        now = f"{len(history) + 1}: {of_all['images']:,} in {info['shards']:,}"
        lines.append(f"Generations     {'; '.join([*earlier, now])}")
    return lines


def _root_lines(info: dict[str, Any]) -> list[str]:
    """Return what stands beside a shard set: other sets, the store, kinds of images."""
    store, own = info["store"], Path(info["shard_set"]).name
    lines = [
        f"Beside it       {name}, " + ("which cannot be read" if size is None else f"{size / 1e6:,.1f} MB")
        for name, size in info["shard_sets_bytes"].items()
        if name != own
    ]
    if store is None and info["synthetic"] is None:
        lines.append("Store           not here: this set stands without the decoded images it was cut from")
    elif store is not None:
        ratio = f", {store['ratio']:.2f} times smaller than its pixels" if store["ratio"] else ""
        lines.append(
            f"Store           {store['bytes'] / 1e6:,.1f} MB, {counted(store['images'], 'image')}{ratio}"
        )
    if info["kinds"]:
        used, left = (
            ", ".join(f"{counts[what]:,} {kind}" for kind, counts in info["kinds"].items() if what in counts)
            for what in ("used", "left out")
        )
        lines.append(f"Kinds           {used}" + (f"; left out {left}" if left else ""))
    return lines


def batch_mix(images: pd.DataFrame, batch_size: int) -> dict[str, int | float]:
    """Return how many images and patients a batch is of, on average, where all patches are shuffled together."""
    patches = images["patches"].to_numpy(np.int64)
    of_patients = images.groupby("patient", observed=True)["patches"].sum().to_numpy(np.int64)
    batch = min(batch_size, int(patches.sum()))
    return {
        "batch_size": batch,
        "images": round(expected_distinct(patches, batch), 4),
        "of_images": len(patches),
        "patients": round(expected_distinct(of_patients, batch), 4),
        "of_patients": len(of_patients),
    }


def expected_distinct(patches: npt.NDArray[Any], batch: int) -> float:
    """Return how many images a batch of patches drawn without replacement comes from, on average.

    An image with k of n patches is missing from a batch of b with probability C(n-k, b) / C(n, b).

    Args:
        patches: (images,) how many patches each image has.
        batch: patches in a batch, at most their sum.
    """
    total = int(patches.sum())
    # A million images have a few hundred different numbers of patches.
    sizes, images = np.unique(patches, return_counts=True)
    drawn = np.arange(batch)
    left = total - sizes.astype(np.float64)[:, None] - drawn
    missing = np.prod(np.maximum(left, 0) / (total - drawn), axis=1)
    return float(((1 - missing) * images).sum())


def store_info(root: AnyPath, found: Survey | None = None) -> dict[str, Any] | None:
    """Return ``images``, ``bytes`` on disk, ``raw_bytes`` of the pixels and their ``ratio``; None without a store.

    ``found`` is what images.csv says, where that is known already. ``raw_bytes`` and ``ratio`` are None where there
    is no images.csv.
    """
    attributes = ImageStore(root / STORE).attributes
    if attributes is None:
        return None
    size, raw, images = folder_bytes(root / STORE), None, None
    if found is None and (root / IMAGES_CSV).is_file():
        found = survey(root, most_skipped=0)
    if found is not None:
        images = found.statuses["ok"]
        raw = found.raw_pixels * channels_of(attributes) * pixel_dtype(attributes["dtype"]).itemsize
    ratio = round(raw / size, 3) if raw else None
    return {"images": images or 0, "bytes": size, "raw_bytes": raw, "ratio": ratio}


def folder_bytes(folder: AnyPath) -> int:
    """Return the size of all files in a folder and below it, without what is just being written."""
    sizes = store_of(folder).sizes(folder)
    return sum(size for name, size in sizes.items() if TEMPORARY_SUFFIX not in name)


def set_bytes(folder: AnyPath) -> int:
    """Return the size of the shards of a shard set."""
    return sum(int(shard["bytes"]) for shard in read_shard_set_json(folder)["shards"])


def _bytes_or_none(folder: AnyPath) -> int | None:
    """Return the size of the shards of a set; None where its description cannot be read: it is not asked about."""
    try:
        return set_bytes(folder)
    except ShardError:
        return None


def _counts_line(label: str, splits: dict[str, dict[str, int]]) -> str:
    cells = (f"{c['patches']:,} / {c['images']:,} / {c['patients']:,}" for c in splits.values())
    return f"{label:<30}" + "".join(f" {cell:>20}" for cell in cells)
