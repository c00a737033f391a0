"""The way from a dataset's table to decoded images and their two tables: the same for build, part and append."""

import math
import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from nlbs.card import About
from nlbs.errors import ConfigError, DatasetError
from nlbs.manifests.people.patients import Held, HeldPatient, united
from nlbs.manifests.people.pseudonyms import Pseudonyms, default_key_file, load_pseudonyms
from nlbs.manifests.people.rule import PatientRule, check_patients
from nlbs.manifests.people.same_id import spellings
from nlbs.manifests.schema import NLBS
from nlbs.manifests.tables.dialect import Dialect
from nlbs.manifests.tables.rows import ImageRow
from nlbs.manifests.tables.table import TableOptions, problems_by_row, read_table, row_list
from nlbs.paths import AnyPath
from nlbs.preprocess.images.decode import DecodeOptions
from nlbs.preprocess.images.grid import CutOptions
from nlbs.preprocess.images.store import ImageStore
from nlbs.preprocess.root.checks import refuse_changes, refuse_other_usable
from nlbs.preprocess.root.decoding import FILE_TIMEOUT_S, Decoding, planned, with_header
from nlbs.preprocess.root.found_files import found_files
from nlbs.preprocess.root.ingest import ingest
from nlbs.preprocess.root.preflight import foreground_of_files
from nlbs.preprocess.root.sources import Source, locate_sources
from nlbs.preprocess.root.tables import (
    image_row,
    plain_cell,
    read_image_rows,
    read_source_rows,
    read_stamps,
    source_row,
    write_sources,
    write_tables,
)
from nlbs.preprocess.workers import Workers
from nlbs.shards.format.layout import BUILD_PARTS, IMAGES_CSV, SOURCES_CSV, STORE, shard_sets_in
from nlbs.text import counted

_MOST_EXAMPLES = 5

SourceKey = tuple[str, str, str]  #: of :attr:`Source.key`


@dataclass(frozen=True)
class BuildOptions:
    """What build-shards is asked to do."""

    csv: AnyPath | tuple[AnyPath, ...]  #: the dataset's table, or the several that it has
    out: AnyPath  #: the dataset root; only names of ours are written there
    images: AnyPath | None = None  #: what the paths are relative to; None is the (first) CSV's folder
    table: TableOptions = field(default_factory=TableOptions)
    disagree: str = "csv"  #: "csv" or "tag" counts, "drop" leaves the image out, "error" ends
    patient_per_image: bool = False
    trust_patients: bool = False  #: take the rule for patients as right, whatever it gives
    similar_ids: str = "stop"  #: of patients: "stop", or they are the "same" person or "different" people
    #: of train, val, test; None takes the split of the dataset itself
    shares: tuple[float, float, float] | None = (0.8, 0.1, 0.1)
    split_seed: int = 0
    decode: DecodeOptions = field(default_factory=DecodeOptions)
    #: of nlbs.preprocess.images.foreground, in the place of ``decode``'s; None: what dataset or headers say
    foreground: str | None = None
    cut: CutOptions = field(default_factory=CutOptions)
    workers: Workers = field(default_factory=Workers)
    key_file: Path | None = None  #: None is the user's own
    overwrite: bool = False
    file_timeout_s: float = FILE_TIMEOUT_S  #: seconds that decoding one file may take
    most_failures: str = "auto"  #: images that may fail: a count, a share such as "5%", or auto
    allow_duplicates: bool = False  #: build although equal pixels stand in two splits
    about: About = field(default_factory=About)  #: what the card of the shard set says of the data


@dataclass(frozen=True)
class SourcesRead:
    """A table with where its images are, and the store that takes them."""

    dialect: str
    images: AnyPath  #: what the paths are relative to
    sources: list[Source]
    store: ImageStore
    decode: DecodeOptions  #: with the foreground that is settled
    kept: tuple[str, ...]  #: columns that --keep took along
    notes: tuple[str, ...]  #: on the tables as a whole
    problems: list[str]  #: of the tables, each with its rows


