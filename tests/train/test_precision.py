from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from nlbs.cvae import ConditionalVAE
from nlbs.cvae.objective import in_float32
from nlbs.train import start
from nlbs.train.precision import passes
from nlbs.train.run import RunFolder
from tests.train.conftest import tiny_config
from tests.train.test_loop import CPU, metrics, train, weights

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


def test_the_loss_scale_falls_where_gradients_overflow_and_is_kept(tmp_path: Path) -> None:
    half = {"precision": "float16", "loss": {"reconstruction_weight": 1e6}}
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
