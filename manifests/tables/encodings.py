"""The encoding of a table's bytes: stated by a mark, or judged by the names of files that are there."""

import codecs
import csv
import re
from collections.abc import Callable, Sequence

from nlbs.errors import DatasetError
from nlbs.manifests.tables.spelling import western

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
