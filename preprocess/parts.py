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

from nlbs.card import About
from nlbs.errors import ConfigError, DatasetError
from nlbs.files import atomic_file, make_folder, only_one, read_json, refuse_link, remove_partials
from nlbs.names import is_name
from nlbs.paths import AnyPath
from nlbs.preprocess.build import BuildSummary, dataset_of
from nlbs.preprocess.images.grid import CutOptions
from nlbs.preprocess.images.store import ImageStore
from nlbs.preprocess.root.checks import refuse_leaks, refuse_merge
from nlbs.preprocess.root.intake import (
    BuildOptions,
    SourcesRead,
    Totals,
    nothing_usable,
    read_sources,
    take_in,
)
from nlbs.preprocess.root.sources import Source
from nlbs.preprocess.root.tables import (
    read_image_rows,
    read_labelled_images,
    read_source_rows,
    write_tables,
)
from nlbs.preprocess.sets.cut import cut_shard_set
from nlbs.preprocess.workers import Workers
from nlbs.shards.format.card import rewrite_set_card
from nlbs.shards.format.layout import BUILD_PARTS, IMAGES_CSV, STORE
from nlbs.stores import in_file_system
from nlbs.text import counted

_PART_JSON = "part.json"
_IN_HAND = "in-hand"
_NO_PARTS = "{root} has no parts to merge: nlbs-preprocess build-shards --part 1/4 makes the first of four"


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

    number: int  #: of the part, from 1
    of: int
    totals: Totals  #: of its share of the table
    seconds: float


def parse_part(text: str) -> Part:
    """Read "3/16" as the third of sixteen parts.

    Raises:
        ConfigError: no such part.
    """
    match = re.fullmatch(r"(\d{1,4})/(\d{1,4})", text.strip())
    part = Part(int(match[1]), int(match[2])) if match else None
    if part is None or not 1 <= part.number <= part.of:
        raise ConfigError(f"--part {text!r}: expected for example 3/16, the third of sixteen parts")
    return part


def build_part(options: BuildOptions, part: Part) -> PartSummary:
    """Decode one part of the images of a CSV into a dataset root; other parts may do so at the same time.

    Raises:
        NlbsError: the CSV, the options or the folder cannot be used, or too many images of the part fail.
    """
    begun, folder = time.monotonic(), _mounted(options.out) / BUILD_PARTS / part.name
    with only_one(options.out, "nlbs-preprocess", shared=True):
        read = read_sources(options)  # a typo in the call leaves nothing behind
        refuse_link(folder.parent)
        make_folder(folder.parent, 0o700)
        with only_one(folder, f"part {part.number} of {part.of}"):
            remove_partials(folder)
            (folder / _PART_JSON).unlink(missing_ok=True)
            share = share_of(read.sources, part)
            totals = take_in(options, read, share, folder, notes=(folder / _IN_HAND).absolute())
            _write_part(folder, _described(options, read, part, totals))
    return PartSummary(part.number, part.of, totals, time.monotonic() - begun)


def _mounted(root: AnyPath) -> Path:
    """Return a root that is in a file system. Raises ConfigError: it is none that several machines can lock at once."""
    instead = "build it with one command, or the parts elsewhere, and copy the root there"
    return in_file_system(root, "parts of a build need", instead)


