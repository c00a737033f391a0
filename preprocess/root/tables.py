"""images.csv and sources.csv of a dataset root: what came of every row, without and with what identifies."""

import csv
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain, islice
from typing import IO, Any

from nlbs.errors import DatasetError
from nlbs.files import atomic_file
from nlbs.manifests.conditions import OTHER_VIEWS, VIEWS, Conditions
from nlbs.manifests.people.splits import SPLITS
from nlbs.manifests.schema import NLBS
from nlbs.names import is_name
from nlbs.paths import AnyPath
from nlbs.preprocess.images.header_conditions import SETTLED_BY
from nlbs.preprocess.root.sources import Source
from nlbs.preprocess.sets.plan import LabelledImage
from nlbs.shards.format.layout import IMAGES_CSV, SOURCES_CSV, how_to_build
from nlbs.stores import store_of
from nlbs.text import printable, shown

_MOST_COLUMNS = 10_000  # what is kept of a table, and some eighty of ours


@contextmanager
def open_own_table(path: AnyPath) -> Iterator[IO[str]]:
    """Open a table of ours, to be read from its beginning.

    Raises:
        OSError: there is none, or it is no regular file.
        ValueError: it is empty, or has more columns than a table of ours can have, each of which would take memory in
            every row.
    """
    with store_of(path).open(path, encoding="utf-8", newline="") as file:
        columns = len(next(csv.reader(file), ()))
        if not columns:
            raise ValueError("it is empty")
        if columns > _MOST_COLUMNS:
            raise ValueError(f"it has {columns:,} columns, at most {_MOST_COLUMNS:,} are read")
        file.seek(0)
        yield file


CONDITION_COLUMNS = tuple(Conditions().cells())
_RECORD = (
    "source_rows", "source_columns", "crop_y", "crop_x", "crop_rows", "crop_columns", "mask_y", "mask_x",
    "mask_rows", "mask_columns", "mask_fraction", "mask_method", "mask_threshold", "mask_raggedness",
    "mask_components", "mask_borders", "mask_flags", "breast_p1", "breast_median", "breast_p99", "qc_row_jump",
    "qc_streaks", "qc_busiest", "qc_flattest", "voi", "inverted", "bits_stored", "transfer_syntax", "decoder",
    "pixels_sha256",
)  # fmt: skip
_KNOWN_VALUES: dict[str, tuple[str, ...]] = {
    condition.name: condition.values
    if condition.kind == "categorical"
    else tuple(str(code) for code in range(len(condition.values)))
    for condition in NLBS
} | {"view": (*VIEWS, *OTHER_VIEWS)}
#: What images.csv takes from the record of a stored image.
RECORD_KEYS = tuple(dict.fromkeys((*_RECORD, "spacing_mm", *SETTLED_BY)))
_IMAGE_COLUMNS = (
    "row", "image", "status", "reason", *CONDITION_COLUMNS, "patient", "split", "from_header", "kind", "spacing_mm",
    *_RECORD, "generation",
)  # fmt: skip
_SOURCE_COLUMNS = ("row", "image", "path", "patient", "detail", "stamp")


def write_tables(
    root: AnyPath,
    images: Iterable[dict[str, Any]],
    sources: Iterable[dict[str, Any]],
    kept: Sequence[str] = (),
) -> None:
    """Write images.csv, which identifies nobody, and sources.csv, readable by the owner only.

    Args:
        root: the dataset root.
        images, sources: one each per row of the input CSV, of :func:`image_row` and :func:`source_row`. None
            becomes an empty cell: *unknown*.
        kept: columns that --keep took along.
    """
    write_sources(root, sources)
    _write(root / IMAGES_CSV, (*_IMAGE_COLUMNS, *kept), images, 0o644)


def write_sources(root: AnyPath, sources: Iterable[dict[str, Any]]) -> None:
    """Write sources.csv alone. Args: as for :func:`write_tables`."""
    _write(root / SOURCES_CSV, _SOURCE_COLUMNS, sources, 0o600)


