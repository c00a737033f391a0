"""One build by several machines: each decodes its part of the images into a shared root, then one merges and cuts."""

import hashlib
import heapq
import json
import re
import shutil
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from nlbs.errors import ConfigError, DatasetError
from nlbs.files import atomic_file, make_folder, only_one, remove_partials
from nlbs.paths import AnyPath
from nlbs.preprocess.build import (
    BuildOptions,
    BuildSummary,
    SourcesRead,
    disagreement,
    failure_limit,
    read_sources,
    too_many_failures,
)
from nlbs.preprocess.duplicates import refuse_leaks
from nlbs.preprocess.grid import CutOptions
from nlbs.preprocess.ingest import ingest
from nlbs.preprocess.outcome import Outcome, with_header
from nlbs.preprocess.shard_set import cut_shard_set
from nlbs.preprocess.sources import Source
from nlbs.preprocess.standing import refuse_changes
from nlbs.preprocess.store import ImageStore
from nlbs.preprocess.tables import (
    image_row,
    read_image_rows,
    read_labelled_images,
    read_source_rows,
    read_stamps,
    source_row,
    write_tables,
)
from nlbs.preprocess.workers import Workers
from nlbs.shards.layout import BUILD_PARTS, IMAGES_CSV, STORE

#: Written last into the folder of a part: what it was a part of.
_PART_JSON = "part.json"
_IN_HAND = "in-hand"
_NO_PARTS = "{root} has no parts to merge: nlbs-preprocess build-shards --part 1/4 makes the first of four"
_CONDITIONS = ("view", "laterality", "age_bin", "cancer", "false_positive")


@dataclass(frozen=True)
class Part:
    """One of several parts of a build."""

    number: int  #: from 1
    of: int

    @property
    def name(self) -> str:
        """The part's folder in ``.parts``: "0003-of-0016"."""
        return f"{self.number:04d}-of-{self.of:04d}"


@dataclass(frozen=True)
class PartSummary:
    """What one part of a build did."""

    part: Part
    images: int  #: its share of the table
    decoded: int  #: in this run
    skipped: dict[str, int]  #: status -> rows
    seconds: float


def parse_part(text: str) -> Part:
    """Reads "3/16" as the third of sixteen parts.

    Raises:
        ConfigError: no such part.
    """
    match = re.fullmatch(r"(\d{1,4})/(\d{1,4})", text.strip())
    part = Part(int(match[1]), int(match[2])) if match else None
    if part is None or not 1 <= part.number <= part.of:
        raise ConfigError(f"--part {text!r}: expected for example 3/16, the third of sixteen parts")
    return part


def build_part(options: BuildOptions, part: Part) -> PartSummary:
    """Decodes one part of the images of a CSV into a dataset root; other parts may do so at the same time.

    Raises:
        NlbsError: the CSV, the options or the folder cannot be used, or too many images of the part fail.
    """
    begun, folder = time.monotonic(), _mounted(options.out) / BUILD_PARTS / part.name
    with only_one(options.out, "nlbs-preprocess", shared=True):
        make_folder(folder)
        folder.parent.chmod(0o700)
        with only_one(folder, f"part {part.number} of {part.of}"):
            remove_partials(folder)
            (folder / _PART_JSON).unlink(missing_ok=True)
            read = read_sources(options)
            if not options.overwrite:
                refuse_changes(options.csv, options.out, options.cut.name, read.sources)
            share = share_of(read.sources, part)
            outcomes = _decode_share(options, read, share, folder)
            outcomes = [with_header(outcome, options.disagree) for outcome in outcomes]
            write_tables(folder, map(image_row, outcomes), map(source_row, outcomes), read.kept)
            if options.disagree == "error" and any(outcome.disagrees for outcome in outcomes):
                raise DatasetError(disagreement(outcomes, folder))
            decoded = sum(outcome.decoded and outcome.status == "ok" for outcome in outcomes)
            _write_part(folder, _described(options, read, part, decoded))
    skipped = Counter(outcome.status for outcome in outcomes if outcome.status != "ok")
    return PartSummary(part, len(share), decoded, dict(skipped), time.monotonic() - begun)