def share_of(sources: Sequence[Source], part: Part) -> list[Source]:
    """Return the sources of one part, in their order: dealt out by a hash of the image's id, so parts are alike.

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
    """Make one dataset root of what the parts of a build left there: the tables, and the shard set.

    The bytes are those of a build by one machine.

    Raises:
        DatasetError: parts are missing, or they are not parts of the same build, or no image is left.
    """
    begun, root = time.monotonic(), _mounted(root)
    if not (root / BUILD_PARTS).is_dir():
        raise DatasetError(_NO_PARTS.format(root=root))
    refuse_link(root / BUILD_PARTS)
    with only_one(root, "nlbs-preprocess"):
        parts = _parts_of_one_build(root)
        folders = [root / BUILD_PARTS / Part(part["part"], len(parts)).name for part in parts]
        remove_partials(root / STORE)
        remove_partials(root)
        totals = Totals(
            dialect=parts[0]["dialect"],
            notes=tuple(parts[0]["notes"]),
            problems=parts[0]["problems"],
            decoded=sum(part["decoded"] for part in parts),
            disagreements=sum(part["disagreements"] for part in parts),
        )
        cut = _cut_of(root, parts[0]["cut"])
        if not overwrite:
            refuse_merge(root, cut.name, _image_rows(folders), parts[0]["kept"])
        rows = totals.counting(_image_rows(folders))
        sources = _in_order([read_source_rows(folder) for folder in folders])
        write_tables(root, rows, sources, parts[0]["kept"])
        if not totals.usable:
            raise DatasetError(nothing_usable(totals, root))
        allow = all(part["allow_duplicates"] for part in parts)
        duplicates = refuse_leaks(read_image_rows(root), allow, root / IMAGES_CSV)
        images = read_labelled_images(root)
        shard_set = cut_shard_set(root, ImageStore.existing(root / STORE), images, cut, workers, overwrite)
        rewrite_set_card(shard_set.folder, About(), dataset_of(totals.dialect))
        shutil.rmtree(root / BUILD_PARTS)
    return BuildSummary(totals, duplicates, shard_set, time.monotonic() - begun)


def _cut_of(root: Path, values: dict[str, Any]) -> CutOptions:
    try:
        return CutOptions(**values)
    except (TypeError, ValueError):
        raise DatasetError(
            f"the parts in {root / BUILD_PARTS} do not say how to cut: run them again"
        ) from None


def _described(options: BuildOptions, read: SourcesRead, part: Part, totals: Totals) -> dict[str, Any]:
    """Return what a part says of itself; the digest is the same for all parts of one build."""
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
        "decoded": totals.decoded,
        "disagreements": totals.disagreements,
    }


def _write_part(folder: Path, part: dict[str, Any]) -> None:
    with atomic_file(folder / _PART_JSON, "w", 0o600, encoding="utf-8") as file:
        json.dump(part, file, sort_keys=True)


def _parts_of_one_build(root: Path) -> list[dict[str, Any]]:
    """Return what each part says of itself, in order, once it is sure that all are there and belong together."""
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
            f"{len(missing)} of {counted(number, 'part')} {'is' if len(missing) == 1 else 'are'} not done: run "
            f"build-shards with --part {', '.join(missing)}"
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
        part = read_json(folder / _PART_JSON)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise DatasetError(f"cannot read {folder / _PART_JSON} ({error}): run that part again") from None
    if not _is_part(part, folder.name):
        raise DatasetError(f"{folder / _PART_JSON} does not describe that part: run it again")
    return dict(part)


def _is_part(part: Any, name: str) -> bool:
    """Return whether a value is what :func:`_described` writes for the part whose folder has that name."""
    if not isinstance(part, dict) or not is_name("sha256", part.get("build")):
        return False
    if not all(type(part.get(key)) is int and 0 <= part[key] < 1 << 31 for key in ("part", "of", "decoded")):
        return False
    if Part(part["part"], part["of"]).name != name or not isinstance(part.get("cut"), dict):
        return False
    lists = [part.get(key) for key in ("kept", "notes", "problems")]
    if not all(isinstance(found, list) and all(isinstance(text, str) for text in found) for found in lists):
        return False
    return isinstance(part.get("dialect"), str) and isinstance(part.get("allow_duplicates"), bool)


def _image_rows(folders: Sequence[Path]) -> Iterator[dict[str, str]]:
    return _in_order([read_image_rows(folder) for folder in folders])


def _in_order(tables: Sequence[Iterator[dict[str, str]]]) -> Iterator[dict[str, str]]:
    return heapq.merge(*tables, key=lambda row: int(row["row"]))
