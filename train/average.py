"""The exponential moving average of the weights."""

import copy
from typing import Any

import torch
from torch import Tensor

from nlbs.cvae.model import ConditionalVAE


class Average:
    """Weights that follow those of a model. The first step sets them, each later one moves them by 1 - decay.

    Buffers are copied: BatchNorm's running statistics are averages already.
    """

    def __init__(self, model: ConditionalVAE, decay: float) -> None:
        """Makes an average that has seen no step yet."""
        self.model = copy.deepcopy(model).eval().requires_grad_(False)  #: with the averaged weights
        self.decay = decay
        self.steps = 0  #: on the host: torch's AveragedModel asks the device for it each step

    @torch.no_grad()
    def update(self, model: ConditionalVAE) -> None:
        """Takes one more step of the model in."""
        mine: list[Tensor] = list(self.model.parameters())
        new: list[Tensor] = list(model.parameters())
        if self.steps == 0:
            torch._foreach_copy_(mine, new)
        else:
            torch._foreach_lerp_(mine, new, 1 - self.decay)
        for own, other in zip(self.model.buffers(), model.buffers(), strict=True):
            own.copy_(other)
        self.steps += 1

    def state(self) -> dict[str, Any]:
        """Gives what :meth:`restore` takes."""
        return {"model": self.model.state_dict(), "steps": self.steps}

    def restore(self, state: dict[str, Any]) -> None:
        """Goes back to where :meth:`state` was asked."""
        self.model.load_state_dict(state["model"])
        self.steps = int(state["steps"])
