"""Conditions as a schema: which conditions a model has, their kinds and values, how they are read and written.

Kinds, and what a batch of n holds of each:

=========== =================== ============ =====================================
kind        array               unknown is   values
=========== =================== ============ =====================================
categorical (n,) int64          -1           words of the codes 0, 1, ...
ordinal     (n,) int64          -1           words of the codes, from low to high
binary      (n,) int64          -1           no 0, yes 1
multilabel  (n, labels) int8    -1           labels, each no 0 or yes 1
continuous  (n, numbers) float32 NaN         names of the numbers
=========== =================== ============ =====================================
"""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

from nlbs.config import nearest
from nlbs.errors import ConfigError
from nlbs.manifests.conditions import (
    AGE_BINS,
    LATERALITIES,
    OLDEST_AGE_YEARS,
    PARSERS,
    UNKNOWN,
    VIEWS,
    is_empty,
    parse_age,
    parse_flag,
    parse_view,
    side_and_view,
)
from nlbs.text import shown

if TYPE_CHECKING:  # help pages read this file: numpy is imported where arrays are made
    import numpy.typing as npt

Kind = Literal["categorical", "ordinal", "binary", "multilabel", "continuous"]
KINDS: tuple[Kind, ...] = get_args(Kind)
NO_YES = ("no", "yes")
#: A condition of one patch: a code, or one number per label or per continuous value.
Value = int | tuple[float, ...]
#: condition -> its values of n patches, as the table above says
Columns = dict[str, "npt.NDArray[Any]"]

_MOST_CONDITIONS, _MOST_VALUES, _LONGEST_WORD = 64, 1000, 64
BETWEEN_LABELS = "|"
#: Labels that say that there is none of the others.
NO_LABEL = frozenset({"no finding", "no findings", "normal"})


