"""The files of rows whose paths are spelt otherwise than on disk: taken where one file alone can be meant."""

import difflib
import posixpath
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace

from nlbs.manifests.people.same_id import without_quotes
from nlbs.manifests.tables.dialect import Dialect
from nlbs.manifests.tables.dialects import DIALECTS
from nlbs.manifests.tables.rows import ImageRow, patient_in
from nlbs.manifests.tables.spelling import spelling
from nlbs.paths import AnyPath
from nlbs.preprocess.root.folders import Folders, parts_of
from nlbs.text import counted

_SAMPLE = 64
#: How deep, and how many, the folders are in which the paths may begin.
_DEEPEST, _MOST_FOLDERS = 3, 300
#: Rows whose nearest name is sought, and names that each is compared with.
_MOST_NEAREST, _MOST_NAMES = 200, 500
#: Folders in which files of another layout are sought, where none is at its path.
_MOST_SEARCHED = 5000
_ABSOLUTE = re.compile(r"/|[A-Za-z]:|[A-Za-z]+://")
_COMPARED = "case, accents, spaces or ending"
#: Encodings of names that are taken for one another: UTF-8 for that of the system, and in archives.
_MISREAD = (
    *(("utf-8", codec) for codec in ("cp1252", "latin-1", "mac_roman", "cp437", "cp850", "gb18030")),
    *((codec, other) for codec in ("cp437", "cp850") for other in ("cp1252", "gb18030")),
)

#: What the paths have too many ("drop") or too few ("add"): folders.
_Prefix = tuple[str, tuple[str, ...]]


