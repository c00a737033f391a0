"""Before hours are spent: which transfer syntaxes a tree of files has, and whether each has a decoder here."""

from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from nlbs.errors import DatasetError, ImageError
from nlbs.manifests.tables.table import ImageRow
from nlbs.paths import AnyPath
from nlbs.preprocess.formats.codecs import names_of_decoders
from nlbs.preprocess.formats.elements import scanned
from nlbs.preprocess.formats.header import element
from nlbs.preprocess.formats.image_errors import BadHeaderError
from nlbs.preprocess.formats.signatures import TEXT, UNKNOWN, Foreign
from nlbs.preprocess.formats.source_file import START_BYTES, kind_of, lies_there, opened
from nlbs.preprocess.formats.syntaxes import SYNTAXES
from nlbs.preprocess.images.header_conditions import FOREGROUND_KEYWORDS, stated_foreground
from nlbs.preprocess.root.sources import Source, UnsafePathError, fetched, safe_path
from nlbs.stores import store_of
from nlbs.text import counted

_REMOTE_BYTES = 64 << 10  #: of an object: the File Meta Information has a few hundred

_HEADERS = 32  #: files whose headers tell the modality of a table

_THREADS = 16  # opening a file is waiting, on a network above all

#: What is no transfer syntax: no file there, no image in it, DICOM that says nothing of its coding.
MISSING, NO_IMAGE, UNSTATED = "missing", "no image", "unstated"


@dataclass(frozen=True)
class Found:
    """The files of one transfer syntax."""

    name: str  #: of the standard; "PNG" and the like; or one of the words above
    files: int
    decoder: str | None  #: that will be used; None where there is none
    advice: str  #: what to do where there is none


@dataclass(frozen=True)
class Preflight:
    """What was found, most frequent first."""

    found: tuple[Found, ...]
    looked_at: int
    files: int  #: looked at or not

    @property
    def undecodable(self) -> tuple[Found, ...]:
        """Transfer syntaxes that have no decoder here."""
        return tuple(
            one for one in self.found if one.decoder is None and not one.name.startswith((MISSING, NO_IMAGE))
        )