@dataclass(frozen=True)
class Condition:
    """One condition of a model."""

    name: str  #: of a column of the manifest, or :data:`POSITION`
    kind: Kind
    values: tuple[str, ...]  #: words of the codes, labels, or names of numbers
    #: What a mirror image has: of codes and labels, the place that each one's place becomes; of numbers, the places of
    #: those that are mirrored within their range. Empty: nothing changes.
    mirrored: tuple[int, ...] = ()
    low: float = 0.0  #: the range of continuous numbers
    high: float = 1.0
    healthy: int | None = (
        None  #: the code that healthy patients have, of labels each; None: it says nothing of that
    )

    def __post_init__(self) -> None:
        """Raise ConfigError where it cannot be."""
        if (
            not isinstance(self.name, str)
            or not 0 < len(self.name) <= _LONGEST_WORD
            or not self.name.isprintable()
        ):
            raise ConfigError(
                f"a condition cannot be called {shown(self.name)}; expected up to 64 letters and the like"
            )
        if self.kind not in KINDS:
            raise ConfigError(
                f"the condition {self.name} has the kind {shown(self.kind)}; {nearest(str(self.kind), list(KINDS))}"
            )
        if not 1 <= len(self.values) <= _MOST_VALUES or len(set(self.values)) < len(self.values):
            raise ConfigError(
                f"the condition {self.name} has {len(self.values)} values, {len(set(self.values))} of them different; "
                f"expected 1 to {_MOST_VALUES}, each once"
            )
        if self.kind == "binary" and self.values != NO_YES:
            raise ConfigError(
                f"the binary condition {self.name} has the values {shown(self.values)}; expected no, yes"
            )
        if not (math.isfinite(self.low) and math.isfinite(self.high) and self.low < self.high):
            raise ConfigError(
                f"the condition {self.name} goes from {self.low} to {self.high}; expected a range"
            )

    @property
    def is_coded(self) -> bool:
        """Whether it is one code per patch."""
        return self.kind in ("categorical", "ordinal", "binary")

    @property
    def label(self) -> str:
        """Its name in a sentence: "false positive"."""
        return self.name.replace("_", " ")

    @property
    def parts(self) -> tuple[str, ...]:
        """What of it can be known by itself: each label of several, or else the condition as a whole."""
        return self.values if self.kind == "multilabel" else (self.label,)

    @property
    def flag(self) -> str:
        """Its name as an option of a command has it: "false-positive"."""
        return self.name.replace("_", "-")

    def unknown(self, count: int) -> "npt.NDArray[Any]":
        """Return its values of so many patches of which nothing is known."""
        import numpy as np

        if self.is_coded:
            return np.full(count, UNKNOWN, np.int64)
        if self.kind == "multilabel":
            return np.full((count, len(self.values)), UNKNOWN, np.int8)
        return np.full((count, len(self.values)), np.nan, np.float32)

    def array(self, values: Sequence[Value]) -> "npt.NDArray[Any]":
        """Return its values of n patches as a batch holds them."""
        import numpy as np

        found = self.unknown(len(values))
        if len(values):
            found[:] = np.array(values, dtype=np.float64)
        return found

    def parse(self, text: str) -> Value:
        """Return the value that a text says: a word or code, labels joined by "|", numbers with commas between them.

        An empty text, "unknown" or "?" is unknown. Words are taken as tables of datasets write them: "left", "ja",
        "Craniocaudal", "066Y".

        Raises:
            ConfigError: the text says no value of it.
        """
        unknown: Value = UNKNOWN if self.is_coded else tuple(self.unknown(1)[0].tolist())
        try:
            if is_empty(text):
                return unknown
            found = self._read(text.strip())
        except ValueError:
            raise ConfigError(
                f"{self.label} {shown(text)} cannot be read; expected {self.expected}"
            ) from None
        return unknown if found is None else found

    def stored(self, word: str) -> Value:
        """Return the value that a word of a kept column says; what is none of its values is unknown."""
        if self.kind == "multilabel":  # others than a model's own labels may stand beside them
            given = {part.casefold() for part in word.split(BETWEEN_LABELS)}
            return tuple(float(label.casefold() in given) for label in self.values)
        try:
            return self.parse(word)
        except ConfigError:
            return self.parse("")

    @property
    def expected(self) -> str:
        """What :meth:`parse` takes, in words."""
        words = ", ".join(self.values[:20]) + (", ..." if len(self.values) > 20 else "")
        if self.kind == "continuous":
            what = "a number" if len(self.values) == 1 else f"{len(self.values)} numbers ({words})"
            return f"{what} from {self.low:g} to {self.high:g}"
        if self.kind == "multilabel":
            return f"some of {words}, joined by {BETWEEN_LABELS}, or no finding"
        by_word = self.kind == "binary" or (self in NLBS and self.kind == "categorical")
        return f"one of {words}" if by_word else f"one of {words}, or a code 0 to {len(self.values) - 1}"

    def word(self, value: Any) -> str:
        """Return a value as a person writes it: "CC", ">65", "yes", "Mass|Nodule", "61"; empty where it is unknown."""
        import numpy as np

        if self.is_coded:
            return "" if value == UNKNOWN else self.values[int(value)]
        numbers = np.asarray(value).reshape(-1).tolist()
        if self.kind == "multilabel":
            if any(number == UNKNOWN for number in numbers):
                return ""
            return (
                BETWEEN_LABELS.join(word for word, has in zip(self.values, numbers, strict=True) if has)
                or "no finding"
            )
        return "" if any(map(math.isnan, numbers)) else ",".join(f"{number:g}" for number in numbers)

    def codes_met(self, values: "npt.ArrayLike") -> set[int]:
        """Return the codes that occur among values: of labels those that some patch has, of numbers 0; -1: unknown."""
        import numpy as np

        if self.is_coded:
            return set(np.unique(np.asarray(values)).tolist())
        values = np.asarray(values).reshape(-1, len(self.values))
        unknown = (values == UNKNOWN) if self.kind == "multilabel" else np.isnan(values)
        missing = unknown.any(axis=1)
        met = {UNKNOWN} if missing.any() else set()
        if self.kind == "continuous":
            return met | ({0} if not missing.all() else set())
        return met | set(np.flatnonzero((values == 1).any(axis=0)).tolist())

    def _read(self, text: str) -> Value | None:
        if self.kind == "continuous":
            return self._numbers(text)
        if self.kind == "multilabel":
            return self._labels(text)
        reader = PARSERS.get(self.name) if self in NLBS else None
        if reader is parse_view and side_and_view(text) is not None:
            raise ValueError(text)  # the side that it says would be lost
        if reader is not None:
            found = reader(text)
            if isinstance(found, str):
                return self.values.index(found)
            return None if found is None else int(found)
        if self.kind == "binary":
            flag = parse_flag(text)
            return None if flag is None else int(flag)
        by_case = {word.casefold(): code for code, word in enumerate(self.values)}
        if text.casefold() in by_case:
            return by_case[text.casefold()]
        code = int(text)
        if not 0 <= code < len(self.values):
            raise ValueError(text)
        return code

    def _labels(self, text: str) -> Value:
        given = {part.strip().casefold() for part in text.split(BETWEEN_LABELS)}
        if given - {word.casefold() for word in self.values} - NO_LABEL:
            raise ValueError(text)
        return tuple(float(word.casefold() in given) for word in self.values)

    def _numbers(self, text: str) -> Value | None:
        if self.name == AGE_YEARS.name:
            age = parse_age(text)
            return None if age is None else (float(age),)
        numbers = tuple(float(part) for part in text.split(","))
        if len(numbers) != len(self.values) or not all(self.low <= number <= self.high for number in numbers):
            raise ValueError(text)
        return numbers