class SpeltFiles:
    """Finds the files of rows whose path, as it stands, leads to none."""

    def __init__(self, rows: Sequence[ImageRow], missing: Sequence[int], root: AnyPath) -> None:
        """Take the rows of a table.

        Args:
            rows: of the table.
            missing: places of those whose path leads to no file.
            root: the folder of the images.
        """
        self.rows, self.notes = list(rows), list[str]()
        self._root, self._folders = root, Folders(root)
        self._missing, self._unsure = list(missing), 0
        gone = set(missing)
        # A file that another row names as it is belongs to that row.
        self._taken = {
            posixpath.normpath(row.path)
            for place, row in enumerate(rows)
            if place not in gone and row.problem is None
        }

    def respell(self) -> None:
        """Give rows the only file whose path is theirs but for its spelling."""
        left = []
        for place in self._missing:
            row = self.rows[place]
            files = next(filter(None, (self._files(parts) for parts in _readings(row.path))), [])
            if files == [posixpath.normpath(row.path)]:  # no regular file
                left.append(place)
            elif len(files) == 1 and files[0] not in self._taken:
                self._take(place, files[0])
            else:
                left.append(place)
                if files:
                    self._unsure += 1
                    self.rows[place] = replace(row, nearest=files[0])
        if len(left) < len(self._missing):
            self.notes.append(
                f"{counted(len(self._missing) - len(left), 'image is', 'images are')} spelt otherwise "
                "in the table than on disk "
                f"({_COMPARED}): each means one file alone, which sources.csv names"
            )
        self._missing = left

    def replace_start(self, dialect: Dialect) -> None:
        """Give rows their files where all paths begin one or more folders too high or too low."""
        if not self._missing:
            return
        sample = dict.fromkeys(self._missing[at * len(self._missing) // _SAMPLE] for at in range(_SAMPLE))
        paths = [parts_of(self.rows[place].path) for place in sample if self.rows[place].nearest is None]
        hits = Counter([*self._too_many(paths), *self._too_few(paths)])
        if not hits:
            return
        if len(hits) > 1:
            self.notes.append(
                f"the paths of the table fit {self._root} in {len(hits)} ways, so none was taken: name with --images "
                "the folder in which they begin"
            )
            return
        ((kind, folders),) = hits
        left = []
        for place in self._missing:
            file = self._moved(parts_of(self.rows[place].path), kind, folders)
            if file is None:
                left.append(place)
                continue
            self._take(place, file)
            if kind == "drop":
                self.rows[place] = _with_patient(self.rows[place], file, dialect)
        count, many = len(self._missing) - len(left), counted(len(folders), "folder")
        self.notes.append(
            f"the paths of {counted(count, 'image')} begin with {many} too many for {self._root}: read without them"
            if kind == "drop"
            else f"{counted(count, 'image lies', 'images lie')} {many} deeper below {self._root} than the table says: "
            "read there; --images can name that folder"
        )
        self._missing = left

    def name_nearest(self) -> None:
        """Tell rows without a file the nearest name that is there, and the table how many they are."""
        if not self._missing:
            return
        known: dict[tuple[str, str, bool], str | None] = {}
        near = 0
        rows, missing = sum(row.problem is None for row in self.rows), len(self._missing)
        elsewhere = self._by_stem() if missing == rows else {}
        for place in self._missing[:_MOST_NEAREST]:
            row = self.rows[place]
            parts = parts_of(row.path)
            other = next(filter(None, (elsewhere.get(name) for name in _stems(parts))), None)
            nearest = row.nearest or other or self._nearest(parts, known)
            if nearest is not None:
                self.rows[place] = replace(row, nearest=nearest)
                near += 1
        are = "is" if missing == 1 else "are"
        said = (
            f"{missing:,} of {counted(rows, 'file')} {are} not below {self._root}, whatever their {_COMPARED}"
        )
        if self._unsure:
            said += (
                f"; {self._unsure:,} of them may be several files, or that of another row, so none was taken"
            )
        if near:
            looked = f" of the first {_MOST_NEAREST:,}" if missing > _MOST_NEAREST else ""
            said += f"; {near:,}{looked} have nearly the name of what is there: sources.csv names it"
        elif missing == rows:
            said += ": name with --images the folder in which the paths begin"
        self.notes.append(said)

    def _take(self, place: int, file: str) -> None:
        row = self.rows[place]
        self.rows[place] = replace(row, file=file, details=(*row.details, f"the file is {file!r}"))

    def _files(self, parts: Sequence[str], start: str = "") -> list[str]:
        return self._folders.files_like(parts, start) if parts else []

    def _only(self, parts: Sequence[str], start: str = "") -> str | None:
        """Return the only file that a path can mean and that no other row names."""
        files = self._files(parts, start)
        return files[0] if len(files) == 1 and files[0] not in self._taken else None

    def _moved(self, parts: Sequence[str], kind: str, folders: tuple[str, ...]) -> str | None:
        if kind == "add":
            return self._only(parts, "/".join(folders))
        begins = tuple(map(spelling, parts[: len(folders)])) == tuple(map(spelling, folders))
        return self._only(parts[len(folders) :]) if begins else None

    def _too_many(self, paths: Sequence[Sequence[str]]) -> list[_Prefix]:
        """Return the folders without which paths lead to a file, if a folder of its own is left to each."""
        return [
            ("drop", tuple(map(spelling, parts[:count])))
            for parts in paths
            for count in range(1, len(parts) - 1)
            if self._only(parts[count:]) is not None
        ]

    def _too_few(self, paths: Sequence[Sequence[str]]) -> list[_Prefix]:
        """Return the folders below which paths lead to a file."""
        level, looked_at = [""], list[str]()
        for _ in range(_DEEPEST):
            level = [
                f"{place}/{name}".lstrip("/")
                for place in level
                for name in sorted(self._folders.listing(place).folders)
            ][: _MOST_FOLDERS - len(looked_at)]
            looked_at += level
        return [
            ("add", tuple(place.split("/")))
            for place in looked_at
            for parts in paths
            if self._only(parts, place) is not None
        ]

    def _by_stem(self) -> dict[str, str | None]:
        """Return file for the stem of its name, whatever its folder and its ending; None where several have it."""
        found: dict[str, str | None] = {}
        for file in self._folders.files(_MOST_SEARCHED):
            stem = spelling(posixpath.splitext(posixpath.basename(file))[0])
            found[stem] = None if stem in found else file
        return found

    def _nearest(self, parts: Sequence[str], known: dict[tuple[str, str, bool], str | None]) -> str | None:
        """Return the nearest name in the last folder to which a path leads."""
        if not parts:
            return None
        place, count = self._folders.deepest(parts)
        is_file, part = count == len(parts) - 1, parts[count]
        key = (place, part, is_file)
        if key not in known:
            listing = self._folders.listing(place)
            names = sorted(listing.files if is_file else listing.folders)
            if len(names) > _MOST_NAMES:  # those that begin like it
                names = [name for name in names if name[:2].lower() == part[:2].lower()][:_MOST_NAMES]
            spelt = {spelling(name): name for name in names}
            # The same name with another ending: of pictures that were made of the DICOM files.
            stem = posixpath.splitext(spelling(part))[0]
            same = [name for name in spelt if is_file and posixpath.splitext(name)[0] == stem]
            near = same or difflib.get_close_matches(spelling(part[:256]), spelt, n=1, cutoff=0.75)
            known[key] = f"{place}/{spelt[near[0]]}".lstrip("/") if near else None
        return known[key]


def _stems(parts: Sequence[str]) -> list[str]:
    """Return how files of another layout may be called: like the file, or like its path with "_" for "/"."""
    if not parts:
        return []
    name = posixpath.splitext(parts[-1])[0]
    return [spelling("_".join((*parts[start:-1], name))) for start in range(len(parts) - 1, -1, -1)]


def _readings(path: str) -> list[list[str]]:
    """Return the parts of a path as it stands, as a URL, without quotes around it, and with misread letters mended."""
    readings = [[part for part in path.split("/") if part not in ("", ".")], parts_of(path)]
    bare = without_quotes(path) if path[:1] in "'\"=`" or path[-1:] in "'\"`" else path
    if bare != path:
        readings.append(parts_of(bare))
    if not path.isascii():
        readings += [parts_of(other) for other in _misread(path)]
    return [parts for at, parts in enumerate(readings) if parts not in readings[:at]]


def _misread(path: str) -> Iterator[str]:
    """Yield a path as it becomes where a program takes its bytes for another encoding, and as it was before."""
    for written, read in _MISREAD:
        for one, another in ((written, read), (read, written)):
            try:
                yield path.encode(one).decode(another)
            except UnicodeError:
                continue


def _with_patient(row: ImageRow, file: str, dialect: Dialect) -> ImageRow:
    """Return a row whose patient, if the folders of another machine gave one, is that of the path without them."""
    own = next((known.patient_part for known in DIALECTS if known.key == dialect.key), None)
    if (
        not _ABSOLUTE.match(row.path)
        or dialect.patient_part != own
        or row.patient != patient_in(row.path, dialect)
    ):
        return row
    return replace(row, patient=patient_in(file, dialect))
