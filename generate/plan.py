"""What is to be drawn: the conditions of every patch, where they come from, and how the files are named."""

import hashlib
import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from nlbs.errors import ConfigError
from nlbs.manifests.schema import Columns, Condition, Schema, Value

MOST = 100_000_000

_AT_ONCE = 1 << 20


@dataclass(frozen=True)
class Layout:
    """How pictures are named, and what they do not tell."""

    kind: str = "synthetic"  #: what a file name begins with
    digits: int = 6
    first: int = 0  #: number of the first file
    withheld: tuple[str, ...] = ()  #: conditions that stand in the answer key alone

    def name(self, index: int) -> str:
        """Return the file name of a patch."""
        return f"{self.kind}-{index + self.first:0{self.digits}d}.png"


@dataclass(frozen=True)
class Plan:
    """The conditions of n patches; patch i has the i-th."""

    schema: Schema  #: of the model
    values: Columns  #: condition -> n rows, as :mod:`nlbs.manifests.schema` says
    source: str  #: where they come from, in words: every output says it
    columns: Mapping[str, Any] = field(default_factory=dict)  #: further columns of samples.csv, (n,) each
    layout: Layout = field(default_factory=Layout)

    def __len__(self) -> int:
        """Return the number of patches."""
        return len(next(iter(self.values.values())))

    def at(self, index: int) -> dict[str, Value]:
        """Return the values of one patch."""
        return self.schema.values_of(self.values, index)

    def words(self, index: int) -> dict[str, str]:
        """Return the conditions of one patch in words."""
        return self.schema.words(self.at(index))

    @property
    def digest(self) -> str:
        """The SHA-256 of all values, in hexadecimal digits."""
        digest = hashlib.sha256(f"nlbs conditions {len(self)}".encode())
        for condition in self.schema:
            kind = "<i8" if condition.is_coded else "<f4" if condition.kind == "continuous" else "i1"
            for start in range(
                0, len(self), _AT_ONCE
            ):  # a repeated value takes no memory, so it is not copied whole
                some = self.values[condition.name][start : start + _AT_ONCE]
                digest.update(np.ascontiguousarray(some, dtype=kind).tobytes())
        return digest.hexdigest()


def checked_number(patches: int) -> int:
    """Return a number of patches that can be asked for.

    Raises:
        ConfigError: it is more than one call draws.
    """
    if patches > MOST:
        raise ConfigError(
            f"{patches:,} patches are asked for; one call draws up to {MOST:,}: give several, with different --seed"
        )
    return patches


def one_condition(schema: Schema, said: Mapping[str, Value], num: int) -> Plan:
    """Return ``num`` patches of the same conditions; what is not said is unknown.

    Raises:
        ConfigError: more than one call draws.
    """
    checked_number(num)
    same = {
        name: np.broadcast_to(one[0], (num, *one.shape[1:])) for name, one in schema.arrays([said]).items()
    }
    return Plan(schema, same, "given by flags")


def combinations(schema: Schema, wanted: Sequence[Mapping[str, Value]], num: int, source: str) -> Plan:
    """Return ``num`` patches of each of some combinations of conditions, one combination after the other.

    Raises:
        ConfigError: more than one call draws.
    """
    checked_number(len(wanted) * num)
    values = {name: column.repeat(num, axis=0) for name, column in schema.arrays(wanted).items()}
    return Plan(schema, values, source)


def known_values(condition: Condition) -> list[Value]:
    """Return the values of a condition that can be listed: codes, no label and each alone; of numbers, unknown."""
    if condition.is_coded:
        return list(range(len(condition.values)))
    if condition.kind == "continuous":
        return [condition.parse("")]
    labels = range(len(condition.values))
    return [tuple(float(label == one) for label in labels) for one in (None, *labels)]


def grid(schema: Schema, fixed: Mapping[str, Value], num: int) -> Plan:
    """Return ``num`` patches of every combination of the known values of the conditions, as :func:`known_values` says.

    Args:
        schema: of the model.
        fixed: condition -> value of those that are not to vary.
        num: of each.

    Raises:
        ConfigError: more than one call draws.
    """
    choices = [[fixed[c.name]] if c.name in fixed else known_values(c) for c in schema]
    checked_number(math.prod(map(len, choices)) * num)
    every = [dict(zip(schema.names, values, strict=True)) for values in itertools.product(*choices)]
    return combinations(schema, every, num, "every combination of known values")


def uniform(purpose: str, seed: int, count: int) -> npt.NDArray[np.float64]:
    """Return numbers in [0, 1), (count,); the i-th depends on purpose, seed and i alone, not on how many follow."""
    digest = hashlib.sha256(f"nlbs generate {purpose} {seed}".encode()).digest()
    return np.random.Generator(np.random.Philox(key=int.from_bytes(digest[:16], "little"))).random(count)