@dataclass
class Totals:
    """What is said at the end of a command that takes images in."""

    dialect: str  #: of the table
    notes: tuple[str, ...]  #: on the tables as a whole
    problems: list[str]  #: of the tables, each with its rows
    decoded: int  #: in this run
    disagreements: int  #: images whose table and header state different things
    rows: int = 0
    usable: int = 0
    remarks: int = 0  #: usable images with a remark in images.csv
    skipped: Counter[str] = field(default_factory=Counter)  #: status -> rows
    from_header: Counter[str] = field(default_factory=Counter)  #: condition -> usable images that it filled
    unknown: Counter[str] = field(default_factory=Counter)  #: condition -> usable images that lack it
    kinds: Counter[str] = field(default_factory=Counter)  #: kind -> images of it, used or left out
    examples: list[str] = field(default_factory=list)  #: a few skipped rows in words, for the console

    def counting(self, rows: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        """Yield rows of images.csv as they are, and count them on the way.

        Args:
            rows: as they are written, or as they were read.
        """
        for row in rows:
            self.rows += 1
            self.kinds.update(kind for kind in (row.get("kind"),) if kind)
            if row["status"] == "ok":
                self.usable += 1
                self.remarks += bool(row["reason"])
                self.from_header.update(row["from_header"].split())
                self.unknown.update(name for name in NLBS.names if row[name] in (None, ""))
            else:
                self.skipped[row["status"]] += 1
                if len(self.examples) < _MOST_EXAMPLES:
                    self.examples.append(in_words(row))
            yield row


def in_words(row: Mapping[str, Any]) -> str:
    """Return what became of a row, by its number: a path may name a patient, and what is said is kept in logs.

    Args:
        row: of images.csv.
    """
    return f"row {row['row']}: {row['reason']}"


def read_sources(options: BuildOptions, known_splits: Mapping[str, str] | None = None) -> SourcesRead:
    """Read the table of a build, check it against the root, and open the store or make it.

    Args:
        options: of the build.
        known_splits: of an append: pseudonymous patient -> split, of patients who never move.

    Raises:
        NlbsError: the table, the folder of the images, the key or the store cannot be used, or a check fails.
    """
    csvs = options.csv if isinstance(options.csv, tuple) else (options.csv,)
    images = options.images or csvs[0].parent
    asked = read_table(csvs, options=options.table, images=images)
    pseudonyms = load_pseudonyms(options.key_file or default_key_file())
    if not images.is_dir():
        raise DatasetError(f"there is no folder {images}: check --images")
    table = found_files(asked, images)
    rows, on_patients = settled_patients(table.rows, table.dialect, options, pseudonyms)
    sources = locate_sources(
        *(rows, images, pseudonyms, options.shares, options.split_seed, options.patient_per_image),
        known_splits,
    )
    otherwise = "tissue" if options.decode.channels == 3 else "breast"
    foreground = options.foreground or table.dialect.foreground or foreground_of_files(sources, otherwise)
    decode = replace(options.decode, foreground=foreground)
    recipe = {**decode.recipe(), "key_fingerprint": pseudonyms.fingerprint}
    read = SourcesRead(
        table.dialect.name,
        images,
        sources,
        ImageStore.open(options.out / STORE, recipe),
        decode,
        kept=tuple(dict.fromkeys(name for row in rows for name in row.kept)),
        notes=(*table.notes, *on_patients),
        problems=problems_by_row(asked.rows),
    )
    check_sources(options, read, appends=known_splits is not None)
    return read


def check_sources(options: BuildOptions, read: SourcesRead, appends: bool) -> None:
    """Refuse what cannot be right or must not be changed, before anything is decoded: the place of every such check.

    Args:
        options: of the build, with the root.
        read: the whole table, not one part's share.
        appends: whether the images come to those that the root holds, and do not take their place.

    Raises:
        DatasetError: a check fails.
    """
    if not appends and not options.overwrite:
        csvs = options.csv if isinstance(options.csv, tuple) else (options.csv,)
        refuse_changes(csvs, options.out, read.sources, read.kept, read.store, options.disagree)


def take_in(
    options: BuildOptions,
    read: SourcesRead,
    sources: Sequence[Source],
    folder: AnyPath,
    notes: Path | None = None,
    told_before: Collection[SourceKey] = frozenset(),
    generation: int = 1,
) -> Totals:
    """Decode what the store lacks, and write the tables of some sources; the reasons stand there before any error.

    Args:
        options: of the build.
        read: the table that the sources are of.
        sources: to take in.
        folder: for their images.csv and sources.csv: the dataset root, or a folder for what is to go there.
        notes: as for :func:`~nlbs.preprocess.root.ingest.ingest`.
        told_before: failures that the root's own table has; they count for nothing and are not written again.
        generation: of the images.

    Raises:
        DatasetError: too many images fail, or table and header disagree and that is to be an error.
    """
    before = {key[:2] for key in told_before}
    expected = sum(source.key[:2] in before for source in sources)
    limit = failure_limit(options.most_failures, len(sources))
    stamps = _stamps(options.out, folder)
    # Before the first image: a file that is replaced after a kill is then seen to be another one.
    write_sources(folder, (source_row(planned(source, read.store, stamps)) for source in sources))
    how = Decoding(read.store, read.decode, options.cut, timeout_s=options.file_timeout_s)
    taken = ingest(sources, how, stamps, options.workers, limit + expected, notes)
    taken = [with_header(source, options.disagree) for source in taken]
    taken = [source for source in taken if source.key not in told_before]
    totals = Totals(
        dialect=read.dialect,
        notes=read.notes,
        problems=read.problems,
        decoded=sum(source.decoded and source.status == "ok" for source in taken),
        disagreements=sum(source.disagrees for source in taken),
    )
    if folder == options.out and not options.overwrite:
        usable = {source.image for source in taken if source.status == "ok"}
        refuse_other_usable(options.out, options.cut.name, usable)
    rows = totals.counting(image_row(source, generation) for source in taken)
    write_tables(folder, rows, map(source_row, taken), read.kept)
    # Of a small table auto looks at all images before it says that most are of no use; a part says nothing of a table.
    is_whole = folder == options.out and options.most_failures.strip() == "auto"
    most = min(limit, len(taken) / 2) if is_whole else limit
    if _are_too_many(taken, most):
        raise DatasetError(_too_many_failures(taken, most, read, folder))
    if options.disagree == "error" and totals.disagreements:
        raise DatasetError(_disagreement(taken, folder))
    return totals


def failure_limit(text: str, images: int) -> float:
    """Return how many of some images may fail before a build stops.

    Args:
        text: a count ("20"), a share ("5%"), or "auto": 10 images or 5 %, whichever is more.
        images: of the table.

    Raises:
        ConfigError: none of these.
    """
    match = re.fullmatch(r"auto|(\d+(?:\.\d+)?)\s*(%?)", text.strip())
    if match is None:
        raise ConfigError(
            f"--max-failures {text!r}: expected a count such as 20, a share such as 5%, or auto"
        )
    if match[1] is None:
        return max(10.0, 0.05 * images)
    return float(match[1]) / 100 * images if match[2] else float(match[1])


def _are_too_many(taken: Sequence[Source], most: float) -> bool:
    """Return whether more images failed than may. Where none can be used, :func:`nothing_usable` says it better."""
    if any(source.status == "not_reached" for source in taken):
        return True
    usable = any(source.status == "ok" for source in taken)
    return usable and sum(source.is_failure for source in taken) > most


def nothing_usable(totals: Totals, out: AnyPath, images: AnyPath | None = None) -> str:
    """Return why a root without one usable image is an error.

    Args:
        totals: of its table.
        out: the root.
        images: what the paths are relative to, where that is known.
    """
    kinds = ", ".join(f"{count} {status}" for status, count in totals.skipped.most_common())
    where = "" if images is None else _relative_to(images)
    none = "the only image cannot be used"
    if totals.rows != 1:
        none = f"none of the {totals.rows} images can be used"
    return (
        f"{none} ({kinds}), for example {totals.examples[0]}.{where} "
        f"{out / IMAGES_CSV} says more{_in_a_row(totals.notes)}"
    )


def _stamps(root: AnyPath, folder: AnyPath) -> dict[str, str]:
    """Return image id -> stamp of all that was decoded into a root, by runs that did not end too; own folder last."""
    parts = root / BUILD_PARTS
    begun: list[AnyPath] = sorted(parts.iterdir(), key=str) if parts.is_dir() else []
    return {image: stamp for place in (root, *begun, folder) for image, stamp in read_stamps(place).items()}


def _too_many_failures(taken: Sequence[Source], most: float, read: SourcesRead, folder: AnyPath) -> str:
    failed = [source for source in taken if source.is_failure]
    counts = Counter(source.status for source in failed).most_common()
    kinds = ", ".join(f"{count} {status}" for status, count in counts)
    where = "" if any(source.status == "ok" for source in taken) else _relative_to(read.images)
    stopped = "stopped after " if any(source.status == "not_reached" for source in taken) else ""
    return (
        f"{stopped}{len(failed)} of {counted(len(taken), 'image')} failed ({kinds}), more than "
        f"{math.floor(most)}; for example "
        f"{in_words(image_row(failed[0]))}.{where} {folder / IMAGES_CSV} says more. What was decoded is kept; "
        f"--max-failures allows more{_in_a_row(read.notes)}"
    )


def _disagreement(taken: Sequence[Source], folder: AnyPath) -> str:
    found = [source for source in taken if source.disagrees]
    rows = row_list([source.row.row for source in found], most=20)
    return (
        f"table and DICOM header state different things of {counted(len(found), 'image')} ({rows}), for example "
        f"{in_words(image_row(found[0]))}. {folder / IMAGES_CSV} says more. Mend the table, or choose with "
        "--disagree csv, tag or drop; what was decoded is kept"
    )


def _in_a_row(notes: Sequence[str]) -> str:
    """Return notes on the table behind an error: they say why files are not there."""
    return "".join(f". {note[:1].upper()}{note[1:]}" for note in notes)


def _relative_to(images: AnyPath) -> str:
    return f" Paths are taken relative to {images}; name another folder with --images."


def settled_patients(
    rows: Sequence[ImageRow], dialect: Dialect, options: BuildOptions, pseudonyms: Pseudonyms
) -> tuple[tuple[ImageRow, ...], tuple[str, ...]]:
    """Return the rows of a build with one id per person, and notes on people whose id is written in several ways.

    Args:
        rows: of the tables, with their files.
        dialect: of the tables.
        options: of the build; with ``overwrite`` what the root holds does not count.
        pseudonyms: of the build.

    Raises:
        DatasetError: the rule for patients cannot be right, or ids may be of one person or of two.
    """
    held = Held() if options.overwrite else held_patients(options.out, rows, pseudonyms)
    if not options.trust_patients:
        rule = PatientRule.of(dialect, options.table.patient_column)
        check_patients(rows, rule, alone=not held.patients)
    return united(rows, held, options.similar_ids)


def held_patients(root: AnyPath, rows: Iterable[ImageRow], pseudonyms: Pseudonyms) -> Held:
    """Return the patients of a dataset root whose shard sets stand; nobody where there is none.

    Args:
        root: that a build or an append continues.
        rows: of its table. Where the root came without its sources.csv their usual spellings are looked up among
            the pseudonyms of images.csv.
        pseudonyms: that the root was made with.

    Raises:
        DatasetError: a table of the root is damaged.
    """
    if not (root / IMAGES_CSV).is_file() or not shard_sets_in(root):
        return Held()
    if not (root / SOURCES_CSV).is_file():
        return _by_pseudonym(root, rows, pseudonyms)
    held: dict[str, HeldPatient] = {}
    # Rows of sources.csv beyond those of images.csv are of a run that ended between the two files.
    both = zip(read_image_rows(root), read_source_rows(root), strict=False)
    for line, (image, source) in enumerate(both, start=2):
        name, split = plain_cell(source.get("patient") or ""), image.get("split") or ""
        if name and image.get("patient") and (name not in held or not held[name].split):
            held[name] = HeldPatient(line, split)
    return Held(str(root / SOURCES_CSV), held)


def _by_pseudonym(root: AnyPath, rows: Iterable[ImageRow], pseudonyms: Pseudonyms) -> Held:
    known: dict[str, HeldPatient] = {}
    for line, row in enumerate(read_image_rows(root), start=2):
        if row.get("patient"):
            known.setdefault(row["patient"], HeldPatient(line, row.get("split") or ""))
    names = {row.patient for row in rows if row.problem is None and row.patient is not None}
    held = {
        name: known[pseudonyms.patient(name)]
        for written in names
        for name in (written, *spellings(written))
        if pseudonyms.patient(name) in known
    }
    return Held(str(root / IMAGES_CSV), held)
