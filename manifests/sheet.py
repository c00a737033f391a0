"""A table as it lies on disk: its text, its separator, its header and its rows; what the columns mean comes later."""

import codecs
import csv
import io
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from nlbs.errors import DatasetError
from nlbs.paths import AnyPath

_LARGEST_CELL = 1 << 20
_LINES_TO_LOOK_AT = 400  # of a table without separators: Info.txt of mini-MIAS begins with its explanation


@dataclass(frozen=True)
class Sheet:
    """One table."""

    path: AnyPath
    header: tuple[str, ...]
    records: Iterable[
        tuple[int, list[str]]
    ]  #: number, from 1, and cells of each row; can be gone through once
    line: str | None = None  #: the pattern of its lines, where it has no separators


def open_sheet(path: AnyPath, lines: Sequence[str] = ()) -> Sheet:
    """Gives a table: UTF-8 with or without BOM, or else Latin-1; separated by comma, semicolon or tab.

    Args:
        path: of the file.
        lines: patterns of tables without separators, tried first; their groups are the columns.

    Raises:
        DatasetError: the file is missing, empty, or has a quote that is not closed.
    """
    text = _read_text(path)
    for pattern in lines:
        if _has_lines(text, pattern):
            names = tuple(re.compile(pattern).groupindex)
            return Sheet(path, names, enumerate(_matched(text, pattern), start=1), pattern)
    records = _records(text, path)
    header = tuple(name.strip() for name in next(records, []))
    if not header:
        raise DatasetError(f"{path} is empty: expected a header and one row per image")
    return Sheet(path, header, enumerate(records, start=1))


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
    if data.startswith(b"PK\3\4"):
        raise DatasetError(f"{path} is a spreadsheet or a zip file: save the sheet as CSV, and name that")
    if b"\0" in data[:4096]:
        raise DatasetError(f"{path} is no text: --csv takes a comma-separated table in UTF-8")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        # Decodes anything; names with accents from older tools.
        return data.removeprefix(codecs.BOM_UTF8).decode("latin-1")


def _has_lines(text: str, pattern: str) -> bool:
    head = text[: 1 << 16].splitlines()[:_LINES_TO_LOOK_AT]
    return any(re.fullmatch(pattern, line.strip()) for line in head if len(line) < 1000)


def _matched(text: str, pattern: str) -> Iterator[list[str]]:
    """Gives the groups of each line from the first that fits; a later one that does not fit is a row of one cell."""
    compiled, begun = re.compile(pattern), False
    for line in text.splitlines():
        match = compiled.fullmatch(line.strip()) if len(line) < 10_000 else None
        if match is not None:
            begun = True
            yield [group or "" for group in match.groups()]
        elif begun and line.strip():
            yield [line]


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
