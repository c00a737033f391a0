"""Conditions of single rows, straight from the memory map of a manifest: no column is ever copied whole."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from nlbs.manifests.conditions import UNKNOWN
from nlbs.manifests.schema import AGE_YEARS, NLBS, POSITION, Columns, Condition, Schema
from nlbs.shards.format.manifest import condition_codes, indices, one_array

Rows = npt.NDArray[np.int64]
#: Rows of the manifest -> the values of one condition, as a batch holds them.
Read = Callable[[Rows], npt.NDArray[Any]]

#: Column of synthetic patches. Each is an image of its own: where it lies, a column of text says, as it was asked for.
_SYNTHETIC = "synthetic"


class ConditionColumns:
    """The conditions of a manifest, by row."""

    def __init__(self, manifest: pa.Table, schema: Schema, resolution: int) -> None:
        """Take a manifest; read nothing of it where its columns are of one piece, as they are in a file.

        Args:
            manifest: one row per patch.
            schema: the conditions; one whose column the manifest lacks is unknown for all its patches.
            resolution: edge of its patches in pixels.
        """
        in_one_piece = all(manifest[name].num_chunks == 1 for name in NLBS.names)
        codes = {} if in_one_piece else condition_codes(manifest)
        self._read: dict[str, Read] = {}
        for condition in schema:
            name = condition.name
            if condition in NLBS:
                array = manifest[name].chunk(0) if in_one_piece else pa.array(codes[name])
                self._read[name] = _Codes(array, len(condition.values)).of_rows
            elif condition == POSITION and _SYNTHETIC not in manifest.column_names:
                self._read[name] = _Positions(manifest, resolution).of_rows
            elif condition == AGE_YEARS:
                self._read[name] = _Numbers(manifest[name]).of_rows
            elif name in manifest.column_names:
                self._read[name] = _Words(manifest[name], condition).of_rows
            else:
                self._read[name] = _Unknown(condition).of_rows

    def values(self, rows: Rows) -> Columns:
        """Return the conditions of some rows, (n,) int64 each: in arrays as :mod:`nlbs.manifests.schema` says."""
        return {name: read(rows) for name, read in self._read.items()}


class _Codes:
    """One of the five conditions: int8 codes, and a bit per row that says whether there is one."""

    def __init__(self, array: pa.Array, count: int) -> None:
        if isinstance(array, pa.DictionaryArray):
            array = array.indices
        known, values = array.buffers()
        self._first = array.offset
        # As bytes without a sign: a code below 0, which no manifest has, is then no code either.
        self._values = np.frombuffer(values, np.uint8) if values else np.empty(0, np.uint8)
        self._known = np.frombuffer(known, np.uint8) if known else None
        self._count = count

    def of_rows(self, rows: Rows) -> npt.NDArray[np.int64]:
        at = rows + self._first if self._first else rows
        codes = self._values[at].astype(np.int64)
        unknown = codes >= self._count  # a view of which no model knows
        if self._known is not None:
            unknown |= (self._known[at >> 3] >> (at & 7)) & 1 == 0
        codes[unknown] = UNKNOWN
        return codes


class _Words:
    """A kept column of text, read as codes, labels or numbers."""

    def __init__(self, column: pa.ChunkedArray, condition: Condition) -> None:
        if column.num_chunks > 1:
            column = pa.chunked_array([column.unify_dictionaries().combine_chunks()])
        words: Sequence[str] = column.chunk(0).dictionary.to_pylist() if column.num_chunks else []
        self._places = one_array(indices(column).fill_null(len(words)))
        # The last row is for what is unknown.
        self._values = condition.array([*map(condition.stored, words), condition.parse("")])

    def of_rows(self, rows: Rows) -> npt.NDArray[Any]:
        found: npt.NDArray[Any] = self._values[self._places[rows]]
        return found


class _Numbers:
    """A column of whole numbers, null where unknown."""

    def __init__(self, column: pa.ChunkedArray) -> None:
        self._values = column.cast(pa.float32()).to_numpy(zero_copy_only=False)

    def of_rows(self, rows: Rows) -> npt.NDArray[np.float32]:
        found: npt.NDArray[np.float32] = self._values[rows][:, None].astype(np.float32)
        return found


class _Positions:
    """Where centres of patches lie in the box around all patches of their image, 0 to 1 from left and from top."""

    def __init__(self, manifest: pa.Table, resolution: int) -> None:
        self._image = one_array(indices(manifest["image"]))
        self._corners = [one_array(manifest[name]) for name in ("x", "y")]
        self._edge = resolution * one_array(manifest["scale"]).astype(np.float64)
        order = np.argsort(self._image, kind="stable")
        starts = np.flatnonzero(np.diff(self._image[order], prepend=-1))
        images = self._image[order][starts]
        self._boxes = np.zeros((2, 2, int(images.max(initial=-1)) + 1))  # axis, least and most, image
        for box, corner in zip(self._boxes, self._corners, strict=True):
            if len(starts):
                box[0, images] = np.minimum.reduceat(corner[order], starts)
                box[1, images] = np.maximum.reduceat((corner + self._edge)[order], starts)

    def of_rows(self, rows: Rows) -> npt.NDArray[np.float32]:
        image, half = self._image[rows], self._edge[rows] / 2
        found = np.empty((len(rows), 2), np.float32)
        for axis, (corner, (least, most)) in enumerate(zip(self._corners, self._boxes, strict=True)):
            found[:, axis] = (corner[rows] + half - least[image]) / (most[image] - least[image])
        return found


class _Unknown:
    """A condition of which the manifest says nothing."""

    def __init__(self, condition: Condition) -> None:
        self._condition = condition

    def of_rows(self, rows: Rows) -> npt.NDArray[Any]:
        return self._condition.unknown(len(rows))
