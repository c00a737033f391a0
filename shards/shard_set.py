"""An opened shard set: the manifest, the conditions, and batches of patches by row."""

import os
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import google_crc32c
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from nlbs.errors import ShardError
from nlbs.files import file_sizes
from nlbs.manifests.splits import SPLITS
from nlbs.paths import AnyPath, as_path
from nlbs.remote import RemotePath
from nlbs.shards.cache import Cache, default_bytes, default_folder
from nlbs.shards.container import CONTAINERS, PatchFormat, pixels_file, pixels_name
from nlbs.shards.layout import SHARD_SET_JSON, find_shard_set, how_to_restore, read_shard_set_json
from nlbs.shards.manifest import condition_codes, indices, read_manifest
from nlbs.shards.payload import DECODERS, Pixels
from nlbs.shards.remote_shards import RemoteShards, local_manifest
from nlbs.shards.verify import sha256_of
from nlbs.shards.where import select

Rows = npt.NDArray[np.int64]

_OPEN_FILES = 256  # kept open per set: processes are often limited to 1024
_THREADS = min(4, os.cpu_count() or 1)
_ROWS_PER_TASK = 16


def open_shards(
    path: str | AnyPath, generation: int | None = None, cache_gb: float | None = None
) -> "ShardSet":
    """Opens a shard set: its folder, or a dataset root that holds just one.

    Args:
        path: local, or in an object store: "s3://bucket/shards".
        generation: the set as it was after so many appends and one; None is as it is now.
        cache_gb: how much of remote shards is kept on the local disk, in gigabytes; 0 is nothing;
            None is ``$NLBS_CACHE_GB``, or else 20. They lie in ``~/.cache/nlbs-cvae`` or ``$NLBS_CACHE_DIR``.

    Raises:
        ObjectStoreError: the object store cannot be reached, or refuses.
        ShardError: nothing there, several to choose from, another format version, a missing or
            shortened shard, or a manifest that is damaged or another set's.
    """
    return ShardSet(find_shard_set(as_path(path)), generation, cache_gb)


