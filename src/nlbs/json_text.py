"""JSON that may come from somebody else: of bounded size, depth and numbers, each key once, text that can be written.

``json.loads`` alone takes what is nested until the interpreter gives up (RecursionError), ``1e999`` and ``NaN`` as
numbers, the last of two equal keys, and halves of surrogate pairs that no file can then hold.
"""

import json
import math
from collections.abc import Iterable
from typing import Any, NoReturn

from nlbs.text import shown

MOST_DEPTH = 32  #: of what is nested; the product's own files have six levels
MOST_CONTAINERS = 2_000_000  #: objects and lists, each of which takes some 100 bytes of memory
_LONG = 32  # items of a list that is looked at by itself
_MOST_NUMBER = 1 << 64
_MOST_TEXT = 1 << 20  # characters of one text


class JsonError(ValueError):
    """A text that is no JSON, or more than a file of this product ever holds."""


def parse_json(text: str | bytes) -> Any:
    """Return the value of a JSON text.

    Raises:
        JsonError: it is no JSON (RFC 8259) in UTF-8; it is nested more than :data:`MOST_DEPTH` deep; an object has a
            key twice; a number is not finite or has more than 64 bits; or a text cannot be encoded.
    """
    try:
        if isinstance(text, bytes):
            text = text.decode("utf-8")
        if text.count("{") + text.count("[") > MOST_CONTAINERS:
            raise JsonError(f"it has more than {MOST_CONTAINERS:,} objects and lists")
        value = json.loads(text, object_pairs_hook=_each_key_once, parse_constant=_no_number)
    except RecursionError:
        raise JsonError(f"it is nested more than {MOST_DEPTH} deep") from None
    except UnicodeDecodeError as error:
        raise JsonError(f"it is not UTF-8 (byte {error.start})") from None
    except json.JSONDecodeError as error:
        raise JsonError(f"it is no JSON: {error}") from None
    except ValueError as error:
        if isinstance(error, JsonError):
            raise
        raise JsonError("it has a number of thousands of digits") from None  # sys.set_int_max_str_digits
    _check(value)
    return value


def _each_key_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1) if len(keys) < 1000 else keys[-1]
        raise JsonError(f"it has a key twice, such as {shown(twice)}")
    return found


def _no_number(name: str) -> NoReturn:
    raise JsonError(f"it has {name}, which is no number in JSON")


def _check(value: Any) -> None:
    """Raise JsonError where a value is too deep, or a number or text out of bounds; level by level."""
    level: list[Any] = [value] if isinstance(value, dict | list) else []
    _check_scalars([] if level else [value])
    depth = 0
    while level:
        depth += 1
        if depth > MOST_DEPTH:
            raise JsonError(f"it is nested more than {MOST_DEPTH} deep")
        keys: list[str] = []
        items: list[Any] = []
        for container in level:
            if isinstance(container, dict):
                keys += container
                items += container.values()
            elif len(container) > _LONG and (kinds := set(map(type, container))) <= {int, float}:
                _check_scalars(container, kinds)  # of a million numbers, without a loop in Python
            else:
                items += container
        kinds = set(map(type, items))
        _check_texts(keys)
        _check_scalars(items, kinds)
        level = [item for item in items if isinstance(item, dict | list)] if kinds & {dict, list} else []


def _check_scalars(items: Iterable[Any], kinds: set[type] | None = None) -> None:
    kinds = set(map(type, items)) if kinds is None else kinds
    alone = len(kinds) == 1
    if str in kinds:
        _check_texts(items if alone else [item for item in items if isinstance(item, str)])
    if int in kinds:
        numbers = items if alone else [item for item in items if type(item) is int]
        if max(numbers) >= _MOST_NUMBER or min(numbers) <= -_MOST_NUMBER:
            raise JsonError("it has a number of more than 64 bits")
    if float in kinds and not all(map(math.isfinite, items if alone else _floats(items))):
        raise JsonError("it has a number that is not finite")


def _floats(items: Iterable[Any]) -> list[float]:
    return [item for item in items if isinstance(item, float)]


def _check_texts(texts: Iterable[str]) -> None:
    joined = "".join(texts)
    if len(joined) > _MOST_TEXT and max(map(len, texts)) > _MOST_TEXT:
        raise JsonError(f"it has a text of more than {_MOST_TEXT:,} characters")
    if not joined.isascii():
        try:
            joined.encode("utf-8")
        except UnicodeEncodeError:
            raise JsonError("it has half of a surrogate pair, which no text may hold") from None