def _mounted(root: AnyPath) -> Path:
    """Gives a root that is in a file system. Raises ConfigError: it is none that several machines can lock at once."""
    if not isinstance(root, Path):
        raise ConfigError(
            f"parts of a build need a file system that all machines mount, and {root} is in an object store, whose "
            "lock is for one command alone: build it with one command, or the parts elsewhere, and copy the root there"
        )
    return root


def share_of(sources: Sequence[Source], part: Part) -> list[Source]:
    """Gives the sources of one part, in their order: dealt out by a hash of the image's id, so parts are alike.

    Rows without a file to decode are in the first.
    """
    files = [source for source in sources if source.path is not None]
    files.sort(key=lambda source: hashlib.sha256(f"nlbs part {source.image}".encode()).digest())
    dealt = {source.image for source in files[part.number - 1 :: part.of]}
    return [
        source
        for source in sources
        if (source.image in dealt if source.path is not None else part.number == 1)
    ]


def merge(root: AnyPath, workers: Workers, overwrite: bool) -> BuildSummary:
    """Makes one dataset root of what the parts of a build left there: the tables, and the shard set.

    The bytes are those of a build by one machine.

    Raises:
        DatasetError: parts are missing, or they are not parts of the same build, or no image is left.
    """
    begun, root = time.monotonic(), _mounted(root)
    if not (root / BUILD_PARTS).is_dir():
        raise DatasetError(_NO_PARTS.format(root=root))
    with only_one(root, "nlbs-preprocess"):
        parts = _parts_of_one_build(root)
        folders = [root / BUILD_PARTS / Part(part["part"], len(parts)).name for part in parts]
        remove_partials(root / STORE)
        remove_partials(root)
        write_tables(
            root,
            _in_order([read_image_rows(folder) for folder in folders]),
            _in_order([read_source_rows(folder) for folder in folders]),
            parts[0]["kept"],
        )
        images = read_labelled_images(root)
        if not images:
            raise DatasetError(f"none of the images can be used: {root / IMAGES_CSV} says why, row by row")
        allow = all(part["allow_duplicates"] for part in parts)
        duplicates = refuse_leaks(read_image_rows(root), allow, root / IMAGES_CSV)
        cut = CutOptions(**parts[0]["cut"])
        shard_set = cut_shard_set(root, ImageStore.existing(root / STORE), images, cut, workers, overwrite)
        shutil.rmtree(root / BUILD_PARTS)
    counted = _Counted(root)
    return BuildSummary(
        dialect=parts[0]["dialect"],
        rows=counted.rows,
        decoded=sum(part["decoded"] for part in parts),
        skipped=dict(counted.skipped),
        remarks=counted.remarks,
        from_header=dict(counted.from_header),
        disagreements=counted.disagreements,
        notes=tuple(parts[0]["notes"]),
        problems=parts[0]["problems"],
        unknown=dict(counted.unknown),
        duplicates=duplicates,
        examples=counted.examples,
        shard_set=shard_set,
        seconds=time.monotonic() - begun,
        kinds=counted.kinds,
    )


def _decode_share(
    options: BuildOptions, read: SourcesRead, share: Sequence[Source], folder: Path
) -> list[Outcome]:
    limit = failure_limit(options.most_failures, len(share))
    outcomes = ingest(
        *(share, read.store, options.decode, options.cut),
        {**read_stamps(options.out), **read_stamps(folder)},
        options.workers,
        limit,
        timeout_s=options.file_timeout_s,
        notes=(folder / _IN_HAND).absolute(),
    )
    if any(outcome.status == "not_reached" for outcome in outcomes):
        write_tables(folder, map(image_row, outcomes), map(source_row, outcomes), read.kept)
        raise DatasetError(too_many_failures(outcomes, limit, folder))
    return outcomes


