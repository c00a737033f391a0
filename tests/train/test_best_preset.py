"""The preset auto: its presets are the product's, and small patches and processors get the small one."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from nlbs.train import launch
from nlbs.train.best_preset import LARGE, SMALL, best_preset
from nlbs.train.config import resolved_config


@pytest.mark.parametrize(
    ("resolution", "has_gpu", "preset", "size"),
    [(64, False, SMALL, 64), (64, True, SMALL, 64), (256, False, SMALL, 64), (32, True, SMALL, 32),
     (256, True, LARGE, 256), (512, True, LARGE, 256), (128, True, LARGE, 128), (200, True, LARGE, 192)],
)  # fmt: skip
def test_auto_is_what_patches_and_device_allow(
    resolution: int, has_gpu: bool, preset: str, size: int
) -> None:
    chosen = best_preset(resolution, has_gpu)
    assert (chosen.preset, chosen.resolution) == (preset, size)
    config = resolved_config(chosen.preset, None, {}, {"data": {"resolution": chosen.resolution}})
    assert config.data.resolution == size


def test_a_processor_is_told_what_it_could_have_in_hours() -> None:
    assert f"--preset {LARGE}" in best_preset(256, False).words
    assert "--preset" not in best_preset(64, False).words


def test_a_file_and_flags_stand_over_the_size_that_auto_chose() -> None:
    beneath = {"data": {"resolution": 64}}
    flags = {"data": {"resolution": 32}}
    assert resolved_config(SMALL, None, flags, beneath).data.resolution == 32


def test_a_card_names_what_auto_came_to_be() -> None:
    source: Any = SimpleNamespace(resolution=64)
    assert launch._named("auto", source, torch.device("cpu")) == f"auto: {SMALL}"
    assert launch._named("nlbs", source, torch.device("cpu")) == "nlbs"
