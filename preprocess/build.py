"""build-shards: a dataset's CSV in, a dataset root out."""

import contextlib
import time
from dataclasses import dataclass

from nlbs.errors import DatasetError
from nlbs.files import only_one, remove_partials
from nlbs.paths import AnyPath
from nlbs.preprocess.images.grid import CutOptions
from nlbs.preprocess.images.store import ImageStore
from nlbs.preprocess.root.checks import Duplicate, refuse_leaks
from nlbs.preprocess.root.intake import BuildOptions, Totals, nothing_usable, read_sources, take_in
from nlbs.preprocess.root.tables import read_generations, read_image_rows, read_labelled_images, require_root
from nlbs.preprocess.sets.cut import CutSummary, cut_shard_set
from nlbs.preprocess.workers import Workers
from nlbs.shards.format.layout import BUILD_PARTS, IMAGES_CSV, STORE
from nlbs.stores import store_of


@dataclass(frozen=True)
class BuildSummary:
    """What build-shards or merge did."""

    totals: Totals
    duplicates: list[Duplicate]  #: images with equal pixels
    shard_set: CutSummary
    seconds: float


def build_shards(options: BuildOptions) -> BuildSummary:
    """Decode the images of a CSV into a dataset root and cut a shard set from them.

    What an earlier run has done is not done again.

    Raises:
        NlbsError: the CSV, the options or the folder cannot be used, or no image is left.
    """
    begun, root = time.monotonic(), options.out
    with only_one(root, "nlbs-preprocess"):
        remove_partials(root / STORE)
        remove_partials(root)
        read = read_sources(options)
        totals = take_in(options, read, read.sources, root)
        if not totals.usable:
            raise DatasetError(nothing_usable(totals, root, read.images))
        duplicates = refuse_leaks(read_image_rows(root), options.allow_duplicates, root / IMAGES_CSV)
        images = read_labelled_images(root)
        shard_set = cut_shard_set(root, read.store, images, options.cut, options.workers, options.overwrite)
        remove_partials(root / STORE)  # of workers that died
        with contextlib.suppress(OSError):
            store_of(root).remove(root / BUILD_PARTS)  # what merge would make is made
    return BuildSummary(totals, duplicates, shard_set, time.monotonic() - begun)


def reshard(root: AnyPath, cut: CutOptions, workers: Workers, overwrite: bool) -> CutSummary:
    """Cut another shard set from the decoded images of a dataset root; no DICOM is opened.

    Images of all generations are cut as one.

    Raises:
        NlbsError: the folder is no dataset root, or such a set of other images stands there.
    """
    require_root(root)
    store = ImageStore.existing(root / STORE)
    with only_one(root, "nlbs-preprocess"):
        generations = read_generations(root)
        images = [image for found in generations.values() for image in found]
        newest = max(generations, default=1)
        return cut_shard_set(root, store, images, cut, workers, overwrite, newest)
