"""The precision of the model's passes: autocast, and the loss scale that float16 needs."""

import torch
from torch import Tensor

from nlbs.cvae.losses import kl_divergence
from nlbs.cvae.model import ModelOutput
from nlbs.train.config import TrainingConfig

#: The ways of training.precision.
PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def loss_scaler(config: TrainingConfig, device: torch.device) -> torch.amp.GradScaler:
    """Gives the scaler of the loss: small gradients vanish in float16. It does nothing at other precisions."""
    return torch.amp.GradScaler(device.type, enabled=config.precision == "float16")


def autocast(config: TrainingConfig, device: torch.device) -> torch.autocast:
    """Gives the context of passes whose loss no scaler scales: float32 where the run has float16."""
    kind = torch.bfloat16 if config.precision == "bfloat16" else torch.float32
    return torch.autocast(device.type, dtype=kind, enabled=kind != torch.float32)


def forward(
    config: TrainingConfig,
    model: torch.nn.Module,
    pixels: Tensor,
    conditions: dict[str, Tensor],
    noise: Tensor | None = None,
) -> ModelOutput:
    """Gives a model's output in float32, from a pass in the precision and memory format of the run.

    The KL divergence is taken in float32 always: bfloat16 has three digits, and it sums exponentials.
    ``model`` is a ConditionalVAE, perhaps wrapped; the other arguments are those of its ``forward``.
    """
    more = () if noise is None else (noise,)
    if config.channels_last:
        pixels = pixels.contiguous(memory_format=torch.channels_last)
    if config.precision == "float32":
        output: ModelOutput = model(pixels, conditions, *more)
        return output
    with torch.autocast(pixels.device.type, dtype=PRECISIONS[config.precision]):
        output = model(pixels, conditions, *more)
    mu, logvar = output.mu.float(), output.logvar.float()
    reconstruction = output.reconstruction.float()
    if output.mu.dtype == torch.float32:  # a conditional prior: the model takes its divergences in float32
        return output._replace(reconstruction=reconstruction, mu=mu, logvar=logvar)
    kl = kl_divergence(mu, logvar)
    levels = torch.cat([kl[:, None], output.kl_levels[:, 1:]], dim=1)
    return ModelOutput(reconstruction, mu, logvar, levels.sum(dim=1), levels, output.scale)
