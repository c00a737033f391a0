"""The files of a shard set on a file system, opened when they are first read."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nlbs.paths import AnyPath
from nlbs.shards.format.container import pixels_file
from nlbs.system_calls import open_regular, read_at

_OPEN_FILES = 256  # kept open per set: processes are often limited to 1024


class LocalShards:
    """Reads bytes of shards, from several threads at once, and after a fork: no read moves a position."""

    def __init__(self, folder: AnyPath, info: Mapping[str, Any]) -> None:
        self.paths = [str(pixels_file(folder, str(shard["name"]))) for shard in info["shards"]]
        self._files: dict[int, int] = {}

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
