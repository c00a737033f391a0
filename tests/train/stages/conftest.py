"""What the tests of stages share: a run of a ladder of latents, trained once."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.train.test_loop import train

CPU = torch.device("cpu")
LADDER: dict[str, Any] = {
    "latent_dim": 16, "use_posterior_bias": False, "conditional_prior": True, "latent_in_film": True,
    "learned_scale": True,
    "decoder": {
        "channels": [16, 8, 1], "use_skip_connections": False, "stochastic_skips": [2, 1], "clean_head": True,
        "film_starts_neutral": True, "head_channels": 8,
    },
}  # fmt: skip


@pytest.fixture(scope="session")
def ladder_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run of a ladder of latents, not to be changed."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("ladder")
    train(folder, model=LADDER)
    return folder


@pytest.fixture
def run(ladder_run: Path, tmp_path: Path) -> Path:
    """A copy of that run."""
    return shutil.copytree(ladder_run, tmp_path / "run")
