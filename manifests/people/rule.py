"""Whether a rule that says who the patient is can be right: else a build stops, with what mends it."""

from collections.abc import Sequence

from nlbs.errors import DatasetError
from nlbs.manifests.people.looks import LOOKS, OF_ALL, PatientRule, folders_of, is_id, people_of
from nlbs.manifests.tables.rows import ImageRow

__all__ = ["PatientRule", "check_patients"]

_SAMPLE = 20_000  #: rows that are looked at to find a better folder

TRUST = "if these are the patients, say so with --trust-patients"


def check_patients(rows: Sequence[ImageRow], rule: PatientRule, alone: bool = True) -> None:
    """Raise DatasetError where a rule for patients cannot be right, with the rule, an example and what mends it.

    Real tables of any size pass: the bounds of :mod:`nlbs.manifests.people.looks` have their reasons there. What is
    wrong for a part of the rows alone is not seen, but for names that are nobody's.

    Args:
        rows: of all tables of a build.
        rule: that named their patients.
        alone: whether these are all patients; to a root that has others, one or two may be added.
    """
    people = people_of(rows, rule.part)
    if not people:  # no row can be used, which is said elsewhere
        return
    for look in LOOKS if alone else [look for look in LOOKS if look not in OF_ALL]:
        found = look(people, rule)
        if found is not None:
            raise DatasetError(
                f"the patient is {rule.words}, and {found}. {_mend(rows, rule, len(people))}; {TRUST}"
            )


def _mend(rows: Sequence[ImageRow], rule: PatientRule, people: int) -> str:
    better = _better_part(rows, rule.part, people)
    if better is None:
        return (
            "Name the column of the table with --patient-column, or the folder of the path with --patient-part (1 is "
            "the first); where nothing names them, leave the cells empty, and --patient-per-image takes each image as "
            "its own"
        )
    part, names = better
    return (
        f"--patient-part {part} takes folder {part} of the path, which has {names:,} different names; --patient-column "
        "names a column of the table"
    )


def _better_part(rows: Sequence[ImageRow], part: int | None, people: int) -> tuple[int, int] | None:
    """Return the first folder of the paths whose names look like ids of more patients, and how many it has."""
    paths = [folders_of(row.path) for row in rows[:_SAMPLE] if row.problem is None]
    for place in range(min(map(len, paths), default=0)):
        names = {folders[place] for folders in paths}
        if place + 1 != part and len(names) >= max(people, 2) and sum(map(is_id, names)) >= 0.9 * len(names):
            return place + 1, len(names)
    return None
