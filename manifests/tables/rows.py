"""One row of a table becomes what it says of an image; several rows of one image become one."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import PurePosixPath
from typing import Any

from nlbs.manifests.conditions import PARSERS, VIEWS, Conditions, age_bin_of, is_empty, side_and_view
from nlbs.manifests.kinds import parse_kind, view_and_kind
from nlbs.manifests.people.same_id import same_id_key, without_quotes
from nlbs.manifests.schema import NLBS
from nlbs.manifests.tables.dialect import EXTRA_PARSERS, Dialect, Rule, rule_of
from nlbs.manifests.tables.extras import united

_LONGEST_PATH = 4096  # PATH_MAX of Linux: no longer one can be opened
_LONGEST_DETAIL = 200  # characters of a cell that cannot be read, kept in sources.csv
_MOST_NOTES = 12  # of an image of which many rows tell
_MOST_REMEMBERED = 4096  # texts of a column

#: Folders of the NLBS layout that are no patient: where one stands in a patient's place, the layout is another.
_NO_PATIENTS = frozenset({"L", "R", "LEFT", "RIGHT", *VIEWS})


@dataclass(frozen=True)
class ImageRow:
    """One image of a dataset's table."""

    row: int  #: data rows counted from 1, over all tables; of several rows of one image the first
    path: str  #: of the image, with forward slashes, as the CSV has it
    conditions: Conditions
    patient: str | None  #: as the source names the patient; None is unknown
    problem: str | None = None  #: why the row cannot be used at all
    notes: tuple[str, ...] = ()  #: what was left unknown, without text from the file
    details: tuple[str, ...] = ()  #: the same with the text: identifies, so it goes to sources.csv only
    kept: Mapping[str, str | None] = field(default_factory=dict)  #: what --keep asked for
    split: str | None = None  #: of the dataset's own
    kind: str | None = None  #: of nlbs.manifests.kinds, where the table says so
    frame: int | None = None  #: which one of the several of its file, from 1, where the table says so
    file: str | None = None  #: where the file is, as ``path``, if that spells it otherwise
    nearest: str | None = None  #: where no file is at ``path``, one of nearly that name

    @property
    def name(self) -> str:
        """What tells the image from all others of the table."""
        path = str(PurePosixPath(self.path))
        return path if self.frame is None else f"{path} frame {self.frame}"


Read = Callable[[Sequence[str]], Any]


