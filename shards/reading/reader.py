"""Reads the patches of a batch: sorted, neighbours in one go, by threads, each compared with its checksum.

What this process has read before is copied from a memory map instead where that is safe, see docs/decisions/0012.
"""

import contextlib
import hashlib
import math
import os
import warnings
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from functools import cached_property
from itertools import pairwise
from typing import Any

import google_crc32c
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from nlbs.errors import ShardError
from nlbs.paths import AnyPath
from nlbs.shards.format.layout import how_to_restore
from nlbs.shards.format.manifest import condition_codes, indices, one_array
from nlbs.shards.format.manifest_rows import misplaced
from nlbs.shards.format.payload import (
    DECODERS,
    Pixels,
    channels_of,
    fewest_stored_bytes,
    most_stored_bytes,
    patch_shape,
    pixel_dtype,
)
from nlbs.shards.reading.local_shards import LocalShards
from nlbs.shards.reading.mapped_shards import MappedShards
from nlbs.shards.reading.records import Marks, Record, buffers_of, run_starts, runs
from nlbs.shards.reading.remote_shards import RemoteShards

Rows = npt.NDArray[np.int64]

VERIFY = ("first", "always", "off")  #: when a patch is compared with its checksum
ON_DAMAGE = ("raise", "replace")  #: what comes of one that is damaged

_THREADS = min(4, os.cpu_count() or 1)
_ROWS_PER_TASK = 16  # fewer are read sooner than a thread is woken
_ATTEMPTS = 32
_ROWS_AT_ONCE = 1 << 20  # in which a stand-in is looked for


class _DamagedError(Exception):
    """What is wrong with a record."""


