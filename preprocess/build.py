"""build-shards: a dataset's CSV in, a dataset root out."""

import contextlib
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path

from nlbs.card import About
from nlbs.errors import DatasetError
from nlbs.files import only_one, remove_partials
from nlbs.paths import AnyPath
from nlbs.preprocess.images.grid import CutOptions
from nlbs.preprocess.images.store import ImageStore
from nlbs.preprocess.root.checks import Duplicate, refuse_leaks
from nlbs.preprocess.root.decoding import Decoding
from nlbs.preprocess.root.forecast import FIRST, Forecast
from nlbs.preprocess.root.ingest import ingest
from nlbs.preprocess.root.intake import BuildOptions, Totals, nothing_usable, read_sources, take_in
from nlbs.preprocess.root.tables import read_generations, read_image_rows, read_labelled_images, require_root
from nlbs.preprocess.sets.cut import CutSummary, cut_shard_set
from nlbs.preprocess.workers import Workers
from nlbs.shards.format.card import rewrite_set_card
from nlbs.shards.format.layout import BUILD_PARTS, IMAGES_CSV, STORE, find_shard_sets
from nlbs.stores import store_of
from nlbs.text import counted

_MOST_SKIPPED = 5  #: files that cannot be used, told by a rehearsal


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
        rewrite_set_card(shard_set.folder, options.about, dataset_of(read.dialect), where_other=True)
        remove_partials(root / STORE)  # of workers that died
        with contextlib.suppress(OSError):
            store_of(root).remove(root / BUILD_PARTS)  # what merge would make is made
    return BuildSummary(totals, duplicates, shard_set, time.monotonic() - begun)


def rehearse(options: BuildOptions) -> list[str]:
    """Return in lines what a build would take: its table is read, and a few files are decoded for a moment elsewhere.

    Raises:
        NlbsError: the CSV or the options cannot be used.
    """
    held = {path.name for path in (options.out / STORE).glob("*")}
    with tempfile.TemporaryDirectory() as folder:
        read = read_sources(replace(options, out=Path(folder)))
        files = [source for source in read.sources if source.path is not None]
        left = [source for source in files if source.image not in held]
        count = min(FIRST, len(left))
        sample = [left[index * len(left) // count] for index in range(count)]
        how = Decoding(read.store, read.decode, options.cut, timeout_s=options.file_timeout_s)
        forecast = Forecast(len(left), options.cut, read.store)
        tried = ingest(sample, how, {}, options.workers, forecast=forecast)
        lines = [
            f"Table       {counted(len(read.sources), 'row')}, {read.dialect} form",
            f"Images      {len(left):,} to decode, {len(files) - len(left):,} there already",
        ]
        if left:
            lines.append(f"Forecast    {forecast.line(options.out)}")
    failed = [f"row {source.row.row}: {source.reason}" for source in tried if source.status != "ok"]
    lines += [f"  skipped   {line}" for line in failed[:_MOST_SKIPPED]]
    more = len(failed) - _MOST_SKIPPED
    return [*lines, f"            and {more:,} more"] if more > 0 else lines


def dataset_of(dialect: str) -> str:
    """Return what a card calls data that nobody has named: by the form of its table, where that is a dataset's own.

    A table in the form of a dataset need not be of it: phantoms have that of NLBS.
    """
    return "" if dialect in ("own columns", "prepared") else f"Table in {dialect} form"


def write_cards(shards: AnyPath, about: About) -> list[AnyPath]:
    """Write the cards of a shard set, or of all of a dataset root, anew; return them.

    Raises:
        ShardError: there is no shard set, or one cannot be read.
    """
    folders = find_shard_sets(shards)
    root = shards if folders != [shards] else shards.absolute().parent
    with only_one(root if (root / IMAGES_CSV).is_file() else shards, "nlbs-preprocess"):
        return [rewrite_set_card(folder, about) for folder in folders]


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
