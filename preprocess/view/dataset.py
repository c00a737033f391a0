"""What is looked at: a shard set and the dataset root around it, read anew once they have changed on disk."""

import threading
from collections.abc import Mapping
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
from markupsafe import Markup

from nlbs.errors import NlbsError
from nlbs.names import is_name
from nlbs.paths import AnyPath
from nlbs.pictures import as_uint8, png_bytes
from nlbs.preprocess.images.store import ImageStore
from nlbs.preprocess.report.outliers import DAMAGE, INTENSITY, outliers
from nlbs.preprocess.report.page import found_in
from nlbs.preprocess.report.page_images import ImageSections
from nlbs.preprocess.report.page_patches import holds
from nlbs.preprocess.report.preview import drawn_image
from nlbs.preprocess.report.survey import Survey, survey
from nlbs.shards import ShardSet, open_shards
from nlbs.shards.format.columns import encoded
from nlbs.shards.format.layout import IMAGES_CSV, SHARD_SET_JSON, STORE, shard_sets_in
from nlbs.stores import store_of

Rows = npt.NDArray[np.int64]

_MOST_SKIPPED = 20_000  #: rows of images.csv without an image that are shown; the file has all
_MOST_PICTURES = 24  #: of images that stand out
_PLACE = ("y", "x", "scale")  #: of a patch in its image


class MissingError(NlbsError):
    """What is asked for is not there, and never was."""


class Dataset:
    """A dataset root or a shard set, which may be under work: each page shows it as it is then."""

    def __init__(self, path: AnyPath) -> None:
        """Take the root or the set. Raises NlbsError where there is nothing to look at."""
        self._path, self._lock = path.absolute(), threading.Lock()
        self._stamps: object = None
        self.now()

    def now(self) -> "Snapshot":
        """Return it as it is now: the last snapshot, where nothing has changed since."""
        root, folder = _places(self._path)
        stamps = [_stamp(root, IMAGES_CSV), _stamp(folder, SHARD_SET_JSON), root, folder]
        decoding = not any(stamps[:2])  # of which nothing but the store tells how far it is
        with self._lock:
            if stamps != self._stamps or decoding:
                self._snapshot, self._stamps = Snapshot(root, folder), stamps
            return self._snapshot

    @property
    def last(self) -> "Snapshot":
        """The last snapshot, of which pictures are asked for."""
        return self._snapshot


