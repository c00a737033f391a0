"""What the command keeps of an image while a million others are decoded: the columns of images.csv, no more."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import lru_cache
from typing import Any

from nlbs.preprocess.grid import CutOptions, patches_of
from nlbs.preprocess.outcome import Outcome
from nlbs.preprocess.tables import RECORD_KEYS


class KeptRecord(Mapping[str, Any]):
    """The part of an image's record that stands in images.csv, in a few hundred bytes; the mask stays behind."""

    __slots__ = ("_values",)

    def __init__(self, values: Mapping[str, Any]) -> None:
        """Takes its part of a record; what is not there is None."""
        found = (values.get(key) for key in RECORD_KEYS)
        self._values = tuple(
            _shared(tuple(value) if isinstance(value, list) else value)
            if isinstance(value, str | list | tuple)
            else value
            for value in found
        )

    def __getitem__(self, key: str) -> Any:
        try:
            return self._values[RECORD_KEYS.index(key)]
        except ValueError:
            raise KeyError(key) from None

    def __iter__(self) -> Iterator[str]:
        return iter(RECORD_KEYS)

    def __len__(self) -> int:
        return len(RECORD_KEYS)

    def __reduce__(self) -> tuple[Any, ...]:
        return KeptRecord, (dict(self),)


@lru_cache(maxsize=1024)
def _shared(value: Any) -> Any:
    """Gives one object for the same value: a few texts and spacings come over and over."""
    return value


def kept(outcome: Outcome, cut: CutOptions) -> Outcome:
    """Gives an outcome without what only the store needs; with its number of patches instead.

    Args:
        outcome: of a source.
        cut: tells the patches.
    """
    if outcome.record is None:
        return outcome
    return replace(outcome, record=KeptRecord(outcome.record), patches=len(patches_of(outcome.record, cut)))
