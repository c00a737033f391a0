"""Conditions as they occur together in the training split of a shard set: drawn, varied, or the rarest of them."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from nlbs.errors import ConfigError
from nlbs.generate.plan import Codes, Plan, checked_number, combinations, uniform
from nlbs.generate.words import in_words
from nlbs.manifests.conditions import CONDITIONS, UNKNOWN
from nlbs.shards import ShardSet
from nlbs.shards.format.manifest import indices

SPLIT = "train"  #: the others are for judging


@dataclass(frozen=True)
class Occurrence:
    """A combination of conditions, and how often it occurs."""

    codes: Mapping[str, int]
    patches: int
    patients: int

    def __str__(self) -> str:
        words = ", ".join(
            f"{name.replace('_', ' ')} {word or 'unknown'}" for name, word in in_words(self.codes).items()
        )
        return f"{words}: {_some(self.patches, 'patch', 'es')} of {_some(self.patients, 'patient', 's')}"


class Distribution:
    """The conditions of the training split of a shard set."""

    def __init__(self, shards: ShardSet, where: str | None = None) -> None:
        """Take the training patches of a set, or those of them that a filter takes.

        Raises:
            ConfigError: the filter cannot be read, there is no such patch, or all are synthetic.
        """
        shards.require_real()
        self.rows = shards.rows(SPLIT, where)
        if not len(self.rows):
            which = f" that {where!r} takes" if where else ""
            raise ConfigError(
                f"{shards.folder} has no training patch{which}: there are no conditions to draw from"
            )
        self.codes: Codes = shards.conditions(self.rows)
        self._patients = indices(shards.manifest["patient"]).to_numpy()[self.rows]
        chosen = f" where {where}" if where else ""
        self.source = f"the training split of shard set {shards.dataset_id[:12]}{chosen}"

    def drawn(self, num: int, seed: int) -> Plan:
        """Return ``num`` conditions, each those of a training patch at random, unknown values with them.

        The i-th depends on the set, the seed and i alone. Raises ConfigError: more than one call draws.
        """
        chosen = (uniform("like", seed, checked_number(num)) * len(self.rows)).astype(np.int64)
        return Plan(self._taken(chosen), f"drawn like {self.source}")

    def varied(self, factor: int, seed: int, age: float, laterality: float) -> Plan:
        """Return the conditions of each training patch ``factor`` times, lightly varied.

        Patch i takes row i modulo the number of rows, so a larger factor goes on where a smaller one ends.

        Args:
            factor: how many patches for each real one.
            seed: other variations.
            age: probability that the age bin moves by one, up or down alike; at an end it moves inwards.
            laterality: probability that left becomes right and the reverse.

        Raises:
            ConfigError: more than one call draws.
        """
        count = checked_number(factor * len(self.rows))
        places = np.tile(np.arange(len(self.rows)), factor)
        codes = self._taken(places)
        moved = (uniform("vary age", seed, count) < age) & (codes["age_bin"] != UNKNOWN)
        step = np.where(uniform("vary age up", seed, count) < 0.5, 1, -1)
        last = CONDITIONS["age_bin"] - 1
        inwards = np.where(codes["age_bin"] == 0, 1, np.where(codes["age_bin"] == last, -1, step))
        codes["age_bin"] = codes["age_bin"] + np.where(moved, inwards, 0)
        flipped = (uniform("vary laterality", seed, count) < laterality) & (codes["laterality"] != UNKNOWN)
        codes["laterality"] = np.where(flipped, 1 - codes["laterality"], codes["laterality"])
        source = f"{self.source}, each {factor} times, age bin moved with probability {age:g}, side with {laterality:g}"
        return Plan(codes, source, {"row": self.rows[places]})

    def rarest(self, number: int, fixed: Mapping[str, int]) -> list[Occurrence]:
        """Return the combinations that the fewest patients have, the rarest first, then by patches and by codes.

        A combination with an unknown value is left out where that condition is known of any patch.

        Args:
            number: how many, at most.
            fixed: condition -> code that each has to have.

        Raises:
            ConfigError: no combination is left.
        """
        table = np.stack([self.codes[name] for name in CONDITIONS], axis=1)
        known = (table != UNKNOWN).any(axis=0)
        taken = ((table != UNKNOWN) | ~known).all(axis=1)
        for place, name in enumerate(CONDITIONS):
            if name in fixed:
                taken &= table[:, place] == fixed[name]
        if not taken.any():
            raise ConfigError(
                f"no patch of {self.source} has the conditions that are asked for, all of them known"
            )
        values, which, patches = np.unique(table[taken], axis=0, return_inverse=True, return_counts=True)
        pairs = np.unique(np.stack([which.reshape(-1), self._patients[taken]], axis=1), axis=0)
        patients = np.bincount(pairs[:, 0], minlength=len(values))
        order = np.lexsort((*values.T[::-1], patches, patients))[:number]
        return [
            Occurrence(
                dict(zip(CONDITIONS, values[i].tolist(), strict=True)), int(patches[i]), int(patients[i])
            )
            for i in order
        ]

    def _taken(self, places: npt.NDArray[np.int64]) -> dict[str, npt.NDArray[np.int64]]:
        return {name: self.codes[name][places] for name in CONDITIONS}


def rare(found: list[Occurrence], num: int, source: str) -> Plan:
    """Return ``num`` patches of each of some combinations. Raises ConfigError: more than one call draws."""
    return combinations([one.codes for one in found], num, f"the rarest combinations of {source}")


def _some(count: int, word: str, plural: str) -> str:
    return f"{count:,} {word}{'' if count == 1 else plural}"
