"""Conditions as a person asks for them, by name and value: "view=CC,age=66,findings=Mass|Nodule"."""

import difflib
from collections.abc import Iterable, Mapping

from nlbs.errors import ConfigError
from nlbs.manifests.conditions import age_bin_of, is_empty, parse_age
from nlbs.manifests.schema import (
    AGE_YEARS,
    BETWEEN_LABELS,
    NLBS,
    NO_YES,
    Condition,
    Schema,
    Value,
    plain_name,
)
from nlbs.text import shown

#: Stands for a bin of ages, and for the age itself, where a model has them.
AGE = "age"
_AGE_BIN = NLBS["age_bin"]
_YEARS = "years from 1 to 120"
_MEANINGS = (
    "Projection",
    "Side of the patient",
    "Age in years",
    "Biopsy-confirmed cancer",
    "Recalled, and no cancer",
)


def short_forms() -> Iterable[tuple[str, str, str]]:
    """Yield name, values and meaning of the conditions of NLBS, as options of a command have them."""
    for condition, meaning in zip(NLBS, _MEANINGS, strict=True):
        if condition == _AGE_BIN:
            yield AGE, "years", meaning
        else:
            words = reversed(condition.values) if condition.kind == "binary" else condition.values
            yield condition.name, "|".join(words), meaning


def names_of(schema: Schema) -> tuple[str, ...]:
    """Return what may be said of a model: the names of its conditions, and "age" where that stands for some."""
    return (*schema.names, AGE) if _of_age(AGE, schema) else schema.names


def expected(name: str, schema: Schema) -> str:
    """Return in words what may be said by a name of :func:`names_of`."""
    return _YEARS if _of_age(name, schema) else schema.find(name).expected


def parse_value(name: str, text: str, schema: Schema) -> dict[str, Value]:
    """Return the values of the conditions that a name stands for.

    Args:
        name: of a condition of the schema as a person writes it, or "age".
        text: as :meth:`nlbs.manifests.schema.Condition.parse` takes it; of "age", years.
        schema: of the model.

    Raises:
        ConfigError: the model has no such condition, or the text says no value of it.
    """
    of_age = _of_age(name, schema)
    if of_age:
        return _parse_age(text, of_age)
    try:
        condition = schema.find(name)
    except ConfigError:
        known = names_of(schema)
        near = difflib.get_close_matches(plain_name(name), known, n=1, cutoff=0.5)
        meant = f" (did you mean {near[0]!r}?)" if near else ""
        raise ConfigError(
            f"the model has no condition {shown(name.strip())}{meant}; expected one of {', '.join(known)}"
        ) from None
    return {condition.name: condition.parse(text)}


def parse_values(pairs: Iterable[tuple[str, str]], schema: Schema) -> dict[str, Value]:
    """Return condition -> value of names and texts; what they do not name is left out.

    Raises:
        ConfigError: as :func:`parse_value`, or a condition is named twice.
    """
    found: dict[str, Value] = {}
    for name, text in pairs:
        values = parse_value(name, text, schema)
        for twice in values.keys() & found:
            raise ConfigError(f"the condition {schema[twice].label} is said twice; say it once")
        found |= values
    return found


def text_of(value: object) -> str:
    """Return a value of Python as the command line says it: "yes" of True, "66" of 66, "Mass|Nodule" of words.

    None is unknown; several numbers are put together by commas.
    """
    if hasattr(value, "tolist"):  # of numpy, or a tensor
        value = value.tolist()
    if value is None:
        return ""
    if isinstance(value, bool):
        return NO_YES[value]
    if isinstance(value, list | tuple):
        between = BETWEEN_LABELS if all(isinstance(part, str) for part in value) else ","
        return between.join(map(text_of, value))
    return f"{value:.12g}" if isinstance(value, float) else str(value)


def pairs_of(text: str) -> list[tuple[str, str]]:
    """Return the names and values of a text such as "view=CC,position=0.2,0.5,cancer=yes".

    Raises:
        ConfigError: it does not begin with a name.
    """
    found: list[tuple[str, str]] = []
    for part in filter(str.strip, text.split(",")):
        name, equals, value = part.partition("=")
        if equals:
            found.append((name.strip(), value))
        elif found:  # of a value with commas in it
            found[-1] = (found[-1][0], f"{found[-1][1]},{part}")
        else:
            raise ConfigError(f"{shown(part.strip())} names no condition; expected NAME=VALUE")
    return found


def every_condition(said: Mapping[str, Value], schema: Schema) -> dict[str, Value]:
    """Return the values of all conditions of a model; what is not said is unknown."""
    return schema.values_of(schema.arrays([said]), 0)


def _of_age(name: str, schema: Schema) -> list[Condition]:
    """Return the conditions that a name stands for where it is "age", and no condition is called so."""
    if plain_name(name) != AGE or AGE in schema:
        return []
    return [condition for condition in (_AGE_BIN, AGE_YEARS) if condition in schema]


def _parse_age(text: str, conditions: list[Condition]) -> dict[str, Value]:
    if is_empty(text):
        return {condition.name: condition.parse("") for condition in conditions}
    try:
        years = parse_age(text)
    except ValueError:
        years = None
    if years is None:
        raise ConfigError(f"age {shown(text)} cannot be read; expected {_YEARS}")
    return {c.name: (float(years),) if c == AGE_YEARS else age_bin_of(years) for c in conditions}
