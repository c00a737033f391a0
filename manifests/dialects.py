"""The CSV dialects of datasets, as declarations: which column says what."""

import difflib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from nlbs.errors import DatasetError
from nlbs.manifests.conditions import parse_age, parse_age_bin, parse_flag, parse_laterality, parse_view


@dataclass(frozen=True)
class Dialect:
    """How one dataset writes its table."""

    name: str
    path: str  #: column with the image's path
    conditions: dict[str, str]  #: condition -> column
    patient_part: int | None = (
        None  #: which folder of the path names the patient, from 1; None: not in the path
    )

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that a table of this dialect has."""
        return (self.path, *self.conditions.values())


#: Condition -> how a cell becomes its value.
PARSERS: dict[str, Callable[[str], Any]] = {
    "view": parse_view,
    "laterality": parse_laterality,
    "age_years": parse_age,
    "age_bin": parse_age_bin,
    "cancer": parse_flag,
    "false_positive": parse_flag,
}

DIALECTS = (
    Dialect(
        name="NLBS",
        path="File Path",
        conditions={
            "laterality": "Image Laterality",
            "view": "View Position",
            "age_years": "Age",
            "cancer": "Cancer",
            "false_positive": "False Positive",
        },
        patient_part=2,
    ),
    Dialect(
        name="NLBS as in the guide",
        path="File Path",
        conditions={
            "view": "View",
            "laterality": "Laterality",
            "age_years": "Age",
            "cancer": "Cancer",
            "false_positive": "False Positive",
        },
        patient_part=2,
    ),
    Dialect(
        name="prepared",
        path="out_path",
        conditions={
            "view": "view",
            "laterality": "laterality",
            "age_bin": "age_bin",
            "cancer": "cancer",
            "false_positive": "false_positive",
        },
    ),
)


def simplified(column: str) -> str:
    """Gives a column name without case, spaces, underscores and the like; letters of any script stay."""
    return re.sub(r"[\W_]", "", column.casefold())


def recognise(header: Sequence[str], source: str) -> tuple[Dialect, dict[str, int]]:
    """Gives the dialect of a table and the position of each of its columns.

    Case, spaces and underscores in names do not matter; columns that no dialect knows are left alone.

    Args:
        header: column names as they stand in the file.
        source: names the table in messages.

    Raises:
        DatasetError: no dialect fits; the message says what the nearest one lacks.
    """
    where = {simplified(name): position for position, name in reversed(list(enumerate(header)))}
    missing = {
        dialect.name: [column for column in dialect.columns if simplified(column) not in where]
        for dialect in DIALECTS
    }
    best = min(DIALECTS, key=lambda dialect: len(missing[dialect.name]))
    if missing[best.name]:
        raise DatasetError(_what_is_missing(best, missing[best.name], header, source))
    return best, {column: where[simplified(column)] for column in best.columns}


def _what_is_missing(best: Dialect, missing: Sequence[str], header: Sequence[str], source: str) -> str:
    hints = []
    for column in missing:
        near = difflib.get_close_matches(
            simplified(column), [simplified(name) for name in header], n=1, cutoff=0.7
        )
        found = next((name for name in header if near and simplified(name) == near[0]), None)
        hints.append(f"{column!r}" + (f" (is it {found!r}?)" if found is not None else ""))
    known = {simplified(column) for dialect in DIALECTS for column in dialect.columns}
    if known.isdisjoint(simplified(name) for name in header) and not any("is it" in hint for hint in hints):
        # Not repeated: where the header is missing, this is a patient's row.
        read = f"none of the {len(header)} cells of its first line is the name of a column: is the header missing?"
    else:
        read = f"it reads {', '.join(header)[:300]!r}."
    return (
        f"{source}: the header has no column {', '.join(hints)}; {read} "
        f"A table of the {best.name} form has {', '.join(best.columns)}: rename the columns, and leave the cells "
        "of what is not known empty"
    )