def preflight(paths: Sequence[AnyPath], decoder: str = "auto", most_files: int | None = None) -> Preflight:
    """Return which transfer syntaxes the files have; read nothing but the first few hundred bytes of each.

    Args:
        paths: of the files; where there are more than ``most_files``, an even sample of them.
        decoder: as for decoding.
        most_files: to look at; None is 2000, or 64 where they are objects.
    """
    if most_files is None:
        most_files = min((store_of(path).sample for path in paths), default=0)
    count = min(len(paths), most_files)
    sample = [paths[index * len(paths) // count] for index in range(count)]
    with ThreadPoolExecutor(_THREADS) as threads:
        kinds = Counter(threads.map(syntax_of, sample))
    found = tuple(_found(kind, files, decoder) for kind, files in kinds.most_common())
    return Preflight(found, count, len(paths))


def require_decoders(paths: Sequence[AnyPath], decoder: str) -> str | None:
    """Return one line about files that no decoder here reads; None where there is nothing to say.

    Raises:
        DatasetError: not one of the files can be decoded.
    """
    result = preflight(paths, decoder)
    lacking = result.undecodable
    if not lacking:
        return None
    kinds = "; ".join(f"{one.files} {one.name}: {one.advice}" for one in lacking)
    of = f"{sum(one.files for one in lacking)} of the {counted(result.looked_at, 'file')} looked at"
    if all(one.decoder is None for one in result.found):
        raise DatasetError(
            f"none of the files can be decoded: {of} have a transfer syntax without a decoder here ({kinds}). "
            "nlbs-preprocess preflight lists them"
        )
    return f"Warning: {of} have no decoder here and will be skipped ({kinds})"


def paths_of_rows(rows: Sequence[ImageRow], root: AnyPath) -> list[AnyPath]:
    """Return the files that the rows of a table name inside a folder, each once."""
    paths: dict[AnyPath, None] = {}
    for row in rows:
        if row.problem is None:
            try:
                paths[safe_path(root, row.file or row.path)] = None
            except UnsafePathError:
                continue
    return list(paths)


def foreground_of_files(sources: Sequence[Source], otherwise: str = "breast") -> str:
    """Return the ``--foreground`` of a table that says none: what the headers of a few files state.

    Where any of them is a mammogram they all are: old ones are called CR and DX.

    Args:
        sources: of the table.
        otherwise: what it is where no header states one.

    Raises:
        DatasetError: they state several, and none of them a breast.
    """
    paths = [source.path for source in sources if source.path is not None]
    count = min(len(paths), _HEADERS)
    sample = [paths[index * len(paths) // count] for index in range(count)]
    with ThreadPoolExecutor(_THREADS) as threads:
        stated = set(threads.map(_foreground_of, sample)) - {None}
    if not stated:
        return otherwise
    if "breast" in stated:
        return "breast"
    if len(stated) > 1:
        raise DatasetError(
            f"the headers of the files state several foregrounds ({', '.join(sorted(map(str, stated)))}): divide the "
            "table by modality, or say one for all with --foreground"
        )
    return str(stated.pop())


def _foreground_of(path: AnyPath) -> str | None:
    try:
        with fetched(path, _REMOTE_BYTES) as local:
            return stated_foreground(scanned(local, FOREGROUND_KEYWORDS))
    except ImageError:  # no DICOM file, or one that decoding will judge
        return None


def preflight_lines(result: Preflight) -> list[str]:
    """Return the table of a preflight for the console."""
    width = max(40, *(len(one.name) for one in result.found)) if result.found else 40
    lines = [f"{'Transfer syntax':<{width}} {'Files':>8}  Decoder"]
    lines += [
        f"{one.name:<{width}} {one.files:>8,}  {one.decoder or f'none: {one.advice}'}" for one in result.found
    ]
    if result.looked_at < result.files:
        lines.append(f"A sample of {result.looked_at:,} of {result.files:,} files; --all looks at every one")
    return lines


def syntax_of(path: AnyPath) -> str | Foreign:
    """Return a file's transfer syntax UID; "png", "pgm" or "tiff"; MISSING or UNSTATED; what else it is, NO_IMAGE."""
    try:
        with fetched(path, _REMOTE_BYTES) as local:
            return _syntax_of(local)
    except ImageError:
        return MISSING


def _syntax_of(path: Path) -> str | Foreign:
    with opened(path) as file:
        kind = kind_of(file.read(START_BYTES))
        if kind != "dicom":
            return kind or lies_there(file)
    try:
        return str(element(scanned(path).file_meta, "TransferSyntaxUID") or UNSTATED)
    except BadHeaderError:
        return UNSTATED


def _found(kind: str | Foreign, files: int, decoder: str) -> Found:
    if isinstance(kind, Foreign):
        name = NO_IMAGE if kind in (TEXT, UNKNOWN) else f"{NO_IMAGE}: {kind.name}"
        return Found(name, files, None, kind.way_out)
    if kind in ("png", "pgm", "tiff"):
        return Found(kind.upper(), files, "numpy" if kind == "pgm" else "imagecodecs", "")
    if kind == MISSING:
        return Found(kind, files, None, "no regular, readable file: check --images")
    syntax = SYNTAXES.get(kind)
    if kind == UNSTATED:
        return Found("no transfer syntax", files, "by what the pixels look like", "")
    if syntax is None:
        return Found("unknown transfer syntax", files, None, "convert them, for example with gdcmconv --raw")
    if syntax.refusal:
        return Found(syntax.name, files, None, syntax.refusal)
    if syntax.coding in ("cells", "deflate"):
        return Found(syntax.name, files, "numpy", "")
    names = names_of_decoders(kind, decoder)
    return Found(syntax.name, files, names[0] if names else None, _advice(kind, decoder))


def _advice(uid: str, decoder: str) -> str:
    if names_of_decoders(uid, "auto"):
        return f"--decoder {decoder} has none, --decoder auto has"
    return "install imagecodecs, or pylibjpeg with its plugins"
