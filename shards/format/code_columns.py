"""Condition codes of single rows, straight from the memory map of a manifest: no column is ever copied whole."""

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from nlbs.manifests.conditions import CONDITIONS, UNKNOWN
from nlbs.shards.format.manifest import condition_codes

Rows = npt.NDArray[np.int64]


class CodeColumns:
    """The codes of the conditions of a manifest, by row."""

    def __init__(self, manifest: pa.Table) -> None:
        """Take a manifest; read nothing of it where its columns are of one piece, as they are in a file."""
        if all(manifest[name].num_chunks == 1 for name in CONDITIONS):
            self._columns = {
                name: _Column(manifest[name].chunk(0), count) for name, count in CONDITIONS.items()
            }
        else:
            codes = condition_codes(manifest)
            self._columns = {
                name: _Column(pa.array(codes[name]), count) for name, count in CONDITIONS.items()
            }

    def codes(self, rows: Rows) -> npt.NDArray[np.int64]:
        """Return the codes of some rows, (conditions, n) int64 in the order of CONDITIONS, -1 where unknown."""
        found = np.empty((len(self._columns), len(rows)), dtype=np.int64)
        for codes, column in zip(found, self._columns.values(), strict=True):
            column.fill(codes, rows)
        return found

    def names(self) -> Iterable[str]:
        """Return the names of the conditions, in order."""
        return self._columns


class _Column:
    """One condition: int8 codes, and a bit per row that says whether there is one."""

    def __init__(self, array: pa.Array, count: int) -> None:
        if isinstance(array, pa.DictionaryArray):
            array = array.indices
        known, values = array.buffers()
        self._first = array.offset
        # As bytes without a sign: a code below 0, which no manifest has, is then no code either.
        self._values = np.frombuffer(values, np.uint8) if values else np.empty(0, np.uint8)
        self._known = np.frombuffer(known, np.uint8) if known else None
        self._count = count

    def fill(self, codes: npt.NDArray[np.int64], rows: Rows) -> None:
        at = rows + self._first if self._first else rows
        codes[:] = self._values[at]
        unknown = codes >= self._count  # a view of which no model knows
        if self._known is not None:
            unknown |= (self._known[at >> 3] >> (at & 7)) & 1 == 0
        codes[unknown] = UNKNOWN