class Reader:
    """Fills arrays with patches of one shard set."""

    def __init__(
        self,
        folder: AnyPath,
        info: Mapping[str, Any],
        manifest: pa.Table,
        shards: LocalShards | RemoteShards,
        verify: str,
        on_damage: str,
    ) -> None:
        """Take an opened set; read nothing."""
        self.folder, self.manifest = folder, manifest
        self.replaced: dict[int, int] = {}  #: row that was damaged -> row that was read instead
        self.shards = shards
        self._decode: Callable[[bytearray, Pixels], None] | None = DECODERS.get(
            str(info["parameters"].get("compression", "none"))
        )
        self._verify, self._on_damage = verify, on_damage
        self._names = [str(shard["name"]) for shard in info["shards"]]
        self._sizes = [int(shard["bytes"]) for shard in info["shards"]]
        self._fewest_bytes = fewest_stored_bytes(info["parameters"])
        self._most_bytes = most_stored_bytes(info["parameters"])
        self._shape = patch_shape(int(info["parameters"]["resolution"]), channels_of(info["parameters"]))
        self._dtype = pixel_dtype(info["parameters"]["dtype"])
        self._stand_ins = StandIns(manifest, str(info["dataset_id"]))
        self._most_replaced = max(100, manifest.num_rows // 1000)
        self._threads: tuple[int, ThreadPoolExecutor] | None = None

    def read(self, wanted: Rows, out: Pixels | None) -> Pixels:
        """Return the patches of n rows that exist, (n, *patch_shape), in ``out``, C-contiguous, where it is given.

        Raises:
            ShardError: as :meth:`nlbs.shards.ShardSet.read` says.
        """
        mapped = self._copy_mapped(wanted, out)
        if mapped is not None:
            return mapped
        if out is None:
            out = np.empty((len(wanted), *self._shape), self._dtype)
        self._read(wanted, out)
        return out

    def close(self) -> None:
        """Close the files; they are opened again when they are next read."""
        self.shards.close()
        with contextlib.suppress(AttributeError):
            del self._mapped  # the addresses are given back once no thread copies from them

    def _copy_mapped(self, wanted: Rows, out: Pixels | None) -> Pixels | None:
        """Return the patches from the memory map; None where one of them is to be read, or the map cannot be used."""
        if self._verify == "always" or (mapped := self._mapped) is None or self._seen.missing(wanted).any():
            return None
        places = mapped.places(*(column[wanted] for column in self._places[:2]))
        if places is None:
            return None
        if out is None:
            return mapped.windows[places].view(self._dtype).reshape(len(wanted), *self._shape)
        if len(places):  # numpy joins one array at least
            patches = [mapped.windows[place] for place in places.tolist()]
            np.concatenate(patches, out=out.reshape(-1).view(np.uint8))
        return out

    def _read(self, wanted: Rows, out: Pixels) -> None:
        shard, offset, nbytes, _ = self._checked_places(wanted)
        self.shards.prefetch(shard, offset, nbytes)
        by_place = np.lexsort((offset, shard))  # disks like to be read forwards
        parts = min(_THREADS, -(-len(wanted) // _ROWS_PER_TASK))
        if parts <= 1:
            self._fill(out, wanted, by_place)
            return
        first, *others = np.array_split(by_place, parts)
        pool = self._pool()
        running = [pool.submit(self._fill, out, wanted, part) for part in others]
        try:
            self._fill(out, wanted, first)
        finally:
            wait(running)  # for all, so that none writes to out once this has returned or raised
        for future in running:
            future.result()

    @cached_property
    def _places(self) -> tuple[npt.NDArray[Any], ...]:
        """Shard, offset, bytes and checksum of every row: the columns as they lie in the file."""
        columns = (
            indices(self.manifest["shard"]),
            *(self.manifest[c] for c in ("offset", "nbytes", "crc32c")),
        )
        return tuple(one_array(column) for column in columns)

    def _checked_places(self, rows: Rows) -> tuple[npt.NDArray[Any], ...]:
        """Return shard, offset, bytes and checksum of some rows, within bounds: a manifest may say anything.

        Raises:
            ShardError: a patch lies outside the shards, or has more bytes than a patch has.
        """
        found = tuple(column[rows] for column in self._places)
        shard, offset, nbytes, _ = found
        sizes = np.asarray(self._sizes, dtype=np.int64)
        problem = misplaced(shard, offset, nbytes, sizes, self._fewest_bytes, self._most_bytes)
        if problem is not None:
            raise ShardError(
                f"the manifest of {self.folder} is damaged: {problem}; {how_to_restore(self.folder)}"
            )
        return found

    @cached_property
    def _seen(self) -> Marks:
        """Which patches were read, and compared with their checksums where that was asked for."""
        return Marks(self.manifest.num_rows)

    @cached_property
    def _mapped(self) -> MappedShards | None:
        """The shards by memory map, where that can be."""
        nbytes = math.prod(self._shape) * self._dtype.itemsize
        return None if self._decode is not None else self.shards.mapped(self._sizes, nbytes)

    def _pool(self) -> ThreadPoolExecutor:
        """Return the threads that read. A forked process has none of its parent's, so it makes its own."""
        if self._threads is None or self._threads[0] != os.getpid():
            self._threads = os.getpid(), ThreadPoolExecutor(_THREADS, thread_name_prefix="nlbs-read")
        return self._threads[1]

    def _fill(self, out: Pixels, wanted: Rows, places: npt.NDArray[np.int64]) -> None:
        if self._decode is None:
            places = self._fill_raw(out, wanted, places)  # what is left is one by one told why
        for run, buffers in runs(self._records(out, wanted, places)):
            whole = self.shards.read_run(buffers, run[0].shard, run[0].offset)
            for record in run:
                if whole and not record.unsure and self._decode is None:
                    continue  # its bytes are where they are wanted
                try:
                    if not whole:
                        self._load(record)
                    self._accept(record, out[record.place])
                except _DamagedError as damage:
                    self._replace(record.row, out[record.place], str(damage))

    def _fill_raw(self, out: Pixels, wanted: Rows, places: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Read patches that are stored as they are. Return the places whose patches are not as they should be."""
        flat = _flat(out)
        size, rows = flat.shape[1], wanted[places]
        shard, offset, nbytes, crc = (column[rows] for column in self._places)
        if (nbytes != size).any():
            return places
        good = np.zeros(len(places), dtype=np.bool_)
        unsure, sums, shards, offsets = (a.tolist() for a in (self._unsure(rows), crc, shard, offset))
        targets = [flat[place] for place in places.tolist()]
        for first, end in pairwise(run_starts(shard, offset, size)):
            buffers = buffers_of([target.data for target in targets[first:end]], offsets[first:end], size)
            if not self.shards.read_run(buffers, shards[first], offsets[first]):
                continue
            for number in range(first, end):  # at once, while the bytes are in the processor's cache
                good[number] = not unsure[number] or google_crc32c.value(targets[number]) == sums[number]
        self._seen.add_all(rows[good])
        return places[~good]

    def _records(self, out: Pixels, wanted: Rows, places: npt.NDArray[np.int64]) -> list[Record]:
        """Return where the patches lie that go to some places of ``out``; raw ones go there directly."""
        if not len(places):
            return []
        rows = wanted[places]
        shard, offset, nbytes, crc = (column[rows] for column in self._places)
        size, pixels = out[0].nbytes, memoryview(out.data).cast("B")
        unsure = self._unsure(rows)
        fits = (nbytes == size) & (self._decode is None)
        if self._decode is None:
            unsure |= ~fits
        targets = [
            pixels[place * size : (place + 1) * size] if fit else memoryview(bytearray(stored))
            for place, fit, stored in zip(places.tolist(), fits.tolist(), nbytes.tolist(), strict=True)
        ]
        columns = (places, rows, shard, offset, crc, unsure)
        return list(map(Record, *(column.tolist() for column in columns), targets))

    def _unsure(self, rows: Rows) -> npt.NDArray[np.bool_]:
        """Return which rows are to be compared with their checksums."""
        if self._verify == "first" and not self.shards.rechecked:
            return self._seen.missing(rows)
        return np.full(len(rows), self._verify != "off")

    def _load(self, record: Record) -> None:
        """Read what is stored of a patch."""
        try:
            got = self.shards.read_record(record.target, record.shard, record.offset, record.crc32c)
        except FileNotFoundError:
            raise _DamagedError("the file is gone") from None
        except OSError as error:  # of the disk or of a limit; the shard may well be whole
            raise ShardError(f"cannot read {self._name(record.row)}: {error.strerror or error}") from None
        if got != len(record.target):
            raise _DamagedError(f"the file ends after {got} of its {len(record.target)} bytes")

    def _accept(self, record: Record, pixels: Pixels) -> None:
        """Check what was read of a patch, and decodes it."""
        check = record.unsure and self._verify != "off"
        if check and google_crc32c.value(bytes(record.target)) != record.crc32c:
            raise _DamagedError("its checksum does not match")
        if self._decode is not None:
            try:
                self._decode(bytearray(record.target), pixels)
            except ValueError as error:  # its bytes are what was written, but not what the set says
                raise _DamagedError(str(error)) from None
        elif len(record.target) != pixels.nbytes:
            raise _DamagedError(f"it has {len(record.target)} bytes instead of {pixels.nbytes}")
        if check:
            self._seen.add(record.row)

    def _replace(self, row: int, pixels: Pixels, what: str) -> None:
        """Read another patch where one is damaged, or raises."""
        message = f"{self._name(row)} is damaged: {what}"
        if self._on_damage == "raise":
            raise ShardError(f"{message}; {how_to_restore(self.folder)}")
        other = self._read_another(row, pixels)
        if other is None:
            raise ShardError(
                f"{message}, and no patch of its split and conditions can stand in for it; "
                f"{how_to_restore(self.folder)}"
            )
        self.replaced[row] = other
        if len(self.replaced) > self._most_replaced:
            raise ShardError(
                f"{message}, and so are {self._most_replaced} others, which is as many as may be replaced; "
                f"{how_to_restore(self.folder)}"
            )
        if len(self.replaced) == 1:
            warnings.warn(
                f"{message}; patch {other} stands in for it. {how_to_restore(self.folder)}", stacklevel=2
            )

    def _read_another(self, row: int, pixels: Pixels) -> int | None:
        for attempt in range(1, _ATTEMPTS + 1):
            other = self._stand_ins.row(row, attempt)
            if other == row:
                continue
            self._checked_places(np.array([other]))
            record = self._records(pixels[None], np.array([other]), np.array([0]))[0]
            try:
                self._load(record)
                self._accept(record, pixels)
            except _DamagedError:
                continue
            return other
        return None

    def _name(self, row: int) -> str:
        return f"patch {row} in {self.folder / self._names[int(self._places[0][row])]}"


def _flat(pixels: Pixels) -> npt.NDArray[np.uint8]:
    """Return the bytes of each patch, (n, bytes); nothing is copied."""
    size = pixels.nbytes // max(1, len(pixels))
    return pixels.reshape(-1).view(np.uint8).reshape(len(pixels), size)


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
