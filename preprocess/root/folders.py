"""Files by the path that a table gives, in whatever spelling: folders are listed once, and only those on the way."""

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from urllib.parse import unquote

from nlbs.manifests.tables.spelling import spelling
from nlbs.paths import AnyPath
from nlbs.stores import store_of

_DICOM_ENDING = re.compile(r"(?:\.(?:dcm|dicom|dic|ima))+$")
_OTHER_ENDINGS = {".tiff": ".tif", ".jpeg": ".jpg"}
_NOT_ON_DISK = ("", ".")


@dataclass
class _Listing:
    """What lies in one folder; hidden names are left out."""

    folders: frozenset[str] = frozenset()
    files: frozenset[str] = frozenset()
    _spelt: dict[str, list[str]] | None = field(default=None)

    def like(self, name: str, folder: bool) -> list[str]:
        """Return the names that are the same as one but for their spelling."""
        if name in (self.folders if folder else self.files):
            return [name]
        if self._spelt is None:
            self._spelt = defaultdict(list)
            for known in sorted(self.folders):
                self._spelt[f"{spelling(known)}/"].append(known)
            for known in sorted(self.files):
                self._spelt[file_spelling(known)].append(known)
        return self._spelt.get(f"{spelling(name)}/" if folder else file_spelling(name), [])


class Folders:
    """The tree below the folder of the images."""

    def __init__(self, root: AnyPath) -> None:
        """Take a root; nothing is listed yet, except in an object store, which is listed whole."""
        self._names_in = store_of(root).lister(root)
        self._known: dict[str, _Listing] = {}

    def listing(self, folder: str) -> _Listing:
        """Return what lies in a folder, named from the root on, with forward slashes; nothing where there is none."""
        if folder not in self._known:
            folders, files = (
                frozenset(name for name in names if not name.startswith("."))
                for names in self._names_in(folder)
            )
            self._known[folder] = _Listing(folders, files)
        return self._known[folder]

    def files_like(self, parts: Sequence[str], start: str = "") -> list[str]:
        """Return the files whose path is one's own but for its spelling, at most a few.

        Args:
            parts: of the path.
            start: folder from which the path goes on.
        """
        places = [start]
        for part in parts[:-1]:
            places = [
                f"{place}/{name}".lstrip("/")
                for place in places[:8]
                for name in self.listing(place).like(part, folder=True)
            ]
        return [
            f"{place}/{name}".lstrip("/")
            for place in places[:8]
            for name in self.listing(place).like(parts[-1], folder=False)
        ]

    def deepest(self, parts: Sequence[str]) -> tuple[str, int]:
        """Return the folder to which a path leads before it goes nowhere, and how many of its parts lead there."""
        place = ""
        for count, part in enumerate(parts[:-1]):
            names = self.listing(place).like(part, folder=True)
            if len(names) != 1:
                return place, count
            place = f"{place}/{names[0]}".lstrip("/")
        return place, len(parts) - 1

    def files(self, most: int) -> Iterator[str]:
        """Yield the files below the root, those of upper folders first.

        Args:
            most: folders that are listed.
        """
        level, listed = [""], 0
        while level:
            below = []
            for place in level:
                if listed == most:
                    return
                listed += 1
                listing, start = self.listing(place), f"{place}/" if place else ""
                yield from (f"{start}{name}" for name in sorted(listing.files))
                below += [f"{start}{name}" for name in sorted(listing.folders)]
            level = below


def parts_of(path: str) -> list[str]:
    """Return the parts of a path as a table has it: without "./" and doubled slashes, decoded where it is a URL."""
    text = re.sub(r"^file:/*(?=[A-Za-z]:|/)", "", path)
    if re.search("%[0-9A-Fa-f]{2}", text):
        text = unquote(text, errors="surrogateescape")
    return [part for part in text.replace("\\", "/").split("/") if part.strip() not in _NOT_ON_DISK]


def file_spelling(name: str) -> str:
    """Return what all spellings of a file's name have in common; endings of DICOM files do not matter."""
    bare = " ".join(name.split()).lower() if name.isascii() else spelling(name)
    stem = _DICOM_ENDING.sub("", bare)
    for ending, usual in _OTHER_ENDINGS.items():
        if stem.endswith(ending):
            stem = stem.removesuffix(ending) + usual
    return spelling(stem)
