"""build-shards: a dataset's CSV in, a dataset root out."""

import contextlib
import re
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from nlbs.errors import ConfigError, DatasetError
from nlbs.files import only_one, remove_folder, remove_partials
from nlbs.manifests.problems import problems_by_row, row_list
from nlbs.manifests.pseudonyms import default_key_file, load_pseudonyms
from nlbs.manifests.table import TableOptions, read_table
from nlbs.paths import AnyPath
from nlbs.preprocess.decode import DecodeOptions
from nlbs.preprocess.duplicates import Duplicate, refuse_leaks
from nlbs.preprocess.found_files import found_files
from nlbs.preprocess.grid import CutOptions
from nlbs.preprocess.guard import FILE_TIMEOUT_S
from nlbs.preprocess.ingest import ingest
from nlbs.preprocess.outcome import Outcome, planned_outcome, with_header
from nlbs.preprocess.settled_patients import settled_patients
from nlbs.preprocess.shard_set import CutSummary, cut_shard_set
from nlbs.preprocess.sources import Source, locate_sources
from nlbs.preprocess.standing import refuse_changes
from nlbs.preprocess.store import ImageStore
from nlbs.preprocess.tables import (
    image_row,
    read_generations,
    read_image_rows,
    read_labelled_images,
    read_stamps,
    require_root,
    source_row,
    write_sources,
    write_tables,
)
from nlbs.preprocess.workers import Workers
from nlbs.shards.layout import BUILD_PARTS, IMAGES_CSV, STORE


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
    cut: CutOptions = field(default_factory=CutOptions)
    workers: Workers = field(default_factory=Workers)
    key_file: Path | None = None  #: None is the user's own
    overwrite: bool = False
    file_timeout_s: float = FILE_TIMEOUT_S  #: seconds that decoding one file may take
    most_failures: str = "auto"  #: images that may fail: a count, a share such as "5%", or auto
    allow_duplicates: bool = False  #: build although equal pixels stand in two splits


@dataclass(frozen=True)
class BuildSummary:
    """What build-shards did."""

    dialect: str
    rows: int
    decoded: int  #: in this run
    skipped: dict[str, int]  #: status -> rows
    remarks: int  #: usable images with a remark in images.csv
    from_header: dict[str, int]  #: condition -> usable images to which the DICOM header gave it
    disagreements: int  #: images whose table and header state different things
    notes: tuple[str, ...]  #: on the tables as a whole
    problems: list[str]  #: of the tables, each with its rows
    unknown: dict[str, int]  #: condition -> usable images that lack it
    duplicates: list[Duplicate]  #: images with equal pixels
    examples: list[str]  #: a few skipped rows in words, for the console
    shard_set: CutSummary
    seconds: float


def build_shards(options: BuildOptions) -> BuildSummary:
    """Decodes the images of a CSV into a dataset root and cuts a shard set from them.

    What an earlier run has done is not done again.

    Raises:
        NlbsError: the CSV, the options or the folder cannot be used, or no image is left.
    """
    with only_one(options.out, "nlbs-preprocess"):
        remove_partials(options.out / STORE)
        remove_partials(options.out)
        summary = _build(options, time.monotonic())
        remove_partials(options.out / STORE)  # of workers that died
        with contextlib.suppress(OSError):
            remove_folder(options.out / BUILD_PARTS)  # what merge would make is made
        return summary


def _build(options: BuildOptions, begun: float) -> BuildSummary:
    read = read_sources(options)
    sources, store = read.sources, read.store
    if not options.overwrite:
        refuse_changes(options.csv, options.out, options.cut.name, sources)
    stamps, limit = read_stamps(options.out), failure_limit(options.most_failures, len(sources))
    # Before the first image: a file that is replaced after a kill is then seen to be another one.
    planned = (planned_outcome(source, store, stamps) for source in sources)
    write_sources(options.out, map(source_row, planned))
    outcomes = ingest(
        *(sources, store, options.decode, options.cut, stamps, options.workers, limit),
        timeout_s=options.file_timeout_s,
    )
    outcomes = [with_header(outcome, options.disagree) for outcome in outcomes]
    write_tables(options.out, map(image_row, outcomes), map(source_row, outcomes), read.kept)
    usable = [outcome for outcome in outcomes if outcome.status == "ok"]
    if not usable:
        raise DatasetError(_nothing_usable(outcomes, read.images, options.out))
    if any(outcome.status == "not_reached" for outcome in outcomes):
        raise DatasetError(too_many_failures(outcomes, limit, options.out))
    if options.disagree == "error" and any(outcome.disagrees for outcome in outcomes):
        raise DatasetError(disagreement(outcomes, options.out))
    table = options.out / IMAGES_CSV
    duplicates = refuse_leaks(read_image_rows(options.out), options.allow_duplicates, table)
    images = read_labelled_images(options.out)
    shard_set = cut_shard_set(options.out, store, images, options.cut, options.workers, options.overwrite)
    return BuildSummary(
        dialect=read.dialect,
        rows=len(sources),
        decoded=sum(outcome.decoded and outcome.status == "ok" for outcome in outcomes),
        skipped=dict(Counter(outcome.status for outcome in outcomes if outcome.status != "ok")),
        remarks=sum(bool(outcome.reason) for outcome in usable),
        from_header=dict(Counter(name for outcome in usable for name in outcome.from_header)),
        disagreements=sum(outcome.disagrees for outcome in outcomes),
        notes=read.notes,
        problems=read.problems,
        unknown=_unknown_conditions(usable),
        duplicates=duplicates,
        examples=[in_words(outcome) for outcome in outcomes if outcome.status != "ok"][:5],
        shard_set=shard_set,
        seconds=time.monotonic() - begun,
    )


