"""What a declaration of a dataset's table is made of: which columns say what, and how their cells are read."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from nlbs.manifests.conditions import (
    is_empty,
)
from nlbs.manifests.tables.extras import (
    parse_birads,
    parse_density,
    parse_findings,
    parse_projection,
    parse_split,
)

#: As PARSERS, for what ``--keep`` takes along under a name that means the same in every dataset.
EXTRA_PARSERS: dict[str, Callable[[str], str | None]] = {
    "density": parse_density,
    "birads": parse_birads,
    "findings": parse_findings,
    "projection": parse_projection,
    "dataset_split": parse_split,
}


@dataclass(frozen=True)
class Rule:
    """Columns, and a function from their cells to a value: None is unknown, ValueError a cell that cannot be read."""

    columns: tuple[str, ...]
    read: Callable[..., Any]


@dataclass(frozen=True)
class Companion:
    """A second table of a dataset, whose rows are joined to those of the first."""

    name: str  #: for messages
    columns: tuple[str, ...]  #: that it has; they tell it from the first table
    key: tuple[str, ...]  #: columns of the first table by which its rows are looked up
    gives: tuple[str, ...]  #: columns that it adds to a row of the first
    #: its rows -> key -> the rows joined, each with the columns of ``gives``; a row that joins several becomes several
    index: Callable[[Sequence[Mapping[str, str]]], Mapping[tuple[str, ...], Sequence[Mapping[str, str]]]]


@dataclass(frozen=True)
class Dialect:
    """How one dataset writes its table.

    Where a column is named, its cell is read by the parser of that condition; "{a}/{b}.dcm" is made of the
    columns a and b; anything else is a :class:`Rule`.
    """

    key: str  #: for ``--dataset``
    name: str  #: for people
    path: str | Rule  #: of the image
    conditions: Mapping[str, str | Rule]  #: condition -> column
    patient: str | Rule | None = None
    patient_part: int | None = None  #: which folder of the path names the patient, from 1
    patient_token: int | None = None  #: which part of the file's name between "_" names the patient, from 1
    extras: Mapping[str, str | Rule] = field(
        default_factory=dict
    )  #: name of EXTRA_PARSERS -> column; may be absent
    lesions: bool = False  #: several rows may tell of one image: they become one
    files: str = "path"  #: how files are found where the path is none: see nlbs.preprocess.root.found_files
    empty_is_no_row: str | None = None  #: where this column is empty the row is no image but, say, a total
    line: str | None = None  #: pattern of the lines of a table without separators; its groups are the columns
    companion: Companion | None = None
    #: what says of which kind an image is (nlbs.manifests.kinds); each is asked where the table has its columns
    kinds: tuple[str | Rule, ...] = ()
    frame: str | None = None  #: column with the number of a frame; where it says one, the image is that frame
    foreground: str | None = "breast"  #: what of its images is cut; None: headers say

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that a table of this dialect has."""
        rules = [self.path, *self.conditions.values(), *([] if self.patient is None else [self.patient])]
        names = [column for rule in rules for column in rule_of(rule).columns]
        given = () if self.companion is None else self.companion.gives
        key = () if self.companion is None else self.companion.key
        names += [] if self.frame is None else [self.frame]
        return tuple(name for name in dict.fromkeys((*names, *key)) if name not in given)

    @property
    def identifying(self) -> tuple[str, ...]:
        """The columns that name a patient, an exam or a file."""
        rules = [self.path, *([] if self.patient is None else [self.patient])]
        keys = () if self.companion is None else self.companion.key[:1]
        return tuple(column for rule in rules for column in rule_of(rule).columns) + keys


def rule_of(said: str | Rule, read: Callable[[str], Any] = str.strip) -> Rule:
    """Return the rule that a declaration means: of a column, of a template, or the rule itself."""
    if isinstance(said, Rule):
        return said
    columns = tuple(re.findall(r"\{([^{}]+)\}", said))
    if not columns:
        return Rule((said,), read)

    def fill(*cells: str) -> str:
        if any(is_empty(cell) for cell in cells):
            return ""
        parts = iter(cells)
        return re.sub(r"\{[^{}]+\}", lambda _: next(parts).strip(), said)

    return Rule(columns, lambda *cells: read(fill(*cells)))


def words(meanings: Mapping[str, Any]) -> Callable[[str], Any]:
    """Return a parser of a column with a closed list of words. Case does not matter; an empty cell is unknown."""
    known = {word.casefold(): value for word, value in meanings.items()}

    def read(text: str) -> Any:
        word = " ".join(text.split()).casefold()
        if word not in known:
            if is_empty(text):
                return None
            raise ValueError(f"{text!r} is none of {', '.join(meanings)}")
        return known[word]

    return read


def always(value: Any) -> Rule:
    """Return the rule of what is the same for every image of a dataset."""
    return Rule((), lambda: value)
