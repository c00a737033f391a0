"""Two tables of one dataset, joined by columns that both have; what does not match is counted and said."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from nlbs.errors import DatasetError
from nlbs.manifests.conditions import is_empty
from nlbs.manifests.people.same_id import is_spoilt
from nlbs.manifests.tables.dialect import Companion
from nlbs.manifests.tables.dialects import positions, simplified
from nlbs.manifests.tables.rows import with_point
from nlbs.manifests.tables.sheet import Sheet
from nlbs.manifests.tables.spelling import BySpelling, spelling
from nlbs.text import counted

Row = Mapping[str, str]

_SIDES = {"left": "l", "right": "r"}
_LONGEST_FORM = 24
#: Of "8.0E+03" all digits are there: programs shorten numbers of a dozen digits or more.
_SHORT_POWER = re.compile(r"[eE]\+?0?\d\s*$")


class Join:
    """Joins the rows of a second table to those of the tables with images."""

    def __init__(self, second: Sheet, companion: Companion) -> None:
        """Read the second table."""
        where = positions(second.header)
        places = {column: where[simplified(column)] for column in companion.columns}
        rows = [
            {column: with_point(cells[place]) for column, place in places.items()}
            for _, cells in second.records
            if len(cells) == len(second.header)
        ]
        index = companion.index(rows)
        self._second, self._companion = second, companion
        self._index: BySpelling[tuple[str, ...], Sequence[Row]] = BySpelling(index, _common)
        self._known = dict.fromkeys((key[0] for key in index), True)
        #: By the first column of the key: what the tables with images have of it, and what of that was found.
        self._asked: dict[str, bool] = {}
        self._exams = BySpelling(self._known, spelling)
        self._joined_rows = self._no_key = 0

    def joined(self, sheet: Sheet) -> Sheet:
        """Return a table whose rows have the columns of the second; a row that fits several becomes several.

        Raises:
            DatasetError: it lacks a column of the key.
        """
        where, companion = positions(sheet.header), self._companion
        missing = [column for column in companion.key if simplified(column) not in where]
        if missing:
            raise DatasetError(
                f"{sheet.path} has no column {', '.join(missing)}, by which the two tables are joined"
            )
        key = [where[simplified(column)] for column in companion.key]
        # Columns of both tables: the companion's, which stand behind, are meant.
        taken = {simplified(column) for column in companion.gives}
        header = [f"{name} (not used)" if simplified(name) in taken else name for name in sheet.header]

        def records() -> Iterator[tuple[int, list[str]]]:
            for number, cells in sheet.records:
                found: Iterable[Row] = ({},)
                if len(cells) == len(sheet.header):
                    found = self._rows_of(tuple(cells[place].strip() for place in key))
                for row in found:
                    yield number, [*cells, *(row.get(column, "") for column in companion.gives)]

        return replace(sheet, header=(*header, *companion.gives), records=records())

    def _rows_of(self, key: tuple[str, ...]) -> Sequence[Row]:
        if is_empty(key[0]):
            self._no_key += 1
            return ({},)
        if key[0] not in self._asked:
            self._asked[key[0]] = self._exams.get(key[0]) is not None
        rows = self._index.get(key)
        self._joined_rows += rows is not None
        return ({},) if rows is None else rows

    def notes(self) -> list[str]:
        """Return what did not match, once all rows are read.

        Raises:
            DatasetError: nothing did, or ids of exams have lost digits.
        """
        column, others = self._companion.key[0], ", ".join(self._companion.key[1:])
        found, asked = sum(self._asked.values()), len(self._asked)
        for name, ids in (("images", self._asked), (self._companion.name, self._known)):
            spoilt = sum(is_spoilt(text) and not _SHORT_POWER.search(text) for text in ids)
            if spoilt:
                raise DatasetError(
                    f"a spreadsheet has changed {column} in the table of the {name}: of {spoilt:,} of its {len(ids):,} "
                    "exams only the first digits are left (1.2346E+15), so several exams may have one id. Export that "
                    "table again with this column as text"
                )
        table = f"{self._second.path}, the {self._companion.name}"
        if asked and not found:
            raise DatasetError(
                f"none of the {counted(asked, 'exam')} of the images is among the "
                f"{len(self._known):,} of {table}: compared "
                f"were the columns {column}, whose cells are like {_form(next(iter(self._asked)))} here and like "
                f"{_form(next(iter(self._known), ''))} there (9 is any digit, A any letter; case, spaces and .0 do not "
                "matter). Are both of one release, and does a spreadsheet show the ids in full?"
            )
        if not asked and self._no_key:
            raise DatasetError(
                f"the column {column}, by which {table} is joined, is empty in every row of the images"
            )
        notes = []
        if found < asked:
            notes.append(
                f"{found:,} of {counted(asked, 'exam')} of the images {'is' if asked == 1 else 'are'} "
                f"in the {self._companion.name} (compared by {column}); "
                "what it says is unknown of the others"
            )
        if asked and not self._joined_rows:
            notes.append(
                f"none of the images has the same {others} as a row of its exam in the {self._companion.name}, so what "
                f"that says is unknown of all: check {others} in both tables"
            )
        if self._no_key:
            notes.append(
                f"{counted(self._no_key, 'row has', 'rows have')} no {column}, by which the "
                f"{self._companion.name} is joined"
            )
        return notes


def _common(key: Sequence[str]) -> tuple[str, ...]:
    spelt = (spelling(part) for part in key)
    return tuple(_SIDES.get(part, part) for part in spelt)


def _form(text: str) -> str:
    """Return how an id is written without the id: "9999.9" of "8000.0"."""
    form = re.sub(r"\d", "9", re.sub(r"[^\W\d_]", "A", text[:_LONGEST_FORM]))
    return repr(re.sub(r"[^9A .,:/\\_+-]", "?", form))
