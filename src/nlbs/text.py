"""Text that came from a file, as it may be shown: nothing in it steers a terminal, turns the reading order, or floods.

A name in a header, a table or a record of somebody else may hold escape sequences, which a terminal obeys, or
characters that turn the order of those after them, so that a sentence seems to say something else.
"""

import re
from collections.abc import Sequence
from typing import Any

#: Longer messages are cut in the middle.
LONGEST_MESSAGE = 8_000
#: Longer values are cut where a message repeats them.
LONGEST_VALUE = 120

# C0 and C1 controls, DEL; marks, embeddings, overrides and isolates of the reading order (Unicode Standard Annex 9);
# separators of lines and paragraphs; marks that are not seen; halves of surrogate pairs, which no output can encode.
_CONTROLS = "\x00-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff"
_NOT_SHOWN = re.compile(f"[{_CONTROLS}\U000e0000-\U000e007f]")
_MOST_ITEMS = 6  # of a list that is written out in a message
_MOST_BITS = 256  # of a number that is written out in a message


def printable(text: str, most: int | None = None, keep: str = "") -> str:
    r"""Return a text with ``\x1b`` or ``\u202e`` in place of every character that is not simply shown.

    Args:
        text: from wherever.
        most: characters; a longer text is cut in the middle, and says so.
        keep: control characters that stay, such as ``"\n"``.
    """
    if most is not None and len(text) > most:
        half = most // 2
        text = f"{text[:half]}… ({len(text) - 2 * half:,} characters left out) …{text[-half:]}"
    if text.isprintable() and text.isascii():
        return text
    return _NOT_SHOWN.sub(lambda found: found[0] if found[0] in keep else _escaped(found[0]), text)


def shown(value: Any, most: int = LONGEST_VALUE) -> str:
    """Return a value of a file for a message: its ``repr``, printable and of bounded length."""
    if isinstance(value, int) and value.bit_length() > _MOST_BITS:
        return f"a number of {value.bit_length():,} bits"
    if isinstance(value, str):
        return printable(repr(value[:most]) + ("…" if len(value) > most else ""))
    if isinstance(value, list | tuple) and len(value) <= _MOST_ITEMS and not any(map(_is_nested, value)):
        return f"[{', '.join(shown(item, most // _MOST_ITEMS) for item in value)}]"
    if isinstance(value, list | tuple | dict | set):
        return f"a {type(value).__name__} of {len(value):,} items"
    return printable(repr(value), most)


def listed(names: Sequence[str]) -> str:
    """Return names as a sentence has them: "view, side and age"."""
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


class PrintableStream:
    """A text stream that writes only what is printable; for what a command says, wherever the words came from."""

    def __init__(self, stream: Any, keep: str = "\n\t") -> None:
        r"""Wrap ``stream``; the control characters in ``keep`` go through, ``"\r"`` for a progress bar."""
        self._stream, self._keep = stream, keep

    def write(self, text: str) -> int:
        """Write a text; what the stream's encoding lacks is written as an escape."""
        text = printable(text, keep=self._keep)
        encoding = getattr(self._stream, "encoding", None)
        if encoding and not text.isascii():
            text = text.encode(encoding, "backslashreplace").decode(encoding)
        self._stream.write(text)
        return len(text)

    def writelines(self, lines: Any) -> None:
        """Write several texts."""
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def _is_nested(value: Any) -> bool:
    return isinstance(value, list | tuple | dict | set)


def _escaped(letter: str) -> str:
    number = ord(letter)
    return (
        f"\\x{number:02x}"
        if number < 0x100
        else f"\\u{number:04x}"
        if number < 0x10000
        else f"\\U{number:08x}"
    )


def counted(number: int, noun: str, plural: str = "") -> str:
    """Return a number with its noun: "1 file", "1,200 files"."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def duration(seconds: float) -> str:
    """Return a time in words: "42 s", "3 min 5 s", "2 h 7 min"."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
