import time
from collections.abc import Iterator

import pytest
import torch

from nlbs.train.feed import Feed
from nlbs.train.pace import Pace
from nlbs.train.stream import PatchStream
from tests.train.conftest import MemoryShards


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[float]]:
    """A clock that a test turns."""
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    yield now


def test_an_epoch_has_its_rate_and_its_share_of_waiting_and_the_run_what_is_left(clock: list[float]) -> None:
    pace = Pace()
    pace.start_epoch(done=40, left_in_run=200)
    for _ in range(4):
        clock[0] += 5
        pace.add(10, waited_s=1)
    assert (pace.seen, pace.rate, pace.waiting) == (80, 2.0, 0.2)
    assert pace.left_s == 160 / 2
    pace.end_epoch()
    clock[0] += 20  # validation: the epoch's clock stands, the run's goes on
    assert (pace.rate, pace.waiting) == (2.0, 0.2)
    assert pace.left_s == 160
    pace.start_epoch(done=0, left_in_run=160)
    clock[0] += 1
    pace.add(10, waited_s=0)
    assert (pace.seen, pace.rate, pace.waiting) == (10, 10.0, 0.0)


def test_a_feed_counts_the_seconds_until_a_batch_comes(clock: list[float]) -> None:
    stream = PatchStream(MemoryShards(), batch_size=20)

    def slowly() -> Iterator[object]:
        for step in range(len(stream)):
            clock[0] += 3
            yield stream.read(0, step)

    feed = Feed(slowly(), torch.device("cpu"))  # type: ignore[arg-type]
    rows = []
    while (batch := feed.next()) is not None:
        clock[0] += 7
        rows.append(len(batch))
    assert rows == [20, 20]
    assert feed.waited_s == 6
