"""A table as it lies on disk: its text, its separator, its header and its rows; what the columns mean comes later."""

import csv
import io
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain, islice

from nlbs.errors import DatasetError
from nlbs.manifests.tables.table_file import Judge, decoded, read_table_file
from nlbs.paths import AnyPath

_LARGEST_CELL = 1 << 20
_LINES_TO_LOOK_AT = 400  # of a table without separators: Info.txt of mini-MIAS begins with its explanation
_ROWS_TO_LOOK_AT = 20  # for a header below a title, and for numbers before the first column
_SEPARATORS = ",;\t|"
#: Excel's own first line, which names the separator.
_NAMED_SEPARATOR = re.compile(r'[ \t]*"?sep=(\\t|[^"\r\n])"?[ \t,;|]*(?:\r\n|\r|\n|$)', re.IGNORECASE)

#: Whether some cells are a header.
IsHeader = Callable[[Sequence[str]], bool]


@dataclass(frozen=True)
class Sheet:
    """One table."""

    path: AnyPath
    header: tuple[str, ...]
    records: Iterable[
        tuple[int, list[str]]
    ]  #: number, from 1, and cells of each row; can be gone through once
    line: str | None = None  #: the pattern of its lines, where it has no separators
    notes: tuple[str, ...] = ()  #: on how it was read, each a predicate of the table; no text from it
    #: rows that are the header again, as in tables that were put one behind the other; known once all are read
    repeated: list[int] = field(default_factory=list)


def open_sheet(
    path: AnyPath,
    lines: Sequence[str] = (),
    headers: Sequence[IsHeader] = (),
    judge: Judge | None = None,
) -> Sheet:
    """Return a table: text of any encoding, separated by comma, semicolon, tab or bar.

    The separator is the one that a line "sep=;" names, or under which a header is found, else the one that the first
    line has most of. Lines above a header, unnamed columns at the end and empty cells behind them are left out.

    Args:
        path: of the file.
        lines: patterns of tables without separators, tried first; their groups are the columns.
        headers: tell a header, the surest first; without any the first row is it.
        judge: tells names that are there, for the encoding.

    Raises:
        DatasetError: the file is missing, empty, no table, or has a quote that is not closed.
    """
    text, notes = decoded(read_table_file(path), str(path), judge)
    for pattern in lines:
        if _has_lines(text, pattern):
            names = tuple(re.compile(pattern).groupindex)
            records = enumerate(_matched(text, pattern), start=1)
            return Sheet(path, names, records, pattern, tuple(notes))
    named = _NAMED_SEPARATOR.match(text)
    before = 1 if named else 0
    text = text[named.end() :] if named else text
    first = named[1].replace("\\t", "\t") if named else _commonest(text)
    delimiter, above, nested = _place_of_header(text, first, headers)
    records_ = _records(text, path, delimiter, before, nested)
    skipped = sum(1 for _ in islice(records_, above))
    header = tuple(name.strip() for name in next(records_, []))
    if not any(header):
        raise DatasetError(f"{path} is empty: expected a header and one row per image")
    if skipped:
        notes.append(f"has {skipped} lines above its header, which are left out")
    sheet = Sheet(path, header, enumerate(records_, start=1), notes=tuple(notes))
    return _without_margins(sheet)


def _has_lines(text: str, pattern: str) -> bool:
    head = text[: 1 << 16].splitlines()[:_LINES_TO_LOOK_AT]
    return any(re.fullmatch(pattern, line.strip()) for line in head if len(line) < 1000)


def _matched(text: str, pattern: str) -> Iterator[list[str]]:
    """Yield the groups of each line from the first that fits; a later one that does not fit is a row of one cell."""
    compiled, begun = re.compile(pattern), False
    for line in text.splitlines():
        match = compiled.fullmatch(line.strip()) if len(line) < 10_000 else None
        if match is not None:
            begun = True
            yield [group or "" for group in match.groups()]
        elif begun and line.strip():
            yield [line]


def _commonest(text: str) -> str:
    """Return the separator that the first line has most of."""
    start = text.lstrip("\r\n ")[:_LARGEST_CELL]
    return max(_SEPARATORS, key=re.split(r"[\r\n]", start, maxsplit=1)[0].count)


