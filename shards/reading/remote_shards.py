"""The files of a shard set in an object store, read by ranges and through a local cache."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from nlbs.errors import ShardError
from nlbs.remote import RemotePath
from nlbs.shards.format.container import pixels_name
from nlbs.shards.format.layout import SHARD_SET_JSON, how_to_restore
from nlbs.shards.format.manifest import read_manifest
from nlbs.shards.format.payload import channels_of
from nlbs.shards.format.verify import sha256_of
from nlbs.shards.reading.cache import Cache, default_bytes, default_folder
from nlbs.stores import store_of

BLOCK_BYTES = 1 << 20  #: what is fetched and kept: the patches beside a wanted one come in the same epoch
_BLOCKS_PER_REQUEST = 8

Integers = npt.NDArray[np.integer[Any]]


class RemoteShards:
    """Reads records of shards. Blocks of them are cached by dataset id and number of the shard.

    Equal ids mean equal bytes, so that what is cached never goes out of date.
    """

    rechecked = True  # it came over a network, or from a cache that others may write to

    def __init__(self, folder: RemotePath, info: Mapping[str, Any], cache_gb: float | None) -> None:
        self.folder, self._info = folder, info
        self.cache = Cache(default_folder(), default_bytes() if cache_gb is None else int(cache_gb * 1e9))
        self._id = str(info["dataset_id"])
        channels = channels_of(info["parameters"])
        self._shards = [
            (pixels_name(str(shard["name"]), channels), int(shard["bytes"])) for shard in info["shards"]
        ]

    def manifest(self) -> pa.Table:
        """Return the manifest by memory map. Raises ShardError: it is missing, damaged, or another set's."""
        described = self._info["manifest"]
        path = self.folder / str(described["name"])
        try:
            with self._local_manifest(path, str(described["sha256"])) as local:
                if sha256_of(local) != described["sha256"]:
                    raise ShardError(
                        f"the manifest {path} is damaged (its SHA-256 is not that of {SHARD_SET_JSON}); "
                        f"{how_to_restore(self.folder)}"
                    )
                return read_manifest(local, self._id, int(described["rows"]))
        except FileNotFoundError:
            raise ShardError(f"the manifest {path} is missing; {how_to_restore(self.folder)}") from None

    @contextmanager
    def _local_manifest(self, path: RemotePath, sha256: str) -> Iterator[Path]:
        """Return it from the cache where its SHA-256 is right there, else from the store, whatever it is like."""
        kept = self.cache.folder / "manifests" / f"{sha256}.arrow"
        if kept.is_file() and sha256_of(kept) == sha256:
            yield kept
            return
        with store_of(path).local_file(path) as scratch:
            if sha256_of(scratch) == sha256:
                self.cache.put(f"manifests/{sha256}.arrow", scratch.read_bytes())
            yield scratch

    def manifest_check(self, at_once: bool) -> None:
        """Do nothing: it was compared when it was read."""

    def mapped(self, sizes: Sequence[int], nbytes: int) -> None:
        """Return None: objects have no addresses."""

    def read_run(self, buffers: Sequence[memoryview], shard: int, offset: int) -> bool:
        """Return False: what is prefetched comes from the cache, record by record."""
        return False

    def close(self) -> None:
        """Do nothing: no file is open."""

    def prefetch(self, shards: Integers, offsets: Integers, sizes: Integers) -> None:
        """Fetch into the cache what is not there of some records, neighbouring blocks in one request.

        Args:
            shards, offsets, sizes: (n,) number of the shard, first byte and bytes of each record.
        """
        wanted = {
            (int(shard), block)
            for shard, offset, size in zip(shards, offsets, sizes, strict=True)
            for block in range(int(offset) // BLOCK_BYTES, -(-int(offset + size) // BLOCK_BYTES))
        }
        # What does not fit beside the rest of a batch would drive it out again: it is read record by record.
        most = self.cache.limit // (2 * BLOCK_BYTES)
        missing = [place for place in sorted(wanted)[:most] if self._find(*place) is None]
        store_of(self.folder).in_parallel(self._fetch, list(_runs(missing)))

    def read_record(self, target: memoryview, shard: int, offset: int, crc32c: int) -> int:
        """Fill ``target`` with the record at ``offset``; return how many bytes there were.

        What the cache gives is checked; where it is damaged it is dropped, and fetched anew.

        Raises:
            FileNotFoundError: the shard is gone.
        """
        end = offset + len(target)
        if self._from_cache(target, shard, offset) and google_crc32c.value(bytes(target)) == crc32c:
            return len(target)
        for block in range(offset // BLOCK_BYTES, -(-end // BLOCK_BYTES)):
            self.cache.discard(self._name(shard, block))
        data = (self.folder / self._shards[shard][0]).read_range(offset, end)[: len(target)]
        target[: len(data)] = data
        return len(data)

    def _from_cache(self, target: memoryview, shard: int, offset: int) -> bool:
        end = offset + len(target)
        for block in range(offset // BLOCK_BYTES, -(-end // BLOCK_BYTES)):
            path = self._find(shard, block)
            if path is None:
                return False
            start = block * BLOCK_BYTES
            first, last = max(offset, start), min(end, start + BLOCK_BYTES)
            try:
                with path.open("rb", buffering=0) as file:
                    file.seek(first - start)
                    if file.readinto(target[first - offset : last - offset]) != last - first:
                        return False
            except OSError:  # another process made room
                return False
        return True

    def _find(self, shard: int, block: int) -> Path | None:
        size = min(BLOCK_BYTES, self._shards[shard][1] - block * BLOCK_BYTES)
        return self.cache.find(self._name(shard, block), size)

    def _fetch(self, run: tuple[int, int, int]) -> None:
        shard, first, last = run
        name, size = self._shards[shard]
        end = min((last + 1) * BLOCK_BYTES, size)
        try:
            data = (self.folder / name).read_range(first * BLOCK_BYTES, end)
        except FileNotFoundError:
            return  # said where its record is read
        for block in range(first, last + 1):
            start = (block - first) * BLOCK_BYTES
            self.cache.put(self._name(shard, block), data[start : start + BLOCK_BYTES])

    def _name(self, shard: int, block: int) -> str:
        return f"{self._id}/{shard:05d}/{block:06d}"


def _runs(places: list[tuple[int, int]]) -> Iterator[tuple[int, int, int]]:
    """Yield (shard, first block, last block) of neighbouring blocks, a few at most together."""
    first = 0
    for index in range(1, len(places) + 1):
        shard, start = places[first]
        expected = (shard, start + index - first)
        if index == len(places) or places[index] != expected or index - first == _BLOCKS_PER_REQUEST:
            yield shard, start, start + index - first - 1
            first = index
