"""A dataset's tables become rows of conditions; what cannot be understood is said, row by row."""

import dataclasses
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from nlbs.errors import DatasetError
from nlbs.manifests.conditions import is_empty
from nlbs.manifests.people.same_id import same_id_key
from nlbs.manifests.tables.dialect import EXTRA_PARSERS, Companion, Dialect, Rule, rule_of
from nlbs.manifests.tables.dialects import (
    DIALECTS,
    dialect_of,
    own_dialect,
    positions,
    recognise,
    simplified,
    suggested_map,
)
from nlbs.manifests.tables.join import Join
from nlbs.manifests.tables.kept import check_kept, kept_rule
from nlbs.manifests.tables.named_files import judge_of
from nlbs.manifests.tables.rows import ImageRow, RowReader, merged
from nlbs.manifests.tables.sheet import IsHeader, Sheet, open_sheet
from nlbs.paths import AnyPath
from nlbs.text import counted

__all__ = ["ImageRow", "Table", "TableOptions", "read_table"]


@dataclass(frozen=True)
class TableOptions:
    """How a table is to be read, where it does not say so itself."""

    dataset: str | None = None  #: key of a dialect; None recognises it from the header
    columns: Mapping[str, str] = dataclasses.field(
        default_factory=dict
    )  #: condition -> column, over the dialect's
    keep: tuple[str, ...] = ()  #: extras and columns to take along
    patient_column: str | None = None
    patient_part: int | None = None  #: folder of the path, from 1; None is the dialect's own rule


@dataclass(frozen=True)
class Table:
    """A dataset's tables, read."""

    dialect: Dialect
    rows: tuple[ImageRow, ...]
    notes: tuple[str, ...] = ()  #: what is to be known of the tables as a whole


def read_table(
    paths: AnyPath | Sequence[AnyPath],
    patient_column: str | None = None,
    patient_part: int | None = None,
    options: TableOptions | None = None,
    images: AnyPath | None = None,
) -> Table:
    """Return the images of a dataset's tables, in a form of :data:`~.dialects.DIALECTS` or one's own.

    Of any encoding and separator that :func:`~nlbs.manifests.tables.sheet.open_sheet` reads; blank lines do not count.
    Rows are counted on from table to table.

    Args:
        paths: of the CSV, or of the several that a dataset has.
        patient_column: the column that names the patient.
        patient_part: which folder of the image's path names the patient, counted from 1; None is
            the dialect's own rule.
        options: all of this and more.
        images: the folder of the images, whose names tell the encoding of a table that is not UTF-8; None where
            they are not at hand.

    Raises:
        DatasetError: a file is missing, empty, of no known form, or has a quote that is not closed; tables of
            different datasets, or of which no row belongs to one of the other; a column to be kept that is not there
            or that identifies.
        ConfigError: options that do not go together.
    """
    options = options or TableOptions(patient_column=patient_column, patient_part=patient_part)
    given = list(paths) if isinstance(paths, Sequence) else [paths]
    lines = [dialect.line for dialect in _candidates(options) if dialect.line]
    judge = None if images is None else judge_of(images)
    # Of a table of no known form the header is sought too: the options that read it are made of that.
    headers = (_header_test(options), lambda header: suggested_map(header) is not None)
    sheets = [open_sheet(path, lines, headers, judge) for path in given]
    notes = [
        f"{f'table {number}' if len(sheets) > 1 else 'the table'} {note}"
        for number, sheet in enumerate(sheets, start=1)
        for note in sheet.notes
    ]
    dialect, sheets, join = _dialect(sheets, options)
    notes += _doubled(sheets, dialect)
    if options.patient_part is not None:
        dialect = dataclasses.replace(
            dialect, patient_part=options.patient_part, patient_token=None, patient=None
        )
    rows, told = _rows(sheets, dialect, options)
    if not rows:
        raise DatasetError(f"{given[0]} has a header and no rows: expected one row per image")
    for number, sheet in enumerate(sheets, start=1):
        if sheet.repeated:
            which = f"table {number}" if len(sheets) > 1 else "the table"
            notes.append(
                f"{which} has its header again ({row_list(sheet.repeated)} of it), which is left out"
            )
    if join is not None:
        notes += join.notes()
    check_kept(dialect, rows, options.columns, options.patient_column)
    return Table(dialect, rows, (*notes, *_notes(dialect, rows, told)))