class ShardSet:
    """A complete shard set on disk. Rows are rows of its manifest, counted from 0.

    May be read from several threads at once, after a fork, and pickled: it is then opened anew.
    """

    def __init__(self, folder: AnyPath, generation: int | None = None, cache_gb: float | None = None) -> None:
        """Opens the set in ``folder``. Raises ShardError as :func:`open_shards` does."""
        # Absolute, as files are opened when they are first read, perhaps from elsewhere.
        self.folder: AnyPath = folder.absolute()
        self.info: Mapping[str, Any] = read_shard_set_json(folder, generation)
        self._cache_gb = cache_gb
        self._remote: RemoteShards | None = None
        if isinstance(folder, RemotePath):
            limit = default_bytes() if cache_gb is None else int(cache_gb * 1e9)
            self._remote = RemoteShards(folder, self.info, Cache(default_folder(), limit))
        self.manifest: pa.Table = self._read_manifest()
        self._decode = DECODERS.get(self._format().compression)
        self._check_files()
        self._files: dict[int, int] = {}
        self._readers: tuple[int, ThreadPoolExecutor] | None = None
        self._verified = np.zeros(len(self), dtype=np.bool_)

    def __len__(self) -> int:
        """Gives the number of patches."""
        return int(self.manifest.num_rows)

    def __repr__(self) -> str:
        return f"ShardSet({str(self.folder)!r}, {len(self)} patches of {self.resolution}x{self.resolution})"

    @property
    def dataset_id(self) -> str:
        """A digest of all that went into the set: equal ids mean equal bytes."""
        return str(self.info["dataset_id"])

    @property
    def generation(self) -> int:
        """1 for a set as it was cut, one more for each append since."""
        return int(self.info.get("generation", 1))

    @property
    def parameters(self) -> Mapping[str, Any]:
        """What the set was cut with: resolution, stride, min_foreground, dtype, ..."""
        parameters: Mapping[str, Any] = self.info["parameters"]
        return parameters

    @property
    def resolution(self) -> int:
        """The edge of a patch in pixels."""
        return int(self.parameters["resolution"])

    @property
    def dtype(self) -> np.dtype[Any]:
        """uint8 or uint16."""
        return np.dtype(str(self.parameters["dtype"]))

    @property
    def compression(self) -> str:
        """What a patch is stored as: "none", "png" or "zstd"."""
        return PatchFormat.of(self.parameters).compression

    def rows(self, split: str | None = None, where: str | None = None) -> Rows:
        """Gives the rows of a split in the order of the manifest; all rows for None.

        Args:
            split: "train", "val" or "test".
            where: takes of these what the filter takes, such as ``"view == 'MLO' and cancer == 0"``; see
                :mod:`nlbs.shards.where`.

        Raises:
            ShardError: there is no split of that name.
            ConfigError: the filter cannot be read, or asks for what does not exist.
        """
        if split is not None and split not in SPLITS:
            raise ShardError(f"there is no split {split!r}; a shard set has {', '.join(SPLITS)}")
        taken = None if where is None else select(self.manifest, where)
        if split is not None:
            in_split = indices(self.manifest["split"]).to_numpy() == SPLITS.index(split)
            taken = in_split if taken is None else taken & in_split
        if taken is None:
            return np.arange(len(self), dtype=np.int64)
        return np.flatnonzero(taken).astype(np.int64)

    def shard_sizes(self, rows: Rows) -> npt.NDArray[np.int64]:
        """Gives how many of some rows, sorted, each shard holds, (shards,) int64."""
        shards = indices(self.manifest["shard"]).to_numpy()
        return np.bincount(shards[rows], minlength=len(self.info["shards"])).astype(np.int64)

    def conditions(self, rows: npt.ArrayLike | None = None) -> dict[str, npt.NDArray[np.int64]]:
        """Gives the condition codes of some rows, or of all.

        Returns:
            view, laterality, age_bin, cancer, false_positive -> (n,) int64, -1 where unknown.
        """
        chosen = slice(None) if rows is None else self._checked(rows)
        return {name: codes[chosen].astype(np.int64) for name, codes in self._codes.items()}

    def read(self, rows: npt.ArrayLike, out: Pixels | None = None) -> Pixels:
        """Gives the pixels of some rows, in the order asked.

        Args:
            rows: (n,) rows of the manifest, repeats allowed.
            out: (n, R, R) C-contiguous array of the set's dtype to fill; made when None.

        Returns:
            (n, R, R) uint8 or uint16.

        Raises:
            ShardError: a shard is missing or too short, or a patch does not match its checksum.
            IndexError: a row that the manifest does not have.
        """
        wanted = self._checked(rows)
        shape = (len(wanted), self.resolution, self.resolution)
        if out is None:
            out = np.empty(shape, dtype=self.dtype)
        elif out.shape != shape or out.dtype != self.dtype or not out.flags.c_contiguous:
            raise ValueError(f"out must be a C-contiguous {self.dtype} array of shape {shape}")
        shard, offset, nbytes, _ = self._places
        if self._remote is not None:
            self._remote.prefetch(shard[wanted], offset[wanted], nbytes[wanted])
        by_place = np.lexsort((offset[wanted], shard[wanted]))  # disks like to be read forwards
        tasks = [by_place[i : i + _ROWS_PER_TASK] for i in range(0, len(by_place), _ROWS_PER_TASK)]
        if len(tasks) <= 1:
            for task in tasks:
                self._fill(out, wanted, task)
            return out
        pool = self._pool()
        running = [pool.submit(self._fill, out, wanted, task) for task in tasks]
        wait(running)  # for all, so that none writes to out once this has returned or raised
        for future in running:
            future.result()
        return out

    def close(self) -> None:
        """Closes the files; the set opens them again when it is next read."""
        files, self._files = self._files, {}
        for descriptor in files.values():
            os.close(descriptor)

    def __enter__(self) -> "ShardSet":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        if hasattr(self, "_files"):
            self.close()

    def __getstate__(self) -> dict[str, Any]:
        return {"folder": self.folder, "generation": self.generation, "cache_gb": self._cache_gb}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]  # files and maps are opened anew per process

    @cached_property
    def _codes(self) -> dict[str, npt.NDArray[np.int8]]:
        return condition_codes(self.manifest)

    @cached_property
    def _places(self) -> tuple[npt.NDArray[Any], npt.NDArray[Any], npt.NDArray[Any], npt.NDArray[Any]]:
        columns = (
            indices(self.manifest["shard"]),
            *(self.manifest[c] for c in ("offset", "nbytes", "crc32c")),
        )
        shard, offset, nbytes, crc = (column.to_numpy() for column in columns)
        return shard, offset, nbytes, crc

    def _pool(self) -> ThreadPoolExecutor:
        """Gives the threads that read. A forked process has none of its parent's, so it makes its own."""
        if self._readers is None or self._readers[0] != os.getpid():
            self._readers = os.getpid(), ThreadPoolExecutor(_THREADS, thread_name_prefix="nlbs-read")
        return self._readers[1]

    def _checked(self, rows: npt.ArrayLike) -> Rows:
        given = np.atleast_1d(np.asarray(rows))
        if given.size and given.dtype.kind not in "iu":
            raise ValueError(
                f"rows must be row numbers, not {given.dtype}; of a mask, give np.flatnonzero(mask)"
            )
        wanted = given.astype(np.int64)
        if wanted.ndim != 1:
            raise ValueError(f"rows must be one list of row numbers, not an array of shape {wanted.shape}")
        if wanted.size and (wanted.min() < 0 or wanted.max() >= len(self)):
            raise IndexError(
                f"rows {wanted.min()}..{wanted.max()} do not lie in 0..{len(self) - 1} of {self}"
            )
        return wanted

    def _fill(self, out: Pixels, wanted: Rows, places: npt.NDArray[np.int64]) -> None:
        nbytes = self._places[2]
        for place in places:
            row = int(wanted[place])
            target = memoryview(out[place]).cast("B")
            if self._decode is None:
                if nbytes[row] != len(target):
                    raise ShardError(
                        self._damage(row, f"it has {nbytes[row]} bytes instead of {len(target)}")
                    )
                self._load(row, target)  # straight to where it is wanted
                continue
            stored = bytearray(nbytes[row])
            self._load(row, memoryview(stored))
            try:
                self._decode(stored, out[place])
            except ValueError as error:  # its bytes are what was written, but not what the set says
                raise ShardError(self._damage(row, str(error))) from None

    def _load(self, row: int, target: memoryview) -> None:
        """Reads what is stored of a patch, and checks it; of a local file the first time alone."""
        shard, offset, _, crc = self._places
        try:
            if self._remote is not None:
                got = self._remote.read_into(target, int(shard[row]), int(offset[row]), int(crc[row]))
            else:
                with self._opened(int(shard[row])) as file:
                    got = os.preadv(file, [target], int(offset[row]))
        except FileNotFoundError:
            raise ShardError(self._damage(row, "the file is gone")) from None
        except OSError as error:  # of the disk or of a limit; the shard may well be whole
            raise ShardError(f"cannot read {self._place(row)}: {error.strerror or error}") from None
        if got != len(target):
            raise ShardError(self._damage(row, f"the file ends after {got} of its {len(target)} bytes"))
        # What comes over a network, or from a cache that others may write to, is checked each time.
        if self._remote is not None or not self._verified[row]:
            if google_crc32c.value(bytes(target)) != crc[row]:
                raise ShardError(self._damage(row, "its checksum does not match"))
            self._verified[row] = True

    def _damage(self, row: int, what: str) -> str:
        return f"{self._place(row)} is damaged: {what}; {how_to_restore(self.folder)}"

    def _place(self, row: int) -> str:
        return f"patch {row} in {self.folder / self.manifest['shard'][int(row)].as_py()}"

    @contextmanager
    def _opened(self, shard: int) -> Iterator[int]:
        """Gives a descriptor of a shard: one that stays open, or, once there are many of these, one for now."""
        kept = self._files.get(shard)
        if kept is not None:
            yield kept
            return
        new = os.open(str(pixels_file(self.folder, self.info["shards"][shard]["name"])), os.O_RDONLY)
        # Another thread may have opened the same shard meanwhile; then that one is kept.
        if len(self._files) < _OPEN_FILES and self._files.setdefault(shard, new) == new:
            yield new
            return
        try:
            yield new
        finally:
            os.close(new)

    def _format(self) -> PatchFormat:
        found = PatchFormat.of(self.parameters)
        if found.compression not in CONTAINERS.get(found.container, ()):
            raise ShardError(
                f"{self.folder} holds {found.container} shards of compression {found.compression}, which this "
                "release does not read: install the release that wrote it"
            )
        return found

    def _check_files(self) -> None:
        sizes = file_sizes(self.folder, [pixels_name(shard["name"]) for shard in self.info["shards"]])
        for shard in self.info["shards"]:
            path, found = pixels_file(self.folder, shard["name"]), sizes.get(pixels_name(shard["name"]))
            if found != shard["bytes"]:
                state = "is missing" if found is None else f"has {found} bytes instead of {shard['bytes']}"
                raise ShardError(f"shard {path} {state}; {how_to_restore(self.folder)}")
        if self._remote is None:
            self._check_manifest(self._manifest_path)

    @property
    def _manifest_path(self) -> AnyPath:
        return self.folder / str(self.info["manifest"]["name"])

    def _read_manifest(self) -> pa.Table:
        expected = self.dataset_id, int(self.info["manifest"]["rows"])
        if self._remote is None:
            return read_manifest(self._manifest_path, *expected)
        try:
            with local_manifest(self._remote.folder, self.info, self._remote.cache) as path:
                self._check_manifest(path)
                return read_manifest(path, *expected)
        except FileNotFoundError:
            raise ShardError(
                f"the manifest {self._manifest_path} is missing; {how_to_restore(self.folder)}"
            ) from None

    def _check_manifest(self, path: AnyPath) -> None:
        if sha256_of(path) != self.info["manifest"]["sha256"]:
            raise ShardError(
                f"the manifest {self._manifest_path} is damaged (its SHA-256 is not that of {SHARD_SET_JSON}); "
                f"{how_to_restore(self.folder)}"
            )
