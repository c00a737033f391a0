"""What the tests of the model share: one thread, and a model small enough to run at once."""

import torch
from torch import Tensor

from nlbs.cvae.config import DecoderConfig, EncoderConfig, ModelConfig
from tests.one_thread import one_thread  # noqa: F401  # a fixture


def tiny(skips: bool = False, **changes: object) -> ModelConfig:
    """Two blocks, 8 and 16 wide, 4 latents: for images of 16 x 16."""
    values = {
        "latent_dim": 4,
        "condition_embed_dim": 6,
        "encoder": EncoderConfig(channels=(8, 16), groups=8),
        "decoder": DecoderConfig(channels=(16, 8, 1), use_skip_connections=skips),
    }
    return ModelConfig(**(values | changes))  # type: ignore[arg-type]


def codes(view: object = 0, laterality: object = 0, age_bin: object = 0, cancer: object = 0,
          false_positive: object = 0) -> dict[str, Tensor]:  # fmt: skip
    """Condition codes; each an integer or a list of them."""
    given = {"view": view, "laterality": laterality, "age_bin": age_bin, "cancer": cancer}
    given["false_positive"] = false_positive
    return {name: torch.as_tensor(value).reshape(-1) for name, value in given.items()}
