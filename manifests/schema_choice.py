"""Which conditions a shard set has to choose from, and the schema of those that are chosen."""

from collections.abc import Iterable, Mapping, Sequence

from nlbs.config import nearest
from nlbs.errors import ConfigError
from nlbs.manifests.conditions import parse_flag
from nlbs.manifests.datasets.chestxray14 import LABELS
from nlbs.manifests.schema import (
    AGE_YEARS,
    BETWEEN_LABELS,
    KINDS,
    NLBS,
    NO_LABEL,
    NO_YES,
    POSITION,
    Condition,
    Schema,
)
from nlbs.text import shown

#: Words of a column that can be read as nothing but no and yes.
_FLAGS = frozenset({*NO_YES, "0", "1", "false", "true"})
#: Values of kept columns that have an order.
_ORDERED = {
    "density": ("A", "B", "C", "D"),
    "birads": ("0", "1", "2", "3", "4", "4A", "4B", "4C", "5", "6"),
}


def offered(code_books: Mapping[str, Iterable[str]]) -> dict[str, Condition]:
    """Return the conditions that a shard set has to choose from, by name.

    Args:
        code_books: of its ``shard_set.json``: the words of each column of text.

    The five of :data:`NLBS`, :data:`AGE_YEARS` and :data:`POSITION`, and each kept column: density and BI-RADS have
    an order, a column with "|" among its words has labels, one whose words are no and yes is binary.
    """
    found = {condition.name: condition for condition in (*NLBS, AGE_YEARS, POSITION)}
    for name, words in code_books.items():
        if name not in found and name != "split":
            kept = _kept(name, sorted(words))
            if kept is not None:
                found[name] = kept
    return found


def chosen(asked: Sequence[str], code_books: Mapping[str, Iterable[str]]) -> Schema:
    """Return the schema of some conditions of a shard set: by name, or "name:kind" to say of what kind it is.

    Args:
        asked: the names, in order.
        code_books: as :func:`offered` takes them.

    Raises:
        ConfigError: the set has no such condition, or it cannot be of that kind.
    """
    known, found = offered(code_books), []
    for wanted in asked:
        name, _, kind = (wanted, "", "") if wanted in known else wanted.rpartition(":")
        if name not in known:
            name = name or wanted
            raise ConfigError(
                f"the shard set has no condition {shown(name)}; {nearest(name, list(known))} (--keep of "
                "nlbs-preprocess build-shards keeps more columns)"
            )
        found.append(
            known[name] if not kind else _of_kind(known[name], kind, sorted(code_books.get(name, ())))
        )
    return Schema(tuple(found))


def _kept(name: str, words: list[str]) -> Condition | None:
    """Return the condition of a kept column, None where nothing is known in it."""
    if not words:
        return None
    order = _ORDERED.get(name, ())
    if set(words) <= set(order):
        return Condition(name, "ordinal", order)
    if any(BETWEEN_LABELS in word for word in words) or name == "findings":
        labels = _labels_of(words)
        # As a density has A to D, whether or not all occur. Mass and nodule are findings of breasts too.
        if len(labels) > 2 and set(labels) <= set(LABELS):
            labels = LABELS
        return Condition(name, "multilabel", labels, healthy=0) if labels else None
    if all(word.casefold() in _FLAGS for word in words):
        return Condition(name, "binary", NO_YES)
    return Condition(name, "categorical", tuple(words))


def _labels_of(words: Iterable[str]) -> tuple[str, ...]:
    parts = {part for word in words for part in word.split(BETWEEN_LABELS)}
    return tuple(sorted(part for part in parts if part.casefold() not in NO_LABEL))


def _of_kind(condition: Condition, kind: str, words: list[str]) -> Condition:
    if condition in NLBS or not words or kind not in KINDS:
        raise ConfigError(
            f"{condition.name}:{kind}: {condition.name} is {condition.kind}"
            + ("; leave the kind out" if kind in KINDS else f"; {nearest(kind, list(KINDS))}")
        )
    if kind == "continuous":
        return _continuous(condition.name, words)
    if kind == "multilabel":
        return Condition(condition.name, "multilabel", _labels_of(words), healthy=0)
    if kind == "binary":
        return _binary(condition.name, words)
    return Condition(
        condition.name, "ordinal" if kind == "ordinal" else "categorical", tuple(_sorted_words(words))
    )


def _binary(name: str, words: Iterable[str]) -> Condition:
    try:
        for word in words:
            parse_flag(word)
    except ValueError as error:
        raise ConfigError(f"{name}:binary: {error}") from None
    return Condition(name, "binary", NO_YES)


def _continuous(name: str, words: Iterable[str]) -> Condition:
    try:
        numbers = [float(word) for word in words]
    except ValueError as error:
        raise ConfigError(f"{name}:continuous: its values are no numbers ({error})") from None
    low, high = min(numbers), max(numbers)
    return Condition(name, "continuous", (name,), low=low, high=high if high > low else low + 1)


def _sorted_words(words: Iterable[str]) -> list[str]:
    """Return words in order: as numbers where all are some."""
    try:
        return sorted(words, key=float)
    except ValueError:
        return sorted(words)
