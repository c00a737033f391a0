"""What may not stand or change in a dataset root: equal pixels in two splits, and what its shard sets were cut from."""

import shlex
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from typing import Any

from nlbs.errors import DatasetError
from nlbs.paths import AnyPath
from nlbs.preprocess.images.store import ImageStore
from nlbs.preprocess.root.decoding import with_header
from nlbs.preprocess.root.sources import Source
from nlbs.preprocess.root.tables import (
    CONDITION_COLUMNS,
    generation_of,
    image_row,
    kept_columns,
    read_image_rows,
)
from nlbs.shards.format.layout import IMAGES_CSV, shard_sets_in
from nlbs.text import counted

#: Columns of images.csv that may not change under a shard set.
_COMPARED = (*CONDITION_COLUMNS, "patient")
_ANEW = "pass --overwrite and reshard the other sets too"


@dataclass(frozen=True, slots=True)
class StoredPixels:
    """What is needed of an image to find its doubles; nothing else is held of a million of them."""

    image: str  #: id
    pixels_sha256: str  #: of the decoded pixels, as in the store
    patient: str  #: pseudonymous
    split: str


@dataclass(frozen=True)
class Duplicate:
    """Images whose decoded pixels are equal to the last bit."""

    pixels_sha256: str
    images: tuple[StoredPixels, ...]  #: two or more, by id

    @property
    def across_patients(self) -> bool:
        """Whether they are filed under more than one patient."""
        return len({image.patient for image in self.images}) > 1

    @property
    def is_leak(self) -> bool:
        """Whether they stand in more than one split: a model is then tested on what it was trained on."""
        return len({image.split for image in self.images}) > 1


def find_duplicates(images: Iterable[StoredPixels]) -> list[Duplicate]:
    """Return each group of images with equal pixels, leaks first, then those across patients, then by id.

    Reads no pixels. Equal means equal after decoding: the same exposure that was windowed or compressed
    with loss another time is not found.

    Args:
        images: each stored image once, in any order; images without a checksum are left out.
    """
    first: dict[bytes, StoredPixels] = {}
    groups: dict[bytes, list[StoredPixels]] = {}
    for image in images:
        if not image.pixels_sha256:
            continue
        key = bytes.fromhex(image.pixels_sha256)
        other = first.setdefault(key, image)
        if other is not image:
            groups.setdefault(key, [other]).append(image)
    found = [
        Duplicate(key.hex(), tuple(sorted(group, key=lambda image: image.image)))
        for key, group in groups.items()
    ]
    return sorted(found, key=lambda d: (not d.is_leak, not d.across_patients, d.images[0].image))


def refuse_leaks(rows: Iterable[Mapping[str, Any]], allow: bool, tables: AnyPath | str) -> list[Duplicate]:
    """Return the equal images among rows of images.csv.

    Args:
        rows: of images.csv, as they are written or read.
        allow: pictures in two splits.
        tables: where the rows stand, for the message.

    Raises:
        DatasetError: a picture stands in two splits, and that is not allowed.
    """
    found = find_duplicates(
        StoredPixels(row["image"], row.get("pixels_sha256") or "", row["patient"], row["split"])
        for row in rows
        if row["status"] == "ok"
    )
    leak = leak_message(found)
    if leak is not None and not allow:
        raise DatasetError(f"{leak}. The column pixels_sha256 of {tables} has them all")
    return found


def leak_message(duplicates: Sequence[Duplicate]) -> str | None:
    """Return in one sentence what leaks between splits, and what to do; None where nothing does."""
    leaks = [duplicate for duplicate in duplicates if duplicate.is_leak]
    if not leaks:
        return None
    places = " and ".join(
        f"{image.image} of patient {image.patient} in {image.split}" for image in leaks[0].images[:3]
    )
    count = "one picture stands" if len(leaks) == 1 else f"{len(leaks)} pictures stand"
    return (
        f"{count} in two splits, because images of different patients have equal pixels, for example "
        f"{places}: correct the table so that one person has one name, or leave out one of the files; "
        "--allow-duplicates builds all the same"
    )


#: A row of a table that says otherwise than images.csv, and the columns.
Differing = tuple[Source, list[str]]


