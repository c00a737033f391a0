"""Contact sheets of a dataset root: images with mask and patch grid drawn on them, and patches at random."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from nlbs.errors import DatasetError
from nlbs.paths import AnyPath
from nlbs.pictures import as_uint8, contact_sheet, write_png
from nlbs.preprocess.images.store import ImageStore, mask_of
from nlbs.preprocess.sets.plan import record_of
from nlbs.shards import ShardSet, open_shards
from nlbs.shards.format.layout import STORE
from nlbs.text import counted

_MASK, _PATCH = (255, 80, 80), (80, 220, 80)


def write_preview(
    shards: AnyPath, out: AnyPath, images: int, patches: int, seed: int
) -> tuple[AnyPath, AnyPath]:
    """Write ``patches.png`` and ``images.png`` into a folder.

    Args:
        shards: a shard set, or a root with one.
        out: folder to write into.
        images, patches: how many of each, at most.
        seed: chooses which.

    Returns:
        The two files.

    Raises:
        NlbsError: the shard set or the image store beside it cannot be read.
    """
    generator = np.random.default_rng(seed)
    with open_shards(shards) as shard_set:
        if shard_set.synthetic is not None:
            raise DatasetError(
                f"{shards} holds synthetic patches, which come from no image: their contact sheet is what "
                "nlbs-generate writes with --format png"
            )
        rows = np.sort(generator.permutation(len(shard_set))[:patches])
        write_png(out / "patches.png", patch_sheet(shard_set, rows))
        names = shard_set.manifest["image"].unique().to_pylist()
        chosen = sorted(names[index] for index in generator.permutation(len(names))[:images])
        write_png(out / "images.png", image_sheet(shard_set, chosen))
    return out / "patches.png", out / "images.png"


def patch_sheet(shard_set: ShardSet, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.uint8]:
    """Return a page of patches with what is known about them, (H, W, 3) uint8."""
    known = shard_set.manifest.take(rows).to_pylist()
    title = f"{len(rows)} of {counted(len(shard_set), 'patch', 'patches')} of {shard_set.folder.name}"
    return contact_sheet(
        list(as_uint8(shard_set.read(rows))),
        [patch_caption(patch) for patch in known],
        columns=12,
        tile_px=128,
        title=title,
    )


def image_sheet(shard_set: ShardSet, images: Sequence[str]) -> npt.NDArray[np.uint8]:
    """Return a page of decoded images: the mask's outline in red, the patches in green."""
    store = ImageStore(shard_set.folder.parent / STORE)
    places = shard_set.manifest.select(["image", "y", "x", "scale", "view", "laterality"]).to_pylist()
    tiles, captions = [], []
    for image in images:
        patches = [place for place in places if place["image"] == image]
        tiles.append(drawn_image(store, image, patches, shard_set.resolution))
        captions.append(f"{image}\n{patch_caption(patches[0])}, {counted(len(patches), 'patch', 'patches')}")
    return contact_sheet(tiles, captions, columns=6, tile_px=300, title=counted(len(images), "decoded image"))


def drawn_image(
    store: ImageStore, image: str, patches: Sequence[dict[str, Any]], resolution: int
) -> npt.NDArray[np.uint8]:
    """Return a small copy of a decoded image with its mask's outline and its patches, (H, W, 3) uint8.

    Raises:
        DatasetError: the image is missing or damaged.
    """
    record = record_of(store, image)
    bits, step = mask_of(record)
    small = as_uint8(store.pixels(image))[::step, ::step]
    page = small.copy() if small.ndim == 3 else np.repeat(small[:, :, None], 3, axis=2)
    for patch in patches:
        top, left = (patch["y"] - record["crop_y"]) // step, (patch["x"] - record["crop_x"]) // step
        edge = round(resolution * patch["scale"]) // step
        bottom, right, left = (
            top + edge,
            left + edge,
            max(0, left),
        )  # a whole breast may begin beside its crop
        if not (0 <= top < page.shape[0] and left < page.shape[1] and right > 0):
            raise DatasetError(f"the shard set has patches beside the decoded image {store.path / image}")
        page[top:bottom, [left, min(right, page.shape[1]) - 1]] = _PATCH
        page[[top, min(bottom, page.shape[0]) - 1], left:right] = _PATCH
    outline = bits & ~ndimage.binary_erosion(bits, iterations=2)
    page[outline[: page.shape[0], : page.shape[1]]] = _MASK
    return page


def patch_caption(known: dict[str, Any]) -> str:
    """Return in a few words what is known about a patch, a row of the manifest."""
    words = [str(known[name] or f"{name}?") for name in ("view", "laterality")]
    if known.get("foreground") is not None:
        words.append(f"{100 * known['foreground']:.0f} %")
    for name, flag in (("cancer", "cancer"), ("false_positive", "false positive")):
        words += [flag] if known.get(name) else []
    return " ".join(words)
