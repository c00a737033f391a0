"""What ends a run before its last epoch: the minutes that it has, and a loss that is no longer better."""

import time
from pathlib import Path
from typing import Any

import pytest

from nlbs.train.run_folder import Progress
from nlbs.train.validation import Judge
from tests.train.conftest import tiny_config
from tests.train.test_loop import metrics, train, weights


class Clock:
    """A clock on which every look is a second."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 1.0
        return self.now


def test_a_run_in_many_short_parts_equals_one_to_the_bit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    train(tmp_path / "whole")
    monkeypatch.setattr(time, "monotonic", Clock())
    stops = []
    for _ in range(30):
        progress = train(tmp_path / "parts", training={"max_minutes": 0.4})
        stops.append(progress.total_steps)
        if progress.is_finished(tiny_config()):
            break
        assert "0.4 minutes are over at step" in capsys.readouterr().out
    assert len(stops) > 2
    assert stops[-1] == 15
    assert weights(tmp_path / "parts") == weights(tmp_path / "whole")
    for name in ("train", "epoch"):
        assert metrics(tmp_path / "parts", name) == metrics(tmp_path / "whole", name)


def test_a_run_without_a_better_loss_ends_after_so_many_epochs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    losses = iter([3.0, 2.0, 2.5, 2.0, 1.0])

    def judged(self: Judge, *given: Any) -> dict[str, float]:
        return {"total": next(losses), "reconstruction": 0.0, "kl": 0.0, "edge": 0.0}

    monkeypatch.setattr(Judge, "judge", judged)
    stopping = {"epochs": 9, "early_stop_epochs": 2}
    progress = train(tmp_path, training=stopping)
    assert (progress.epoch, progress.best_epoch, progress.best_loss) == (4, 2, 2.0)
    assert "stopped early: no better loss in 2 epochs" in capsys.readouterr().out
    train(tmp_path, training=stopping)
    assert "is finished; raise --epochs or --max-steps or training.early_stop" in capsys.readouterr().out
    assert train(tmp_path, training={"epochs": 9, "early_stop_epochs": 3, "max_steps": 25}).epoch == 5


def test_patience_counts_epochs_since_the_best_or_the_start() -> None:
    config = tiny_config(training={"epochs": 50, "early_stop_epochs": 3})
    assert not Progress(5, epoch=6, best_epoch=4).is_finished(config)
    assert Progress(5, epoch=7, best_epoch=4).is_finished(config)
    assert Progress(5, epoch=3).is_finished(config)  # no loss was finite
    assert not Progress(5, epoch=7, best_epoch=4).is_finished(tiny_config(training={"epochs": 50}))
