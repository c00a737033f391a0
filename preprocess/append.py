"""append: more images into a dataset root; what is there stays as it is, and its shard sets get a new generation."""

import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, fields, replace
from itertools import chain

from nlbs.errors import DatasetError, ShardError
from nlbs.files import make_folder, only_one, remove_partials
from nlbs.manifests.people.splits import SPLITS, assign_splits
from nlbs.paths import AnyPath
from nlbs.preprocess.images.decode import DecodeOptions
from nlbs.preprocess.images.store import ImageStore
from nlbs.preprocess.root.checks import refuse_leaks
from nlbs.preprocess.root.intake import BuildOptions, OutcomeKey, read_sources, take_in
from nlbs.preprocess.root.outcome import Outcome, with_header
from nlbs.preprocess.root.sources import Source
from nlbs.preprocess.root.tables import (
    extend_tables,
    generation_of,
    image_row,
    kept_columns,
    plain_cell,
    read_generations,
    read_image_rows,
    read_source_rows,
    require_root,
)
from nlbs.preprocess.root.totals import AppendSummary
from nlbs.preprocess.sets.grow import add_generation
from nlbs.shards import open_shards
from nlbs.shards.format.layout import BUILD_PARTS, IMAGES_CSV, SOURCES_CSV, STORE, shard_sets_in
from nlbs.stores import store_of
from nlbs.text import LONGEST_MESSAGE, printable

#: The folder, inside that of parts, for the tables of new images until the root's own take them.
_FOLDER = "append"
_COMPARED = ("view", "laterality", "age_years", "age_bin", "cancer", "false_positive", "patient")
#: Patients per split that a build may have moved so that no split was empty.
_MOVED = len(SPLITS)


@dataclass
class _Known:
    """What images.csv says, as far as append asks."""

    usable: dict[str, tuple[str, ...]] = field(default_factory=dict)  #: image -> cells of _COMPARED
    others: set[OutcomeKey] = field(default_factory=set)  #: of the rest
    splits: dict[str, str] = field(default_factory=dict)  #: patient -> split
    generation: int = 1

    @classmethod
    def of(cls, root: AnyPath) -> "_Known":
        known = cls()
        for row in read_image_rows(root):
            known.generation = max(known.generation, generation_of(row))
            if row["patient"]:
                known.splits.setdefault(row["patient"], row["split"])
            if row["status"] == "ok":
                known.usable[row["image"]] = tuple(row[name] for name in _COMPARED)
            else:
                place = "" if row["image"] else row["row"]
                known.others.add((place, row["image"], row["status"]))
        return known


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
        known = _Known.of(root)
        sets, left_alone = _shard_sets(root, known, shard_set)
        remove_partials(root / STORE)
        remove_partials(root)
        store = ImageStore.existing(root / STORE)
        attributes = store.attributes or {}
        names = {field.name for field in fields(DecodeOptions)} & attributes.keys()
        decode = DecodeOptions(**{name: attributes[name] for name in names}, kinds=options.decode.kinds)
        options = replace(options, decode=decode)
        read = read_sources(options, known.splits)
        _check_splits(options)
        _check_kept(root, read.kept)
        differing = _differing(read.sources, known, store, options.disagree)
        if differing and changed == "error":
            raise DatasetError(_in_other_words(differing, root))
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


def _shard_sets(root: AnyPath, known: _Known, name: str | None) -> tuple[list[AnyPath], list[AnyPath]]:
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


def _differing(
    sources: Sequence[Source], known: _Known, store: ImageStore, disagree: str
) -> list[tuple[Source, list[str]]]:
    """Return the rows that say otherwise about an image than images.csv, with the columns."""
    found = []
    for source in sources:
        if source.image in known.usable and source.status != "duplicate":
            columns = [
                name
                for name, old, new in zip(
                    _COMPARED, known.usable[source.image], _cells(source, store, disagree), strict=True
                )
                if old != new
            ]
            if columns:
                found.append((source, columns))
    return found


def _check_kept(root: AnyPath, kept: Sequence[str]) -> None:
    """Raise DatasetError where the table does not keep the columns that images.csv has."""
    there = kept_columns(root)
    if set(there) != set(kept):
        raise DatasetError(
            f"{root} keeps {', '.join(there) or 'no columns'} of its table, this one {', '.join(kept) or 'none'}: pass "
            + (f"--keep {','.join(there)}" if there else "no --keep")
        )


def _cells(source: Source, store: ImageStore, disagree: str) -> tuple[str, ...]:
    known = with_header(Outcome(source, record=store.record(source.image)), disagree)
    row: Mapping[str, object] = image_row(known)
    return tuple("" if row[name] is None else str(row[name]) for name in _COMPARED)


def _in_other_words(differing: Sequence[tuple[Source, list[str]]], root: AnyPath) -> str:
    some = "; ".join(f"row {source.row.row}: {', '.join(columns)}" for source, columns in differing[:20])
    more = f"; and {len(differing) - 20} more" if len(differing) > 20 else ""
    return (
        f"{len(differing)} rows say otherwise about images that {root} holds ({some}{more}): --changed keep leaves "
        "these images as they are; build-shards --overwrite with a table of all images takes the new values"
    )


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
            f"{moved} of {len(standing)} patients of {options.out} stand in other splits than --split and --split-seed "
            "give now: pass those of the build"
        )
