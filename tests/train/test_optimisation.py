from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch.nn.utils import clip_grad_norm_

from nlbs.cvae import ConditionalVAE
from nlbs.cvae.objective import in_float32
from nlbs.models.device import quick_precision
from nlbs.train import setup as start
from nlbs.train.config import TrainingConfig
from nlbs.train.optimisation import Average, clip_gradients, learning_rate, passes, with_precision
from nlbs.train.run_folder import RunFolder
from nlbs.train.setup import build
from tests.conftest import some
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
    for name, value in some(expected.items()):
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
    for name, value in some(states[0].more["average"]["model"].items()):  # type: ignore[union-attr]
        assert torch.equal(value, states[1].more["average"]["model"][name]), name  # type: ignore[union-attr]
    assert metrics(tmp_path / "parts", "epoch")[-1] == metrics(tmp_path / "whole", "epoch")[-1]


def test_validation_judges_the_average(tmp_path: Path) -> None:
    train(tmp_path / "plain", MemoryShards())
    train(tmp_path / "ema", MemoryShards(), training={"ema_decay": 0.9})
    plain, average = (metrics(tmp_path / name, "epoch") for name in ("plain", "ema"))
    assert [row["train_total"] for row in plain] == [row["train_total"] for row in average]
    assert [row["val_total"] for row in plain] != [row["val_total"] for row in average]


@pytest.mark.parametrize("size", [1e-3, 1.0, 1e3, float("inf"), float("nan")])
def test_gradients_end_as_torch_clips_them(size: float) -> None:
    ours, theirs = ([torch.ones(3, 4, requires_grad=True), torch.ones(5, requires_grad=True)] for _ in "ab")
    torch.manual_seed(0)
    for a, b in zip(ours, theirs, strict=True):
        a.grad = torch.randn_like(a) * size
        b.grad = a.grad.clone()
    norm, expected = clip_gradients(ours, 1.0), clip_grad_norm_(theirs, 1.0)
    torch.testing.assert_close(norm, expected, rtol=0, atol=0, equal_nan=True)
    if torch.isfinite(expected):  # a step of others is not taken
        for a, b in some(zip(ours, theirs, strict=True)):
            assert a.grad is not None and b.grad is not None
            assert torch.equal(a.grad, b.grad)


def test_weights_without_a_gradient_are_left_out() -> None:
    still, moved = torch.ones(2, requires_grad=True), torch.ones(2, requires_grad=True)
    moved.grad = torch.tensor([3.0, 4.0])
    assert float(clip_gradients([still, moved], 1.0)) == 5.0
    assert still.grad is None
    torch.testing.assert_close(moved.grad, torch.tensor([0.6, 0.8]))


CODES = dict.fromkeys(
    ("view", "laterality", "age_bin", "cancer", "false_positive"), torch.zeros(2, dtype=torch.int64)
)


@pytest.mark.parametrize(("precision", "digits"), [("bfloat16", 0.05), ("float16", 0.01)])
def test_a_pass_in_half_precision_is_near_and_the_kl_of_its_latent_is_exact(
    precision: str, digits: float
) -> None:
    config = tiny_config(training={"precision": precision})
    model, _ = start.build(config, CPU)
    model.eval()
    pixels = 2 * torch.rand(2, 1, 16, 16, generator=torch.Generator().manual_seed(0)) - 1
    exact = model(pixels, CODES)
    with passes(config.training, CPU):
        near = model(pixels, CODES)
    near = in_float32(near)
    assert {value.dtype for value in near if value is not None} == {torch.float32}  # the guide has no scale
    assert not torch.equal(near.mu, exact.mu)
    torch.testing.assert_close(near.mu, exact.mu, atol=digits, rtol=digits)
    mu, logvar = near.mu.double(), near.logvar.double()
    expected = 0.5 * (mu**2 + logvar.exp() - logvar - 1).sum(1)
    torch.testing.assert_close(near.kl.double(), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "more",
    [
        {"precision": "bfloat16"},
        {"precision": "float16"},
        {"channels_last": True},
        {"optimizer": "adamw"},
        {
            "precision": "bfloat16",
            "accumulate": 2,
            "ema_decay": 0.9,
            "channels_last": True,
            "optimizer": "adamw",
        },
    ],
)
def test_a_run_resumes_to_the_bit_and_keeps_float32_weights(tmp_path: Path, more: dict[str, Any]) -> None:
    train(tmp_path / "whole", training=more)
    train(tmp_path / "parts", training=more | {"max_steps": 7})
    train(tmp_path / "parts", training=more)
    assert weights(tmp_path / "parts") == weights(tmp_path / "whole")
    kinds = {value.dtype for value in load_file(tmp_path / "whole" / "best_model.safetensors").values()}
    assert kinds <= {torch.float32, torch.int64}


def test_a_run_goes_on_at_the_precision_that_it_was_started_with(tmp_path: Path) -> None:
    """Whatever the machine is quickest in where it goes on; and one that is asked for is not changed."""
    auto = tiny_config(training={"precision": "auto"})
    assert RunFolder(tmp_path / "none").precision() is None
    here = with_precision(auto, CPU).training.precision
    assert here == quick_precision(CPU)
    other = "float32" if here == "bfloat16" else "bfloat16"
    run_folder = RunFolder(tmp_path / "run")
    run_folder.path.mkdir()
    run_folder.write_config(with_precision(auto, CPU, other))
    assert run_folder.precision() == other
    assert with_precision(auto, CPU, run_folder.precision()).training.precision == other
    asked = tiny_config(training={"precision": here})
    assert with_precision(asked, CPU, other) == asked
    assert with_precision(auto, CPU, "auto") == auto


