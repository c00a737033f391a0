import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from nlbs.text import duration
from nlbs.train import log as log_module
from nlbs.train.data.feed import Feed
from nlbs.train.data.stream import PatchStream
from nlbs.train.log import Log, Pace, note_stage
from nlbs.train.run_folder import RunFolder
from tests.train.conftest import MemoryShards


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.4, "0 s"), (59.4, "59 s"), (185, "3 min 5 s"), (7629, "2 h 7 min")]
)
def test_a_duration_in_words(seconds: float, words: str) -> None:
    assert duration(seconds) == words


def test_rows_after_the_resumed_step_go_and_later_ones_follow(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    first = Log(run, 0)
    for step in range(1, 6):
        first.values("train", step, 0, {"total": 1.0 / step})
    first.close()
    with run.metrics.open("a") as file:
        file.write('{"kind": "tr')
    second = Log(run, 3)
    second.values("train", 4, 0, {"total": float("inf")})
    second.close()
    rows = [json.loads(line) for line in run.metrics.read_text().splitlines()]
    assert [row["step"] for row in rows] == [1, 2, 3, 4]
    assert rows[2]["total"] == 1 / 3
    assert rows[3]["total"] is None


def test_the_time_of_a_stage_is_a_row_that_stays_with_the_weights_it_was_fitted_to(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    note_stage(run, 6, "flow", 0, 1.23456)
    row = {"kind": "stage", "step": 6, "stage": "flow", "first": 0, "seconds": 1.235}
    Log(run, 6).close()
    assert [json.loads(line) for line in run.metrics.read_text().splitlines()] == [row]
    Log(run, 5).close()  # these weights are gone
    assert run.metrics.read_text() == ""


def test_without_a_terminal_a_line_appears_now_and_then(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    log = Log(RunFolder(tmp_path), 0)
    log.start_epoch("epoch 1/3", done=0, total=1000, batch_size=10)
    log.progress({"total": 0.5})
    assert capsys.readouterr().out == ""
    monkeypatch.setattr(log_module, "_LINE_EVERY_S", 0.0)
    log.progress({"total": 0.25, "kl": 3.0})
    log.close()
    said = capsys.readouterr().out
    assert said.startswith("epoch 1/3: 20 of 1,000 patches, ")
    assert "left in the run; total 0.25 kl 3" in said


def test_on_a_terminal_there_is_a_progress_bar_with_the_loss_terms(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    log = Log(RunFolder(tmp_path), 0)
    log.start_epoch("epoch 2/3", done=40, total=100, batch_size=20)
    log.progress({"total": 0.25, "kl": 3.0})
    log._bar.refresh()
    log.line("a checkpoint")
    log.close()
    captured = capsys.readouterr()
    assert "epoch 2/3:  60%" in captured.err
    assert "total 0.25 kl 3" in captured.err
    assert "a checkpoint" in captured.out


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
