"""Whether a manifest is what was written: told before a set is opened, or, of a very large one, while it is read."""

import contextlib
import threading
from pathlib import Path

from nlbs.errors import ShardError
from nlbs.shards.format.layout import SHARD_SET_JSON, how_to_restore
from nlbs.shards.format.verify import sha256_of

_AT_ONCE_BYTES = 64 << 20  # a million patches, a tenth of a second; 10^8 patches would take many seconds


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
