"""What the command keeps of an image while a million others are decoded: the columns of images.csv, no more."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import lru_cache
from typing import Any

from nlbs.preprocess.grid import CutOptions, patches_of
from nlbs.preprocess.outcome import Outcome
from nlbs.preprocess.tables import RECORD_KEYS


class KeptRecord(Mapping[str, Any]):
    """The part of an image's record that stands in images.csv, in a few hundred bytes; the mask stays behind."""

    __slots__ = ("_packed",)

    def __init__(self, values: Mapping[str, Any]) -> None:
        """Takes its part of a record; what is not there is None."""
        # As JSON, which a record is of: half the size of as many Python objects.
        self._packed = json.dumps([values.get(key) for key in RECORD_KEYS], separators=(",", ":")).encode()

    def __getitem__(self, key: str) -> Any:
        return _unpacked(self._packed)[key]

    def __iter__(self) -> Iterator[str]:
        return iter(RECORD_KEYS)

    def __len__(self) -> int:
        return len(RECORD_KEYS)

    def __reduce__(self) -> tuple[Any, ...]:
        return KeptRecord, (dict(self),)


@lru_cache(maxsize=16)  # a row of images.csv asks for all the values of one record
def _unpacked(packed: bytes) -> dict[str, Any]:
    return dict(zip(RECORD_KEYS, json.loads(packed), strict=True))


def kept(outcome: Outcome, cut: CutOptions) -> Outcome:
    """Gives an outcome without what only the store needs; with its number of patches instead.

    Args:
        outcome: of a source.
        cut: tells the patches.
    """
    if outcome.record is None:
        return outcome
    return replace(outcome, record=KeptRecord(outcome.record), patches=len(patches_of(outcome.record, cut)))
