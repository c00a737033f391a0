"""Which patch stands in for one that is damaged: a pure function of the set, the row and the attempt."""

import hashlib

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from nlbs.shards.format.manifest import condition_codes, indices

_ROWS_AT_ONCE = 1 << 20


class StandIns:
    """Draws among the rows of the same split and the same conditions, so that what is said of a patch stays true."""

    def __init__(self, manifest: pa.Table, dataset_id: str) -> None:
        self._manifest, self._dataset_id = manifest, dataset_id
        self._ends: dict[bytes, npt.NDArray[np.int64]] = {}

    def row(self, row: int, attempt: int) -> int:
        """Return the row that stands in for ``row``, which may be that itself; another one for each attempt.

        Of n such rows it is number k from 0 in the order of the manifest, where k is the first 8 bytes, little-endian,
        of the SHA-256 of ``"{dataset_id} {row} {attempt}"``, modulo n.
        """
        kind = self._kinds(row, 1)
        key = kind.tobytes()
        if key not in self._ends:
            starts = range(0, self._manifest.num_rows, _ROWS_AT_ONCE)
            self._ends[key] = np.cumsum([np.count_nonzero(self._alike(start, kind)) for start in starts])
        ends = self._ends[key]
        digest = hashlib.sha256(f"{self._dataset_id} {row} {attempt}".encode()).digest()
        number = int.from_bytes(digest[:8], "little") % int(ends[-1])
        block = int(np.searchsorted(ends, number, side="right"))
        before = int(ends[block - 1]) if block else 0
        start = block * _ROWS_AT_ONCE
        return start + int(np.flatnonzero(self._alike(start, kind))[number - before])

    def _alike(self, start: int, kind: npt.NDArray[np.int8]) -> npt.NDArray[np.bool_]:
        same: npt.NDArray[np.bool_] = (self._kinds(start, _ROWS_AT_ONCE) == kind).all(axis=0)
        return same

    def _kinds(self, start: int, rows: int) -> npt.NDArray[np.int8]:
        """Return the codes of split and conditions of some rows, (6, rows)."""
        part = self._manifest.slice(start, rows)
        split = indices(part["split"]).to_numpy().astype(np.int8)
        return np.stack([split, *condition_codes(part).values()])
