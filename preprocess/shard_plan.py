"""Which images stand in which shard: a function of the images and options alone, so bytes never depend on workers."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from nlbs.errors import DatasetError
from nlbs.manifests.conditions import Conditions
from nlbs.preprocess.grid import CutOptions, patches_of
from nlbs.preprocess.store import ImageStore
from nlbs.shards.layout import FORMAT_VERSION

#: A shard has about this many bytes at most, and patches of at most this many images.
SHARD_BYTES, SHARD_IMAGES = 128 << 20, 64
#: Small sets are still cut into about this many shards, so that every core has something to do.
LEAST_SHARDS = 16


@dataclass(frozen=True)
class LabelledImage:
    """A decoded image with what is known about it."""

    image: str  #: id, as in the store
    conditions: Conditions
    patient: str  #: pseudonymous
    split: str


@dataclass(frozen=True)
class ShardPlan:
    """What a shard set will hold."""

    groups: list[list[LabelledImage]]  #: one per shard
    parameters: dict[str, Any]  #: what the set is cut with, the recipe of the store included
    dataset_id: str  #: digest of parameters, pixels, conditions and splits
    images_generation: int = 1  #: the newest one of images.csv that is in it
    history: tuple[dict[str, Any], ...] = ()  #: of shard_set.json: what the set held before, oldest first

    @property
    def generation(self) -> int:
        """Which generation of the set this is, from 1."""
        return len(self.history) + 1

    @property
    def first(self) -> int:
        """The number of the first shard that is cut for it."""
        return int(self.history[-1]["shards"]) if self.history else 0

    @property
    def images(self) -> int:
        """How many images the set has, earlier ones included."""
        earlier = int(self.history[-1]["images"]) if self.history else 0
        return earlier + sum(len(group) for group in self.groups)


def plan_shards(images: Sequence[LabelledImage], store: ImageStore, options: CutOptions) -> ShardPlan:
    """Gives the images of each shard: an order by hash, in groups of one size."""
    ordered = sorted(
        images, key=lambda labelled: hashlib.sha256(f"nlbs shard {labelled.image}".encode()).digest()
    )
    parameters = _parameters(options, store)
    sample = [record_of(store, labelled.image) for labelled in ordered[:256]]
    size = _images_per_shard(sample, len(ordered), options, np.dtype(parameters["dtype"]).itemsize)
    groups = [ordered[start : start + size] for start in range(0, len(ordered), size)]
    return ShardPlan(groups, parameters, _digest(ordered, store, parameters))


def _digest(ordered: Sequence[LabelledImage], store: ImageStore, parameters: Mapping[str, Any]) -> str:
    """Gives the id of a shard set: of the JSON of format_version, images, parameters, never whole in memory."""
    digest = hashlib.sha256(f'{{"format_version": {FORMAT_VERSION}, "images": ['.encode())
    for number, labelled in enumerate(ordered):
        described = [asdict(labelled), record_of(store, labelled.image)["pixels_sha256"]]
        digest.update(f"{', ' if number else ''}{json.dumps(described, sort_keys=True)}".encode())
    digest.update(f'], "parameters": {json.dumps(parameters, sort_keys=True)}}}'.encode())
    return digest.hexdigest()[:32]


def record_of(store: ImageStore, image: str) -> dict[str, Any]:
    """Gives the record of a stored image.

    Raises:
        DatasetError: the store does not hold it.
    """
    record = store.record(image)
    if record is None:
        raise DatasetError(f"{store.path} does not hold the image {image}: run build-shards again")
    return record


def _images_per_shard(
    sample: Sequence[Mapping[str, Any]], images: int, options: CutOptions, itemsize: int
) -> int:
    per_image = sum(len(patches_of(record, options)) for record in sample) / max(1, len(sample))
    fitting = int(SHARD_BYTES / max(1.0, per_image * options.resolution**2 * itemsize))
    return max(1, min(SHARD_IMAGES, fitting, -(-images // LEAST_SHARDS)))


def _parameters(options: CutOptions, store: ImageStore) -> dict[str, Any]:
    recipe = {key: value for key, value in (store.attributes or {}).items() if key != "key_fingerprint"}
    return {**asdict(options), "container": "tar", **recipe}