class Snapshot:
    """A dataset at one moment. What takes time is worked out when it is first asked for."""

    def __init__(self, root: AnyPath | None, folder: AnyPath | None) -> None:
        """Open what there is: the root is None where the set stands alone, the folder before the first set."""
        self.root = root
        self.shards = None if folder is None else open_shards(folder)
        has_store = root is not None and ImageStore(root / STORE).attributes is not None
        self.store = ImageStore(root / STORE) if root is not None and has_store else None

    @property
    def title(self) -> str:
        """Its name: of the set, or of the root before there is one; and whether its patches are synthetic."""
        if self.shards is None:
            return "" if self.root is None else self.root.name
        return self.shards.folder.name + (" (SYNTHETIC)" if self.shards.synthetic is not None else "")

    def opened(self) -> ShardSet:
        """Return the shard set. Raises MissingError where there is none yet."""
        if self.shards is None:
            raise MissingError("there is no complete shard set here yet: load this page again once it is cut")
        return self.shards

    @cached_property
    def survey(self) -> Survey | None:
        """What images.csv says; None where there is none."""
        if self.root is None or not (self.root / IMAGES_CSV).is_file():
            return None
        return survey(self.root, _MOST_SKIPPED)

    @cached_property
    def counts(self) -> dict[str, Any]:
        """Patches, images and patients by split and condition, as the report has them."""
        return holds(self.opened(), self.survey)[0]

    @cached_property
    def sections(self) -> dict[str, Any]:
        """The report's sections on images.csv, pictures by their address; none where there is no such table."""
        lists: dict[str, list[str]] = {"left_out": [], "attention": []}
        if self.survey is None or self.root is None:
            return lists
        return _LinkedSections(self.survey, self.root, _MOST_PICTURES, lists).all() | lists

    @cached_property
    def remarks(self) -> Mapping[str, str]:
        """Image -> what is unusual about it: flags of its mask, brightness, signs of damage."""
        if self.survey is None or self.survey.images.empty:
            return {}
        images = self.survey.images
        found: dict[str, str] = {}
        names = images["image"].to_numpy()
        if "mask_flags" in images.columns:
            flags = images["mask_flags"].astype(str).to_numpy()
            found = {names[place]: f"mask: {flags[place]}" for place in np.flatnonzero(flags != "")}
        for place, why in outliers(self.survey.figures(), DAMAGE | INTENSITY).items():
            found[names[place]] = "; ".join(filter(None, (found.get(names[place]), why)))
        return found

    @cached_property
    def images(self) -> list[str]:
        """The images by name: of images.csv, else of the set, else of the store that a build fills just now."""
        if self.survey is not None:
            return [str(name) for name in self.survey.images.get("image", ())]
        if self.shards is not None:
            return list(self._by_image[0])
        if self.store is None:
            return []
        folders, _ = store_of(self.store.path).lister(self.store.path)("")
        return sorted(name for name in folders if is_name("image", name))

    def rows_of(self, image: str) -> Rows:
        """Return the rows of the patches of an image, in the order of the manifest."""
        if self.shards is None:
            return np.zeros(0, np.int64)
        numbers, order, ends = self._by_image
        number = numbers.get(image)
        return order[:0] if number is None else np.sort(order[ends[number] : ends[number + 1]])

    def images_of(self, rows: Rows) -> list[str]:
        """Return the images that some rows are of, each once, in the order of the manifest."""
        column = encoded(self.opened().manifest["image"])
        numbers, first = np.unique(column.indices.to_numpy()[rows], return_index=True)
        return [column.dictionary[number].as_py() for number in numbers[np.argsort(first)].tolist()]

    def patch_png(self, row: int, most_px: int) -> bytes:
        """Return a patch as PNG. Raises ShardError: it is damaged; IndexError: there is none."""
        return png_bytes(as_uint8(self.opened().read([row])[0]), most_px, quick=True)

    def image_png(self, image: str, most_px: int) -> bytes:
        """Return a decoded image with its mask and its patches as PNG. Raises NlbsError: missing or damaged."""
        if self.store is None or image not in self.known:
            raise MissingError("there is no decoded image of that name here")
        places, resolution = [], 0
        if self.shards is not None:
            rows = self.rows_of(image)
            places = self.shards.manifest.select(_PLACE).take(rows).to_pylist()
            resolution = self.shards.resolution
        return png_bytes(drawn_image(self.store, image, places, resolution), most_px, quick=True)

    @cached_property
    def known(self) -> frozenset[str]:
        """The names of the images."""
        return frozenset(self.images)

    @cached_property
    def _by_image(self) -> tuple[dict[str, int], Rows, Rows]:
        """The number of each image, the rows sorted by image, and where those of each begin."""
        column = encoded(self.opened().manifest["image"])
        codes = column.indices.to_numpy()
        names = {name: number for number, name in enumerate(column.dictionary.to_pylist())}
        order = np.argsort(codes, kind="stable").astype(np.int64)
        return names, order, np.searchsorted(codes[order], np.arange(len(names) + 1)).astype(np.int64)


class _LinkedSections(ImageSections):
    def _picture(self, store: ImageStore, image: str) -> Markup:
        return Markup("image/{}.png").format(image)


def _places(path: AnyPath) -> tuple[AnyPath | None, AnyPath | None]:
    """Return the root and the shard set; of a first build that is still decoding the root alone."""
    decoding = (path / STORE).is_dir() and not (path / IMAGES_CSV).is_file() and not shard_sets_in(path)
    return (path, None) if decoding else found_in(path)


def _stamp(folder: AnyPath | None, name: str) -> str | None:
    if folder is None:
        return None
    try:
        return store_of(folder).stamp(folder / name)
    except OSError:
        return None
