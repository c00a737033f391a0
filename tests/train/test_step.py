"""A step in parts is that of the whole batch, and continues to the bit."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from nlbs.cvae import ConditionalVAE
from nlbs.errors import ConfigError
from nlbs.train import setup as start
from nlbs.train.step import step_seed
from tests.train.conftest import MemoryShards, tiny_config
from tests.train.test_loop import CPU, metrics, train, weights

#: GroupNorm in every block: BatchNorm would see the parts.
GROUPS: dict[str, Any] = {"encoder": {"groups": 1}}


@pytest.mark.parametrize("parts", [2, 3, 8])
def test_a_step_in_parts_is_that_of_the_whole_batch(tmp_path: Path, parts: int) -> None:
    whole: dict[str, Any] = {"model": GROUPS, "training": {"max_steps": 1, "loss": {"kl_anneal_epochs": 0}}}
    divided = {**whole, "training": {**whole["training"], "accumulate": parts}}
    train(tmp_path / "whole", **whole)
    train(tmp_path / "parts", **divided)
    one, other = (metrics(tmp_path / name, "train")[0] for name in ("whole", "parts"))
    for name in ("total", "reconstruction", "kl", "edge", "grad_norm"):
        assert other[name] == pytest.approx(one[name], rel=1e-4), name
    before = dict(start.build(tiny_config(**whole), CPU)[0].state_dict())
    moved = load_file(tmp_path / "whole" / "last_model.safetensors")
    found = load_file(tmp_path / "parts" / "last_model.safetensors")
    name = "to_mu.weight"
    assert not torch.equal(moved[name], before[name])
    # Adam's first step is the sign of the gradient: where that is about 0, rounding decides.
    alike = torch.isclose(found[name], moved[name], atol=1e-5).float().mean()
    assert alike > 0.98


def test_parts_resume_to_the_bit(tmp_path: Path) -> None:
    parts = {"accumulate": 3}
    train(tmp_path / "whole", training=parts)
    train(tmp_path / "parts", training=parts | {"max_steps": 7})
    train(tmp_path / "parts", training=parts)
    assert weights(tmp_path / "parts") == weights(tmp_path / "whole")


def test_the_parts_take_the_rows_and_latents_of_the_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[int, torch.Tensor]] = []

    class Recording(ConditionalVAE):
        def forward(self, pixels: Any, conditions: Any, noise: Any = None) -> Any:
            if self.training:
                seen.append((len(pixels), noise))
            return super().forward(pixels, conditions, noise)

    monkeypatch.setattr("nlbs.cvae.model.ConditionalVAE", Recording)
    still = {"horizontal_flip": 0, "rotation_deg": 0, "brightness": 0, "contrast": 0, "noise": 0}
    train(tmp_path, MemoryShards(), training={"max_steps": 1, "accumulate": 3, "augment": still})
    assert [count for count, _ in seen] == [3, 3, 2]
    torch.manual_seed(step_seed(0, 0))
    assert torch.equal(torch.cat([noise for _, noise in seen]), torch.randn(8, 4))


def test_more_parts_than_patches_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"training.accumulate \(9\) is above data.batch_size \(8\)"):
        tiny_config(training={"accumulate": 9})
