"""Conditions as they occur together in the training split of a shard set: drawn, varied, or the rarest of them."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from nlbs.errors import ConfigError
from nlbs.generate.plan import Plan, checked_number, combinations, uniform
from nlbs.manifests.conditions import UNKNOWN
from nlbs.manifests.schema import AGE_YEARS, NLBS, Columns, Schema, Value
from nlbs.models.conditioning import mirrored
from nlbs.shards import ShardSet
from nlbs.shards.format.manifest import indices

SPLIT = "train"  #: the others are for judging


@dataclass(frozen=True)
class Occurrence:
    """A combination of conditions, and how often it occurs."""

    values: Mapping[str, Value]
    patches: int
    patients: int

    def told(self, schema: Schema) -> str:
        """Return it in words."""
        words = [
            f"{schema[name].label} {word or 'unknown'}" for name, word in schema.words(self.values).items()
        ]
        count = f"{_some(self.patches, 'patch', 'es')} of {_some(self.patients, 'patient', 's')}"
        return f"{', '.join(words)}: {count}"


class Distribution:
    """The conditions of the training split of a shard set."""

    def __init__(self, shards: ShardSet, schema: Schema, where: str | None = None) -> None:
        """Take the training patches of a set, or those of them that a filter takes.

        Args:
            shards: a real one.
            schema: of the model; a condition that the set does not have is unknown.
            where: a filter.

        Raises:
            ConfigError: the filter cannot be read, there is no such patch, or all are synthetic.
        """
        shards.require_real()
        self.schema, self.rows = schema, shards.rows(SPLIT, where)
        if not len(self.rows):
            which = f" that {where!r} takes" if where else ""
            raise ConfigError(
                f"{shards.folder} has no training patch{which}: there are no conditions to draw from"
            )
        self.values: Columns = shards.conditions(self.rows, schema)
        self._patients = indices(shards.manifest["patient"]).to_numpy()[self.rows]
        chosen = f" where {where}" if where else ""
        self.source = f"the training split of shard set {shards.dataset_id[:12]}{chosen}"

    def drawn(self, num: int, seed: int) -> Plan:
        """Return ``num`` conditions, each those of a training patch at random, unknown values with them.

        The i-th depends on the set, the seed and i alone. Raises ConfigError: more than one call draws.
        """
        chosen = (uniform("like", seed, checked_number(num)) * len(self.rows)).astype(np.int64)
        return Plan(self.schema, self._taken(chosen), f"drawn like {self.source}")

    def varied(self, factor: int, seed: int, ordinal: float, mirror: float) -> Plan:
        """Return the conditions of each training patch ``factor`` times, lightly varied.

        Patch i takes row i modulo the number of rows, so a larger factor goes on where a smaller one ends.

        Args:
            factor: how many patches for each real one.
            seed: other variations.
            ordinal: probability that a value of an ordinal condition moves by one, up or down alike; at an end it
                moves inwards. The age in years beside a bin that moved is unknown.
            mirror: probability that the conditions become those of the mirror image: left is right.

        Raises:
            ConfigError: more than one call draws.
        """
        count = checked_number(factor * len(self.rows))
        places = np.tile(np.arange(len(self.rows)), factor)
        values = self._taken(places)
        moving = [condition for condition in self.schema if condition.kind == "ordinal"]
        for condition in moving:
            codes, purpose = values[condition.name], f"vary {condition.name.removesuffix('_bin')}"
            moved = (
                (uniform(purpose, seed, count) < ordinal) & (codes != UNKNOWN) & (len(condition.values) > 1)
            )
            step = np.where(uniform(f"{purpose} up", seed, count) < 0.5, 1, -1)
            inwards = np.where(codes == 0, 1, np.where(codes == len(condition.values) - 1, -1, step))
            values[condition.name] = codes + np.where(moved, inwards, 0)
            if condition in NLBS and AGE_YEARS in self.schema:
                values[AGE_YEARS.name][moved] = np.nan
        flip = torch.from_numpy(uniform("vary laterality", seed, count) < mirror)
        tensors = {name: torch.from_numpy(column) for name, column in values.items()}
        values = {name: column.numpy() for name, column in mirrored(tensors, flip, self.schema).items()}
        said = [f"{c.label} moved with probability {ordinal:g}" for c in moving]
        sides = ["side" if c in NLBS else c.label for c in self.schema if c.mirrored]
        said += [f"{' and '.join(sides)} with {mirror:g}"] if sides else []
        source = ", ".join([f"{self.source}, each {factor} times", *said])
        return Plan(self.schema, values, source, {"row": self.rows[places]})

    def rarest(self, number: int, fixed: Mapping[str, Value]) -> list[Occurrence]:
        """Return the combinations that the fewest patients have, the rarest first, then by patches and by codes.

        A combination with an unknown value is left out where that condition is known of any patch. Numbers, such as
        an age in years, are part of no combination, and unknown where they are not fixed.

        Args:
            number: how many, at most.
            fixed: condition -> value that each has to have; of numbers, that each is drawn with.

        Raises:
            ConfigError: no combination is left.
        """
        listed = [condition for condition in self.schema if condition.kind != "continuous"]
        parts = [self.values[c.name].reshape(len(self.rows), -1).astype(np.int64) for c in listed]
        table = np.concatenate([*parts, np.empty((len(self.rows), 0), np.int64)], axis=1)
        known = (table != UNKNOWN).any(axis=0)
        taken = ((table != UNKNOWN) | ~known).all(axis=1)
        for condition, part in zip(listed, parts, strict=True):
            if condition.name in fixed:
                taken &= (part == condition.array([fixed[condition.name]])).all(axis=1)
        if not taken.any():
            raise ConfigError(
                f"no patch of {self.source} has the conditions that are asked for, all of them known"
            )
        _, first, which, patches = np.unique(
            table[taken], axis=0, return_index=True, return_inverse=True, return_counts=True
        )
        pairs = np.unique(np.stack([which.reshape(-1), self._patients[taken]], axis=1), axis=0)
        patients = np.bincount(pairs[:, 0], minlength=len(first))
        order = np.lexsort((patches, patients))[:number]  # keeps the order of the codes
        numbers = {c.name: fixed.get(c.name, c.parse("")) for c in self.schema if c not in listed}
        places = np.flatnonzero(taken)[first]
        return [
            Occurrence(
                {**self.schema.values_of(self.values, places[i]), **numbers},
                int(patches[i]),
                int(patients[i]),
            )
            for i in order
        ]

    def _taken(self, places: npt.NDArray[np.int64]) -> Columns:
        return {name: column[places] for name, column in self.values.items()}


def rare(schema: Schema, found: list[Occurrence], num: int, source: str) -> Plan:
    """Return ``num`` patches of each of some combinations. Raises ConfigError: more than one call draws."""
    return combinations(schema, [one.values for one in found], num, f"the rarest combinations of {source}")


def _some(count: int, word: str, plural: str) -> str:
    return f"{count:,} {word}{'' if count == 1 else plural}"
