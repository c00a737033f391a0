"""The precision of a model's passes: autocast, and the loss scale that float16 needs."""

import torch
from torch import Tensor

from nlbs.train.config import TrainingConfig

#: The ways of training.precision.
PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def loss_scaler(config: TrainingConfig, device: torch.device) -> torch.amp.GradScaler:
    """Return the scaler of the loss: small gradients vanish in float16. It does nothing at other precisions."""
    return torch.amp.GradScaler(device.type, enabled=config.precision == "float16")


def passes(config: TrainingConfig, device: torch.device) -> torch.autocast:
    """Return the context of the passes of training and judging, whose loss is scaled where that is needed.

    A family leaves it for what has to be exact (:func:`nlbs.models.contract.full_precision`).
    """
    return torch.autocast(
        device.type, dtype=PRECISIONS[config.precision], enabled=config.precision != "float32"
    )


def autocast(config: TrainingConfig, device: torch.device) -> torch.autocast:
    """Return the context of passes whose loss no scaler scales: float32 where the run has float16."""
    kind = torch.bfloat16 if config.precision == "bfloat16" else torch.float32
    return torch.autocast(device.type, dtype=kind, enabled=kind != torch.float32)


def laid_out(config: TrainingConfig, pixels: Tensor) -> Tensor:
    """Return pixels (B, C, R, R) in the memory format of the run."""
    return pixels.contiguous(memory_format=torch.channels_last) if config.channels_last else pixels
