import time
from typing import Any

import pytest

from nlbs.train.data.stream import PatchStream
from nlbs.train.timed_stream import WatchedStream
from tests.train.conftest import MemoryShards


class Clock:
    """Time that passes only when a test lets it."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class SlowStream(PatchStream):
    """A stream whose every batch is waited for, 2 seconds each."""

    clock: Clock

    def __iter__(self) -> Any:
        for step in range(self.step, len(self)):
            self.clock.now += 2.0
            yield self.read(self.epoch, step)
        self.seek(self.epoch + 1)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(time, "perf_counter", made)
    return made


def test_waiting_and_working_are_told_apart_after_the_warm_up(clock: Clock) -> None:
    stream = SlowStream(MemoryShards(), batch_size=8)  # type: ignore[arg-type]  # 5 batches an epoch
    stream.clock = clock
    watched = WatchedStream(stream, seconds=24.0, warm_up=2, fewest=1)
    places = []
    while not watched.is_over:
        for batch in watched:
            places.append((batch.epoch, batch.step))
            clock.now += 4.0  # work
    assert places == [(0, step) for step in range(5)] + [(1, 0)]  # 2 of warm-up, then 4 of 6 seconds
    assert (watched.batches, watched.patches) == (4, 4 * 8)
    assert (watched.seconds, watched.waited) == (24.0, 8.0)


def test_few_batches_are_seen_whatever_the_time(clock: Clock) -> None:
    stream = SlowStream(MemoryShards(), batch_size=8)  # type: ignore[arg-type]
    stream.clock = clock
    watched = WatchedStream(stream, seconds=0.0, warm_up=1, fewest=3)
    assert len(list(watched)) == 4
    assert watched.batches == 3


def test_a_watched_stream_is_the_stream_besides(clock: Clock) -> None:
    stream = PatchStream(MemoryShards(), batch_size=8)  # type: ignore[arg-type]
    watched = WatchedStream(stream, seconds=1.0)
    watched.seek(3, 1)
    assert (stream.epoch, stream.step, len(watched), watched.batch_size) == (3, 1, 5, 8)
