"""A table's file becomes text: unpacked where it is gzip, told for what it is where it is none, its encoding judged."""

import codecs
import csv
import re
import zlib
from collections.abc import Callable, Sequence

from nlbs.errors import DatasetError
from nlbs.manifests.tables.spelling import western
from nlbs.paths import AnyPath

LARGEST_TABLE_BYTES = 1 << 30

_SAVE = "open it in a spreadsheet program, save the sheet as CSV (UTF-8), and name that file"
#: First bytes -> what the file is, and what to do.
_OTHERS: tuple[tuple[bytes, str], ...] = (
    (rb"PK\x03\x04.{26}mimetypeapplication/vnd\.oasis\.opendocument", f"an OpenDocument spreadsheet (.ods): {_SAVE}"),
    (rb"PK\x03\x04.{26}(?:\[Content_Types\]|_rels/|docProps/|xl/)", f"an Excel workbook (.xlsx): {_SAVE}"),
    (rb"PK\x03\x04", f"a spreadsheet or a zip file: unpack it, or {_SAVE}"),
    (rb"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", f"an Excel workbook (.xls): {_SAVE}"),
    (rb"BZh\d", "packed with bzip2: unpack it, and name the table in it"),
    (rb"\xfd7zXZ\x00", "packed with xz: unpack it, and name the table in it"),
    (rb"\x28\xb5\x2f\xfd", "packed with Zstandard: unpack it, and name the table in it"),
    (rb"7z\xbc\xaf\x27\x1c|Rar!", "an archive: unpack it, and name the table in it"),
    (rb"PAR1", "a Parquet file: save it as CSV, for example by pandas.read_parquet(...).to_csv(..., index=False)"),
    (rb"ARROW1|\xff\xff\xff\xff", "an Arrow file: save it as CSV, for example by pandas"),
    (rb"SQLite format 3", "an SQLite database: export the table as CSV"),
    (rb"%PDF", "a PDF document: --csv takes the dataset's table as CSV"),
    (rb"\{\\rtf", f"a document of a word processor: {_SAVE}"),
    (rb"version https://git-lfs", "a pointer of Git LFS, and the table itself was not fetched: git lfs pull"),
    (rb"\s*[\[{]\s*[\[{\"\]}]", "JSON: save it as CSV, for example by pandas.read_json(...).to_csv(..., index=False)"),
    (rb"\s*<(?:\?xml|!doctype|html|table|\w+:)", "XML or a web page: download the table itself, or save it as CSV"),
)  # fmt: skip


