"""A stream that is watched: how long its batches are waited for."""

import time
from collections.abc import Iterator
from typing import Any

from nlbs.train.data.stream import Batch, PatchStream


class WatchedStream:
    """A stream that notes how long its batches are waited for, and that ends after some seconds."""

    def __init__(self, stream: PatchStream, seconds: float, warm_up: int = 2, fewest: int = 4) -> None:
        """Take a stream.

        Args:
            stream: gives the batches.
            seconds: how long it goes on, over the ends of epochs.
            warm_up: batches that come before, and count in nothing.
            fewest: batches that come whatever the time.
        """
        self._stream, self._seconds, self._left, self._fewest = stream, seconds, warm_up, fewest
        self._started: float | None = None
        self.batches = self.patches = 0  #: that were used up: the next one was asked for
        self.waited = self.seconds = 0.0  #: of ``seconds``, for batches

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def __len__(self) -> int:
        return len(self._stream)

    @property
    def is_over(self) -> bool:
        """Whether enough was seen."""
        return self.seconds >= self._seconds and self.batches >= self._fewest

    def __iter__(self) -> Iterator[Batch]:
        batches = iter(self._stream)
        while not self.is_over:
            asked = time.perf_counter()
            if self._started is None and not self._left:
                self._started = asked
            batch = next(batches, None)
            got = time.perf_counter()
            if self._started is not None:
                self.waited += got - asked
            if batch is None:
                return
            yield batch
            self._count(batch, time.perf_counter())
        batches.close()  # type: ignore[attr-defined]  # a generator, whose thread is to end

    def _count(self, batch: Batch, now: float) -> None:
        if self._started is None:
            self._left -= 1
            return
        self.batches += 1
        self.patches += len(batch.rows)
        self.seconds = now - self._started