@dataclass
class KnownImages:
    """What images.csv of a root says, as far as a build or an append that comes to it asks."""

    usable: dict[str, tuple[str, ...]] = field(default_factory=dict)  #: image -> cells of _COMPARED
    others: set[tuple[str, str, str]] = field(default_factory=set)  #: keys of the rest, as :attr:`Source.key`
    splits: dict[str, str] = field(default_factory=dict)  #: patient -> split
    generation: int = 1

    @classmethod
    def of(cls, root: AnyPath) -> "KnownImages":
        """Read images.csv of a root."""
        known = cls()
        for row in read_image_rows(root):
            known.generation = max(known.generation, generation_of(row))
            if row["patient"]:
                known.splits.setdefault(row["patient"], row["split"])
            if row["status"] == "ok":
                known.usable[row["image"]] = tuple(row[name] for name in _COMPARED)
            else:
                known.others.add(("" if row["image"] else row["row"], row["image"], row["status"]))
        return known

    def differing(self, sources: Iterable[Source], store: ImageStore, disagree: str) -> list[Differing]:
        """Return the rows of a table that say otherwise about a usable image than images.csv, with the columns."""
        found = []
        for source in sources:
            if source.image not in self.usable or source.status == "duplicate":
                continue
            old, new = self.usable[source.image], _cells(source)
            if new != old or disagree in (
                "tag",
                "drop",
            ):  # what the header adds; there may be a million records
                record = store.record(source.image)
                new = _cells(with_header(replace(source, status="ok", record=record), disagree))
            columns = [name for name, was, now in zip(_COMPARED, old, new, strict=True) if was != now]
            if columns:
                found.append((source, columns))
        return found


def _cells(source: Source) -> tuple[str, ...]:
    row = image_row(source)
    return tuple("" if row[name] is None else str(row[name]) for name in _COMPARED)


def in_other_words(differing: Sequence[Differing], root: AnyPath) -> str:
    """Return in a few words which rows say otherwise about images of a root."""
    some = "; ".join(f"row {source.row.row}: {', '.join(columns)}" for source, columns in differing[:20])
    more = f"; and {len(differing) - 20} more" if len(differing) > 20 else ""
    rows = "1 row says" if len(differing) == 1 else f"{len(differing)} rows say"
    return f"{rows} otherwise about images that {root} holds ({some}{more})"


def refuse_changes(
    csvs: Sequence[AnyPath],
    out: AnyPath,
    sources: Sequence[Source],
    kept: Sequence[str],
    store: ImageStore,
    disagree: str,
) -> None:
    """Raise DatasetError where a build without --overwrite would change what the shard sets of a root were cut from.

    All sets of a root are cut from its images.csv, whatever their resolution and stride: it describes them, ``append``
    and ``verify --repair`` go by it.

    Args:
        csvs: the tables, for messages.
        out: the root.
        sources: the whole of the table.
        kept: columns that --keep takes along.
        store: the decoded images of the root.
        disagree: whether table or header counts.
    """
    sets = shard_sets_in(out) if (out / IMAGES_CSV).is_file() else []
    if not sets:
        return
    known = KnownImages.of(out)
    _refuse_other_images(csvs, sets, sources, known)
    refuse_moved_patients(out, sources)
    there = kept_columns(out)
    if set(there) != set(kept):
        raise DatasetError(f"{kept_otherwise(out, there, kept)}, or {_ANEW}")
    differing = known.differing(sources, store, disagree)
    if differing:
        raise DatasetError(f"{in_other_words(differing, out)}: keep the table as it was, or {_ANEW}")


def kept_otherwise(root: AnyPath, there: Sequence[str], kept: Sequence[str]) -> str:
    """Return that a table does not keep the columns that images.csv of a root has, and what to pass."""
    return (
        f"{root} keeps {', '.join(there) or 'no columns'} of its table, this one {', '.join(kept) or 'none'}: pass "
        + (f"--keep {','.join(there)}" if there else "no --keep")
    )


