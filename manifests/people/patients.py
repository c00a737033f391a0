"""One person under several spellings: rows of a table, and what a dataset root holds, get one id per person."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain

from nlbs.errors import DatasetError
from nlbs.manifests.people.same_id import difference, is_spoilt, rounded, same_id_key, similar_id_key
from nlbs.manifests.tables.rows import ImageRow
from nlbs.manifests.tables.table import row_list

SIMILAR_IDS = ("stop", "same", "different")

_NOTE = "the patient's id is written in another way elsewhere: taken as one person"
_MOST_GROUPS = 8  #: of ids that are named in a message
_MOST_SPELLINGS = 3  #: of one person that are named in a message


@dataclass(frozen=True)
class HeldPatient:
    """A patient whom a dataset root holds already."""

    line: int  #: of the file that names the patient, from 1
    split: str  #: empty where the patient has no usable row


@dataclass(frozen=True)
class Held:
    """The patients of a dataset root."""

    file: str = ""  #: whose lines are meant
    patients: Mapping[str, HeldPatient] = field(
        default_factory=dict
    )  #: id as the root has it -> what is known


def united(
    rows: Sequence[ImageRow], held: Held | None = None, similar: str = "stop"
) -> tuple[tuple[ImageRow, ...], tuple[str, ...]]:
    """Return rows in which every person has one id, and notes on those who had several.

    Ids of one :func:`~nlbs.manifests.people.same_id.same_id_key` are one person, who keeps the id under which the
    root holds them, else gets the shortest spelling, of several the first in order: neither the order of rows nor
    other people matter. An id in one spelling stays as it is.

    Args:
        rows: of all tables of a build.
        held: the patients of the dataset root that the build continues.
        similar: one of :data:`SIMILAR_IDS`: what ids are that differ by case or leading zeros, say.

    Raises:
        DatasetError: similar ids with ``similar`` "stop"; ids that have lost digits; a person whom the root holds
            under several ids in several splits.
    """
    held = held or Held()
    people = _People.of(rows, held)
    certain = people.by(same_id_key)
    if similar != "different":
        _refuse_spoilt(rows, people.forms)
        people.refuse_torn(certain)
    new = people.renamed(certain)
    alike = [] if similar == "different" else _alike(people)
    if alike and similar == "stop":
        raise DatasetError(_may_be_one(alike, people))
    people.refuse_torn(alike)
    new |= people.renamed(alike)
    if not new:
        return tuple(rows), ()
    changed = [row for row in rows if row.problem is None and row.patient in new]
    count = len({new[row.patient] for row in changed if row.patient is not None})
    written = "1 patient is" if count == 1 else f"{count:,} patients are"
    note = f"{written} written in more than one way, taken as one person each: see {{}}"
    return (
        tuple(_renamed(row, new) for row in rows),
        (note.format(row_list([row.row for row in changed])),),
    )


@dataclass(frozen=True)
class _People:
    """Every id of a build, as it is written, with a row that has it."""

    forms: Mapping[str, int]  #: id in the table -> the first row that has it
    held: Held

    @classmethod
    def of(cls, rows: Sequence[ImageRow], held: Held) -> "_People":
        forms: dict[str, int] = {}
        for row in rows:
            if row.problem is None and row.patient is not None:
                forms.setdefault(row.patient, row.row)
        return cls(forms, held)

    def by(self, key: Callable[[str], str]) -> list[list[str]]:
        """Return the ids that have one key, where there are several and the table has one of them."""
        first: dict[str, str] = {}
        groups: dict[str, list[str]] = {}
        for form in chain(self.forms, (form for form in self.held.patients if form not in self.forms)):
            earlier = first.setdefault(key(form), form)
            if earlier is not form:
                groups.setdefault(earlier, [earlier]).append(form)
        return [group for group in groups.values() if any(form in self.forms for form in group)]

    def renamed(self, groups: Iterable[Sequence[str]]) -> dict[str, str]:
        """Return id -> the id that the person gets, of ids that change."""
        new: dict[str, str] = {}
        for group in groups:
            there = [form for form in group if form in self.held.patients]
            best = min(there or group, key=lambda form: (len(form), form))
            new |= {form: best for form in group if form != best and form not in there}
        return new

    def refuse_torn(self, groups: Iterable[Sequence[str]]) -> None:
        """Raise DatasetError where the root holds one person in two splits, under two ids."""
        torn = []
        for group in groups:
            there = [self.held.patients[form] for form in group if form in self.held.patients]
            if len({one.split for one in there if one.split}) > 1:
                torn.append(sorted(one.line for one in there))
        if torn:
            counted = "1 patient stands" if len(torn) == 1 else f"{len(torn)} patients stand"
            some = "; ".join(" and ".join(map(str, lines[:_MOST_SPELLINGS])) for lines in torn[:_MOST_GROUPS])
            raise DatasetError(
                f"{counted} in two splits of what is there already, because the id is written in several ways (lines "
                f"of {self.held.file}: {some}): build it anew with --overwrite or into another --out; --similar-ids "
                "different leaves them as they are"
            )

    def place(self, form: str) -> str:
        """Return where an id stands."""
        if form in self.forms:
            return f"row {self.forms[form]}"
        return f"line {self.held.patients[form].line} of {self.held.file}"


def _alike(people: _People) -> list[list[str]]:
    """Return the ids that may be of one person each, where that is not certain."""
    return [group for group in people.by(similar_id_key) if len({same_id_key(form) for form in group}) > 1]


def _may_be_one(groups: Sequence[Sequence[str]], people: _People) -> str:
    some = []
    for group in groups[:_MOST_GROUPS]:
        one_each = list({same_id_key(form): form for form in reversed(group)}.values())[::-1]
        places = " and ".join(people.place(form) for form in one_each[:_MOST_SPELLINGS])
        some.append(f"{places} ({difference(map(same_id_key, group))})")
    more = f"; and {len(groups) - _MOST_GROUPS} more" if len(groups) > _MOST_GROUPS else ""
    several = "one patient" if len(groups) == 1 else f"{len(groups)} patients"
    return (
        f"ids that may be {several} written in several ways, or different people: {'; '.join(some)}{more}. One person "
        "must not come to stand in both train and test: write each in one way, or say which it is with --similar-ids "
        "same (those named together are one person) or --similar-ids different (they are not)"
    )


def _refuse_spoilt(rows: Sequence[ImageRow], forms: Mapping[str, int]) -> None:
    spoilt = {form for form in forms if is_spoilt(form)} | set(rounded(forms))
    if spoilt:
        numbers = [row.row for row in rows if row.patient in spoilt]
        raise DatasetError(
            f"a spreadsheet has changed the patient's id in {len(numbers)} of {len(rows)} rows ({row_list(numbers)}): "
            "a long number became 1.2346E+11 or ends in zeros from the 16th digit on, 1-12 became 12-Jan, or the cell "
            "holds an error, so several people may have one id. Export the table again with this column as text; "
            "--similar-ids different takes the ids as they are"
        )


def _renamed(row: ImageRow, new: Mapping[str, str]) -> ImageRow:
    if row.problem is not None or row.patient is None or row.patient not in new:
        return row
    detail = f"patient: written {row.patient!r}, taken as {new[row.patient]!r}"
    return replace(row, patient=new[row.patient], notes=(*row.notes, _NOTE), details=(*row.details, detail))
