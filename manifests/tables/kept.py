"""Which columns are kept beside the conditions: a dataset's extras or any column, and never one that identifies."""

from collections.abc import Mapping, Sequence

from nlbs.errors import ConfigError, DatasetError
from nlbs.manifests.tables.dialect import Dialect, Rule, always
from nlbs.manifests.tables.dialects import positions, simplified
from nlbs.manifests.tables.extras import RESERVED, parse_text, refuse_identifying
from nlbs.manifests.tables.rows import ImageRow
from nlbs.manifests.tables.sheet import Sheet

_CLOSED = ("density", "birads", "dataset_split")


def kept_rule(
    asked: str, sheet: Sheet, extras: Mapping[str, Rule], sheets: Sequence[Sheet]
) -> tuple[str, Rule]:
    """Return the name and the rule of a column to be kept.

    Args:
        asked: the name of an extra or of a column.
        sheet: whose rows are to be read; where it lacks the column and another has it, it is unknown in this one.
        extras: of the dataset.
        sheets: all of the dataset.

    Raises:
        DatasetError: no table has it.
        ConfigError: its name is taken, or cannot be that of a column of ours.
    """
    for name, rule in extras.items():
        if simplified(name) == simplified(asked):
            if _has(sheet, rule):
                return name, rule
            if any(_has(other, rule) for other in sheets):
                return name, always(None)
    having = [one for one in (sheet, *sheets) if simplified(asked) in positions(one.header)]
    if not having:
        known = ", ".join(name for name, rule in extras.items() if _has(sheet, rule)) or "none"
        raise DatasetError(
            f"{sheet.path} has nothing to keep as {asked!r}; known of this dataset: {known}; its columns: "
            f"{', '.join(sheet.header)[:600]}"
        )
    # Spelt as in the first table, so that the others agree.
    first = next(one for one in sheets if simplified(asked) in positions(one.header))
    column = first.header[positions(first.header)[simplified(asked)]]
    _check_name(asked, column, extras)
    return column, Rule((column,), parse_text) if having[0] is sheet else always(None)


def _check_name(asked: str, column: str, extras: Mapping[str, Rule]) -> None:
    if column in RESERVED:
        own = column == "split" and "dataset_split" in extras
        hint = "; --keep dataset_split keeps the dataset's own" if own else ""
        raise ConfigError(f"--keep {asked!r}: a column of that name is there already{hint}")
    if not column.isprintable() or len(column) > 64 or not (column[0].isalnum() or column[0] == "_"):
        raise ConfigError(
            f"--keep {asked!r}: rename that column; a name has up to 64 letters, digits and the like"
        )


def check_kept(
    dialect: Dialect, rows: Sequence[ImageRow], columns: Mapping[str, str], patient_column: str | None
) -> None:
    """Refuse what would be kept if it identifies.

    Args:
        dialect: of the table.
        rows: as they were read.
        columns: those that a person named, by condition: what they hold is not known.
        patient_column: that a person named.

    Raises:
        DatasetError: a column identifies; the message says by what.
    """
    identifying = (*dialect.identifying, *([] if patient_column is None else [patient_column]))
    for name in dict.fromkeys(name for row in rows for name in row.kept):
        if name in _CLOSED and name in dialect.extras:
            continue
        # Findings of a dataset are words of a list, though a few images may well have a different one each.
        listed = name in dialect.extras and name not in columns
        refuse_identifying(name, identifying, (row.kept.get(name) for row in rows), may_differ=listed)


def _has(sheet: Sheet, rule: Rule) -> bool:
    return all(simplified(column) in positions(sheet.header) for column in rule.columns)
