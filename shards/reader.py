"""Reads the patches of a batch: sorted, neighbours in one go, by threads, each compared with its checksum."""

import os
import warnings
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from functools import cached_property
from typing import Any

import google_crc32c
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from nlbs.errors import ShardError
from nlbs.paths import AnyPath
from nlbs.shards.layout import how_to_restore
from nlbs.shards.local_shards import LocalShards
from nlbs.shards.manifest import indices, one_array
from nlbs.shards.payload import DECODERS, Pixels
from nlbs.shards.records import Marks, Record, runs
from nlbs.shards.remote_shards import RemoteShards
from nlbs.shards.stand_ins import StandIns

Rows = npt.NDArray[np.int64]

VERIFY = ("first", "always", "off")  #: when a patch is compared with its checksum
ON_DAMAGE = ("raise", "replace")  #: what comes of one that is damaged

_THREADS = min(4, os.cpu_count() or 1)
_ROWS_PER_TASK = 16  # fewer are read sooner than a thread is woken
_ATTEMPTS = 32


class _DamagedError(Exception):
    """What is wrong with a record."""


class Reader:
    """Fills arrays with patches of one shard set."""

    def __init__(
        self,
        folder: AnyPath,
        info: Mapping[str, Any],
        manifest: pa.Table,
        remote: RemoteShards | None,
        verify: str,
        on_damage: str,
    ) -> None:
        """Takes an opened set; reads nothing."""
        self.folder, self.manifest = folder, manifest
        self.replaced: dict[int, int] = {}  #: row that was damaged -> row that was read instead
        self.local = LocalShards(folder, info)
        self._remote = remote
        self._decode: Callable[[bytearray, Pixels], None] | None = DECODERS.get(
            str(info["parameters"].get("compression", "none"))
        )
        self._verify, self._on_damage = verify, on_damage
        self._stand_ins = StandIns(manifest, str(info["dataset_id"]))
        self._most_replaced = max(100, manifest.num_rows // 1000)
        self._threads: tuple[int, ThreadPoolExecutor] | None = None

    def read(self, wanted: Rows, out: Pixels) -> None:
        """Fills ``out`` (n, R, R), C-contiguous, with the patches of n rows that exist. Raises ShardError."""
        shard, offset, nbytes, _ = (column[wanted] for column in self._places)
        if self._remote is not None:
            self._remote.prefetch(shard, offset, nbytes)
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

    @cached_property
    def _verified(self) -> Marks:
        return Marks(self.manifest.num_rows)

    def _pool(self) -> ThreadPoolExecutor:
        """Gives the threads that read. A forked process has none of its parent's, so it makes its own."""
        if self._threads is None or self._threads[0] != os.getpid():
            self._threads = os.getpid(), ThreadPoolExecutor(_THREADS, thread_name_prefix="nlbs-read")
        return self._threads[1]

    def _fill(self, out: Pixels, wanted: Rows, places: npt.NDArray[np.int64]) -> None:
        for run, buffers in runs(self._records(out, wanted, places)):
            whole = self._remote is None and self._load_run(run, buffers)
            for record in run:
                if whole and not record.unsure and self._decode is None:
                    continue  # its bytes are where they are wanted
                try:
                    if not whole:
                        self._load(record)
                    self._accept(record, out[record.place])
                except _DamagedError as damage:
                    self._replace(record.row, out[record.place], str(damage))

    def _records(self, out: Pixels, wanted: Rows, places: npt.NDArray[np.int64]) -> list[Record]:
        """Gives where the patches lie that go to some places of ``out``; raw ones go there directly."""
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
        """Says which rows are to be compared with their checksums."""
        # What comes over a network, or from a cache that others may write to, is checked each time.
        if self._verify == "first" and self._remote is None:
            return self._verified.missing(rows)
        return np.full(len(rows), self._verify != "off")

    def _load_run(self, run: list[Record], buffers: list[memoryview]) -> bool:
        """Reads neighbours in one go; says whether all came. If not, reading each one tells which is at fault."""
        try:
            got = self.local.read_into(buffers, run[0].shard, run[0].offset)
        except OSError:
            return False
        return got == sum(map(len, buffers))

    def _load(self, record: Record) -> None:
        """Reads what is stored of a patch."""
        try:
            if self._remote is not None:
                got = self._remote.read_into(record.target, record.shard, record.offset, record.crc32c)
            else:
                got = self.local.read_into([record.target], record.shard, record.offset)
        except FileNotFoundError:
            raise _DamagedError("the file is gone") from None
        except OSError as error:  # of the disk or of a limit; the shard may well be whole
            raise ShardError(f"cannot read {self._name(record.row)}: {error.strerror or error}") from None
        if got != len(record.target):
            raise _DamagedError(f"the file ends after {got} of its {len(record.target)} bytes")

    def _accept(self, record: Record, pixels: Pixels) -> None:
        """Checks what was read of a patch, and decodes it."""
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
            self._verified.add(record.row)

    def _replace(self, row: int, pixels: Pixels, what: str) -> None:
        """Reads another patch where one is damaged, or raises."""
        restore = how_to_restore(self.folder)
        message = f"{self._name(row)} is damaged: {what}"
        if self._on_damage == "raise":
            raise ShardError(f"{message}; {restore}")
        other = self._read_another(row, pixels)
        if other is None:
            raise ShardError(
                f"{message}, and no patch of its split and conditions can stand in for it; {restore}"
            )
        self.replaced[row] = other
        if len(self.replaced) > self._most_replaced:
            raise ShardError(
                f"{message}, and so are {self._most_replaced} others, which is as many as may be replaced; {restore}"
            )
        if len(self.replaced) == 1:
            warnings.warn(f"{message}; patch {other} stands in for it. {restore}", stacklevel=2)

    def _read_another(self, row: int, pixels: Pixels) -> int | None:
        for attempt in range(1, _ATTEMPTS + 1):
            other = self._stand_ins.row(row, attempt)
            if other == row:
                continue
            record = self._records(pixels[None], np.array([other]), np.array([0]))[0]
            try:
                self._load(record)
                self._accept(record, pixels)
            except _DamagedError:
                continue
            return other
        return None

    def _name(self, row: int) -> str:
        return f"patch {row} in {self.folder / self.manifest['shard'][row].as_py()}"
