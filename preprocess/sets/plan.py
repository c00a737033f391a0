"""Which images stand in which shard: a function of the images and options alone, so bytes never depend on workers."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from nlbs.errors import DatasetError
from nlbs.manifests.conditions import Conditions
from nlbs.preprocess.images.grid import CutOptions, patches_of
from nlbs.preprocess.images.store import ImageStore
from nlbs.preprocess.images.store_check import NEEDED
from nlbs.shards.format.layout import format_version
from nlbs.shards.format.payload import channels_of, pixel_dtype
from nlbs.stores import store_of
from nlbs.text import counted

SHARD_BYTES, SHARD_IMAGES = 128 << 20, 64
#: Images are not enlarged more than this: a spacing so coarse is an error of a header, and costs memory.
_MOST_ENLARGED = 8
_AT_ONCE = 256  # records; more of them tell no better how many patches an image has
#: The parameters that change what the bytes are and not what they mean.
_STORED_AS = ("container", "compression")
#: Small sets are still cut into about this many shards, so that every core has something to do.
LEAST_SHARDS = 16


@dataclass(frozen=True)
class LabelledImage:
    """A decoded image with what is known about it."""

    image: str  #: id, as in the store
    conditions: Conditions
    patient: str  #: pseudonymous
    split: str
    kept: Mapping[str, str | None] = field(default_factory=dict)  #: what --keep took along


@dataclass(frozen=True)
class ShardPlan:
    """What a shard set will hold."""

    groups: list[list[LabelledImage]]  #: one per shard
    parameters: dict[str, Any]  #: what the set is cut with, the recipe of the store included
    content_id: str  #: digest of pixels, conditions, splits and of how they are cut
    dataset_id: str  #: digest of that and of what they are stored as
    unknown_spacing: int = 0  #: images left out, because their spacing is unknown
    images_generation: int = 1  #: the newest one of images.csv that is in it
    history: tuple[dict[str, Any], ...] = ()  #: of shard_set.json: what the set held before, oldest first

    @property
    def kept(self) -> tuple[str, ...]:
        """Columns that --keep took along."""
        return tuple(next((image.kept for group in self.groups for image in group), ()))

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
    """Return the images of each shard: an order by hash, in groups of one size.

    Raises:
        DatasetError: the store does not hold an image, or images cannot be brought to the
            spacing that is asked for.
        ConfigError: the store holds less than the dtype that is asked for.
    """
    options = options.for_store(str((store.attributes or {})["dtype"]))
    ordered = sorted(
        images, key=lambda labelled: hashlib.sha256(f"nlbs shard {labelled.image}".encode()).digest()
    )
    given = len(ordered)
    if options.spacing_mm is not None:
        ordered = _of_known_spacing(ordered, store, options)
    parameters = _parameters(options, store)
    sample = list(_records(ordered[:_AT_ONCE], store))
    pixel_bytes = pixel_dtype(parameters["dtype"]).itemsize * channels_of(parameters)
    size = _images_per_shard(sample, len(ordered), options, pixel_bytes)
    groups = [ordered[start : start + size] for start in range(0, len(ordered), size)]
    content_id = _content_id(ordered, store, parameters)
    return ShardPlan(
        groups, parameters, content_id, dataset_id_of(content_id, parameters), given - len(ordered)
    )


def _content_id(ordered: Sequence[LabelledImage], store: ImageStore, parameters: Mapping[str, Any]) -> str:
    """Return a digest of the JSON of format_version, images, parameters, which is never whole in memory."""
    meant = {key: value for key, value in parameters.items() if key not in _STORED_AS}
    version = format_version(channels_of(parameters))
    digest = hashlib.sha256(f'{{"format_version": {version}, "images": ['.encode())
    for number, (labelled, record) in enumerate(zip(ordered, _records(ordered, store), strict=True)):
        described = [_described(labelled), record["pixels_sha256"]]
        digest.update(f"{', ' if number else ''}{json.dumps(described, sort_keys=True)}".encode())
    digest.update(f'], "parameters": {json.dumps(meant, sort_keys=True)}}}'.encode())
    return digest.hexdigest()[:32]


def dataset_id_of(content_id: str, parameters: Mapping[str, Any]) -> str:
    """Return the id of the same patches in some container: equal ids mean equal bytes."""
    return digest_of({"content_id": content_id, **{key: parameters[key] for key in _STORED_AS}})


def _described(labelled: LabelledImage) -> dict[str, Any]:
    """Return what the digest of a set holds of an image; a set that keeps nothing has the id it always had."""
    known = asdict(labelled)
    return known if known["kept"] else {name: value for name, value in known.items() if name != "kept"}


def record_of(store: ImageStore, image: str) -> dict[str, Any]:
    """Return the record of a stored image.

    Raises:
        DatasetError: the store does not hold it.
    """
    record = store.record(image)
    if record is None:
        raise DatasetError(f"{store.path} does not hold the image {image}: run build-shards again")
    missing = [name for name in NEEDED if name not in record]
    if missing:
        raise DatasetError(
            f"the record of the decoded image {store.path / image} lacks {', '.join(missing)}: delete that folder and "
            "run build-shards again"
        )
    return record


def _records(images: Sequence[LabelledImage], store: ImageStore) -> Iterator[dict[str, Any]]:
    """Yield the record of each image, some at a time: of a remote store these come together."""
    for start in range(0, len(images), _AT_ONCE):
        some = images[start : start + _AT_ONCE]
        yield from store_of(store.path).in_parallel(lambda labelled: record_of(store, labelled.image), some)


def _images_per_shard(
    sample: Sequence[Mapping[str, Any]], images: int, options: CutOptions, pixel_bytes: int
) -> int:
    per_image = sum(len(patches_of(record, options)) for record in sample) / max(1, len(sample))
    fitting = int(SHARD_BYTES / max(1.0, per_image * options.resolution**2 * pixel_bytes))
    return max(1, min(SHARD_IMAGES, fitting, -(-images // LEAST_SHARDS)))


def _parameters(options: CutOptions, store: ImageStore) -> dict[str, Any]:
    recipe = {key: value for key, value in (store.attributes or {}).items() if key != "key_fingerprint"}
    return {**recipe, **options.parameters(), "dtype": options.dtype or recipe["dtype"]}


def _of_known_spacing(
    images: Sequence[LabelledImage], store: ImageStore, options: CutOptions
) -> list[LabelledImage]:
    """Return the images that can be resampled to a spacing."""
    asked = options.spacing_mm or 0.0
    spacings = [record["spacing_mm"] for record in _records(images, store)]
    known = [(image, max(spacing)) for image, spacing in zip(images, spacings, strict=True) if spacing]
    unknown = [image.image for image, spacing in zip(images, spacings, strict=True) if not spacing]
    if unknown and (options.unknown_spacing == "refuse" or not known):
        raise DatasetError(
            f"--spacing-mm {asked:g}: the spacing of {len(unknown)} of {counted(len(images), 'image')} is unknown "
            f"({_some(unknown)}); cut without it, or leave them out with --unknown-spacing skip"
        )
    coarse = [image.image for image, spacing in known if asked * _MOST_ENLARGED < spacing]
    if coarse:
        raise DatasetError(
            f"--spacing-mm {asked:g} would enlarge {len(coarse)} of {counted(len(images), 'image')} more than "
            f"{_MOST_ENLARGED} times ({_some(coarse)}): choose a larger one, and check their spacing_mm"
        )
    if any(options.stride * asked < spacing for _, spacing in known):
        raise DatasetError(
            f"--stride {options.stride} at --spacing-mm {asked:g} is less than a pixel of some images: take more"
        )
    return [image for image, _ in known]


def _some(images: Sequence[str]) -> str:
    return ", ".join(images[:3]) + (", ..." if len(images) > 3 else "")


def digest_of(value: Any) -> str:
    """Return 32 hexadecimal digits that stand for a JSON value."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:32]