class RowReader:
    """Reads the rows of one table: the dialect's rules, bound to the places of the columns."""

    def __init__(
        self,
        dialect: Dialect,
        where: Mapping[str, int],
        width: int,
        kept: Mapping[str, Rule],
        patient: Rule | None,
    ) -> None:
        """Bind the rules.

        Args:
            dialect: of the table.
            where: column as the rules name it -> position.
            width: cells of a whole row.
            kept: what --keep asks for.
            patient: names the patient; None where the path does.
        """
        self._dialect, self._width = dialect, width
        self._path = _bound(rule_of(dialect.path), where)
        self._frame = None if dialect.frame is None else _bound(Rule((dialect.frame,), str.strip), where)
        self._patient = None if patient is None else _bound(patient, where)
        self._conditions = {
            name: _bound(rule_of(said, PARSERS[name]), where) for name, said in dialect.conditions.items()
        }
        self._kept = {name: _bound(rule, where) for name, rule in kept.items()}
        split = dialect.extras.get("dataset_split")
        rule = None if split is None else rule_of(split, EXTRA_PARSERS["dataset_split"])
        readable = rule is not None and all(column in where for column in rule.columns)
        self._split = _bound(rule, where) if rule is not None and readable else None
        said = [rule_of(said, parse_kind) for said in dialect.kinds]
        self._kinds = [
            _bound(rule, where) for rule in said if all(column in where for column in rule.columns)
        ]
        view = dialect.conditions.get("view")
        if isinstance(view, str):  # "MCC" is a magnified CC
            self._kinds.append(_bound(rule_of(view, _kind_of_view), where))
        self._side_of_view = _bound(rule_of(view, _side_of_view), where) if isinstance(view, str) else None

    def read(self, number: int, cells: Sequence[str]) -> ImageRow:
        """Return what one row says."""
        if len(cells) != self._width:
            return _bad(number, f"the row has {len(cells)} cells, the header has {self._width}")
        text = str(self._path(cells))
        path = " ".join(line.strip() for line in re.split(r"[\r\n]+", text)).strip().replace("\\", "/")
        if not path:
            return _bad(number, "the cell with the path of the image is empty")
        if len(path) > _LONGEST_PATH:
            return _bad(
                number,
                f"the cell with the path of the image has {len(path)} characters, a path at most {_LONGEST_PATH}",
            )
        frame = "" if self._frame is None else re.sub(r"\.0*$", "", str(self._frame(cells)))
        if not is_empty(frame) and not re.fullmatch(r"0*[1-9]\d{0,6}", frame, re.ASCII):
            return _bad(number, "the cell of the frame says no number from 1")
        notes: list[str] = []
        details: list[str] = [] if is_empty(frame) else [f"frame {int(frame)}"]
        kind = _kind(self._kinds, cells, notes, details)
        values = _values(self._conditions, cells, notes, details)
        if self._side_of_view is not None:
            _held_against(self._side_of_view(cells), values, notes)
        kept = _values(self._kept, cells, notes, details)
        if values.get("age_years") is not None:
            values["age_bin"] = age_bin_of(values["age_years"])
        if values.get("cancer") and values.get("false_positive"):
            notes.append("cancer and false positive are both yes")
        patient = (
            patient_in(path, self._dialect) if self._patient is None else str(self._patient(cells)).strip()
        )
        split = None if self._split is None else _values({"split": self._split}, cells, [], []).get("split")
        return ImageRow(
            number,
            path,
            Conditions(**values),
            None if patient is None or is_empty(same_id_key(patient)) else patient,
            notes=tuple(notes),
            details=tuple(details),
            kept={name: kept.get(name) for name in self._kept},
            split=split,
            kind=kind,
            frame=None if is_empty(frame) else int(frame),
        )


def patient_in(path: str, dialect: Dialect) -> str | None:
    """Return the patient whom a path names, by folder or by file name; None where it names none."""
    if dialect.patient_token is not None:
        tokens = PurePosixPath(path).stem.split("_")
        return tokens[dialect.patient_token - 1] if len(tokens) >= dialect.patient_token else None
    part = dialect.patient_part
    folders = [name for name in path.split("/")[:-1] if name not in ("", ".")]
    if part is None or not 1 <= part <= len(folders) or folders[part - 1].upper() in _NO_PATIENTS:
        return None
    return folders[part - 1]


def merged(rows: Sequence[ImageRow]) -> ImageRow:
    """Return one row of several that tell of one image.

    Cancer and false positive are yes where any row says yes, and no where every row says no. Of anything else on
    which rows differ nothing is known, and a note says so.
    """
    first = rows[0]
    if len(rows) == 1:
        return first
    notes = list(dict.fromkeys(note for row in rows for note in row.notes))
    values: dict[str, Any] = {}
    of_any = [condition.name for condition in NLBS if condition.kind == "binary"]
    for name in (known.name for known in fields(Conditions) if known.name not in of_any):
        known = {getattr(row.conditions, name) for row in rows} - {None}
        values[name] = known.pop() if len(known) == 1 else None
        if known and values[name] is None:
            notes.append(f"{name} is kept as unknown: rows of this image say different things")
    for name in of_any:
        values[name] = _any_of([getattr(row.conditions, name) for row in rows])
    splits = {row.split for row in rows} - {None}
    # The spelling that stands for one person is the same as in nlbs.manifests.people.patients: the shortest.
    named = sorted(
        {row.patient for row in rows if row.patient is not None}, key=lambda name: (len(name), name)
    )
    patients = list({same_id_key(name): name for name in reversed(named)}.values())
    return replace(
        first,
        conditions=Conditions(**values),
        patient=patients[0] if len(patients) == 1 else None,
        problem="rows of this image name different patients" if len(patients) > 1 else None,
        notes=tuple(notes[:_MOST_NOTES]),
        details=tuple(dict.fromkeys(detail for row in rows for detail in row.details))[:_MOST_NOTES],
        kept={name: united(name, [row.kept.get(name) for row in rows]) for name in first.kept},
        split=splits.pop() if len(splits) == 1 else None,
        kind=_strongest([row.kind for row in rows]),
    )


