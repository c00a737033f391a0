"""The files of a shard set in one piece of address space, so that the patches of a batch are copied in one go.

Only on file systems of this machine, and only what was read before, see docs/decisions/0012.
"""

import ctypes
import mmap
import os
import re
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nlbs.system_calls import memory_bytes

LOCAL_FILE_SYSTEMS = {
    "ext2", "ext3", "ext4", "xfs", "btrfs", "f2fs", "bcachefs", "zfs", "tmpfs", "ramfs", "overlay"
}  # fmt: skip

_MOST_SHARDS = 16384  # each is an area of its own, of which Linux allows 65530 in a process
_SHARE_OF_MEMORY = 0.5  # more than that is read from the disk again and again, which a read does better
_MAP_FIXED, _MAP_NORESERVE = 0x10, 0x4000  # of Linux, on every processor that torch runs on

Bytes = npt.NDArray[np.uint8]
Integers = npt.NDArray[np.integer[Any]]


class MappedShards:
    """Gives the bytes of all shards as one array that is copied from without a call per patch, and without the GIL."""

    def __init__(
        self,
        paths: Sequence[str],
        sizes: Sequence[int],
        nbytes: int,
        open_file: Callable[[int], int | None],
    ) -> None:
        """Reserve addresses; maps no file before it is used.

        Args:
            paths: of the shards.
            sizes: their bytes.
            nbytes: of a record.
            open_file: number of a shard -> a descriptor of it that stays open; None where there is none.

        Raises:
            OSError: there are not so many addresses.
        """
        self._paths, self._sizes, self._open_file = paths, sizes, open_file
        pages = [-(-size // mmap.PAGESIZE) * mmap.PAGESIZE for size in sizes]
        self._starts = np.concatenate([[0], np.cumsum(pages)]).astype(np.int64)
        flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | _MAP_NORESERVE
        self._bytes = np.frombuffer(
            mmap.mmap(-1, max(int(self._starts[-1]), 1), flags=flags, prot=0), np.uint8
        )
        shape = (max(0, len(self._bytes) - nbytes + 1), nbytes)
        #: (bytes, nbytes) row k is the record that would begin at byte k; only rows that places() gave may be read
        self.windows: Bytes = np.lib.stride_tricks.as_strided(self._bytes, shape, (1, 1), writeable=False)
        self._mapped: set[int] = set()
        self._lock = threading.Lock()

    def places(self, shards: Integers, offsets: Integers) -> npt.NDArray[np.int64] | None:
        """Return where records begin, as rows of ``windows``; None where a shard is not as long as it was.

        What is cut off a file that is mapped cannot be read: the process would end by a signal, SIGBUS.
        """
        for shard in set(shards.tolist()):
            if self._size(shard) != self._sizes[shard] or not (shard in self._mapped or self._map(shard)):
                return None
        return self._starts[shards] + offsets

    def _size(self, shard: int) -> int:
        file = self._open_file(shard)
        try:
            if file is not None:
                return os.lseek(
                    file, 0, os.SEEK_END
                )  # a third of what stat takes; nobody reads from the position
            return Path(self._paths[shard]).stat().st_size
        except OSError:
            return -1

    def _map(self, shard: int) -> bool:
        """Put a shard where its addresses are. Says whether it is there."""
        with self._lock:
            if shard in self._mapped:
                return True
            file = self._open_file(shard)
            try:
                # One of its own, as another thread may close that one.
                own = os.open(self._paths[shard], os.O_RDONLY) if file is None else os.dup(file)
            except OSError:
                return False
            address = self._bytes.ctypes.data + int(self._starts[shard])
            try:
                at = _libc().mmap(
                    address, self._sizes[shard], mmap.PROT_READ, mmap.MAP_SHARED | _MAP_FIXED, own, 0
                )
            finally:
                os.close(own)
            if at != address:
                return False
            self._mapped.add(shard)
            return True


def can_be_mapped(folder: Path, sizes: Sequence[int]) -> bool:
    """Return whether the shards of a folder may be read by a memory map: they are here, and fit the memory."""
    if not sys.platform.startswith("linux") or sys.maxsize < 2**32 or len(sizes) > _MOST_SHARDS:
        return False
    memory = memory_bytes()
    if memory is None:
        return False
    return sum(sizes) <= memory * _SHARE_OF_MEMORY and file_system_of(folder) in LOCAL_FILE_SYSTEMS


def file_system_of(path: Path, mounts: Path = Path("/proc/self/mountinfo")) -> str | None:
    """Return the kind of file system that a path is on, "ext4"; None where Linux does not say (proc(5))."""
    resolved, best, kind = path.resolve(), -1, None
    try:
        lines = mounts.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return None
    for line in lines:
        before, _, after = line.partition(" - ")
        point = Path(re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), before.split()[4]))
        # Of several at one point, the last covers the others.
        if resolved.is_relative_to(point) and len(point.parts) >= best:
            best, kind = len(point.parts), after.split()[0]
    return kind


def _libc() -> Any:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = ctypes.c_void_p
    libc.mmap.argtypes = [
        ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long
    ]  # fmt: skip
    return libc
