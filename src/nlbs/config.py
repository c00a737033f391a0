"""Configurations: frozen dataclasses filled from YAML or JSON, where an unknown key is an error."""

import dataclasses
import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_args

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from nlbs.errors import ConfigError
from nlbs.system_calls import read_regular
from nlbs.text import printable, shown
from nlbs.yaml_text import MOST_BYTES, parse_yaml

STRICT = ConfigDict(extra="forbid", allow_inf_nan=False)

#: Bounds of numbers: what is above them is a slip, and would end in a message about memory or time.
MOST_STEPS, MOST_PATCHES, MOST_BATCH, LARGEST = 10**12, 10**9, 1_000_000, 1e12

Count = Annotated[int, Field(ge=1, le=MOST_STEPS)]  # of steps or epochs
Some = Annotated[int, Field(ge=0, le=MOST_STEPS)]
Patches = Annotated[int, Field(ge=1, le=MOST_PATCHES)]
Batch = Annotated[int, Field(ge=1, le=MOST_BATCH)]
Weight = Annotated[float, Field(ge=0, le=LARGEST)]
Positive = Annotated[float, Field(gt=0, le=LARGEST)]
Share = Annotated[float, Field(ge=0, lt=1)]

C = TypeVar("C")

_FEW = 6  # words that are known are listed beside the nearest
_MOST_PROBLEMS = 10  # in a message: the values are somebody else's


def from_mapping(kind: type[C], values: Mapping[str, Any], source: str) -> C:
    """Return the configuration of dataclass ``kind`` that nested plain values describe.

    ``source`` names in messages where the values stand ("config.yaml").

    Raises:
        ConfigError: an unknown key (with the nearest known one), a missing one, or a value of another type.
    """
    try:
        return TypeAdapter(kind).validate_python(values)
    except ValidationError as error:
        found = error.errors()
        problems = "; ".join(_explain(kind, dict(problem)) for problem in found[:_MOST_PROBLEMS])
        if len(found) > _MOST_PROBLEMS:
            problems += f"; and {len(found) - _MOST_PROBLEMS} more"
        raise ConfigError(f"{source}: {problems}{'' if problems.endswith('?') else '.'}") from None


def read_yaml(path: Path) -> dict[str, Any]:
    """Return the mapping in a YAML file. Tags that build objects are refused: a file is data only.

    Raises:
        ConfigError: the file is missing, no YAML, larger or deeper than a configuration is, or not a mapping.
    """
    try:
        values = parse_yaml(read_regular(path, MOST_BYTES).decode("utf-8"))
    except FileNotFoundError:
        raise ConfigError(
            f"cannot read the configuration {path}: there is no such file; check --config."
        ) from None
    except (OSError, ValueError) as error:
        what = printable(" ".join(str(error).split()), 500)
        raise ConfigError(f"cannot read the configuration {path}: {what}.") from None
    if not isinstance(values, dict):
        raise ConfigError(f"{path} holds no mapping; expected sections such as 'model:' and 'training:'.")
    return values


def write_yaml(config: Any) -> str:
    """Return a configuration dataclass as YAML, keys in the order of the fields."""
    import yaml

    return str(yaml.safe_dump(_plain(config), sort_keys=False, allow_unicode=True))


def merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``base`` with the values of ``over`` on top, section by section."""
    result = dict(base)
    for key, value in over.items():
        old = result.get(key)
        result[key] = merged(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return result


def nearest(word: str, known: list[str]) -> str:
    """Return the advice that an error about an unknown word ends with."""
    found = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    every = f"known: {', '.join(known)}"
    if not found:
        return every
    return f"did you mean {found[0]!r}?" + (f" ({every})" if len(known) <= _FEW else "")


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value


def _explain(kind: type, problem: dict[str, Any]) -> str:
    place = [part for part in problem["loc"] if isinstance(part, str)]
    key = printable(".".join(str(part)[:80] for part in problem["loc"]), 300)
    if problem["type"] in ("unexpected_keyword_argument", "extra_forbidden"):
        known = _keys(kind, place[:-1])
        nearest = difflib.get_close_matches(place[-1], known, n=1, cutoff=0.5)
        advice = f"did you mean {nearest[0]!r}?" if nearest else f"known keys: {', '.join(known)}"
        return f"unknown key {shown(key)}, {advice}"
    if problem["type"] == "missing":
        return f"the key {key!r} is missing"
    message = printable(problem["msg"], 500)
    return f"{key!r} is {shown(problem['input'])}: {message[0].lower()}{message[1:]}"


def _keys(kind: Any, place: list[str]) -> list[str]:
    for part in place:
        kind = {field.name: field.type for field in dataclasses.fields(kind)}.get(part)
        kind = next(
            (one for one in get_args(kind) if dataclasses.is_dataclass(one)), kind
        )  # of a section or None
    return [field.name for field in dataclasses.fields(kind)] if dataclasses.is_dataclass(kind) else []