def read_table_file(path: AnyPath) -> bytes:
    """Return the bytes of a table.

    Raises:
        DatasetError: the file is missing, cannot be read, or is of another kind.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise DatasetError(f"there is no CSV at {path}: check --csv") from None
    except IsADirectoryError:
        raise DatasetError(f"{path} is a folder: --csv takes the dataset's table, a .csv file") from None
    except OSError as error:
        raise DatasetError(
            f"cannot read {path} ({error.strerror or error}): --csv takes the dataset's table, a .csv file"
        ) from None
    if data.startswith(b"\x1f\x8b"):
        data = _unpacked(data, path)
    for pattern, what in _OTHERS:
        if re.match(pattern, data[:512], re.DOTALL | re.IGNORECASE):
            raise DatasetError(f"{path} is {what}")
    return data


def _unpacked(data: bytes, path: AnyPath) -> bytes:
    parts, left = [], LARGEST_TABLE_BYTES
    try:
        while data:  # a gzip file may have several members
            packed = zlib.decompressobj(wbits=31)
            parts.append(packed.decompress(data, left))
            left -= len(parts[-1])
            if packed.unconsumed_tail or left <= 0:
                raise DatasetError(
                    f"{path} unpacks to more than {LARGEST_TABLE_BYTES:,} bytes, which no table has: unpack it yourself"
                )
            if not packed.eof:
                raise DatasetError(f"{path} is a gzip file that ends too early: fetch it again")
            data = packed.unused_data.lstrip(b"\0")
    except zlib.error:
        raise DatasetError(f"{path} is a damaged gzip file: fetch it again") from None
    return b"".join(parts)


Judge = Callable[[Sequence[str]], int]

_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32-le", "UTF-32"),
    (codecs.BOM_UTF32_BE, "utf-32-be", "UTF-32"),
    (codecs.BOM_UTF16_LE, "utf-16-le", "UTF-16"),
    (codecs.BOM_UTF16_BE, "utf-16-be", "UTF-16"),
)
_MIXED, _WESTERN, _CHINESE = "UTF-8", "Windows-1252", "GB18030"
#: Those that spreadsheets write where they do not write UTF-8, in the order in which they are taken where several fit.
_TRIED = {
    _WESTERN: "cp1252",
    _CHINESE: "gb18030",
    "Mac Roman": "mac_roman",
    "code page 850": "cp850",
    "code page 437": "cp437",
    "Windows-1250": "cp1250",
    "Windows-1251": "cp1251",
    "Windows-1253": "cp1253",
    "Windows-1254": "cp1254",
    "Big5": "big5",
    "Shift-JIS": "cp932",
    "EUC-KR": "cp949",
}
_START = 4096  # bytes that tell text from what is none
_MOST_NOT_TEXT = 0.05  # share of these that may be control characters
_LINES_JUDGED = 200
_NOT_ASCII_LINE = re.compile(rb"[^\r\n]*[\x80-\xff][^\r\n]*")
_CONTROL = re.compile(rb"[\x00-\x08\x0e-\x1f]")
_STRAY = re.compile("[\udc80-\udcff]")


def decoded(data: bytes, source: str, judge: Judge | None = None) -> tuple[str, list[str]]:
    """Return a table's text, and notes on how its bytes were read, each a predicate of the table.

    UTF-8; UTF-16 and UTF-32; or else the encoding under which the files named in the table are there. Where no name
    tells, UTF-8 with a few bytes that are none, GB18030 if all of it is common Chinese, else Windows-1252.

    Args:
        data: of the file.
        source: names the table in messages.
        judge: of names; None where nothing is known of the files.

    Raises:
        DatasetError: the bytes are no text.
    """
    for mark, marked, name in _MARKS:
        if data.startswith(mark):
            text = data.removeprefix(mark).decode(marked, "replace")
            return text, [f"is {name} and was read as that"]
    codec = _without_mark(data)
    if codec is not None:
        return data.decode(codec, "replace"), ["is UTF-16 and was read as that"]
    start = data.rstrip(b"\0")[:_START]  # a system that went down may leave zeros at a file's end
    if len(_CONTROL.findall(start or data[:1])) > _MOST_NOT_TEXT * len(start):
        raise DatasetError(f"{source} is no text: --csv takes a comma-separated table in UTF-8")
    data = data.removeprefix(codecs.BOM_UTF8)
    notes = []
    if b"\0" in data:
        notes.append(
            f"has {data.count(0):,} NUL bytes, the first in line {_line(data, data.index(0))}: left out"
        )
        data = data.replace(b"\0", b"")
    try:
        return data.decode("utf-8"), notes
    except UnicodeDecodeError as error:
        at = f"line {_line(data, error.start)}, byte 0x{data[error.start]:02X}"
    text, note = _judged(data, at, judge)
    return text, [*notes, note]


def _without_mark(data: bytes) -> str | None:
    """Return the codec of UTF-16 that does not say so: every other byte of Latin letters is 0."""
    start = data[: _START - _START % 2]
    pairs = max(len(start) // 2, 1)
    even, odd = start[::2].count(0) / pairs, start[1::2].count(0) / pairs
    if max(even, odd) < 0.5 or min(even, odd) > 0.05 or not start:
        return None
    return "utf-16-le" if odd > even else "utf-16-be"


def _line(data: bytes, place: int) -> int:
    return len(re.findall(rb"\r\n|\r|\n", data[:place])) + 1


def _judged(data: bytes, at: str, judge: Judge | None) -> tuple[str, str]:
    """Return the text of bytes that are not all UTF-8, and a note on it."""
    ranked = _ranked(data)
    lines = [
        found.group() for _, found in zip(range(_LINES_JUDGED), _NOT_ASCII_LINE.finditer(data), strict=False)
    ]
    names = dict.fromkeys(ranked, 0)
    if judge is not None:
        sample = b"\n".join(lines)
        read: dict[str, int] = {}  # several encodings may read the lines alike
        for name in ranked:
            text = _read(sample, name)
            if text not in read:
                read[text] = 0 if "\ufffd" in text else judge(_cells(text))
            names[name] = read[text]
    best = max(ranked, key=lambda name: (names[name], -ranked.index(name)))
    why = f", under which {names[best]} of its names are there" if names[best] else ""
    text = _read(data, best)
    if best == _MIXED:
        strays = len(_STRAY.findall(data.decode("utf-8", "surrogateescape")))
        what = "1 byte" if strays == 1 else f"{strays:,} bytes"
        return text, f"is UTF-8 but for {what} ({at}), read as Windows-1252{why}"
    lost = text.count("\ufffd")
    unread = f"; {lost:,} letters cannot be read" if lost else ""
    guess = "" if why else "; if letters in it are wrong, save it as UTF-8"
    return text, f"is not UTF-8 ({at}) and was read as {best}{why}{unread}{guess}"


def _ranked(data: bytes) -> list[str]:
    """Return the encodings that may be meant, the likeliest first."""
    loose = data.decode("utf-8", "surrogateescape")
    strays = len(_STRAY.findall(loose))
    whole = sum(not letter.isascii() for letter in loose) - strays
    first = [_MIXED] if whole >= strays else []
    if _common_chinese(data):
        first.append(_CHINESE)
    elif (
        b"\n" not in data and b"\r" in data
    ):  # the line ends of Mac OS before X, which Excel writes with its letters
        first.append("Mac Roman")
    last = [_MIXED] if 0 < whole < strays else []
    return list(dict.fromkeys([*first, *_TRIED, *last]))


def _common_chinese(data: bytes) -> bool:
    """Return whether all of it is GB2312 and nearly all its first 3755 characters, which run from B0 to D7.

    Those bytes are capitals and signs in Western encodings, where small letters, from E0 on, are the most.
    """
    try:
        text = data.decode("gb2312")
    except UnicodeDecodeError:
        return False
    leads = [letter.encode("gb2312")[0] for letter in set(text) if not letter.isascii()]
    return sum(lead <= 0xD7 for lead in leads) >= 0.8 * len(leads)


def _read(data: bytes, name: str) -> str:
    if name == _MIXED:
        loose = data.decode("utf-8", "surrogateescape")
        return _STRAY.sub(lambda found: western(bytes([ord(found[0]) - 0xDC00])), loose)
    return western(data) if name == _WESTERN else data.decode(_TRIED[name], "replace")


def _cells(text: str) -> list[str]:
    """Return the cells of some lines that have letters beyond ASCII, whatever separates them."""
    found: dict[str, None] = {}
    for line in text.split("\n"):
        for delimiter in ",;\t|":
            if delimiter in line:
                try:
                    cells = next(csv.reader([line], delimiter=delimiter))
                except (csv.Error, StopIteration):
                    continue
                found |= dict.fromkeys(cell.strip() for cell in cells if not cell.isascii())
    return list(found)
