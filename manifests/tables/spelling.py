"""One name in several spellings: what software does to letters, numbers and white space on the way of a table."""

import re
import unicodedata
from collections.abc import Callable, Hashable, Mapping
from decimal import Decimal, InvalidOperation
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")

#: What word processors put in the place of "-", "'" and '"'.
_TYPED = {
    **dict.fromkeys(map(ord, "\u2010\u2011\u2012\u2013\u2014\u2015\u2212\uff0d"), "-"),
    **dict.fromkeys(map(ord, "\u2018\u2019\u201b\u00b4\u0060"), "'"),
    **dict.fromkeys(map(ord, "\u201c\u201d\u201f"), '"'),
}
_WHOLE = re.compile(r"[+-]?\d{1,40}(?:[.,]0*)?")
_SCIENTIFIC = re.compile(r"\d[.,]\d{1,30}e\+?\d{1,2}")
_ESCAPED = re.compile("[\udc80-\udcff]")


def spelling(text: str) -> str:
    """Return what all spellings of a name have in common.

    Unicode form, letter case, white space, invisible letters, typographic dashes and quotes, and the apostrophe or
    ="..." by which a spreadsheet keeps text do not matter. A whole number is the same with and without ".0", leading
    zeros or an exponent, in which pandas and spreadsheets write it.
    """
    plain = text.isascii() and text.isprintable() and "`" not in text  # the usual case, made quick
    common = text if plain else visible(visible(readable(text)).translate(_TYPED).casefold())
    common = " ".join(common.lower().split())
    if common.startswith('="') and common.endswith('"'):
        common = common[2:-1]
    return _number(common.removeprefix("'"))


def visible(text: str) -> str:
    """Return a text as it is seen: in Unicode's form NFKC, with digits 0 to 9, single spaces, and nothing invisible."""
    seen = "".join(map(_shown, text))
    return " ".join(unicodedata.normalize("NFKC", seen).split())


def _shown(character: str) -> str:
    """Return a character as it is compared: a digit of any script as 0 to 9, what shows nothing as nothing."""
    if character.isascii() and character.isprintable():
        return character
    kind = unicodedata.category(character)
    if kind == "Cf":
        return ""
    if kind == "Cc":
        return " "
    return str(unicodedata.decimal(character)) if kind == "Nd" else character


def _number(text: str) -> str:
    """Return a whole number without what software adds to it; any other text as it is."""
    if _SCIENTIFIC.fullmatch(text):
        try:
            value = Decimal(text.replace(",", "."))
        except InvalidOperation:
            return text
        return str(int(value)) if value == int(value) else text
    if _WHOLE.fullmatch(text):
        return str(int(re.split("[.,]", text)[0]))
    return text


def simplified(column: str) -> str:
    """Return a column name without case, spaces, underscores and the like; letters of any script stay."""
    return re.sub(r"[\W_]", "", column.casefold())


def readable(text: str) -> str:
    """Return a name that is not UTF-8 on disk as it is read in Windows-1252, of which Latin-1's letters are a part."""
    return _ESCAPED.sub(lambda found: western(bytes([ord(found[0]) - 0xDC00])), text)


def western(data: bytes) -> str:
    """Return bytes as Windows-1252; its five bytes that mean nothing are Latin-1's control characters."""
    try:
        return data.decode("cp1252")
    except UnicodeDecodeError:
        return "".join(
            bytes([byte]).decode("latin-1" if byte in b"\x81\x8d\x8f\x90\x9d" else "cp1252") for byte in data
        )


class BySpelling(Generic[Key, Value]):
    """A mapping that finds a key in another spelling too, where only one of its keys may be meant."""

    def __init__(self, items: Mapping[Key, Value], spell: Callable[[Key], Hashable]) -> None:
        """Wrap a mapping.

        Args:
            items: key -> value.
            spell: key -> what its spellings have in common.
        """
        self._items, self._spell = items, spell
        self._keys: dict[Hashable, Key | None] | None = None

    def get(self, key: Key) -> Value | None:
        """Return the value of a key, or of the only key that is the same but for its spelling, else None."""
        if key in self._items:
            return self._items[key]
        if self._keys is None:  # made when something does not match as it stands
            self._keys = {}
            for known in self._items:
                common = self._spell(known)
                self._keys[common] = None if common in self._keys else known
        known_as = self._keys.get(self._spell(key))
        return None if known_as is None else self._items[known_as]