def _kind_of_view(text: str) -> str | None:
    sided = side_and_view(text)
    found = view_and_kind(text if sided is None else sided[1])
    return found[1] if found is not None else None


def _side_of_view(text: str) -> str | None:
    """Return the side that the cell of a view says too ("LCC"), else None."""
    sided = side_and_view(text)
    return None if sided is None else sided[0]


def _held_against(side: str | None, values: dict[str, Any], notes: list[str]) -> None:
    """Take the side that the cell of the view says where no other cell says one; of two that differ none."""
    if side is None:
        return
    if values.get("laterality") not in (None, side):
        side = None
        notes.append("laterality is kept as unknown: the cell of the view says the other side")
    values["laterality"] = side


def _kind(reads: Sequence[Read], cells: Sequence[str], notes: list[str], details: list[str]) -> str | None:
    """Return the kind that a row states, where its columns differ the one that is not standard; None where none."""
    return _strongest([_values({"kind": read}, cells, notes, details).get("kind") for read in reads])


def _strongest(kinds: Sequence[str | None]) -> str | None:
    known = [kind for kind in kinds if kind is not None]
    return next((kind for kind in known if kind != "standard"), known[0] if known else None)


def _any_of(flags: Sequence[bool | None]) -> bool | None:
    if any(flags):
        return True
    return None if None in flags else False


def _bound(rule: Rule, where: Mapping[str, int]) -> Read:
    """Return what reads a rule's cells: each text once, as a million rows say the same few things."""
    places = tuple(where[column] for column in rule.columns)
    if len(places) != 1 or rule.read is str.strip:
        return lambda cells: rule.read(*[cells[place] for place in places])
    (place,), read = places, rule.read
    known: dict[str, Any] = {}

    def remembered(cells: Sequence[str]) -> Any:
        cell = cells[place]
        if cell in known:
            return known[cell]
        value = read(cell)
        if len(known) < _MOST_REMEMBERED:
            known[cell] = value
        return value

    return remembered


def _values(
    reads: Mapping[str, Read], cells: Sequence[str], notes: list[str], details: list[str]
) -> dict[str, Any]:
    values = {}
    for name, read in reads.items():
        try:
            try:
                values[name] = read(cells)
            except ValueError:  # what a spreadsheet adds is undone only where the cell says nothing as it is
                pointed = [with_point(without_quotes(cell)) for cell in cells]
                if pointed == list(cells):
                    raise
                values[name] = read(pointed)
        except ValueError as error:
            notes.append(f"{name} is kept as unknown: its cell cannot be read")
            details.append(f"{name}: {error}"[:_LONGEST_DETAIL])
    return values


def _bad(number: int, problem: str) -> ImageRow:
    return ImageRow(number, "", Conditions(), None, problem=problem)


#: Two digits behind the comma, or more that are all 0 or not three: "1,000" alone may be a thousand.
_COMMA = re.compile(r"\s*([+-]?\d{1,9}),(\d{1,2}|0+|\d{4,15})\s*")


def with_point(cell: str) -> str:
    """Return a number with a decimal comma as one with a point, a whole one without; else the cell as it is."""
    match = _COMMA.fullmatch(cell)
    if match is None:
        return cell
    part = match[2].rstrip("0")
    return f"{match[1]}.{part}" if part else match[1]
