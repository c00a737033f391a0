"""Sections of the report that the shard set tells: counts by condition and split, grey levels, patches at random."""

from collections import Counter
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from nlbs.manifests.people.splits import SPLITS
from nlbs.manifests.schema import NLBS
from nlbs.pictures import as_uint8, picture_uri
from nlbs.preprocess.report.page_images import Shown, histogram_svg
from nlbs.preprocess.report.preview import patch_caption
from nlbs.preprocess.report.survey import Survey
from nlbs.shards import ShardSet
from nlbs.shards.format.counts import by_condition, by_split, crosstab, extra_columns, images_of
from nlbs.shards.format.manifest import indices
from nlbs.text import counted

_HISTOGRAM_PATCHES = 512  #: read per split for the grey levels
_PATCH_PX = 128


def holds(shards: ShardSet, found: Survey | None) -> tuple[dict[str, Any], pd.DataFrame]:
    """Return the counts of a shard set, and its images: see nlbs.shards.format.counts.images_of."""
    held = images_of(shards.manifest)
    section = {
        "splits": by_split(held),
        "conditions": by_condition(held),
        "crosstab": crosstab(held, (*(c.name for c in NLBS if c.kind == "categorical"), "cancer")),
        "extra": [_extra(name, held[name]) for name in extra_columns(shards.manifest)],
        "without_patches": max(0, found.statuses["ok"] - len(held)) if found else 0,
    }
    return section, held


def patch_pictures(
    shards: ShardSet, held: pd.DataFrame, most: int, generator: np.random.Generator
) -> dict[str, Any]:
    """Return grey levels by split, and patches at random by split and by value of each condition.

    Args:
        shards: the set.
        held: its images, as :func:`holds` gives them.
        most: patches of each group.
        generator: chooses which.
    """
    histograms, groups = [], []
    for split in SPLITS:
        rows = shards.rows(split)
        if len(rows):
            histograms.append(_grey_levels(shards, split, _drawn(rows, _HISTOGRAM_PATCHES, generator)))
            groups.append((split, _pictures(shards, _drawn(rows, most, generator))))
    # held has the images in the order of their numbers in the manifest.
    _, member = np.unique(indices(shards.manifest["image"]).to_numpy(), return_inverse=True)
    for name, values in by_condition(held).items():
        for value in values:
            rows = np.flatnonzero((held[name] == value).to_numpy()[member]).astype(np.int64)
            some = _drawn(rows, most, generator)
            groups.append((f"{name.replace('_', ' ')} {value}", _pictures(shards, some)))
    return {"histograms": histograms, "groups": groups if most else []}


def _drawn(rows: npt.NDArray[np.int64], most: int, generator: np.random.Generator) -> npt.NDArray[np.int64]:
    return np.sort(generator.choice(rows, min(most, len(rows)), replace=False))


def _grey_levels(shards: ShardSet, split: str, rows: npt.NDArray[np.int64]) -> dict[str, Any]:
    levels = np.bincount(as_uint8(shards.read(rows)).ravel(), minlength=256)
    air = 100 * levels[0] / levels.sum()
    return {
        "label": f"{split}: {counted(len(rows), 'patch', 'patches')}; {air:.0f} % of pixels are air, which is left out",
        "svg": histogram_svg(
            levels[1:].reshape(-1, 5).sum(1).tolist(), "1", "255", f"grey levels of {split}"
        ),
    }


def _pictures(shards: ShardSet, rows: npt.NDArray[np.int64]) -> list[Shown]:
    if not len(rows):
        return []
    known = shards.manifest.take(rows).to_pylist()
    pixels = as_uint8(shards.read(rows))
    return [
        Shown(picture_uri(patch, _PATCH_PX), patch_caption(row))
        for patch, row in zip(pixels, known, strict=True)
    ]


def _extra(name: str, values: "pd.Series[Any]") -> dict[str, Any]:
    known = values.dropna()
    counts = Counter(str(value) for value in known)
    return {"name": name, "known": len(known), "distinct": len(counts), "values": counts.most_common(8)}
