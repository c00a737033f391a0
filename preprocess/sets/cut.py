"""One shard is cut from the decoded images and written, its rows of the manifest beside it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from nlbs.paths import AnyPath
from nlbs.preprocess.images.grid import CutOptions, Patch, as_dtype, patches_of, resampled, sampling_of
from nlbs.preprocess.images.store import ImageStore
from nlbs.preprocess.sets.plan import LabelledImage, record_of
from nlbs.shards.format.commit import committed_rows, manifest_columns, write_part
from nlbs.shards.format.container import PatchFormat, shard_name, write_shard
from nlbs.shards.format.payload import pixel_dtype


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
    committed = committed_rows(folder, number, options.container, dataset_id)
    if committed is not None:
        return CutShard(len(group), len(committed["offset"]), reused=True)
    patches = [item for labelled in group for item in _cut_image(labelled, store, options)]
    # Not of the dataset_id, so that the same patches stand in the same order in every container.
    order = np.random.Generator(np.random.Philox(key=int(content_id[:16], 16) + number)).permutation(
        len(patches)
    )
    dtype = options.dtype or str((store.attributes or {})["dtype"])
    form = PatchFormat(options.container, options.compression, options.resolution, dtype)
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
        known = self.labelled.conditions
        return {
            "image": self.labelled.image,
            "y": self.y,
            "x": self.x,
            "scale": self.scale,
            "foreground": round(self.patch.foreground, 4),
            "view": known.view,
            "laterality": known.laterality,
            "age_years": known.age_years,
            "age_bin": known.age_bin,
            "cancer": None if known.cancer is None else int(known.cancer),
            "false_positive": None if known.false_positive is None else int(known.false_positive),
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
    """Return a patch (resolution, resolution) of a crop; what lies outside the crop is air, 0."""
    left = max(0, patch.x)
    part = crop[patch.y : patch.y + resolution, left : patch.x + resolution]
    if part.shape == (resolution, resolution):
        return part.copy()  # a view would keep every crop of the shard in memory until it is written
    padded = np.zeros((resolution, resolution), crop.dtype)
    padded[: part.shape[0], left - patch.x :][:, : part.shape[1]] = part
    return padded
