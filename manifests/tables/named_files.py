"""Whether the files that a table names are there: what judges the encoding of a table."""

import re
import unicodedata
from collections.abc import Iterator, Sequence
from contextlib import suppress

from nlbs.errors import ObjectStoreError
from nlbs.manifests.tables.spelling import readable
from nlbs.manifests.tables.table_file import Judge
from nlbs.paths import AnyPath
from nlbs.stores import store_of

_LONGEST = 4096  # PATH_MAX of Linux


def judge_of(root: AnyPath) -> Judge:
    """Return what counts how many of some cells name something below a folder.

    Each is looked for as a path. Where none is there, the tree is listed, once, and the names in cells that look like
    paths are looked for anywhere in it.
    """
    listed: list[frozenset[str]] = []

    def judge(cells: Sequence[str]) -> int:
        paths = [
            cell.replace("\\", "/") for cell in cells if cell and len(cell) < _LONGEST and "\0" not in cell
        ]
        there = store_of(root).count(root, paths)
        if there or not any(map(_like_path, paths)):
            return there
        if not listed:
            listed.append(_names_below(root))
        return sum(_has_name(path, listed[0]) for path in paths if _like_path(path))

    return judge


def _like_path(cell: str) -> bool:
    return "/" in cell or re.search(r"\.[A-Za-z0-9]{2,5}$", cell) is not None


def _has_name(path: str, names: frozenset[str]) -> bool:
    parts = [part.strip() for part in path.split("/") if not part.isascii()]
    return bool(parts) and all(unicodedata.normalize("NFC", part) in names for part in parts)


def _names_below(root: AnyPath) -> frozenset[str]:
    """Return the names of files and folders with letters beyond ASCII."""
    return frozenset(
        unicodedata.normalize("NFC", readable(name)) for name in _all_names(root) if not name.isascii()
    )


def _all_names(root: AnyPath) -> Iterator[str]:
    with suppress(ObjectStoreError, FileNotFoundError):
        for _, folders, files in store_of(root).walk(root):
            yield from folders
            yield from files