@dataclass(frozen=True)
class Schema:
    """The conditions of a model, in order."""

    conditions: tuple[Condition, ...]

    def __post_init__(self) -> None:
        """Raise ConfigError where two conditions have one name, or there are too many."""
        bare = {re.sub(r"\W", "_", name) for name in self.names}
        if len(bare) < len(self.names) or not 1 <= len(self.names) <= _MOST_CONDITIONS:
            raise ConfigError(
                f"the conditions are {', '.join(self.names[:20])}; expected 1 to {_MOST_CONDITIONS}, each once"
            )

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the conditions, in order."""
        return tuple(condition.name for condition in self.conditions)

    def __iter__(self) -> Iterator[Condition]:
        return iter(self.conditions)

    def __len__(self) -> int:
        return len(self.conditions)

    def __contains__(self, wanted: object) -> bool:
        """Return whether it has a condition, or one of that name."""
        return wanted in self.conditions or wanted in self.names

    def __getitem__(self, name: str) -> Condition:
        """Return a condition by its name.

        Raises:
            ConfigError: there is none of that name.
        """
        for condition in self.conditions:
            if condition.name == name:
                return condition
        raise ConfigError(f"there is no condition {shown(name)}; {nearest(name, list(self.names))}")

    def find(self, word: str) -> Condition:
        """Return a condition by its name as a person writes it: "false-positive", "View", "ACR Density".

        Raises:
            ConfigError: there is none of that name.
        """
        for condition in self.conditions:
            if plain_name(word) == plain_name(condition.name):
                return condition
        return self[word.strip()]

    @property
    def parts(self) -> tuple[str, ...]:
        """What can be known by itself, in order: conditions, and of several labels each."""
        return tuple(part for condition in self for part in condition.parts)

    def among_first(self, count: int) -> dict[str, int]:
        """Return how many parts of each condition are among the first ``count`` of all."""
        found, left = {}, count
        for condition in self:
            found[condition.name] = min(max(left, 0), len(condition.parts))
            left -= len(condition.parts)
        return found

    def unknown(self, count: int) -> Columns:
        """Return the conditions of so many patches of which nothing is known."""
        return {condition.name: condition.unknown(count) for condition in self}

    def values_of(self, columns: Mapping[str, "npt.NDArray[Any]"], place: int) -> dict[str, Value]:
        """Return the values of one patch."""
        found: dict[str, Value] = {}
        for condition in self:
            value = columns[condition.name][place]
            found[condition.name] = int(value) if condition.is_coded else tuple(value.tolist())
        return found

    def arrays(self, patches: Sequence[Mapping[str, Value]]) -> Columns:
        """Return values of n patches as a batch holds them; what a patch does not say is unknown."""
        empty = {condition.name: condition.parse("") for condition in self}
        return {
            condition.name: condition.array([{**empty, **patch}[condition.name] for patch in patches])
            for condition in self
        }

    def words(self, values: Mapping[str, Any]) -> dict[str, str]:
        """Return the values of one patch as a person writes them; empty where unknown."""
        return {condition.name: condition.word(values[condition.name]) for condition in self}

    def as_json(self) -> list[dict[str, Any]]:
        """Return what :meth:`from_json` reads."""
        return [asdict(condition) for condition in self]

    @classmethod
    def from_json(cls, values: object) -> "Schema":
        """Return the schema that a file says.

        Raises:
            ConfigError: it says none.
        """
        if not isinstance(values, list):
            raise ConfigError(f"the conditions are {shown(values)}; expected a list")
        return cls(tuple(_condition_from(value) for value in values))


def plain_name(word: str) -> str:
    """Return a name without what persons write in different ways: "False Positive" as "false_positive"."""
    return word.strip().casefold().replace("-", "_").replace(" ", "_")


def _condition_from(value: object) -> Condition:
    expected = "a condition has name, kind, values, mirrored, low, high and healthy"
    if not isinstance(value, dict) or not {"name", "kind", "values"} <= value.keys() <= set(
        Condition.__match_args__
    ):
        raise ConfigError(f"{shown(value)} is no condition; {expected}")
    words, places = value["values"], value.get("mirrored", [])
    bounds = [value.get("low", 0.0), value.get("high", 1.0)]
    if not isinstance(words, list | tuple) or not all(
        isinstance(w, str) and 0 < len(w) <= _LONGEST_WORD for w in words
    ):
        raise ConfigError(f"the values of a condition are {shown(words)}; expected words")
    if not isinstance(places, list | tuple) or not all(
        type(p) is int and 0 <= p < len(words) for p in places
    ):
        raise ConfigError(f"a mirror image has {shown(places)}; expected places of the values")
    if not all(type(bound) in (int, float) for bound in bounds):
        raise ConfigError(f"the range of a condition is {shown(bounds)}; expected two numbers")
    healthy = value.get("healthy")
    if healthy is not None and (type(healthy) is not int or not 0 <= healthy < len(words)):
        raise ConfigError(
            f"the code of healthy patients is {shown(healthy)}; expected 0 to {len(words) - 1}, or null"
        )
    low, high = map(float, bounds)
    return Condition(value["name"], value["kind"], tuple(words), tuple(places), low, high, healthy)


#: The conditions of the NLBS dataset in the order of the guide: what a model has where nothing else is chosen.
NLBS = Schema(
    (
        Condition("view", "categorical", VIEWS),
        Condition("laterality", "categorical", LATERALITIES, mirrored=(1, 0)),
        Condition("age_bin", "ordinal", AGE_BINS),
        Condition("cancer", "binary", NO_YES, healthy=0),
        Condition("false_positive", "binary", NO_YES, healthy=0),
    )
)
AGE_YEARS = Condition("age_years", "continuous", ("years",), low=0.0, high=float(OLDEST_AGE_YEARS + 1))
#: Where the centre of a patch lies in the box around all patches of its image: from left to right, from top to bottom.
POSITION = Condition("position", "continuous", ("across", "down"), mirrored=(0,))
