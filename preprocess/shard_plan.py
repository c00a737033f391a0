"""Which images stand in which shard: a function of the images and options alone, so bytes never depend on workers."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from nlbs.errors import DatasetError
from nlbs.manifests.conditions import Conditions
from nlbs.paths import in_parallel
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


def plan_shards(images: Sequence[LabelledImage], store: ImageStore, options: CutOptions) -> ShardPlan:
    """Gives the images of each shard: an order by hash, in groups of one size."""
    ordered = sorted(
        images, key=lambda labelled: hashlib.sha256(f"nlbs shard {labelled.image}".encode()).digest()
    )
    records = in_parallel(store.path, lambda labelled: record_of(store, labelled.image), ordered)
    parameters = _parameters(options, store)
    size = _images_per_shard(records, options, np.dtype(parameters["dtype"]).itemsize)
    described = {
        "format_version": FORMAT_VERSION,
        "parameters": parameters,
        "images": [
            [asdict(labelled), record["pixels_sha256"]]
            for labelled, record in zip(ordered, records, strict=True)
        ],
    }
    digest = hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()
    groups = [ordered[start : start + size] for start in range(0, len(ordered), size)]
    return ShardPlan(groups, parameters, digest[:32])


def record_of(store: ImageStore, image: str) -> dict[str, Any]:
    """Gives the record of a stored image.

    Raises:
        DatasetError: the store does not hold it.
    """
    record = store.record(image)
    if record is None:
        raise DatasetError(f"{store.path} does not hold the image {image}: run build-shards again")
    return record


def _images_per_shard(records: Sequence[Mapping[str, Any]], options: CutOptions, itemsize: int) -> int:
    sample = records[:256]
    per_image = sum(len(patches_of(record, options)) for record in sample) / max(1, len(sample))
    fitting = int(SHARD_BYTES / max(1.0, per_image * options.resolution**2 * itemsize))
    return max(1, min(SHARD_IMAGES, fitting, -(-len(records) // LEAST_SHARDS)))


def _parameters(options: CutOptions, store: ImageStore) -> dict[str, Any]:
    recipe = {key: value for key, value in (store.attributes or {}).items() if key != "key_fingerprint"}
    return {**asdict(options), "container": "tar", **recipe}