def _refuse_other_images(
    csvs: Sequence[AnyPath], sets: Sequence[AnyPath], sources: Sequence[Source], known: KnownImages
) -> None:
    """Raise DatasetError where a complete set would be lost to a table that grew or shrank."""
    out = sets[0].parent
    tables = " ".join(f"--csv {shlex.quote(str(csv))}" for csv in csvs)
    add, csv = f"nlbs-preprocess append {tables} --out {shlex.quote(str(out))}", " and ".join(map(str, csvs))
    if known.generation > 1:
        raise DatasetError(
            f"{out} has grown by append, and would lose what {csv} does not name: {add} adds what is new, "
            "reshard cuts all images anew, --overwrite starts again from this table alone"
        )
    there = {*known.usable, *(image for _, image, _ in known.others)}
    named = {source.image for source in sources if source.path is not None}
    which = " and ".join(map(str, sets))
    if named - there:
        raise DatasetError(
            f"{csv} has {counted(len(named - there), 'image')} that {which} was not cut from: {add} cuts them into "
            "new shards and leaves the old ones as they are, --overwrite cuts everything anew"
        )
    lost = known.usable.keys() - named
    if lost:
        raise DatasetError(
            f"{csv} does not name {counted(len(lost), 'image')} that {which} was cut from: give the whole table, or "
            f"{_ANEW}"
        )


def refuse_other_usable(out: AnyPath, cut_name: str, now: Set[str]) -> None:
    """Raise DatasetError where other images could be used now than shard sets of a root, beside one, were cut from.

    Of a file that was mended, a kind that is asked for now, or a header that is believed now.
    """
    sets = [folder for folder in shard_sets_in(out) if folder.name != cut_name]
    if not sets or not (out / IMAGES_CSV).is_file():
        return
    before = {row["image"] for row in read_image_rows(out) if row["status"] == "ok"}
    if now != before:
        raise DatasetError(
            f"of the images of {out}, {len(now - before):,} can be used now that could not before, and "
            f"{len(before - now):,} no more, and {' and '.join(map(str, sets))} would keep what was: give the options "
            f"and files of before, or {_ANEW}"
        )


def refuse_merge(
    root: AnyPath, cut_name: str, rows: Iterable[Mapping[str, str]], kept: Sequence[str]
) -> None:
    """Raise DatasetError where a merge without --overwrite would change what the shard sets of a root were cut from.

    Each part was held against the root as it was then; another build, or append, may have come between.

    Args:
        root: of the parts.
        cut_name: of the set that is to be cut.
        rows: of images.csv, as the parts have them.
        kept: columns that they keep.
    """
    if not (root / IMAGES_CSV).is_file() or not shard_sets_in(root):
        return
    known, there = KnownImages.of(root), kept_columns(root)
    now = {row["image"]: tuple(row[name] for name in _COMPARED) for row in rows if row["status"] == "ok"}
    if known.generation > 1:
        raise DatasetError(
            f"{root} has grown by append since its parts were begun, and would lose what came: append adds images, "
            f"reshard cuts all anew; to start again from the parts alone, {_ANEW}"
        )
    if set(there) != set(kept):
        raise DatasetError(f"{kept_otherwise(root, there, kept)} to the parts, or {_ANEW}")
    changed = sum(now[image] != known.usable[image] for image in now.keys() & known.usable.keys())
    if changed:
        raise DatasetError(
            f"the parts say otherwise about {counted(changed, 'image')} that {root} holds: run them again with its "
            f"table, or {_ANEW}"
        )
    refuse_other_usable(root, cut_name, now.keys())


def refuse_moved_patients(out: AnyPath, sources: Sequence[Source]) -> None:
    """Raise DatasetError where a patient would stand in another split than in the shard sets of the root.

    All sets of a root divide patients alike: who is held out from a model that was trained on one is from all.
    """
    if not (out / IMAGES_CSV).is_file() or not shard_sets_in(out):
        return
    before = {row["patient"]: row["split"] for row in read_image_rows(out) if row["split"]}
    now = {source.patient: source.split for source in sources if source.split}
    moved = sorted(patient for patient in before.keys() & now if before[patient] != now[patient])
    if moved:
        first = moved[0]
        raise DatasetError(
            f"{counted(len(moved), 'patient')} of {out} would move to another split (patient {first} "
            f"from {before[first]} to "
            f"{now[first]}), and the shard sets there hold them as they are: give the --split and --split-seed that "
            "they were built with, build into another --out, or pass --overwrite and reshard the other sets too"
        )
