"""append: more images into a dataset root; what is there stays as it is, and its shard sets get a new generation."""

import sys
import time
from contextlib import suppress
from dataclasses import dataclass, fields, replace
from itertools import chain

from nlbs.errors import DatasetError, ShardError
from nlbs.files import make_folder, only_one, remove_partials
from nlbs.manifests.people.splits import SPLITS, assign_splits
from nlbs.paths import AnyPath
from nlbs.preprocess.images.decode import DecodeOptions
from nlbs.preprocess.images.store import ImageStore
from nlbs.preprocess.root.checks import Duplicate, KnownImages, in_other_words, kept_otherwise, refuse_leaks
from nlbs.preprocess.root.intake import BuildOptions, Totals, read_sources, take_in
from nlbs.preprocess.root.tables import (
    extend_tables,
    kept_columns,
    plain_cell,
    read_generations,
    read_image_rows,
    read_source_rows,
    require_root,
)
from nlbs.preprocess.sets.cut import CutSummary
from nlbs.preprocess.sets.grow import add_generation
from nlbs.shards import open_shards
from nlbs.shards.format.layout import BUILD_PARTS, IMAGES_CSV, SOURCES_CSV, STORE, shard_sets_in
from nlbs.stores import store_of
from nlbs.text import LONGEST_MESSAGE, counted, printable

#: The folder, inside that of parts, for the tables of new images until the root's own take them.
_FOLDER = "append"
#: Patients per split that a build may have moved so that no split was empty.
_MOVED = len(SPLITS)


@dataclass(frozen=True)
class AppendSummary:
    """What append did."""

    totals: Totals  #: of the rows that are new
    rows: int  #: of the table
    known: int  #: rows whose image is there already
    changed: int  #: of these, kept although the table says otherwise
    duplicates: list[Duplicate]  #: images with equal pixels in the whole root
    shard_sets: list[CutSummary]  #: that have a new generation
    left_alone: list[AnyPath]  #: shard sets that were not cut from these images
    seconds: float


def append(options: BuildOptions, changed: str = "error", shard_set: str | None = None) -> AppendSummary:
    """Decode the images of a CSV that a dataset root lacks, and cut them into new shards of its shard sets.

    Args:
        options: as for a build; how to decode and cut is that of the store and the sets.
        changed: "error" where the table says otherwise about an image that is there, or "keep" what is there.
        shard_set: name of the only set to cut; the others get the images with the next append.

    Raises:
        NlbsError: the CSV, the options or the root cannot be used, or too many images fail.
    """
    begun, root = time.monotonic(), options.out
    require_root(root)
    with only_one(root, "nlbs-preprocess"):
        known = KnownImages.of(root)
        sets, left_alone = _shard_sets(root, known, shard_set)
        remove_partials(root / STORE)
        remove_partials(root)
        store = ImageStore.existing(root / STORE)
        attributes = store.attributes or {}
        # Which foreground the new images have, table and headers say, or the user: it has to be that of the store.
        names = {field.name for field in fields(DecodeOptions)} & attributes.keys() - {"foreground"}
        decode = DecodeOptions(**{name: attributes[name] for name in names}, kinds=options.decode.kinds)
        options = replace(options, decode=decode)
        read = read_sources(options, known.splits)
        _check_splits(options)
        there = kept_columns(root)
        if set(there) != set(read.kept):
            raise DatasetError(kept_otherwise(root, there, read.kept))
        differing = known.differing(read.sources, store, options.disagree)
        if differing and changed == "error":
            raise DatasetError(
                f"{in_other_words(differing, root)}: --changed keep leaves these images as they are; build-shards "
                "--overwrite with a table of all images takes the new values"
            )
        new = [source for source in read.sources if source.image not in known.usable]
        folder = root / BUILD_PARTS / _FOLDER
        make_folder(folder.parent, 0o700)  # its tables identify patients
        make_folder(folder)
        totals = take_in(options, read, new, folder, None, known.others, known.generation + 1)
        both = chain(read_image_rows(root), read_image_rows(folder))
        tables = f"{root / IMAGES_CSV} and {folder / IMAGES_CSV}"
        duplicates = refuse_leaks(both, options.allow_duplicates, tables)
        if totals.rows:
            extend_tables(root, read_image_rows(folder), read_source_rows(folder), read.kept)
        store_of(folder).remove(folder)
        with suppress(OSError):  # parts of a build are there too
            folder.parent.rmdir()
        remove_partials(root / STORE)  # of workers that died
        generations = read_generations(root)
        cut = [add_generation(folder, store, generations, options.workers) for folder in sets]
    return AppendSummary(
        totals,
        rows=len(read.sources),
        known=len(read.sources) - len(new),
        changed=len(differing),
        duplicates=duplicates,
        shard_sets=[summary for summary in cut if summary is not None],
        left_alone=left_alone,
        seconds=time.monotonic() - begun,
    )


def _shard_sets(root: AnyPath, known: KnownImages, name: str | None) -> tuple[list[AnyPath], list[AnyPath]]:
    """Return the shard sets of a root that were cut from its images, and the others."""
    ours: list[AnyPath] = []
    others: list[AnyPath] = []
    for folder in shard_sets_in(root):
        if name is not None and folder.name != name:
            continue
        try:
            with open_shards(folder) as shards:
                images = set(shards.manifest["image"].chunk(0).dictionary.to_pylist())
        except ShardError as error:
            if name is not None:
                raise
            # One set that cannot be read must not keep the others from what is new.
            print(printable(f"Left alone: {error}", LONGEST_MESSAGE), file=sys.stderr)
            others.append(folder)
            continue
        (ours if images <= known.usable.keys() else others).append(folder)
    if name is not None:
        ours, others = [folder for folder in ours if folder.name == name], []
    if not ours:
        which = f"no shard set {name} cut from its images" if name else "no shard set cut from its images"
        raise DatasetError(f"{root} has {which}: make one with build-shards or reshard first")
    return ours, others


def _check_splits(options: BuildOptions) -> None:
    """Raise DatasetError where the patients of the root do not stand where the options would put them."""
    if options.shares is None or not (options.out / SOURCES_CSV).exists():
        return
    standing = {}
    for image, source in zip(read_image_rows(options.out), read_source_rows(options.out), strict=False):
        if image["split"]:
            standing[plain_cell(source["patient"]) or f"image {source['path']}"] = image["split"]
    expected = assign_splits(standing, options.shares, options.split_seed, known={})
    moved = sum(expected[patient] != split for patient, split in standing.items())
    if moved > _MOVED:
        raise DatasetError(
            f"{moved} of {counted(len(standing), 'patient')} of {options.out} stand in other splits "
            "than --split and --split-seed "
            "give now: pass those of the build"
        )