def test_training_from_python_goes_on_at_its_precision_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    auto: dict[str, Any] = {"precision": "auto"}
    monkeypatch.setattr("nlbs.train.optimisation.quick_precision", lambda device: "bfloat16")
    train(tmp_path, training=auto | {"max_steps": 1})
    assert RunFolder(tmp_path).precision() == "bfloat16"
    monkeypatch.setattr("nlbs.train.optimisation.quick_precision", lambda device: "float32")
    train(tmp_path, training=auto | {"max_steps": 2})
    assert RunFolder(tmp_path).precision() == "bfloat16"


def test_a_run_that_says_auto_as_python_once_left_it_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    auto: dict[str, Any] = {"precision": "auto"}
    with monkeypatch.context() as before:
        before.setattr(start, "with_precision", lambda config, device, kept: config)
        train(tmp_path, training=auto | {"max_steps": 1})
    assert RunFolder(tmp_path).precision() == "auto"
    train(tmp_path, training=auto | {"max_steps": 2})
    assert [row["step"] for row in metrics(tmp_path, "train")][-1] == 2


def test_the_loss_scale_falls_where_gradients_overflow_and_is_kept(tmp_path: Path) -> None:
    half = {"precision": "float16", "loss": {"reconstruction_weight": 10.0}}
    train(tmp_path, training=half | {"max_steps": 8})
    skipped = metrics(tmp_path, "train")[-1]["skipped"]
    state = RunFolder(tmp_path).load_state(tiny_config(training=half), "id")
    assert skipped > 0
    assert state is not None
    assert state.more["scaler"]["scale"] == 2.0**16 / 2**skipped
    train(tmp_path / "parts", training=half | {"max_steps": 5})
    train(tmp_path / "parts", training=half | {"max_steps": 8})
    assert metrics(tmp_path / "parts", "train") == metrics(tmp_path, "train")


def test_the_memory_layout_changes_no_value_but_for_rounding(tmp_path: Path) -> None:
    train(tmp_path / "plain", training={"max_steps": 1})
    train(tmp_path / "last", training={"max_steps": 1, "channels_last": True})
    one, other = (metrics(tmp_path / name, "train")[0] for name in ("plain", "last"))
    assert other["total"] == pytest.approx(one["total"], rel=1e-5)
    assert other["grad_norm"] == pytest.approx(one["grad_norm"], rel=1e-4)


def test_adamw_shrinks_the_weights_beside_its_step(tmp_path: Path) -> None:
    config = tiny_config(training={"optimizer": "adamw", "weight_decay": 0.5, "learning_rate": 0.1})
    model, (optimizer,) = start.build(config, CPU)
    before = model.to_mu.bias.detach().clone()
    model.to_mu.bias.grad = torch.ones(4)
    optimizer.step()
    torch.testing.assert_close(model.to_mu.bias.detach(), before * (1 - 0.1 * 0.5) - 0.1)


def test_a_compiled_run_has_the_names_and_values_of_a_plain_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled = []

    def trace_only(self: ConditionalVAE) -> None:
        compiled.append(self)
        torch.nn.Module.compile(self, backend="eager")  # no C++ compiler needed

    monkeypatch.setattr(ConditionalVAE, "compile", trace_only)
    train(tmp_path / "plain", training={"max_steps": 2})
    assert not compiled
    train(tmp_path / "compiled", training={"max_steps": 1, "compile": True})
    train(tmp_path / "compiled", training={"max_steps": 2, "compile": True})
    assert len(compiled) == 2
    assert weights(tmp_path / "compiled") == weights(tmp_path / "plain")


def test_the_rate_is_that_of_torch_cosine_annealing() -> None:
    config = TrainingConfig(learning_rate=1e-4, min_learning_rate=1e-6, epochs=5)
    optimizer = torch.optim.Adam([torch.zeros(1, requires_grad=True)], lr=1e-4)
    reference = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=5 * 7, eta_min=1e-6)
    for step in range(5 * 7 + 1):
        assert learning_rate(config, step, steps_per_epoch=7) == pytest.approx(
            reference.get_last_lr()[0], rel=1e-9
        )
        optimizer.step()
        reference.step()
    assert learning_rate(config, 100, 7) == pytest.approx(1e-6)


def test_a_limit_of_steps_does_not_bend_the_rate() -> None:
    limited, free = (TrainingConfig(epochs=5, max_steps=limit) for limit in (3, None))
    assert [learning_rate(limited, s, 7) for s in range(9)] == [learning_rate(free, s, 7) for s in range(9)]


def test_a_warm_up_rises_to_the_cosine_in_even_steps() -> None:
    cold, warm = (TrainingConfig(epochs=100, warmup_steps=steps) for steps in (0, 4))
    shares = [learning_rate(warm, step, 7) / learning_rate(cold, step, 7) for step in range(7)]
    assert shares == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0, 1.0, 1.0])
