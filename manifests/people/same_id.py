"""When two texts are one id: what spreadsheets, pandas and file systems do to ids is undone to compare them."""

import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from decimal import Decimal

from nlbs.manifests.tables.spelling import visible

_QUOTES = "'\"`\u00b4\u2018\u2019\u201a\u201b\u201c\u201d\u201e\u201f\u2032\u2033"
_SEPARATORS = re.compile(r"[\s_\u2010-\u2015\u2212-]+")
#: Beyond this an exponent is no number that somebody typed: a hash such as 12e45678901.
_LARGEST_EXPONENT = 30
#: Digits that a spreadsheet and a 64-bit float keep.
_SAFE_DIGITS = 15
#: Digits beyond those, over all ids of a table, that have to be zero before the ids count as rounded.
_ENOUGH_ZEROS = 6
_MONTH = "(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)"
_DATE = re.compile(rf"\d{{1,2}}[-/ ]{_MONTH}(?:[-/ ]\d{{2,4}})?|{_MONTH}[-/ ]\d{{2,4}}", re.IGNORECASE)
_ERROR = re.compile(r"#{2,}|#N/A|#NV|#[A-Z0/]+[?!]")
_LONGEST_PADDING = 12  #: digits to which a number may have been padded with zeros


def same_id_key(text: str) -> str:
    """Return what is equal for two spellings of one id, where software alone makes the difference.

    Undone are: Unicode form (NFC, NFD, full-width letters and digits, digits of other scripts), white space of any
    kind around the id and its amount inside, byte order marks and other characters that show nothing, quotes around
    it and the ``="0012"`` or ``'0012`` of a spreadsheet, and the ``.0`` or ``.00`` that pandas and spreadsheets
    write behind a whole number. Letter case and leading zeros stay: see :func:`similar_id_key`.

    Args:
        text: an id as a table or a path has it.

    Returns:
        The key. Of a text that is plain letters and digits it is the text itself, of one that shows nothing it is
        empty.
    """
    if text.isascii() and text.isalnum():  # nearly all: fast
        return text
    bare = _bare(visible(text))
    whole = re.fullmatch(r"(\d+)[.,]0{1,2}", bare)
    return whole[1] if whole else bare


def without_quotes(cell: str) -> str:
    """Return a cell without the quotes around it, the ``="60"`` or ``'60`` of a spreadsheet, and invisible letters."""
    return _bare(visible(cell))


def _bare(text: str) -> str:
    return text.lstrip(f" ={_QUOTES}").rstrip(f" {_QUOTES}")


def similar_id_key(text: str) -> str:
    """Return what is equal for two ids that may be one person or two: only who made the table knows.

    Besides what :func:`same_id_key` undoes: UTF-8 that was read as Windows-1252, letter case, leading zeros, spaces,
    dashes and underscores, and how a whole number is written (``1E+03``, ``1,000``).
    """
    key = same_id_key(_well_read(text))
    if key.isascii() and key.isdigit() and key[0] != "0":
        return key
    for change in _CHANGES.values():
        key = change(key)
    return key


def difference(keys: Iterable[str]) -> str:
    """Return in words how ids with one :func:`similar_id_key` differ; the ids themselves are not named."""
    ids = set(keys)
    for words, change in _CHANGES.items():
        if len({change(key) for key in ids}) == 1:
            return words
    return "several of these"


def is_spoilt(text: str) -> bool:
    """Return whether a spreadsheet has made another thing of an id, from which nobody gets it back.

    A number of which the first digits alone are left ("1.0943E+11"), a date of "1-12" ("12-Jan"), or an error
    ("#NAME?" of "-P1", "####" of a narrow column).
    """
    if text.isalnum():
        return False
    key = same_id_key(text)
    match = re.fullmatch(r"\d(?:[.,](\d+))?[eE]\+(\d{2,3})", key)
    if match is not None:
        return len(match[1] or "") < int(match[2])
    return _DATE.fullmatch(key) is not None or _ERROR.fullmatch(key) is not None


def rounded(ids: Iterable[str]) -> list[str]:
    """Return the ids of more than 15 digits where all of them end in zeros from there on.

    A spreadsheet keeps 15 digits and a 64-bit float not many more, so longer ids come back rounded, and those of
    different people equal. Too few ids to tell give an empty list.
    """
    long = [text for text in ids if text.isdecimal() and len(text.lstrip("0")) > _SAFE_DIGITS]
    zeros = sum(len(text.lstrip("0")) - _SAFE_DIGITS for text in long)
    if zeros < _ENOUGH_ZEROS or any(text.lstrip("0")[_SAFE_DIGITS:].strip("0") for text in long):
        return []
    return long


def spellings(text: str) -> Iterator[str]:
    """Yield the usual other spellings of an id, for a look-up where only hashes of ids are left."""
    key = same_id_key(text)
    yield from dict.fromkeys((key, f"{key}.0", unicodedata.normalize("NFD", key), key.upper(), key.lower()))
    bare = key.lstrip("0")
    if bare.isdecimal():
        for width in range(len(bare), _LONGEST_PADDING + 1):
            yield bare.zfill(width)
            yield f"{bare.zfill(width)}.0"


def _folded(key: str) -> str:
    return unicodedata.normalize("NFKC", key.casefold())


def _plain_number(key: str) -> str:
    """Return a whole number as its digits, whether it has an exponent, decimals of zero or groups of thousands."""
    power = re.fullmatch(r"(\d{1,30}(?:[.,]\d{1,30})?)[eE]\+?(\d{1,2})", key)
    if power is not None and int(power[2]) <= _LARGEST_EXPONENT:
        number = Decimal(power[1].replace(",", ".")).scaleb(int(power[2]))
        return f"{number:f}".split(".")[0] if number == number.to_integral_value() else key
    if re.fullmatch(r"\d{1,3}(?:[.,' ]\d{3})+", key):
        return re.sub(r"\D", "", key)
    whole = re.fullmatch(r"(\d+)[.,]0+", key)
    return whole[1] if whole else key


def _well_read(text: str) -> str:
    """Return an id with the letters that were written as UTF-8 and read as Windows-1252: "Ã¼" is "ü"."""
    try:
        return text if text.isascii() else text.encode("cp1252").decode("utf-8")
    except UnicodeError:
        return text


def _joined(key: str) -> str:
    """Return an id with one dash where separators stand between two digits, and nothing where others stand."""

    def between(match: re.Match[str]) -> str:
        before, behind = key[max(match.start() - 1, 0) : match.start()], key[match.end() : match.end() + 1]
        return "-" if before.isdigit() and behind.isdigit() else ""

    return _SEPARATORS.sub(between, key)


def _without_leading_zeros(key: str) -> str:
    return re.sub(r"(?<![\d.])0+(?=\d)", "", key)


#: What differs, in words -> what makes it equal; applied in this order.
_CHANGES: dict[str, Callable[[str], str]] = {
    "letter case": _folded,
    "how a number is written": _plain_number,
    "spaces, dashes or underscores": _joined,
    "leading zeros": _without_leading_zeros,
}
