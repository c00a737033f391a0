"""A CSV of conditions: a row per patch, or with ``count`` per several; every error of it at once."""

import difflib
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from nlbs.errors import ConfigError, DatasetError
from nlbs.generate.plan import Plan, checked_number
from nlbs.manifests.asked import expected, names_of, parse_value
from nlbs.manifests.schema import Schema, Value, plain_name
from nlbs.manifests.tables.sheet import open_sheet

COUNT = "count"

_MOST_SHOWN = 20
_MOST_COLUMNS = 1000  # each that is none is held against those that are
_LONGEST_CELL = 40  # characters of one that a message repeats


def read_conditions(path: Path, schema: Schema) -> Plan:
    """Return the patches that a CSV asks for, in the order of its rows.

    Args:
        path: a table with columns of some conditions, "age" for that of a bin of ages, and ``count``; an empty
            cell, and a column that is not there, is unknown.
        schema: of the model.

    Raises:
        ConfigError: it cannot be read, or some of it cannot be meant; the message names row, column, what
            was found and what is expected, of the first 20 errors.
    """
    try:
        sheet = open_sheet(path)
        names, problems = _columns(sheet.header, names_of(schema))
        rows: list[tuple[dict[str, Value], int]] = []
        for number, cells in sheet.records:
            rows.append(_row(number, cells, names, schema, problems))
        data = path.read_bytes()
    except DatasetError as error:
        raise ConfigError(str(error).replace("--csv", "--conditions")) from None
    if not rows and not problems:
        problems.append(
            "it has a header and no row: expected one row for each patch, or with 'count' for several"
        )
    if problems:
        shown = problems[:_MOST_SHOWN]
        more = len(problems) - len(shown)
        tail = [f"and {more} more"] if more else []
        raise ConfigError(
            f"{path} has {len(problems)} error{'s' if len(problems) > 1 else ''}; nothing was drawn:\n  "
            + "\n  ".join([*shown, *tail])
        )
    counts = np.array([count for _, count in rows])
    checked_number(sum(count for _, count in rows))
    values = {
        name: column.repeat(counts, axis=0)
        for name, column in schema.arrays([row for row, _ in rows]).items()
    }
    source = f"a table of conditions, SHA-256 {hashlib.sha256(data).hexdigest()[:12]}"
    return Plan(schema, values, source)


def _columns(header: Sequence[str], conditions: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return what each column is, as conditions are called, and what is wrong with the header."""
    known = {plain_name(name): name for name in (*conditions, COUNT)}
    names = [known.get(plain_name(name), "") for name in header]
    problems = []
    if len(header) > _MOST_COLUMNS:
        return names, [f"header: found {len(header):,} columns; expected some of {', '.join(known.values())}"]
    for name, given in zip(names, header, strict=True):
        if not name:
            near = difflib.get_close_matches(plain_name(given), known, n=1, cutoff=0.6)
            advice = (
                f"did you mean {known[near[0]]!r}?"
                if near
                else f"expected some of {', '.join(known.values())}"
            )
            problems.append(f"header: found a column {_cut(given)}, which is none; {advice}")
    for name in known.values():
        if names.count(name) > 1:
            problems.append(f"header: found the column {name!r} {names.count(name)} times, expected it once")
    if not set(names) & set(conditions) and not problems:
        problems.append(f"header: found no condition, expected some of {', '.join(conditions)}")
    return names, problems


def _row(
    number: int, cells: Sequence[str], names: Sequence[str], schema: Schema, problems: list[str]
) -> tuple[dict[str, Value], int]:
    """Return the values of a row and how many patches it asks for; what is wrong goes to ``problems``."""
    count = 1
    if len(cells) != len(names):
        problems.append(f"row {number}: found {len(cells)} cells, expected {len(names)}, one for each column")
        return {}, count
    said: dict[str, dict[str, Value]] = {}
    for name, cell in zip(names, cells, strict=True):
        try:
            if name == COUNT:
                count = _count(cell)
            elif name:
                said[name] = parse_value(name, cell, schema)
        except (ValueError, ConfigError):
            meant = (
                "a whole number from 1 on" if name == COUNT else f"{expected(name, schema)}; empty is unknown"
            )
            problems.append(f"row {number}, column {name}: found {_cut(cell)}, expected {meant}")
    return _merged(said, schema, dict(zip(names, cells, strict=True)), f"row {number}", problems), count


def _merged(
    said: Mapping[str, Mapping[str, Value]],
    schema: Schema,
    cells: Mapping[str, str],
    where: str,
    problems: list[str],
) -> dict[str, Value]:
    """Return the values of a row of what its columns say; one that says more than one condition goes first."""
    merged: dict[str, Value] = {}
    by: dict[str, str] = {}
    for column in sorted(said, key=schema.names.__contains__):
        for name, value in said[column].items():
            if not schema[name].word(value):  # unknown, as what is not said
                continue
            first = by.setdefault(name, column)
            if merged.setdefault(name, value) != value:
                problems.append(
                    f"{where}, column {column}: found {_cut(cells[column])} beside the {first} {_cut(cells[first])}, "
                    "expected what goes with that, or nothing"
                )
    return merged


def _count(cell: str) -> int:
    count = int(cell.strip() or 1)
    if count < 1:
        raise ValueError(cell)
    return count


def _cut(cell: str) -> str:
    return repr(cell if len(cell) <= _LONGEST_CELL else f"{cell[:_LONGEST_CELL]}...")
