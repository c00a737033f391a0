"""A dataset's CSV becomes rows of conditions; what cannot be understood is said, row by row."""

import codecs
import csv
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath

from nlbs.errors import DatasetError
from nlbs.manifests.conditions import VIEWS, Conditions, age_bin_of, is_empty
from nlbs.manifests.dialects import PARSERS, Dialect, recognise, simplified
from nlbs.paths import AnyPath

_LARGEST_CELL = 1 << 20
_LONGEST_PATH = 4096  # PATH_MAX of Linux: no longer one can be opened
_LONGEST_DETAIL = 200  # characters of a cell that cannot be read, kept in sources.csv

#: Folders of the NLBS layout that are no patient: where one stands in a patient's place, the layout is another.
_NO_PATIENTS = frozenset({"L", "R", "LEFT", "RIGHT", *VIEWS})


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


def read_table(path: AnyPath, patient_column: str | None = None, patient_part: int | None = None) -> Table:
    """Gives the rows of a dataset's CSV in a form of :data:`nlbs.manifests.dialects.DIALECTS`.

    UTF-8 with or without BOM, or else Latin-1; separated by comma, semicolon or tab; blank lines do not count.

    Args:
        path: of the CSV.
        patient_column: the column that names the patient.
        patient_part: which folder of the image's path names the patient, counted from 1; None is
            the dialect's own rule.

    Raises:
        DatasetError: the file is missing, empty, of no known form, or has a quote that is not closed.
    """
    records = _records(_read_text(path), path)
    header = [name.strip() for name in next(records, [])]
    if not header:
        raise DatasetError(f"{path} is empty: expected a header and one row per image")
    dialect, columns = recognise(header, str(path))
    patient_at = _patient_position(header, patient_column, path)
    part = dialect.patient_part if patient_part is None else patient_part
    rows = tuple(
        _parse_row(number, cells, len(header), dialect, columns, patient_at, part)
        for number, cells in enumerate(records, start=1)
    )
    if not rows:
        raise DatasetError(f"{path} has a header and no rows: expected one row per image")
    return Table(dialect, rows)


def _read_text(path: AnyPath) -> str:
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise DatasetError(f"there is no CSV at {path}: check --csv") from None
    except IsADirectoryError:
        raise DatasetError(f"{path} is a folder: --csv takes the dataset's table, a .csv file") from None
    except OSError as error:
        raise DatasetError(
            f"cannot read {path} ({error.strerror or error}): --csv takes the dataset's table, a .csv file"
        ) from None
    if b"\0" in data[:4096]:
        raise DatasetError(f"{path} is no text: --csv takes a comma-separated table in UTF-8")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        # Decodes anything; names with accents from older tools.
        return data.removeprefix(codecs.BOM_UTF8).decode("latin-1")


def _delimiter(text: str) -> str:
    header = text.lstrip("\r\n ").split("\n", 1)[0]
    return max(",;\t", key=header.count)


def _records(text: str, path: AnyPath) -> Iterator[list[str]]:
    """Gives the cells of each row that is not blank, the header first."""
    csv.field_size_limit(_LARGEST_CELL)
    # strict: otherwise a quote that is never closed takes all rows after it into one cell, and says nothing.
    lines, delimiter = io.StringIO(text, newline=""), _delimiter(text)
    reader = csv.reader(lines, delimiter=delimiter, skipinitialspace=True, strict=True)
    while True:
        line = reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise DatasetError(
                f"{path}: the row that begins in line {line} cannot be read ({error}): "
                "close every quote, and double those inside a cell"
            ) from None
        if any(cell.strip() for cell in cells):
            yield cells


def _patient_position(header: list[str], patient_column: str | None, path: AnyPath) -> int | None:
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
    lines = re.split(r"[\r\n]+", cells[columns[dialect.path]])
    path = " ".join(line.strip() for line in lines).strip().replace("\\", "/")
    if not path:
        problem = "the cell with the path of the image is empty"
        return ImageRow(number, "", Conditions(), None, problem=problem)
    if len(path) > _LONGEST_PATH:
        problem = (
            f"the cell with the path of the image has {len(path)} characters, a path at most {_LONGEST_PATH}"
        )
        return ImageRow(number, "", Conditions(), None, problem=problem)
    values, notes, details = {}, [], []
    for condition, column in dialect.conditions.items():
        try:
            values[condition] = PARSERS[condition](cells[columns[column]])
        except ValueError as error:
            notes.append(f"{condition} is kept as unknown: its cell cannot be read")
            details.append(f"{condition}: {error}"[:_LONGEST_DETAIL])
    if values.get("age_years") is not None:
        values["age_bin"] = age_bin_of(values["age_years"])
    if values.get("cancer") and values.get("false_positive"):
        notes.append("cancer and false positive are both yes")
    patient = _patient_in(path, patient_part) if patient_at is None else cells[patient_at].strip()
    if patient is not None and is_empty(patient):
        patient = None
    return ImageRow(number, path, Conditions(**values), patient, notes=tuple(notes), details=tuple(details))


def _patient_in(path: str, part: int | None) -> str | None:
    """Gives the folder that names the patient; None where the path has none at that place."""
    folders = [name for name in PurePosixPath(path).parts[:-1] if name not in (".", "/")]
    if part is None or not 1 <= part <= len(folders) or folders[part - 1].upper() in _NO_PATIENTS:
        return None
    return folders[part - 1]
