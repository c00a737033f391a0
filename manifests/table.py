"""A dataset's CSV becomes rows of conditions; what cannot be understood is said, row by row."""

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from nlbs.errors import DatasetError
from nlbs.manifests.conditions import Conditions, age_bin_of
from nlbs.manifests.dialects import PARSERS, Dialect, recognise, simplified

_LARGEST_CELL = 1 << 20


@dataclass(frozen=True)
class ImageRow:
    """One row of a dataset's CSV."""

    row: int  #: data rows counted from 1
    path: str  #: of the image, with forward slashes, as the CSV has it
    conditions: Conditions
    patient: str | None  #: as the source names the patient; None is unknown
    problem: str | None = None  #: why the row cannot be used at all
    notes: tuple[str, ...] = ()  #: what was left unknown, without text from the file
    details: tuple[str, ...] = ()  #: the same with the text: identifies, so it goes to sources.csv only


@dataclass(frozen=True)
class Table:
    """A dataset's CSV, read."""

    dialect: Dialect
    rows: tuple[ImageRow, ...]


def read_table(path: Path, patient_column: str | None = None, patient_part: int | None = None) -> Table:
    """Gives the rows of a dataset's CSV in a form of :data:`nlbs.manifests.dialects.DIALECTS`.

    UTF-8 with or without BOM, or else Latin-1; separated by comma, semicolon or tab.

    Args:
        path: of the CSV.
        patient_column: the column that names the patient.
        patient_part: which folder of the image's path names the patient, counted from 1; None is
            the dialect's own rule.

    Raises:
        DatasetError: the file is missing, empty or of no known form.
    """
    text = _read_text(path)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=_delimiter(text))
    records = _records(reader, path)
    header = [name.strip() for name in next(records, [])]
    if not any(header):
        raise DatasetError(f"{path} is empty: expected a header and one row per image")
    dialect, columns = recognise(header, str(path))
    patient_at = _patient_position(header, patient_column, path)
    part = dialect.patient_part if patient_part is None else patient_part
    rows = tuple(
        _parse_row(number, cells, len(header), dialect, columns, patient_at, part)
        for number, cells in enumerate((cells for cells in records if any(cells)), start=1)
    )
    if not rows:
        raise DatasetError(f"{path} has a header and no rows: expected one row per image")
    return Table(dialect, rows)


def _read_text(path: Path) -> str:
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise DatasetError(f"there is no CSV at {path}: check --csv") from None
    except IsADirectoryError:
        raise DatasetError(f"{path} is a folder: --csv takes the dataset's table, a .csv file") from None
    except OSError as error:
        raise DatasetError(f"cannot read {path}: {error.strerror or error}") from None
    if b"\0" in data[:4096]:
        raise DatasetError(f"{path} is no text: --csv takes a comma-separated table in UTF-8")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("latin-1")  # decodes anything; names with accents from older tools


def _delimiter(text: str) -> str:
    header = text.split("\n", 1)[0]
    return max(",;\t", key=header.count)


def _records(reader: Iterator[list[str]], path: Path) -> Iterator[list[str]]:
    csv.field_size_limit(_LARGEST_CELL)
    while True:
        try:
            yield next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise DatasetError(f"{path}: {error}; is it a CSV with every quote closed?") from None


def _patient_position(header: list[str], patient_column: str | None, path: Path) -> int | None:
    if patient_column is None:
        return None
    names = [simplified(name) for name in header]
    if simplified(patient_column) not in names:
        raise DatasetError(
            f"{path} has no column {patient_column!r} for --patient-column; it has {', '.join(header)[:300]}"
        )
    return names.index(simplified(patient_column))


def _parse_row(
    number: int,
    cells: list[str],
    width: int,
    dialect: Dialect,
    columns: dict[str, int],
    patient_at: int | None,
    patient_part: int | None,
) -> ImageRow:
    if len(cells) != width:
        problem = f"the row has {len(cells)} cells, the header has {width}"
        return ImageRow(number, "", Conditions(), None, problem=problem)
    path = " ".join(cells[columns[dialect.path]].split()).replace("\\", "/")
    if not path:
        return ImageRow(
            number, "", Conditions(), None, problem="the cell with the path of the image is empty"
        )
    values, notes, details = {}, [], []
    for condition, column in dialect.conditions.items():
        try:
            values[condition] = PARSERS[condition](cells[columns[column]])
        except ValueError as error:
            notes.append(f"{condition} is kept as unknown: its cell cannot be read")
            details.append(f"{condition}: {error}")
    if values.get("age_years") is not None:
        values["age_bin"] = age_bin_of(values["age_years"])
    if values.get("cancer") and values.get("false_positive"):
        notes.append("cancer and false positive are both yes")
    patient = cells[patient_at].strip() or None if patient_at is not None else _patient_in(path, patient_part)
    return ImageRow(number, path, Conditions(**values), patient, notes=tuple(notes), details=tuple(details))


def _patient_in(path: str, part: int | None) -> str | None:
    """Gives the folder that names the patient; None where the path has none at that place."""
    folders = [name for name in PurePosixPath(path).parts[:-1] if name not in (".", "/")]
    return folders[part - 1] if part is not None and 1 <= part <= len(folders) else None