def _described(options: BuildOptions, read: SourcesRead, part: Part, decoded: int) -> dict[str, Any]:
    """Gives what a part says of itself; the digest is the same for all parts of one build."""
    rows = [
        [
            source.row.row,
            source.image,
            source.patient,
            source.split,
            source.status,
            asdict(source.row.conditions),
            dict(source.row.kept),
        ]
        for source in read.sources
    ]
    build: dict[str, Any] = {"rows": rows, "store": read.store.attributes, "cut": asdict(options.cut)}
    build["disagree"] = options.disagree
    build["kinds"] = options.decode.kinds
    return {
        "part": part.number,
        "of": part.of,
        "build": hashlib.sha256(json.dumps(build, sort_keys=True).encode()).hexdigest(),
        "cut": asdict(options.cut),
        "kept": list(read.kept),
        "notes": list(read.notes),
        "problems": read.problems,
        "allow_duplicates": options.allow_duplicates,
        "dialect": read.dialect,
        "decoded": decoded,
    }


def _write_part(folder: Path, part: dict[str, Any]) -> None:
    with atomic_file(folder / _PART_JSON, "w", 0o600, encoding="utf-8") as file:
        json.dump(part, file, sort_keys=True)


def _parts_of_one_build(root: Path) -> list[dict[str, Any]]:
    """Gives what each part says of itself, in order, once it is sure that all are there and belong together."""
    folder = root / BUILD_PARTS
    begun = [path.name for path in folder.iterdir()]
    of = {int(match[1]) for name in begun if (match := re.fullmatch(r"\d{4}-of-(\d{4})", name))}
    if not of:
        raise DatasetError(_NO_PARTS.format(root=root))
    if len(of) > 1:
        raise DatasetError(
            f"{folder} has parts of {' and of '.join(map(str, sorted(of)))}: delete the folders of the division that "
            "is not wanted; what was decoded is kept"
        )
    number = of.pop()
    parts = {n: _read_part(folder / Part(n, number).name) for n in range(1, number + 1)}
    missing = [f"{n}/{number}" for n, part in parts.items() if part is None]
    if missing:
        raise DatasetError(
            f"{len(missing)} of {number} parts are not done: run build-shards with --part {', '.join(missing)}"
        )
    found = [part for part in parts.values() if part is not None]
    builds = Counter(part["build"] for part in found).most_common()
    if len(builds) > 1:
        others = [f"{part['part']}/{number}" for part in found if part["build"] != builds[0][0]]
        raise DatasetError(
            f"the parts {', '.join(others)} are of another table or other options than the rest: run them again with "
            "the same"
        )
    return found


def _read_part(folder: Path) -> dict[str, Any] | None:
    try:
        part: dict[str, Any] = json.loads((folder / _PART_JSON).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    return part


def _in_order(tables: Sequence[Iterator[dict[str, str]]]) -> Iterator[dict[str, str]]:
    return heapq.merge(*tables, key=lambda row: int(row["row"]))


class _Counted:
    """What the tables of a root say, for the summary of a build."""

    def __init__(self, root: Path) -> None:
        self.rows = self.remarks = 0
        self.skipped: Counter[str] = Counter()
        self.unknown: Counter[str] = Counter()
        self.kinds: Counter[str] = Counter()
        self.from_header: Counter[str] = Counter()
        self.disagreements = 0
        self.examples: list[str] = []
        for row, source in zip(read_image_rows(root), read_source_rows(root), strict=True):
            self.rows += 1
            self.kinds.update([row["kind"]] if row["kind"] else [])
            if row["status"] == "ok":
                self.remarks += bool(row["reason"])
                self.from_header.update(row["from_header"].split())
                self.unknown.update(name for name in _CONDITIONS if not row[name])
                continue
            self.skipped[row["status"]] += 1
            if len(self.examples) < 5:
                self.examples.append(f"row {row['row']} ({source['path'] or 'no path'}): {row['reason']}")