def _doubled(sheets: Sequence[Sheet], dialect: Dialect) -> list[str]:
    """Return a note for each column of a dialect that a table has several times."""
    counts = [Counter(map(simplified, sheet.header)) for sheet in sheets]
    times = {column: max(count[simplified(column)] for count in counts) for column in dialect.columns}
    return [
        f"{many} columns are called {column!r}: the first counts"
        for column, many in times.items()
        if many > 1
    ]


def _candidates(options: TableOptions) -> Sequence[Dialect]:
    if options.dataset is not None:
        return (dialect_of(options.dataset),)
    return () if options.columns else DIALECTS


def _header_test(options: TableOptions) -> IsHeader:
    """Return what tells a header: it has all columns of a form that is looked for, or of its second table."""
    forms = (
        [own_dialect(options.columns, *_candidates(options)[:1])] if options.columns else _candidates(options)
    )
    wanted = [form.columns for form in forms if form.line is None]
    wanted += [form.companion.columns for form in forms if form.companion is not None]
    names = [frozenset(simplified(column) for column in columns) for columns in wanted]
    return lambda header: any(needed <= positions(header).keys() for needed in names)


def _dialect(sheets: Sequence[Sheet], options: TableOptions) -> tuple[Dialect, list[Sheet], Join | None]:
    """Return the dialect of all the tables, and those with images in them: a companion is joined to each."""
    candidates = _candidates(options)
    main, second = _apart(sheets, candidates)
    if options.columns:
        base = candidates[0] if candidates else None
        dialect = own_dialect(options.columns, base)
    else:
        dialect = candidates[0] if len(candidates) == 1 else _recognised(main[0], candidates)
    if dialect.companion is None:
        return dialect, list(sheets), None
    if not main:
        raise DatasetError(
            f"{sheets[0].path} names no images: give the other table of {dialect.name} too, as --csv"
        )
    if second is None:
        raise DatasetError(_no_second(main, dialect.name, dialect.companion))
    join = Join(second, dialect.companion)
    return dialect, [join.joined(sheet) for sheet in main], join


def _no_second(main: Sequence[Sheet], dataset: str, companion: Companion) -> str:
    """Return that the second table of a dataset is not among those given, and what the nearest of them lacks."""
    missing = [
        [column for column in companion.columns if simplified(column) not in positions(sheet.header)]
        for sheet in main
    ]
    sheet, lacks = min(zip(main, missing, strict=True), key=lambda pair: len(pair[1]))
    if len(main) > 1 and len(lacks) <= len(companion.columns) / 2:
        return (
            f"{sheet.path}: the header has no column {', '.join(map(repr, lacks))}, which the {companion.name} of "
            f"{dataset} has; it reads {', '.join(sheet.header)[:300]!r}. Rename the columns; leave the cells of what "
            "is not known empty"
        )
    return f"{main[0].path} is one of two tables of {dataset}: give its {companion.name} as a second --csv"


def _recognised(sheet: Sheet, candidates: Sequence[Dialect]) -> Dialect:
    fitting = [dialect for dialect in candidates if dialect.line == sheet.line]
    return recognise(sheet.header, str(sheet.path), fitting)[0]


def _apart(sheets: Sequence[Sheet], candidates: Sequence[Dialect]) -> tuple[list[Sheet], Sheet | None]:
    """Return the tables with images, and the companion of them where there is one."""
    for dialect in candidates:
        if dialect.companion is None:
            continue
        wanted = {simplified(column) for column in dialect.companion.columns}
        own = {simplified(column) for column in dialect.columns}
        seconds = [
            sheet
            for sheet in sheets
            if wanted <= set(positions(sheet.header)) and not own <= set(positions(sheet.header))
        ]
        if seconds:
            main = [sheet for sheet in sheets if sheet is not seconds[0]]
            if not main:
                raise DatasetError(
                    f"{seconds[0].path} is the {dialect.companion.name} of {dialect.name}, which names no images: "
                    "give the table of its files too, as another --csv"
                )
            return main, seconds[0]
    return list(sheets), None


