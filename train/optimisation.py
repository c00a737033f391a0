"""What goes on beside a step: learning rate, moving average, clipping, precision, loss scale."""

import copy
import math
from collections.abc import Iterable
from dataclasses import replace
from typing import Any, Generic, TypeVar, cast

import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_, clip_grads_with_norm_, get_total_norm

from nlbs.models.device import Precision, quick_precision
from nlbs.train.config import TrainConfig, TrainingConfig

Model = TypeVar("Model", bound=nn.Module)


class Average(Generic[Model]):
    """Weights that follow those of a model. The first step sets them, each later one moves them by 1 - decay.

    Buffers are copied: BatchNorm's running statistics are averages already.
    """

    def __init__(self, model: Model, decay: float, warms_up: bool = False) -> None:
        """Make an average that has seen no step yet.

        Args:
            model: whose weights it follows.
            decay: what each step keeps of it.
            warms_up: after n steps it keeps (1 + n) / (10 + n) at most, so that it soon forgets the first weights.
        """
        self.model: Model = copy.deepcopy(model).eval().requires_grad_(False)  #: with the averaged weights
        self.decay, self.warms_up = decay, warms_up
        self.steps = 0  #: on the host: torch's AveragedModel asks the device for it each step

    @torch.no_grad()
    def update(self, model: Model) -> None:
        """Take one more step of the model in."""
        mine: list[Tensor] = list(self.model.parameters())
        new: list[Tensor] = list(model.parameters())
        if self.steps == 0:
            torch._foreach_copy_(mine, new)
        else:
            decay = min(self.decay, (1 + self.steps) / (10 + self.steps)) if self.warms_up else self.decay
            torch._foreach_lerp_(mine, new, 1 - decay)
        for own, other in zip(self.model.buffers(), model.buffers(), strict=True):
            own.copy_(other)
        self.steps += 1

    def state(self) -> dict[str, Any]:
        """Return what :meth:`restore` takes."""
        return {"model": self.model.state_dict(), "steps": self.steps}

    def restore(self, state: dict[str, Any]) -> None:
        """Go back to where :meth:`state` was asked."""
        self.model.load_state_dict(state["model"])
        self.steps = int(state["steps"])


def clip_gradients(parameters: Iterable[Tensor], most: float) -> Tensor:
    """Scale gradients down to a norm where theirs is larger; return their norm before, a scalar.

    As torch's ``clip_grad_norm_`` to the bit, without its pass over gradients that need no scaling: where looking costs
    nothing, that is on a CPU.
    """
    weights = [weight for weight in parameters if weight.grad is not None]
    if not weights or weights[0].device.type != "cpu":
        return clip_grad_norm_(weights, most)
    norm = get_total_norm([weight.grad for weight in weights if weight.grad is not None])
    if bool(norm > most):
        clip_grads_with_norm_(weights, most, norm)
    return norm


#: The ways of training.precision.
PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def with_precision(config: TrainConfig, device: torch.device, kept: str | None = None) -> TrainConfig:
    """Return a configuration that says its precision: for "auto" what the run has so far, or what is quickest.

    Args:
        config: resolved.
        device: of the run.
        kept: the precision that the run was started with; None: it is not started.
    """
    # A folder that says "auto" is of a run that was started before training resolved it.
    if config.training.precision != "auto" or kept == "auto":
        return config
    # What a file says is checked where the configuration that is made of it is read.
    precision = cast(Precision, kept) if kept in PRECISIONS else quick_precision(device)
    return replace(config, training=replace(config.training, precision=precision))


def _precision(config: TrainingConfig, device: torch.device) -> str:
    return quick_precision(device) if config.precision == "auto" else config.precision


def loss_scaler(config: TrainingConfig, device: torch.device) -> torch.amp.GradScaler:
    """Return the scaler of the loss: small gradients vanish in float16. It does nothing at other precisions."""
    return torch.amp.GradScaler(device.type, enabled=_precision(config, device) == "float16")


def passes(config: TrainingConfig, device: torch.device) -> torch.autocast:
    """Return the context of the passes of training and judging, whose loss is scaled where that is needed.

    A family leaves it for what has to be exact (:func:`nlbs.models.contract.full_precision`).
    """
    precision = _precision(config, device)
    return torch.autocast(device.type, dtype=PRECISIONS[precision], enabled=precision != "float32")


def autocast(config: TrainingConfig, device: torch.device) -> torch.autocast:
    """Return the context of passes whose loss no scaler scales: float32 where the run has float16."""
    kind = torch.bfloat16 if _precision(config, device) == "bfloat16" else torch.float32
    return torch.autocast(device.type, dtype=kind, enabled=kind != torch.float32)


def laid_out(config: TrainingConfig, pixels: Tensor) -> Tensor:
    """Return pixels (B, C, R, R) in the memory format of the run."""
    return pixels.contiguous(memory_format=torch.channels_last) if config.channels_last else pixels


def learning_rate(config: TrainingConfig, step: int, steps_per_epoch: int) -> float:
    """Return the rate of a step counted from the start of the run.

    Cosine annealing (Eq. 5 of 1608.03983, without restarts) over all epochs; ``max_steps``
    does not shorten it, so that a run stopped there continues as if it had not been.
    """
    progress = min(1.0, step / (config.epochs * steps_per_epoch))
    drop = config.learning_rate - config.min_learning_rate
    rate = config.min_learning_rate + drop * (1 + math.cos(math.pi * progress)) / 2
    return rate * min(1.0, (step + 1) / (config.warmup_steps + 1))
