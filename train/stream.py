"""Batches of patches from a shard set: shuffled by a pure function, read ahead by a thread."""

import queue
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from nlbs.errors import ConfigError, ShardError
from nlbs.manifests.conditions import CONDITIONS, UNKNOWN
from nlbs.shards.order import permutation

Rows = npt.NDArray[np.int64]

_PREFETCH = 3  #: batches read ahead


class PatchSource(Protocol):
    """What a stream needs of :class:`nlbs.shards.ShardSet`."""

    @property
    def resolution(self) -> int: ...
    @property
    def dtype(self) -> np.dtype[Any]: ...
    def rows(self, split: str | None = None) -> Rows: ...
    def conditions(self, rows: npt.ArrayLike | None = None) -> dict[str, npt.NDArray[np.int64]]: ...
    def read(self, rows: npt.ArrayLike, out: Any = None) -> npt.NDArray[Any]: ...


@dataclass(frozen=True)
class Batch:
    """Some patches and what is known about them."""

    pixels: Tensor  #: (B, 1, R, R) uint8 or uint16, air = 0
    conditions: dict[str, Tensor]  #: condition -> (B,) int64 codes, -1 = unknown
    rows: Rows  #: (B,) int64, rows of the manifest
    epoch: int  #: the epoch it belongs to
    step: int  #: its place in the epoch, from 0


class PatchStream:
    """Batches of one split, epoch after epoch.

    Each pass of a ``for`` loop gives one epoch, from batch ``step`` of ``epoch`` on; after a
    whole pass the next one gives the next epoch. A loop that is left early changes nothing:
    the next one starts at the same place, unless :meth:`seek` moves it. The order is a pure
    function of (seed, epoch), so ``seek(batch.epoch, batch.step + 1)`` continues exactly.
    """

    def __init__(
        self,
        shards: PatchSource,
        batch_size: int = 64,
        seed: int = 0,
        split: str | None = "train",
        shuffle: bool = True,
        drop_last: bool = True,
        epoch: int = 0,
        step: int = 0,
        pin_memory: bool = False,
    ) -> None:
        """Opens a stream.

        Args:
            shards: an opened shard set.
            batch_size: patches per batch.
            seed: of the order.
            split: "train", "val", "test", or None for all patches.
            shuffle: another random order each epoch; False: the order of the manifest.
            drop_last: leave out the incomplete batch at the end (other patches each epoch);
                False: give it, so that each patch comes exactly once.
            epoch, step: where the first pass starts.
            pin_memory: put the pixels where a CUDA device copies them from without waiting.

        Raises:
            ShardError: the split is empty.
            ConfigError: the split does not fill one batch.
        """
        self.shards = shards
        self.batch_size = batch_size
        self.seed = seed
        self.split = split
        self.shuffle = shuffle
        self.drop_last = drop_last
        self.pin_memory = pin_memory
        self._rows = shards.rows(split)
        self._check_size()
        self.seek(epoch, step)

    def __len__(self) -> int:
        """Gives the number of batches in an epoch."""
        full, rest = divmod(len(self._rows), self.batch_size)
        return full if self.drop_last else full + (rest > 0)

    @property
    def num_patches(self) -> int:
        """How many patches the split has."""
        return len(self._rows)

    def seek(self, epoch: int, step: int = 0) -> None:
        """Lets the next pass start at batch ``step`` of ``epoch``."""
        if epoch < 0 or not 0 <= step <= len(self):
            raise ValueError(f"there is no batch {step} in epoch {epoch}; an epoch has {len(self)} batches")
        self.epoch, self.step = (epoch, step) if step < len(self) else (epoch + 1, 0)

    def batch_rows(self, epoch: int, step: int) -> Rows:
        """Gives the rows of the manifest that make one batch: a pure function."""
        start = step * self.batch_size
        places = np.arange(start, min(start + self.batch_size, len(self._rows)), dtype=np.int64)
        if self.shuffle:
            places = permutation(len(self._rows), self.seed, epoch, places)
        return self._rows[places]

    def read(self, epoch: int, step: int) -> Batch:
        """Gives one batch.

        Raises:
            ShardError: a shard is damaged, or a condition code is none of ours.
        """
        rows = self.batch_rows(epoch, step)
        codes = self.shards.conditions(rows)
        _check_codes(codes)
        conditions = {name: torch.from_numpy(codes[name]) for name in CONDITIONS}
        return Batch(self._pixels(rows).unsqueeze(1), conditions, rows, epoch, step)

    def __iter__(self) -> Iterator[Batch]:
        epoch, first = self.epoch, self.step
        yield from _read_ahead(self.read(epoch, step) for step in range(first, len(self)))
        self.seek(epoch + 1)

    def _pixels(self, rows: Rows) -> Tensor:
        shape = (len(rows), self.shards.resolution, self.shards.resolution)
        kind = torch.from_numpy(np.empty(0, self.shards.dtype)).dtype
        pixels = torch.empty(shape, dtype=kind, pin_memory=self.pin_memory)
        self.shards.read(rows, out=pixels.numpy())
        return pixels

    def _check_size(self) -> None:
        if not len(self._rows):
            raise ShardError(
                f"the shard set has no patches of the split {self.split!r}; choose another, or build a set "
                "with more patients"
            )
        if not len(self):
            raise ConfigError(
                f"the split {self.split!r} has {len(self._rows)} patches, not enough for one batch of "
                f"{self.batch_size}; take --batch-size {len(self._rows)} or less"
            )


def _check_codes(codes: dict[str, npt.NDArray[np.int64]]) -> None:
    """Refuses codes out of range: on a CUDA device they would end the process."""
    for name, count in CONDITIONS.items():
        wrong = codes[name][(codes[name] < UNKNOWN) | (codes[name] >= count)]
        if len(wrong):
            raise ShardError(
                f"the manifest has the code {wrong[0]} for {name}, expected -1 to {count - 1}: it is "
                "damaged; cut the shard set again"
            )


def _read_ahead(batches: Iterator[Batch]) -> Iterator[Batch]:
    """Gives what ``batches`` gives, computed up to ``_PREFETCH`` ahead by a thread.

    An error there is raised here. The thread ends when the caller drops this iterator.
    """
    ready: queue.Queue[Batch | BaseException | None] = queue.Queue(_PREFETCH)
    stopped = threading.Event()

    def work() -> None:
        end: BaseException | None = None
        try:
            for batch in batches:
                ready.put(batch)
                if stopped.is_set():
                    return
        except BaseException as error:  # raised again where it can be handled: in the main thread
            end = error
        ready.put(end)

    thread = threading.Thread(target=work, name="nlbs-stream", daemon=True)
    thread.start()
    try:
        while (item := ready.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        stopped.set()
        while thread.is_alive():  # make room for a put that waits
            while not ready.empty():
                ready.get_nowait()
            thread.join(timeout=0.05)