@dataclass(frozen=True)
class SourcesRead:
    """A table with where its images are, and the store that takes them."""

    dialect: str
    images: AnyPath  #: what the paths are relative to
    sources: list[Source]
    store: ImageStore
    kept: tuple[str, ...]  #: columns that --keep took along
    notes: tuple[str, ...]  #: on the tables as a whole
    problems: list[str]  #: of the tables, each with its rows


def read_sources(options: BuildOptions, known_splits: Mapping[str, str] | None = None) -> SourcesRead:
    """Reads the table of a build, and opens the store or makes it.

    Args:
        options: of the build.
        known_splits: pseudonymous patient -> split, of patients who never move.

    Raises:
        NlbsError: the table, the folder of the images, the key or the store cannot be used.
    """
    csvs = options.csv if isinstance(options.csv, tuple) else (options.csv,)
    table = read_table(csvs, options=options.table)
    pseudonyms = load_pseudonyms(options.key_file or default_key_file())
    images = options.images or csvs[0].parent
    if not images.is_dir():
        raise DatasetError(f"there is no folder {images}: check --images")
    rows, on_patients = settled_patients(found_files(table, images), table.dialect, options, pseudonyms)
    sources = locate_sources(
        *(rows, images, pseudonyms, options.shares, options.split_seed, options.patient_per_image),
        known_splits,
    )
    recipe = {**options.decode.recipe(), "key_fingerprint": pseudonyms.fingerprint}
    return SourcesRead(
        table.dialect.name,
        images,
        sources,
        ImageStore.open(options.out / STORE, recipe),
        kept=tuple(dict.fromkeys(name for row in rows for name in row.kept)),
        notes=(*table.notes, *on_patients),
        problems=problems_by_row(table.rows),
    )


def reshard(root: AnyPath, cut: CutOptions, workers: Workers, overwrite: bool) -> CutSummary:
    """Cuts another shard set from the decoded images of a dataset root; no DICOM is opened.

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


def failure_limit(text: str, images: int) -> float:
    """Gives how many of some images may fail before a build stops.

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


def _unknown_conditions(usable: Sequence[Outcome]) -> dict[str, int]:
    names = ("view", "laterality", "age_bin", "cancer", "false_positive")
    counts = {
        name: sum(getattr(outcome.source.row.conditions, name) is None for outcome in usable)
        for name in names
    }
    return {name: count for name, count in counts.items() if count}


def in_words(outcome: Outcome) -> str:
    """Gives what became of a row, by its number: a path may name a patient, and what is said is kept in logs."""
    return f"row {outcome.source.row.row}: {outcome.reason}"


def too_many_failures(outcomes: Sequence[Outcome], limit: float, out: AnyPath) -> str:
    """Gives why a build stopped."""
    failed = [outcome for outcome in outcomes if outcome.is_failure]
    kinds = ", ".join(
        f"{count} {status}" for status, count in Counter(o.status for o in failed).most_common()
    )
    return (
        f"stopped after {len(failed)} of {len(outcomes)} images failed ({kinds}), more than {limit:.0f}; for example "
        f"{in_words(failed[0])}. {out / 'images.csv'} says more. What was decoded is kept; --max-failures allows more"
    )


def disagreement(outcomes: Sequence[Outcome], out: AnyPath) -> str:
    """Gives why a build ended that was to end where table and header disagree."""
    found = [outcome for outcome in outcomes if outcome.disagrees]
    rows = row_list([outcome.source.row.row for outcome in found], most=20)
    return (
        f"table and DICOM header state different things of {len(found)} images ({rows}), for example row "
        f"{found[0].source.row.row}: {found[0].reason}. {out / IMAGES_CSV} says more. Mend the table, or choose with "
        "--disagree csv, tag or drop; what was decoded is kept"
    )


def _nothing_usable(outcomes: Sequence[Outcome], root: AnyPath, out: AnyPath) -> str:
    counts = Counter(outcome.status for outcome in outcomes)
    kinds = ", ".join(f"{count} {status}" for status, count in counts.most_common())
    return (
        f"none of the {len(outcomes)} images can be used ({kinds}), for example {in_words(outcomes[0])}. "
        f"Paths are taken relative to {root}; name another folder with --images. {out / 'images.csv'} says more"
    )