def _place_of_header(text: str, first: str, headers: Sequence[IsHeader]) -> tuple[str, int, bool]:
    """Return the separator, the rows above the header, and whether each row is one cell that holds a row.

    Where no header is found, it is the first row under the separator ``first``.
    """
    ways = [
        (delimiter, nested) for nested in (False, True) for delimiter in dict.fromkeys((first, *_SEPARATORS))
    ]
    if not text.lstrip().startswith('"'):
        ways = [way for way in ways if not way[1]]
    for is_header in headers:
        for delimiter, nested in ways:
            for above, cells in enumerate(_head(text, delimiter, nested)):
                if is_header([cell.strip() for cell in cells]):
                    return delimiter, above, nested
    return first, 0, False


def _head(text: str, delimiter: str, nested: bool) -> Iterator[list[str]]:
    """Yield the first rows that are not blank, up to one that cannot be read."""
    csv.field_size_limit(_LARGEST_CELL)
    # A slice, because StringIO copies: the header of a table does not begin behind its first 4 MiB.
    reader = csv.reader(
        io.StringIO(text[: 4 * _LARGEST_CELL], newline=""),
        delimiter=delimiter,
        skipinitialspace=True,
        strict=True,
    )
    try:
        rows = (_inner(cells, delimiter) if nested else cells for cells in reader)
        yield from islice((cells for cells in rows if any(cell.strip() for cell in cells)), _ROWS_TO_LOOK_AT)
    except csv.Error:
        return


def _inner(cells: list[str], delimiter: str) -> list[str]:
    """Return the row that a single cell holds: a table whose every line was put into quotes."""
    if len(cells) != 1:
        return cells
    return next(csv.reader([cells[0]], delimiter=delimiter, skipinitialspace=True, strict=True), [])


def _records(text: str, path: AnyPath, delimiter: str, before: int, nested: bool) -> Iterator[list[str]]:
    """Yield the cells of each row that is not blank, the header first.

    Args:
        text: of the table.
        path: names the table in messages.
        delimiter: between cells.
        before: lines of the file that stand before the text.
        nested: whether each row is one cell that holds a row.
    """
    csv.field_size_limit(_LARGEST_CELL)
    # strict: otherwise a quote that is never closed takes all rows after it into one cell, and says nothing.
    lines = io.StringIO(text, newline="")
    reader = csv.reader(lines, delimiter=delimiter, skipinitialspace=True, strict=True)
    while True:
        line = reader.line_num + 1 + before
        try:
            cells = next(reader)
            if nested:
                cells = _inner(cells, delimiter)
        except StopIteration:
            return
        except csv.Error as error:
            raise DatasetError(
                f"{path}: the row that begins in line {line} cannot be read ({error}): "
                "close every quote, and double those inside a cell"
            ) from None
        if any(cell.strip() for cell in cells):
            yield cells


def _name(cell: str) -> str:
    """Return a column's name; a byte order mark before it is that of a table put behind another."""
    return cell.replace("\ufeff", "").strip()


def _without_margins(sheet: Sheet) -> Sheet:
    """Return a sheet without columns that have no name at its end, and without row names that its header leaves out."""
    whole = len(sheet.header)
    width = max(place for place, name in enumerate(sheet.header, start=1) if name)
    records = iter(sheet.records)
    first = list(islice(records, _ROWS_TO_LOOK_AT))
    rows = chain(first, records)
    # As R writes them: the numbers of the rows have no header.
    numbered = any(cells[-1].strip() for _, cells in first) and all(
        len(cells) == whole + 1 and cells[0].strip() == str(number) for number, cells in first
    )

    names = [_name(cell) for cell in sheet.header[:width]]

    def trimmed() -> Iterator[tuple[int, list[str]]]:
        for number, cells in rows:
            if numbered and len(cells) == whole + 1:
                cells = cells[1:]
            # Cells under no name are left alone, as other columns are; behind them, empty ones are nothing.
            if width < len(cells) and (
                len(cells) <= whole or not any(cell.strip() for cell in cells[width:])
            ):
                cells = cells[:width]
            if len(cells) == width and cells[-1].strip() in sheet.header and width > 1:
                again = [_name(cell) for cell in cells]
                if again == names:
                    sheet.repeated.append(number)
                    continue
                if sorted(again) == sorted(names):
                    raise DatasetError(
                        f"{sheet.path}: row {number} is a header whose columns stand in another order: these are "
                        "several tables, give each as a --csv of its own"
                    )
            yield number, cells

    note = "has numbers before its first column, which are left out"
    notes = (*sheet.notes, note) if numbered else sheet.notes
    return replace(sheet, header=sheet.header[:width], records=trimmed(), notes=notes)
