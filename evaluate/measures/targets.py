"""What can be read off a patch: of a schema's conditions the codes, whether there is each label, and each number."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from nlbs.evaluate.measures.auc import Auc, concordance, condition_auc
from nlbs.manifests.conditions import UNKNOWN
from nlbs.manifests.schema import NO_YES, Condition, Schema
from nlbs.models.drawing import Codes

Values = npt.NDArray[Any]  #: (n,) int64 codes, -1 unknown, or float64 numbers, NaN unknown
_LEAST, _MOST = 0.25, 0.75  #: how far a flip moves a number, of its range


@dataclass(frozen=True)
class Target:
    """A code, a label or a number: what one head of a classifier reads."""

    condition: Condition
    place: int = 0  #: of the label or the number

    @property
    def name(self) -> str:
        """Its key in a report: "view", "findings: Mass", "position: across"."""
        return self._named(self.condition.name)

    @property
    def label(self) -> str:
        """Its name in a sentence."""
        return self._named(self.condition.label)

    @property
    def is_number(self) -> bool:
        """Whether it is a number, with an order and no codes."""
        return self.condition.kind == "continuous"

    @property
    def values(self) -> tuple[str, ...]:
        """The words of its codes; none of a number."""
        if self.is_number:
            return ()
        return self.condition.values if self.condition.is_coded else NO_YES

    def of(self, columns: Codes) -> Values:
        """Return its values of n patches."""
        values = columns[self.condition.name]
        if self.condition.is_coded:
            return values
        return values[:, self.place].astype(np.float64 if self.is_number else np.int64)

    def put(self, columns: Codes, values: Values) -> Codes:
        """Return conditions of n patches with other values of it."""
        if not self.condition.is_coded:
            whole = columns[self.condition.name].copy()
            whole[:, self.place] = values
            values = whole
        return {**columns, self.condition.name: values}

    def known(self, values: Values) -> npt.NDArray[np.bool_]:
        """Return which of its values are known, (n,)."""
        known: npt.NDArray[np.bool_] = ~np.isnan(values) if self.is_number else values != UNKNOWN
        return known

    def flipped(self, values: Values, seed: int) -> tuple[Values, Values] | None:
        """Return values without unknown ones, and for each another value, (n,) each; None where there is only one.

        A number moves by a quarter to three quarters of its range, and comes in again at the other end.
        """
        generator = np.random.default_rng(seed)
        if self.is_number:
            low, span = self.condition.low, self.condition.high - self.condition.low
            drawn = generator.uniform(low, self.condition.high, len(values))
            before = np.where(self.known(values), values, drawn)
            moved = (before - low) / span + generator.uniform(_LEAST, _MOST, len(values))
            return before, low + span * (moved % 1)
        count = len(self.values)
        if count < 2:
            return None
        before = np.where(values == UNKNOWN, generator.integers(0, count, len(values)), values)
        return before, (before + generator.integers(1, count, len(values))) % count

    def auc(
        self,
        readings: npt.ArrayLike,
        values: Values,
        clusters: npt.ArrayLike | None = None,
        seed: int = 0,
        judged: tuple[int, ...] | None = None,
    ) -> Auc | None:
        """Return how well readings of a classifier tell its values apart; None where nothing can be told.

        Args:
            readings: (n, values), the higher the likelier; of a number (n, 1), the higher the larger.
            values: (n,) the truth.
            clusters: (n,) the patient of each, who is drawn as a whole; None: each is drawn by itself.
            seed: of the bootstrap.
            judged: the codes that are judged; None: all that can be.
        """
        if self.is_number:
            return concordance(np.asarray(readings)[:, 0], values, clusters, seed)
        return condition_auc(readings, values, clusters, seed, judged)

    def _named(self, name: str) -> str:
        alone = self.condition.is_coded or (self.is_number and len(self.condition.values) == 1)
        return name if alone else f"{name}: {self.condition.values[self.place]}"


def targets_of(schema: Schema) -> tuple[Target, ...]:
    """Return what can be read of a schema's conditions, in their order."""
    return tuple(
        Target(condition, place)
        for condition in schema
        for place in range(1 if condition.is_coded else len(condition.values))
    )
