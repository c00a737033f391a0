"""A CSV of conditions: a row per patch, or with ``count`` per several; every error of it at once."""

import difflib
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from nlbs.errors import ConfigError, DatasetError
from nlbs.generate.plan import Plan, checked_number
from nlbs.generate.words import EXPECTED, code_of
from nlbs.manifests.conditions import CONDITIONS, UNKNOWN
from nlbs.manifests.tables.sheet import open_sheet

COUNT = "count"
COLUMNS = (*EXPECTED, COUNT)

_MOST_SHOWN = 20
_MOST_COLUMNS = 1000  # each that is none is held against those that are
_LONGEST_CELL = 40  # characters of one that a message repeats


def read_conditions(path: Path) -> Plan:
    """Return the patches that a CSV asks for, in the order of its rows.

    Args:
        path: a table with some of :data:`COLUMNS`; an empty cell, and a column that is not there, is unknown.

    Raises:
        ConfigError: it cannot be read, or some of it cannot be meant; the message names row, column, what
            was found and what is expected, of the first 20 errors.
    """
    try:
        sheet = open_sheet(path)
        names, problems = _columns(sheet.header)
        rows: list[tuple[dict[str, int], int]] = []
        for number, cells in sheet.records:
            rows.append(_row(number, cells, names, problems))
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
    codes = {
        name: np.array([row[name] for row, _ in rows], dtype=np.int64).repeat(counts) for name in CONDITIONS
    }
    return Plan(codes, f"a table of conditions, SHA-256 {hashlib.sha256(data).hexdigest()[:12]}")


def _columns(header: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return what each column is, and what is wrong with the header."""
    names = [name.strip().lower().replace("-", "_").replace(" ", "_") for name in header]
    problems = []
    if len(header) > _MOST_COLUMNS:
        return names, [f"header: found {len(header):,} columns; expected some of {', '.join(COLUMNS)}"]
    for name, given in zip(names, header, strict=True):
        if name not in COLUMNS:
            near = difflib.get_close_matches(name, COLUMNS, n=1, cutoff=0.6)
            advice = f"did you mean {near[0]!r}?" if near else f"expected some of {', '.join(COLUMNS)}"
            problems.append(f"header: found a column {_cut(given)}, which is none; {advice}")
    for name in COLUMNS:
        if names.count(name) > 1:
            problems.append(f"header: found the column {name!r} {names.count(name)} times, expected it once")
    if not set(names) & set(EXPECTED) and not problems:
        problems.append(f"header: found no condition, expected some of {', '.join(EXPECTED)}")
    return names, problems


def _row(
    number: int, cells: Sequence[str], names: Sequence[str], problems: list[str]
) -> tuple[dict[str, int], int]:
    """Return the codes of a row and how many patches it asks for; what is wrong goes to ``problems``."""
    codes, count = dict.fromkeys(CONDITIONS, UNKNOWN), 1
    if len(cells) != len(names):
        problems.append(f"row {number}: found {len(cells)} cells, expected {len(names)}, one for each column")
        return codes, count
    said: dict[str, tuple[str, int]] = {}
    for name, cell in zip(names, cells, strict=True):
        try:
            if name == COUNT:
                count = _count(cell)
            elif name in EXPECTED:
                said[name] = cell, code_of(name, cell)
        except ValueError:
            expected = "a whole number from 1 on" if name == COUNT else f"{EXPECTED[name]}; empty is unknown"
            problems.append(f"row {number}, column {name}: found {_cut(cell)}, expected {expected}")
    codes |= {name: code for name, (_, code) in said.items() if name in CONDITIONS}
    _add_age(number, said, codes, problems)
    return codes, count


def _add_age(
    number: int, said: Mapping[str, tuple[str, int]], codes: dict[str, int], problems: list[str]
) -> None:
    """Put the bin of the age into ``codes``."""
    age, age_bin = said.get("age", ("", UNKNOWN)), said.get("age_bin", ("", UNKNOWN))
    if UNKNOWN not in (age[1], age_bin[1]) and age[1] != age_bin[1]:
        problems.append(
            f"row {number}, column age_bin: found {_cut(age_bin[0])} beside the age {_cut(age[0])}, expected the bin "
            "of that age, or nothing"
        )
    codes["age_bin"] = age_bin[1] if age[1] == UNKNOWN else age[1]


def _count(cell: str) -> int:
    count = int(cell.strip() or 1)
    if count < 1:
        raise ValueError(cell)
    return count


def _cut(cell: str) -> str:
    return repr(cell if len(cell) <= _LONGEST_CELL else f"{cell[:_LONGEST_CELL]}...")
