from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from nlbs.train.average import Average
from nlbs.train.run import RunFolder
from nlbs.train.start import build
from tests.train.conftest import MemoryShards, tiny_config
from tests.train.test_loop import CPU, metrics, train, weights

EMA: dict[str, Any] = {"ema_decay": 0.75}


def test_the_average_begins_at_the_first_step_and_forgets_a_quarter_per_step() -> None:
    model, _ = build(tiny_config(), CPU)
    average = Average(model, 0.75)
    bias, seen = model.to_mu.bias, []
    for value in (1.0, 5.0, -3.0):
        with torch.no_grad():
            bias.fill_(value)
        average.update(model)
        seen.append(average.model.to_mu.bias[0].item())
    assert seen == [1.0, 0.75 * 1 + 0.25 * 5, 0.75 * 2 + 0.25 * -3]
    other = Average(build(tiny_config(), CPU)[0], 0.75)
    other.restore(average.state())
    assert other.steps == 3
    assert torch.equal(other.model.to_mu.bias, average.model.to_mu.bias)


def test_a_run_keeps_the_average_of_its_weights_and_trains_as_without(tmp_path: Path) -> None:
    """Each step's weights, from runs that end there, averaged by hand."""
    expected: dict[str, torch.Tensor] = {}
    for step in (1, 2, 3):
        train(tmp_path / "plain", training={"max_steps": step})
        now = load_file(tmp_path / "plain" / "last_model.safetensors")
        kept = (
            {name: 0.75 * expected[name] + 0.25 * value for name, value in now.items()} if expected else now
        )
        expected = {name: now[name] if "running" in name or "num_b" in name else kept[name] for name in now}
    train(tmp_path / "ema", training={"max_steps": 3} | EMA)
    assert weights(tmp_path / "ema") == weights(tmp_path / "plain")
    best = load_file(tmp_path / "ema" / "best_model.safetensors")
    for name, value in expected.items():
        torch.testing.assert_close(best[name], value, rtol=1e-5, atol=1e-7, msg=name)


@pytest.mark.parametrize("stop", [1, 7])
def test_an_average_resumes_to_the_bit(tmp_path: Path, stop: int) -> None:
    train(tmp_path / "whole", training=EMA)
    train(tmp_path / "parts", training=EMA | {"max_steps": stop})
    train(tmp_path / "parts", training=EMA)
    assert weights(tmp_path / "parts") == weights(tmp_path / "whole")
    states = [
        RunFolder(tmp_path / name).load_state(tiny_config(training=EMA), "id") for name in ("parts", "whole")
    ]
    for name, value in states[0].more["average"]["model"].items():  # type: ignore[union-attr]
        assert torch.equal(value, states[1].more["average"]["model"][name]), name  # type: ignore[union-attr]
    assert metrics(tmp_path / "parts", "epoch")[-1] == metrics(tmp_path / "whole", "epoch")[-1]


def test_validation_judges_the_average(tmp_path: Path) -> None:
    train(tmp_path / "plain", MemoryShards())
    train(tmp_path / "ema", MemoryShards(), training={"ema_decay": 0.9})
    plain, average = (metrics(tmp_path / name, "epoch") for name in ("plain", "ema"))
    assert [row["train_total"] for row in plain] == [row["train_total"] for row in average]
    assert [row["val_total"] for row in plain] != [row["val_total"] for row in average]
