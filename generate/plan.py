"""What is to be drawn: the conditions of every patch, and where they come from."""

import hashlib
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from nlbs.errors import ConfigError
from nlbs.manifests.conditions import CONDITIONS

MOST = 100_000_000

_AT_ONCE = 1 << 20

#: condition -> (n,) int64 codes, -1 unknown
Codes = Mapping[str, npt.NDArray[np.int64]]


@dataclass(frozen=True)
class Plan:
    """The conditions of n patches; patch i has the i-th."""

    codes: Codes
    source: str  #: where they come from, in words: every output says it
    columns: Mapping[str, Any] = field(default_factory=dict)  #: further columns of samples.csv, (n,) each

    def __len__(self) -> int:
        """Return the number of patches."""
        return len(self.codes["view"])

    def at(self, index: int) -> dict[str, int]:
        """Return the codes of one patch."""
        return {name: int(codes[index]) for name, codes in self.codes.items()}

    @property
    def digest(self) -> str:
        """The SHA-256 of all codes, in hexadecimal digits."""
        digest = hashlib.sha256(f"nlbs conditions {len(self)}".encode())
        for name in CONDITIONS:
            for start in range(
                0, len(self), _AT_ONCE
            ):  # a repeated value takes no memory, so it is not copied whole
                some = self.codes[name][start : start + _AT_ONCE]
                digest.update(np.ascontiguousarray(some, dtype="<i8").tobytes())
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


def one_condition(codes: Mapping[str, int], num: int) -> Plan:
    """Return ``num`` patches of the same conditions.

    Raises:
        ConfigError: more than one call draws.
    """
    checked_number(num)
    same = {name: np.broadcast_to(np.int64(codes[name]), (num,)) for name in CONDITIONS}
    return Plan(same, "given by flags")


def combinations(codes: Sequence[Mapping[str, int]], num: int, source: str) -> Plan:
    """Return ``num`` patches of each of some combinations of conditions, one combination after the other.

    Raises:
        ConfigError: more than one call draws.
    """
    checked_number(len(codes) * num)
    table = {name: np.array([one[name] for one in codes], dtype=np.int64) for name in CONDITIONS}
    return Plan({name: column.repeat(num) for name, column in table.items()}, source)


def grid(fixed: Mapping[str, int], num: int) -> Plan:
    """Return ``num`` patches of every combination of the known values of the conditions.

    Args:
        fixed: condition -> code of those that are not to vary.
        num: of each.

    Raises:
        ConfigError: more than one call draws.
    """
    choices = [[fixed[name]] if name in fixed else range(count) for name, count in CONDITIONS.items()]
    every = [dict(zip(CONDITIONS, codes, strict=True)) for codes in itertools.product(*choices)]
    return combinations(every, num, "every combination of known values")


def uniform(purpose: str, seed: int, count: int) -> npt.NDArray[np.float64]:
    """Return numbers in [0, 1), (count,); the i-th depends on purpose, seed and i alone, not on how many follow."""
    digest = hashlib.sha256(f"nlbs generate {purpose} {seed}".encode()).digest()
    return np.random.Generator(np.random.Philox(key=int.from_bytes(digest[:16], "little"))).random(count)
