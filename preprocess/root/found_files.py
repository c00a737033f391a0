"""The files that a table means where it does not give their paths: by name, folder or breast."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import PurePosixPath

from nlbs.errors import ImageError
from nlbs.manifests.conditions import Conditions
from nlbs.manifests.tables.dialect import Dialect
from nlbs.manifests.tables.rows import ImageRow, patient_in
from nlbs.manifests.tables.spelling import BySpelling, spelling
from nlbs.manifests.tables.table import Table
from nlbs.paths import AnyPath
from nlbs.preprocess.formats.elements import scanned
from nlbs.preprocess.images.header_conditions import SIDE_KEYWORDS, stated_side
from nlbs.preprocess.root.folders import file_spelling
from nlbs.preprocess.root.sources import fetched
from nlbs.preprocess.root.spelt_files import SpeltFiles
from nlbs.stores import store_of
from nlbs.text import counted

Index = BySpelling[str, list[str]]

#: How a dialect's ``files`` says that they are found -> the keys of a file, those of a row, the surest first, and what
#: spellings of a key have in common. A "folder" is the path's first, or that of its series, as downloads by series are.
_KEYS: dict[
    str, tuple[Callable[[PurePosixPath], Iterable[str]], Callable[[str], Sequence[str]], Callable[[str], str]]
] = {
    "name": (lambda file: (file.name,), lambda path: (PurePosixPath(path).name,), file_spelling),
    "token": (lambda file: (file.name.split("_")[0],), lambda path: (path.removesuffix(".0"),), spelling),
    "folder": (
        lambda file: file.parts[:-1],
        lambda path: (PurePosixPath(path).parts[0], *PurePosixPath(path).parts[2:-1][-1:]),
        spelling,
    ),
    "breast": (lambda file: file.parts[:-1], lambda path: (path,), spelling),
}
_NO_FOLDER = "there is no folder of this patient below the folder of the images: check --images"
_NO_SIDE = "no image of this side is in the folder of this patient"


def found_files(table: Table, root: AnyPath) -> Table:
    """Return a table whose rows lead to files; a row of a breast becomes one of each of its images.

    Where a path is spelt otherwise than its file, or begins in another folder, and one file alone can be meant, that is
    taken. Where a row fits no file its path stays as it is, and where it fits several the row says so. The notes of
    the table say how many of each.

    Args:
        table: as it was read.
        root: the folder of the images.
    """
    how, rows = table.dialect.files, table.rows
    missing = _missing(rows, root)
    if not missing:
        return table
    if how != "path":
        keys_of_file, keys_of_row, spell = _KEYS[how]
        index: dict[str, list[str]] = defaultdict(list)
        for name in files_below(root):
            for key in keys_of_file(PurePosixPath(name)):
                index[key].append(name)
        by_key: Index = BySpelling(index, spell)
        if how == "breast":
            return replace(table, rows=_by_breast(rows, by_key, root))
        gone = set(missing)
        rows = tuple(
            _found(row, next(filter(None, map(by_key.get, keys_of_row(row.path))), ()), table.dialect)
            if place in gone
            else row
            for place, row in enumerate(rows)
        )
        missing = [place for place in missing if rows[place] is table.rows[place]]
    spelt = SpeltFiles(rows, missing, root)
    spelt.respell()
    if how == "path":
        spelt.replace_start(table.dialect)
    spelt.name_nearest()
    return replace(table, rows=tuple(spelt.rows), notes=(*table.notes, *spelt.notes))


def _missing(rows: Sequence[ImageRow], root: AnyPath) -> list[int]:
    """Return the places of the rows at whose path is no file."""
    places = [place for place, row in enumerate(rows) if row.problem is None]
    return [places[at] for at in store_of(root).missing(root, [rows[place].path for place in places])]


def files_below(root: AnyPath) -> list[str]:
    """Return the regular files below a folder as paths relative to it, sorted; links to folders are not followed."""
    found = []
    for at, folders, names in store_of(root).walk(root):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [f"{at}/{name}".lstrip("/") for name in names if not name.startswith(".")]
    return sorted(found)


def _found(row: ImageRow, files: Sequence[str], dialect: Dialect) -> ImageRow:
    if not files:
        return row
    images = [name for name in files if not name.lower().endswith((".csv", ".txt", ".xml", ".json", ".html"))]
    if len(images) != 1:
        return replace(
            row, problem=f"{len(images)} files below the folder of the images fit this row, expected one"
        )
    patient = patient_in(images[0], dialect) if row.patient is None else row.patient
    return replace(row, path=images[0], patient=patient)


def _by_breast(rows: Sequence[ImageRow], index: Index, root: AnyPath) -> tuple[ImageRow, ...]:
    """Return a row per file of each row's patient whose header states the row's side."""
    sides: dict[str, str | None] = {}
    result: list[ImageRow] = []
    for row in rows:
        if row.problem is not None:
            result.append(row)
            continue
        files = index.get(row.path) or ()
        new = [name for name in files if name not in sides]
        sides |= {name: side_of_file(root / name) for name in new}
        own = [name for name in files if sides[name] == row.conditions.laterality is not None]
        result += [replace(row, path=name) for name in own]
        problems = [] if own else [_NO_FOLDER if not files else _NO_SIDE]
        without = sum(sides[name] is None for name in new)
        if without:
            problems.append(
                f"{counted(without, 'file')} in the folder of this patient "
                f"{'states' if without == 1 else 'state'} no side: "
                f"nothing tells {'its' if without == 1 else 'their'} row"
            )
        if problems:
            result.append(ImageRow(row.row, "", Conditions(), None, problem="; ".join(problems)))
    return tuple(result)


def side_of_file(path: AnyPath) -> str | None:
    """Return the side that the header of a DICOM file states; None where it states none or cannot be read."""
    try:
        with fetched(path) as local:
            return stated_side(scanned(local, SIDE_KEYWORDS))
    except ImageError:
        return None
