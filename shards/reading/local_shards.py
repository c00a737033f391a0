"""The files of a shard set on a file system, opened when they are first read."""

import contextlib
import os
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from nlbs.errors import ShardError
from nlbs.shards.format.container import pixels_file
from nlbs.shards.format.layout import SHARD_SET_JSON, how_to_restore
from nlbs.shards.format.manifest import read_manifest
from nlbs.shards.format.payload import channels_of
from nlbs.shards.format.verify import sha256_of
from nlbs.shards.reading.mapped_shards import MappedShards, can_be_mapped
from nlbs.system_calls import open_regular, read_at

_AT_ONCE_BYTES = 64 << 20  # a million patches, a tenth of a second; 10^8 patches would take many seconds
_OPEN_FILES = 256  # kept open per set: processes are often limited to 1024


class ManifestCheck:
    """Compares a local manifest with its SHA-256: a thread does where it is larger than 64 MiB."""

    def __init__(self, path: Path, sha256: str, at_once: bool = False) -> None:
        """Begin.

        Raises:
            ShardError: the manifest is damaged, and small; or it is to be known ``at_once``.
        """
        self._path, self._sha256 = path, sha256
        self._differs = False
        self._thread: threading.Thread | None = None
        if at_once or path.stat().st_size <= _AT_ONCE_BYTES:
            self._compare()
            self.refuse()
        else:
            self._thread = threading.Thread(target=self._compare, name="nlbs-manifest", daemon=True)
            self._thread.start()

    def refuse(self) -> None:
        """Raise ShardError where the manifest is known to be damaged."""
        if self._differs:
            raise ShardError(
                f"the manifest {self._path} is damaged (its SHA-256 is not that of {SHARD_SET_JSON}); "
                f"{how_to_restore(self._path.parent)}"
            )

    def wait(self) -> None:
        """Wait until it is known."""
        if self._thread is not None:
            self._thread.join()

    def _compare(self) -> None:
        with contextlib.suppress(OSError):  # a file that is gone by now is still mapped
            self._differs = sha256_of(self._path) != self._sha256


class LocalShards:
    """Reads bytes of shards, from several threads at once, and after a fork: no read moves a position."""

    rechecked = False  #: whether a patch is compared with its checksum whenever it is read

    def __init__(self, folder: Path, info: Mapping[str, Any], cache_gb: float | None) -> None:
        self._folder, self._info = folder, info
        self._manifest = folder / str(info["manifest"]["name"])
        channels = channels_of(info["parameters"])
        self.paths = [str(pixels_file(folder, str(shard["name"]), channels)) for shard in info["shards"]]
        self._files: dict[int, int] = {}

    def manifest(self) -> pa.Table:
        """Return the manifest by memory map. Raises ShardError: as :func:`read_manifest` does."""
        return read_manifest(
            self._manifest, str(self._info["dataset_id"]), int(self._info["manifest"]["rows"])
        )

    def manifest_check(self, at_once: bool) -> ManifestCheck | None:
        """Compare the manifest with its SHA-256. Raises ShardError: it is damaged, and known to be."""
        return ManifestCheck(self._manifest, str(self._info["manifest"]["sha256"]), at_once)

    def mapped(self, sizes: Sequence[int], nbytes: int) -> MappedShards | None:
        """Return the shards, of so many bytes, with records of ``nbytes`` by memory map, where that can be."""
        if can_be_mapped(self._folder, sizes):
            with contextlib.suppress(OSError):  # no addresses left: reading does without
                return MappedShards(self.paths, sizes, nbytes, self.descriptor)
        return None

    def prefetch(self, shards: Any, offsets: Any, sizes: Any) -> None:
        """Do nothing: the system reads ahead."""

    def read_run(self, buffers: Sequence[memoryview], shard: int, offset: int) -> bool:
        """Read neighbours in one go; say whether all came. If not, reading each one tells which is at fault."""
        try:
            return self.read_into(buffers, shard, offset) == sum(map(len, buffers))
        except OSError:
            return False

    def read_record(self, target: memoryview, shard: int, offset: int, crc32c: int) -> int:
        """Fill ``target`` with the record at ``offset``; return how many bytes there were. Raises as read_into does."""
        return self.read_into([target], shard, offset)

    def read_into(self, buffers: Sequence[memoryview], shard: int, offset: int) -> int:
        """Fill buffers, one after the other, with what stands from ``offset`` on; return how many bytes there were.

        Raises:
            FileNotFoundError: the shard is gone.
            OSError: the disk fails.
        """
        file = self._files.get(shard)
        if file is not None:
            return _fill(file, buffers, offset)
        new = open_regular(Path(self.paths[shard]))
        # Another thread may have opened the same shard meanwhile; then that one is kept.
        kept = len(self._files) < _OPEN_FILES and self._files.setdefault(shard, new) == new
        try:
            return _fill(new, buffers, offset)
        finally:
            if not kept:
                os.close(new)

    def descriptor(self, shard: int) -> int | None:
        """Return the file of a shard that was read before and is kept open; None where it is not."""
        return self._files.get(shard)

    def close(self) -> None:
        """Close the files; they are opened again when they are next read."""
        files, self._files = self._files, {}
        for descriptor in files.values():
            os.close(descriptor)


def _fill(file: int, buffers: Sequence[memoryview], offset: int) -> int:
    wanted = sum(map(len, buffers))
    got = more = read_at(file, buffers, offset)
    while more and got < wanted:  # less than asked is no end of the file: only nothing is
        more = read_at(file, _rest(buffers, got), offset + got)
        got += more
    return got


def _rest(buffers: Sequence[memoryview], filled: int) -> list[memoryview]:
    """Return what of the buffers follows their first ``filled`` bytes."""
    rest = []
    for buffer in buffers:
        if filled < len(buffer):
            rest.append(buffer[filled:])
        filled = max(0, filled - len(buffer))
    return rest