def _rows(
    sheets: Sequence[Sheet], dialect: Dialect, options: TableOptions
) -> tuple[tuple[ImageRow, ...], int]:
    """Return the rows of all tables, those of one image together where the dataset has a row per lesion."""
    by_image: dict[str, list[ImageRow]] = {}
    images: list[list[ImageRow]] = []
    before = number = 0
    for sheet in sheets:
        if len(sheets) > 1 and sheet.line != dialect.line:
            raise DatasetError(
                f"{sheet.path} is no table of {dialect.name}, as the other is: build them apart"
            )
        reader, total = _reader(sheet, dialect, options, sheets)
        before = number
        for place, cells in sheet.records:
            number = before + place
            if total is not None and len(cells) > total and is_empty(cells[total]):
                continue
            row = reader.read(number, cells)
            if not dialect.lesions or row.problem is not None:
                images.append([row])
            elif row.path in by_image:
                by_image[row.path].append(row)
            else:
                by_image[row.path] = [row]
                images.append(by_image[row.path])
    return tuple(merged(rows) for rows in images), number


def _reader(
    sheet: Sheet, dialect: Dialect, options: TableOptions, others: Sequence[Sheet]
) -> tuple[RowReader, int | None]:
    _, where = recognise(sheet.header, str(sheet.path), (dialect,))
    everywhere = positions(sheet.header)
    extras = {name: rule_of(said, EXTRA_PARSERS[name]) for name, said in dialect.extras.items()}
    given = () if dialect.companion is None else dialect.companion.gives
    where |= {column: everywhere[simplified(column)] for column in given}
    for rule in extras.values():
        where |= {c: everywhere[simplified(c)] for c in rule.columns if simplified(c) in everywhere}
    if simplified(options.columns.get("kind", "")) not in (*everywhere, ""):
        raise DatasetError(
            f"{sheet.path} has no column {options.columns['kind']!r} for --map kind; it has "
            f"{', '.join(sheet.header)[:300]}"
        )
    for said in dialect.kinds:
        where |= {c: everywhere[simplified(c)] for c in rule_of(said).columns if simplified(c) in everywhere}
    kept = {}
    for asked in options.keep:
        name, rule = kept_rule(asked, sheet, extras, others)
        where |= {column: everywhere[simplified(column)] for column in rule.columns}
        kept[name] = rule
    patient = None if dialect.patient is None else rule_of(dialect.patient)
    if options.patient_column is not None:
        if simplified(options.patient_column) not in everywhere:
            raise DatasetError(
                f"{sheet.path} has no column {options.patient_column!r} for --patient-column; it has "
                f"{', '.join(sheet.header)[:300]}"
            )
        where["patient column"] = everywhere[simplified(options.patient_column)]
        patient = Rule(("patient column",), str.strip)
    total = None if dialect.empty_is_no_row is None else everywhere.get(simplified(dialect.empty_is_no_row))
    return RowReader(dialect, where, len(sheet.header), kept, patient), total


def _notes(dialect: Dialect, rows: Sequence[ImageRow], told: int) -> tuple[str, ...]:
    notes = []
    if dialect.lesions and told > len(rows):
        notes.append(
            f"{told} rows tell of {counted(len(rows), 'image')}: rows of one image are taken together"
        )
    splits: dict[str, set[str]] = {}
    for row in rows:
        if row.patient is not None and row.split is not None:
            splits.setdefault(same_id_key(row.patient), set()).add(row.split)
    torn = sum(len(found) > 1 for found in splits.values())
    if torn:
        notes.append(
            f"{counted(torn, 'patient stands', 'patients stand')} in both train and test of the dataset's own split"
        )
    return tuple(notes)


def problems_by_row(rows: Sequence[ImageRow]) -> list[str]:
    """Return a line per kind of problem, the most frequent first, with the numbers of its rows; no text of cells."""
    found: dict[str, list[int]] = defaultdict(list)
    for row in rows:
        for problem in (*row.notes, *([row.problem] if row.problem else [])):
            found[problem].append(row.row)
    ordered = sorted(found.items(), key=lambda item: (-len(item[1]), item[0]))
    return [f"{problem}: {row_list(numbers)}" for problem, numbers in ordered]


def row_list(numbers: Sequence[int], most: int = 8) -> str:
    """Return row numbers in words: "row 3", "rows 3, 5 and 9", "rows 3, 5, 7 and 20 more"."""
    shown = [str(number) for number in numbers[:most]]
    if len(numbers) == 1:
        return f"row {shown[0]}"
    if len(numbers) <= most:
        return f"rows {', '.join(shown[:-1])} and {shown[-1]}"
    return f"rows {', '.join(shown)} and {len(numbers) - most} more"
