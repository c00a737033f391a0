"""The exponential moving average of the weights."""

import copy
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor, nn

Model = TypeVar("Model", bound=nn.Module)


class Average(Generic[Model]):
    """Weights that follow those of a model. The first step sets them, each later one moves them by 1 - decay.

    Buffers are copied: BatchNorm's running statistics are averages already.
    """

    def __init__(self, model: Model, decay: float, warms_up: bool = False) -> None:
        """Makes an average that has seen no step yet.

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
        """Takes one more step of the model in."""
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
        """Gives what :meth:`restore` takes."""
        return {"model": self.model.state_dict(), "steps": self.steps}

    def restore(self, state: dict[str, Any]) -> None:
        """Goes back to where :meth:`state` was asked."""
        self.model.load_state_dict(state["model"])
        self.steps = int(state["steps"])