def extend_tables(
    root: AnyPath,
    images: Iterable[dict[str, Any]],
    sources: Iterable[dict[str, Any]],
    kept: Sequence[str] = (),
) -> None:
    """Add rows to images.csv and sources.csv; those that are there stay as they are.

    Args: as for :func:`write_tables`.
    """
    # Rows of sources.csv beyond those of images.csv are of a run that ended between the two files.
    known = islice(_read_rows(root / SOURCES_CSV), sum(1 for _ in read_image_rows(root)))
    old_sources = known if (root / SOURCES_CSV).exists() else iter(())
    write_tables(root, chain(read_image_rows(root), images), chain(old_sources, sources), kept)


def source_row(source: Source) -> dict[str, Any]:
    """Return what leads from an image id back to its file and patient: a row of sources.csv."""
    return {
        "row": source.row.row,
        "image": source.image,
        "path": source.row.path,
        "patient": source.row.patient,
        "detail": source.detail,
        "stamp": source.stamp,
    }


def read_stamps(root: AnyPath) -> dict[str, str]:
    """Return image id -> stamp of its source file, from the last run; empty where there was none.

    Raises:
        DatasetError: sources.csv is there and cannot be read.
    """
    path = root / SOURCES_CSV
    try:
        with open_own_table(path) as file:
            return {
                row["image"]: row["stamp"] for row in csv.DictReader(file) if row["image"] and row["stamp"]
            }
    except FileNotFoundError:
        return {}
    except (OSError, KeyError, csv.Error, ValueError) as error:
        raise DatasetError(
            f"cannot read {path} ({error}): remove it, and every file is looked at again"
        ) from None


def read_labelled_images(root: AnyPath) -> list[LabelledImage]:
    """Return what images.csv of a dataset root says about each usable image.

    Raises:
        DatasetError: the file is missing or damaged.
    """
    return [image for images in read_generations(root).values() for image in images]


def read_generations(root: AnyPath) -> dict[int, list[LabelledImage]]:
    """Return the usable images of images.csv by the generation that they came with, 1 and those of appends.

    Raises:
        DatasetError: the file is missing or damaged.
    """
    found: dict[int, list[LabelledImage]] = {}
    try:
        for row in read_image_rows(root):
            if row["status"] == "ok":
                found.setdefault(generation_of(row), []).append(_labelled(row))
    except (KeyError, ValueError, TypeError) as error:
        raise _unreadable(root / IMAGES_CSV, error) from None
    return found


def kept_columns(root: AnyPath) -> tuple[str, ...]:
    """Return the columns of images.csv that --keep took along; none where there is no row."""
    return tuple(name for name in next(read_image_rows(root), {}) if name not in _IMAGE_COLUMNS)


def generation_of(row: dict[str, str]) -> int:
    """Return the generation of a row of images.csv."""
    return int(row.get("generation") or 1)


def require_root(root: AnyPath) -> None:
    """Raise DatasetError where a folder is no dataset root, before anything is made in it."""
    next(read_image_rows(root), None)


def read_image_rows(root: AnyPath) -> Iterator[dict[str, str]]:
    """Yield the rows of images.csv as they are, one after the other.

    Raises:
        DatasetError: the file is missing or damaged.
    """
    try:
        for number, row in enumerate(_read_rows(root / IMAGES_CSV), 2):
            problem = row_problem(row)
            if problem is not None:
                raise _unreadable(root / IMAGES_CSV, ValueError(f"line {number}: {problem}"))
            yield row
    except FileNotFoundError:
        raise DatasetError(f"{root} is no dataset root (no {IMAGES_CSV}): {how_to_build(root)}") from None


def read_source_rows(root: AnyPath) -> Iterator[dict[str, str]]:
    """Yield the rows of sources.csv as they are, one after the other.

    Raises:
        DatasetError: the file is missing or damaged.
    """
    try:
        for row in _read_rows(root / SOURCES_CSV):
            if None in row or None in row.values() or not row.get("row", "").isdecimal():
                raise _unreadable(root / SOURCES_CSV, ValueError("a row is not whole"))
            yield row
    except FileNotFoundError:
        raise DatasetError(
            f"{root} lacks {SOURCES_CSV}: run build-shards again, which writes it anew"
        ) from None


def _read_rows(path: AnyPath) -> Iterator[dict[str, str]]:
    try:
        with open_own_table(path) as file:
            reader = csv.DictReader(file)
            names = [plain_cell(name) or "" for name in reader.fieldnames or ()]
            if len(set(names)) < len(names):
                raise ValueError("its header has a column twice")
            reader.fieldnames = names
            yield from reader
    except FileNotFoundError:
        raise
    except (OSError, ValueError, csv.Error) as error:
        raise _unreadable(path, error) from None


