"""How much of what a shard set holds: patches, images and patients by condition and split."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from nlbs.manifests.people.splits import SPLITS
from nlbs.manifests.schema import NLBS
from nlbs.shards.format.manifest import SCHEMA, indices

UNKNOWN = "unknown"

#: Condition -> code in the manifest -> word, of those that stand there as numbers.
_WORDS = {
    condition.name: {
        str(code): f"{word} years" if condition.kind == "ordinal" else word
        for code, word in enumerate(condition.values)
    }
    for condition in NLBS
    if condition.kind != "categorical"
}

Counts = dict[str, int]  #: "patches", "images", "patients"


def images_of(manifest: pa.Table) -> pd.DataFrame:
    """Return one row per image of a manifest: what that says of it, and its "patches".

    The columns of the manifest that speak of the image, and columns that it has beside those of the format.
    Conditions are in words; unknown is "unknown".
    """
    number = indices(manifest["image"]).to_numpy()
    _, first, patches = np.unique(number, return_index=True, return_counts=True)
    extra = extra_columns(manifest)
    taken = manifest.select(["image", "patient", "split", *NLBS.names, *extra]).take(first)
    frame = pd.DataFrame(
        {name: pd.Series(taken[name].to_pylist(), dtype=object) for name in taken.column_names}
    )
    for name in NLBS.names:
        frame[name] = [_word(name, value) for value in frame[name]]
    for name in (*NLBS.names, "patient", "split"):
        frame[name] = frame[name].astype("category")  # of a million images few values differ
    frame["patches"] = patches
    return frame


def extra_columns(manifest: pa.Table) -> list[str]:
    """Return the columns that a manifest has beside those of the format."""
    return [name for name in manifest.column_names if name not in SCHEMA.names]


def totals(images: pd.DataFrame) -> Counts:
    """Return how many patches, images and patients some images are."""
    return {
        "patches": int(images["patches"].sum()),
        "images": len(images),
        "patients": int(images["patient"].nunique()),
    }


def by_split(images: pd.DataFrame) -> dict[str, Counts]:
    """Return the totals of "train", "val", "test" and "all", in that order."""
    return {split: totals(images[images["split"] == split]) for split in SPLITS} | {"all": totals(images)}


def by_condition(
    images: pd.DataFrame, names: Iterable[str] = NLBS.names
) -> dict[str, dict[str, dict[str, Counts]]]:
    """Return condition -> value -> split -> totals; values in order, unknown last where there is any."""
    return {
        name: {
            value: by_split(images[images[name] == value]) for value in _ordered(name, images[name].unique())
        }
        for name in names
    }


def crosstab(images: pd.DataFrame, names: tuple[str, ...]) -> list[tuple[tuple[str, ...], Counts]]:
    """Return the totals of each combination of values that occurs, in order."""
    groups = images.groupby(list(names), sort=True, observed=True)
    return [(tuple(str(value) for value in values), totals(group)) for values, group in groups]


def _word(condition: str, value: Any) -> str:
    if value is None:
        return UNKNOWN
    return _WORDS.get(condition, {}).get(str(value), str(value))


def _ordered(condition: str, values: Any) -> list[str]:
    known = list(_WORDS.get(condition, {}).values())
    place = {value: number for number, value in enumerate(known)}
    return sorted(values, key=lambda value: (value == UNKNOWN, place.get(value, len(place)), value))
