"""How well neighbouring patches of a breast agree where they overlap."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from nlbs.shards.format.manifest import indices, one_array

Grey = npt.NDArray[np.uint8]
Numbers = npt.NDArray[np.int64]
#: Directions of a shift: to the right, down.
AXES = ("x", "y")


class Places(NamedTuple):
    """Where patches lie, (n,) each."""

    image: Numbers  #: number of the image
    x: Numbers  #: of the left edge, in pixels of patches
    y: Numbers  #: of the top edge

    def at(self, rows: npt.ArrayLike) -> "Places":
        """Return some of them."""
        return Places(*(column[np.asarray(rows, dtype=np.int64)] for column in self))


def places_of(manifest: pa.Table, edge_ratio: float = 1.0) -> Places:
    """Return where the patches of a manifest lie.

    Args:
        manifest: of a shard set.
        edge_ratio: how many pixels of a model's image make one of a patch.
    """
    each = one_array(manifest["scale"]).astype(np.float64) / edge_ratio  # source pixels
    x, y = (np.round(one_array(manifest[axis]) / each).astype(np.int64) for axis in AXES)
    return Places(one_array(indices(manifest["image"])).astype(np.int64), x, y)


class Pairs(NamedTuple):
    """Neighbours that overlap, (p,) each: the second lies to the right of the first, or below it."""

    first: Numbers
    second: Numbers
    across: Numbers  #: pixels by which the second lies further to the right
    down: Numbers  #: further down; one of both is 0


def neighbours(places: Places, edge: int) -> Pairs:
    """Return each patch with the next one of its row and of its column that overlaps it.

    Args:
        places: of the patches.
        edge: of a patch in pixels.
    """
    rows = np.arange(len(places.image))
    found = [np.empty((4, 0), dtype=np.int64)]
    for axis, (along, beside) in enumerate([(places.x, places.y), (places.y, places.x)]):
        order = np.lexsort((along, beside, places.image))
        first, second = rows[order[:-1]], rows[order[1:]]
        shift = along[second] - along[first]
        overlap = (places.image[first] == places.image[second]) & (beside[first] == beside[second])
        overlap &= (shift > 0) & (shift < edge)
        first, second, shift = first[overlap], second[overlap], shift[overlap]
        still = np.zeros_like(shift)
        found.append(np.stack([first, second, *((still, shift) if axis else (shift, still))]))
    return Pairs(*np.concatenate(found, axis=1))


def seam_errors(patches: Grey, others: Grey, pairs: Pairs) -> npt.NDArray[np.float64]:
    """Return the mean |difference| of each pair on its overlap, (p,) grey levels of 255.

    Args:
        patches: (n, R, R) uint8, among which the first of each pair stands.
        others: (n, R, R), among which the second stands: the same ones, or others in their places.
        pairs: neighbours.
    """
    edge = patches.shape[1]
    errors = np.empty(len(pairs.first))
    for place, (first, second, across, down) in enumerate(zip(*pairs, strict=True)):
        here = patches[first, down:, across:].astype(np.int64)
        there = others[second, : edge - down, : edge - across]
        errors[place] = np.abs(here - there).mean()
    return errors


def nearest_of_others(
    where: npt.NDArray[np.float32], image: Numbers, others: npt.NDArray[np.float32], images: Numbers
) -> Numbers:
    """Return for each patch the one of another image whose place in its breast is nearest.

    Args:
        where: (n, 2) places of the patches in their breasts.
        image: (n,) numbers of their images.
        others, images: the same of those to choose from, (m, 2) and (m,).
    """
    apart = np.square(where[:, None] - others[None]).sum(axis=2)
    apart[image[:, None] == images[None]] = np.inf
    return np.asarray(apart.argmin(axis=1), dtype=np.int64)
