"""Steps that are not finite: skipped, counted, and at last the end of the run."""

from pathlib import Path
from typing import Any

import pytest

from nlbs.cvae import ConditionalVAE
from nlbs.errors import NlbsError
from tests.train.test_loop import metrics, train, weights


class SometimesBad(ConditionalVAE):
    """A model whose output is not finite in chosen calls, counted while training."""

    bad: range = range(0)
    calls = 0

    def forward(self, pixels: Any, conditions: Any, noise: Any = None) -> Any:
        if self.training:
            type(self).calls += 1
            if type(self).calls - 1 in self.bad:
                pixels = pixels * float("nan")
        return super().forward(pixels, conditions, noise)


@pytest.fixture
def bad_model(monkeypatch: pytest.MonkeyPatch) -> type[SometimesBad]:
    SometimesBad.calls, SometimesBad.bad = 0, range(0)
    monkeypatch.setattr("nlbs.cvae.model.ConditionalVAE", SometimesBad)
    return SometimesBad


def test_steps_that_are_not_finite_are_skipped_and_counted(
    tmp_path: Path, bad_model: type[SometimesBad]
) -> None:
    bad_model.bad = range(1, 10)  # nine in a row
    progress = train(tmp_path, training={"max_steps": 10})
    assert (progress.skipped, progress.skipped_in_row) == (9, 9)
    rows = metrics(tmp_path, "train")
    assert [row["skipped"] for row in rows] == list(range(10))
    assert rows[1]["total"] is None
    bad_model.bad, bad_model.calls = range(0), 0
    train(tmp_path / "one", training={"max_steps": 1})
    # Nine skipped steps moved nothing: neither weights nor BatchNorm's statistics.
    assert weights(tmp_path) == weights(tmp_path / "one")


def test_ten_bad_steps_in_a_row_end_the_run_before_any_checkpoint_is_touched(
    tmp_path: Path, bad_model: type[SometimesBad]
) -> None:
    train(tmp_path, training={"epochs": 4, "max_steps": 5})
    before = {
        path.name: path.read_bytes() for path in tmp_path.iterdir() if path.suffix in (".pt", ".safetensors")
    }
    bad_model.bad = range(8, 100)
    with pytest.raises(
        NlbsError, match=r"10 steps in a row .* not finite \(epoch 4, step 18.*--learning-rate"
    ):
        train(tmp_path, training={"epochs": 4})
    after = {name: (tmp_path / name).read_bytes() for name in before}
    assert after["last_state.pt"] == before["last_state.pt"]
    assert ConditionalVAE.load_from_checkpoint(tmp_path / "best_model.safetensors")