def _unreadable(path: AnyPath, error: Exception) -> DatasetError:
    what = printable(str(error), 300)
    return DatasetError(f"cannot read {path} ({what}): run build-shards again, which writes it anew")


def row_problem(row: Mapping[Any, Any]) -> str | None:
    """Return what a row of images.csv has that none can have; None where it is as a build writes it.

    The table may come from somebody else: its ids become names of folders and of files in archives.
    """
    if None in row or None in row.values():
        return "it has more or fewer cells than the header"
    for kind in ("image", "patient"):
        if row.get(kind) and not is_name(kind, row[kind]):
            return f"{shown(row[kind])} is no id of {'an' if kind == 'image' else 'a'} {kind}"
    if row.get("split") and row["split"] not in SPLITS:
        return f"{shown(row['split'])} is no split"
    for name, most in (("row", 15), ("generation", 5)):
        text = row.get(name)
        if text and not (text.isascii() and text.isdecimal() and len(text) <= most):
            return f"{name} is {shown(text)}, expected a number"
    if row.get("pixels_sha256") and not is_name("sha256", row["pixels_sha256"]):
        return f"{shown(row['pixels_sha256'])} is no digest of pixels"
    if row.get("status") != "ok":
        return None
    return _condition_problem(row)


def _condition_problem(row: Mapping[str, str]) -> str | None:
    for name, known in _KNOWN_VALUES.items():
        if row.get(name) and row[name] not in known:
            return f"{name} is {shown(row[name])}, expected one of {', '.join(known)}"
    age = row.get("age_years")
    if age and not (age.isascii() and age.isdecimal() and len(age) <= 3 and int(age) <= 150):
        return f"age_years is {shown(age)}, expected years"
    return (
        None if row["image"] and row["patient"] and row["split"] else "an image without id, patient or split"
    )


def _labelled(row: dict[str, str]) -> LabelledImage:
    # What is no column of ours was kept from the table.
    kept = {name: plain_cell(value) for name, value in row.items() if name not in _IMAGE_COLUMNS}
    return LabelledImage(row["image"], Conditions.of_cells(row), row["patient"], row["split"], kept)


def image_row(source: Source, generation: int = 1) -> dict[str, Any]:
    """Return what is known of an image and identifies nobody: a row of images.csv."""
    row: dict[str, Any] = {
        "row": source.row.row,
        **{name: getattr(source, name) for name in ("image", "status", "reason", "patient", "split", "kind")},
        "from_header": " ".join(source.from_header),
        "generation": generation,
        **source.row.kept,
        **source.row.conditions.cells(),
    }
    if source.record is not None:
        row |= {name: source.record.get(name) for name in _RECORD}  # an older store has fewer
        row["mask_flags"] = " ".join(source.record.get("mask_flags", ()))
        row["inverted"] = int(source.record["inverted"])
        spacing = source.record["spacing_mm"]
        row["spacing_mm"] = spacing[0] if spacing else None
    return row


# What spreadsheets take for the beginning of a formula, in the forms of full width too.
_FORMULA = re.compile("[=+\\-@\t\r\n\uff1d\uff0b\uff0d\uff20]")
_MADE_HARMLESS = re.compile("'[=+\\-@\t\r\n\uff1d\uff0b\uff0d\uff20]")


def _write(path: AnyPath, columns: Sequence[str], rows: Iterable[dict[str, Any]], permissions: int) -> None:
    # What cannot be UTF-8 (a folder's name in another encoding, in a message) must not end a build.
    with atomic_file(path, "w", permissions, encoding="utf-8", errors="backslashreplace", newline="") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writerow({name: _harmless(name) for name in columns})
        for row in rows:
            writer.writerow({name: _harmless(row.get(name)) for name in columns})


def plain_cell(cell: str) -> str | None:
    """Return what a cell said before it was made harmless; None where it is empty."""
    return (cell[1:] if _MADE_HARMLESS.match(cell) else cell) or None


def _harmless(value: Any) -> Any:
    """Return a cell that no spreadsheet takes for a formula."""
    return f"'{value}" if isinstance(value, str) and _FORMULA.match(value) else value
