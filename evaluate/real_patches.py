"""Real patches of one split, at a model's resolution, with what is known of each."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from nlbs.errors import ConfigError, ShardError
from nlbs.manifests.people.splits import SPLITS
from nlbs.manifests.schema import NLBS, Schema
from nlbs.models.drawing import Codes
from nlbs.models.pixels import area_means, as_patches, with_channels
from nlbs.shards import ShardSet
from nlbs.shards.format.manifest import indices
from nlbs.shards.format.payload import patch_shape

Images = npt.NDArray[np.uint8]
Rows = npt.NDArray[np.int64]

_AT_ONCE = 256  #: patches read in one go, at the size they are stored


@dataclass(frozen=True)
class RealPatches:
    """Patches of one split and what the manifest says of them; the numbers are those of its dictionaries."""

    pixels: Images  #: (n, R, R), air 0; or (n, R, R, 3) in colour
    conditions: Codes  #: condition -> its values, as :mod:`nlbs.manifests.schema` says
    patients: npt.NDArray[np.int64]  #: (n,)
    images: npt.NDArray[np.int64]  #: (n,)
    rows: Rows  #: (n,) of the manifest

    def __len__(self) -> int:
        return len(self.pixels)

    def take(self, places: npt.ArrayLike) -> "RealPatches":
        """Return some of the patches, by place or by mask."""
        chosen = np.asarray(places)
        codes = {name: code[chosen] for name, code in self.conditions.items()}
        return RealPatches(
            self.pixels[chosen], codes, self.patients[chosen], self.images[chosen], self.rows[chosen]
        )


def rows_to_judge_on(shards: ShardSet, split: str, where: str | None, allow_train: bool = False) -> Rows:
    """Return the rows of a split that a model may be judged on.

    Args:
        shards: the set.
        split: "test" or "val"; "train" only where it is allowed.
        where: a filter, see :mod:`nlbs.shards.format.where`; None: all of the split.
        allow_train: take the split that models learn from, for a figure that is known to flatter.

    Raises:
        ConfigError: the training split, an empty split or filter, or a set of synthetic patches.
        ShardError: there is no split of that name, or a patient of it is in the training split too.
    """
    shards.require_real()
    if split == "train" and not allow_train:
        raise ConfigError(
            "the training split says nothing about a model that learned it: take --split test or val, or pass "
            "--allow-train if that is what you want to see"
        )
    rows = shards.rows(split, where)
    if not len(rows):
        sizes = ", ".join(f"{name} {len(shards.rows(name, where)):,}" for name in SPLITS)
        among = f" that {where} takes" if where else ""
        raise ConfigError(
            f"the split {split} of {shards.folder} has no patch{among} (patches: {sizes}); take another --split, or "
            "build shards with other shares, such as --split 80/10/10"
        )
    if split != "train":
        _check_apart(shards, rows)
    return rows


def read_patches(
    shards: ShardSet,
    rows: Rows,
    resolution: int,
    fit: str = "downsample",
    num: int | None = None,
    seed: int = 0,
    schema: Schema = NLBS,
) -> RealPatches:
    """Read patches as a model of that resolution sees them.

    Args:
        shards: the set.
        rows: of its manifest.
        resolution: R, at most that of the set.
        fit: how larger patches come to it, "downsample" or "crop", as in training.
        num: takes so many of the rows, from each patient its share; None: all.
        seed: chooses which; more patches include those of fewer.
        schema: the conditions that are read.

    Raises:
        ConfigError: the patches are smaller than the model's images.
        ShardError: a patch cannot be read.
    """
    if shards.resolution < resolution:
        raise ConfigError(
            f"the shard set {shards.folder} has patches of {shards.resolution} x {shards.resolution}, smaller than the "
            f"model's {resolution} x {resolution}; cut a set with --resolution {resolution} or more"
        )
    patient_of = indices(shards.manifest["patient"]).to_numpy()
    if num is not None and num < len(rows):
        rows = np.sort(rows[subsample(patient_of[rows], num, seed)])
    pixels = np.empty((len(rows), *patch_shape(resolution, shards.channels)), np.uint8)
    for start in range(0, len(rows), _AT_ONCE):
        some = slice(start, start + _AT_ONCE)
        pixels[some] = FITS[fit](shards.read(rows[some]), resolution)
    image_of = indices(shards.manifest["image"]).to_numpy()
    return RealPatches(
        pixels,
        shards.conditions(rows, schema),
        patient_of[rows].astype(np.int64),
        image_of[rows].astype(np.int64),
        rows,
    )


def subsample(groups: npt.ArrayLike, num: int, seed: int) -> Rows:
    """Return ``num`` places of a list, from each group its share to within one: a stratified systematic sample.

    Args:
        groups: (n,) the group of each place.
        num: how many; all where there are fewer.
        seed: chooses which. The places of fewer are the first of those of more.
    """
    groups = np.asarray(groups)
    draw = np.random.Generator(np.random.Philox(np.random.SeedSequence(seed))).random(len(groups))
    _, group, counts = np.unique(groups, return_inverse=True, return_counts=True)
    order = np.lexsort((draw, group))
    within = np.arange(len(groups)) - np.repeat(np.cumsum(counts) - counts, counts)
    # The k-th of a group of m stands at (k + u) / m of the way, one u per group: so groups take turns.
    start = np.random.Generator(np.random.Philox(np.random.SeedSequence(seed, spawn_key=(1,)))).random(
        len(counts)
    )
    place = (within + start[group[order]]) / counts[group[order]]
    return order[np.argsort(place, kind="stable")][:num].astype(np.int64)


def downsample(pixels: npt.NDArray[Any], resolution: int) -> Images:
    """Return whole patches, (n, S, S) uint8 or uint16, as (n, R, R) uint8: each pixel the mean of its area.

    Those in colour have a last axis of three, here and below.
    """
    if pixels.dtype == np.uint8 and pixels.shape[1] == resolution:
        return pixels
    means = area_means(with_channels(torch.from_numpy(pixels)), resolution)
    return as_patches((means * (255 / np.iinfo(pixels.dtype).max)).round().to(torch.uint8))


def crop(pixels: npt.NDArray[Any], resolution: int) -> Images:
    """Return the centre of patches, (n, S, S) uint8 or uint16, as (n, R, R) uint8."""
    start = (pixels.shape[1] - resolution) // 2
    window = slice(start, start + resolution)
    return downsample(np.ascontiguousarray(pixels[:, window, window]), resolution)


#: The ways of data.fit.
FITS: dict[str, Callable[[npt.NDArray[Any], int], Images]] = {"downsample": downsample, "crop": crop}


def _check_apart(shards: ShardSet, rows: Rows) -> None:
    patients = indices(shards.manifest["patient"]).to_numpy()
    shared = np.intersect1d(patients[rows], patients[shards.rows("train")])
    if len(shared):
        raise ShardError(
            f"{len(shared)} patients of {shards.folder} stand in the training split and in the one to judge on: "
            "build the set with a division by patient"
        )
