"""The files that a table means where it does not give their paths: by name, folder or breast."""

import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

from nlbs.errors import ImageError
from nlbs.manifests.conditions import Conditions
from nlbs.manifests.dialect import Dialect
from nlbs.manifests.rows import ImageRow, patient_in
from nlbs.manifests.table import Table
from nlbs.paths import AnyPath
from nlbs.preprocess.fetch import fetched
from nlbs.preprocess.formats.scan import scanned
from nlbs.preprocess.stated import SIDE_KEYWORDS, stated_side
from nlbs.remote import RemotePath

#: Key -> the files below the images' folder that have it, as paths with forward slashes.
Index = Mapping[str, Sequence[str]]

#: How a dialect's ``files`` says that they are found -> the keys of a file, and the key of a row.
_KEYS: dict[str, tuple[Callable[[PurePosixPath], Iterable[str]], Callable[[str], str]]] = {
    "name": (lambda file: (file.name,), lambda path: PurePosixPath(path).name),
    "token": (lambda file: (file.name.split("_")[0],), lambda path: path.removesuffix(".0")),
    "folder": (lambda file: file.parts[:-1], lambda path: PurePosixPath(path).parts[0]),
    "breast": (lambda file: file.parts[:-1], lambda path: path),
}


_NO_FOLDER = "there is no folder of this patient below the folder of the images: check --images"
_NO_SIDE = "no image of this side is in the folder of this patient"


def found_files(table: Table, root: AnyPath) -> tuple[ImageRow, ...]:
    """Gives the rows of a table with paths that lead to files; a row of a breast becomes one of each of its images.

    Where a row fits no file its path stays as it is, and where it fits several the row says so.

    Args:
        table: as it was read.
        root: the folder of the images.
    """
    how = table.dialect.files
    if how == "path" or all(row.problem is not None or (root / row.path).is_file() for row in table.rows):
        return table.rows
    keys_of_file, key_of_row = _KEYS[how]
    index: dict[str, list[str]] = defaultdict(list)
    for name in files_below(root):
        for key in keys_of_file(PurePosixPath(name)):
            index[key].append(name)
    if how == "breast":
        return _by_breast(table.rows, index, root)
    return tuple(_found(row, index.get(key_of_row(row.path), ()), root, table.dialect) for row in table.rows)


def files_below(root: AnyPath) -> list[str]:
    """Gives the regular files below a folder as paths relative to it, sorted; links to folders are not followed."""
    if isinstance(root, RemotePath):
        return sorted(
            name for name in root.sizes() if not any(part.startswith(".") for part in name.split("/"))
        )
    found = []
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        at = Path(folder).relative_to(root).as_posix()
        found += [name if at == "." else f"{at}/{name}" for name in names if not name.startswith(".")]
    return sorted(found)


def _found(row: ImageRow, files: Sequence[str], root: AnyPath, dialect: Dialect) -> ImageRow:
    if row.problem is not None or not files or (root / row.path).is_file():
        return row
    images = [name for name in files if not name.lower().endswith((".csv", ".txt", ".xml", ".json", ".html"))]
    if len(images) != 1:
        return replace(
            row, problem=f"{len(images)} files below the folder of the images fit this row, expected one"
        )
    patient = patient_in(images[0], dialect) if row.patient is None else row.patient
    return replace(row, path=images[0], patient=patient)


def _by_breast(rows: Sequence[ImageRow], index: Index, root: AnyPath) -> tuple[ImageRow, ...]:
    """Gives a row per file of each row's patient whose header states the row's side."""
    sides: dict[str, str | None] = {}
    result: list[ImageRow] = []
    for row in rows:
        if row.problem is not None:
            result.append(row)
            continue
        files = index.get(row.path, ())
        new = [name for name in files if name not in sides]
        sides |= {name: side_of_file(root / name) for name in new}
        own = [name for name in files if sides[name] == row.conditions.laterality is not None]
        result += [replace(row, path=name) for name in own]
        problems = [] if own else [_NO_FOLDER if not files else _NO_SIDE]
        without = sum(sides[name] is None for name in new)
        if without:
            problems.append(
                f"{without} files in the folder of this patient state no side: nothing tells their row"
            )
        if problems:
            result.append(ImageRow(row.row, "", Conditions(), None, problem="; ".join(problems)))
    return tuple(result)


def side_of_file(path: AnyPath) -> str | None:
    """Gives the side that the header of a DICOM file states; None where it states none or cannot be read."""
    try:
        with fetched(path) as local:
            return stated_side(scanned(local, SIDE_KEYWORDS))
    except ImageError:
        return None
