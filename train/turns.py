"""The turns of a model as the trainer takes them: what is frozen meanwhile, and the terms of all of them together."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from nlbs.models import registry
from nlbs.models.contract import Clock, GenerativeModel, Noise, Shapes, Trainable, Turn
from nlbs.models.family import ImageSpec
from nlbs.train.config import TrainConfig


def fresh_model(config: TrainConfig) -> GenerativeModel:
    """Return the model of a configuration with fresh weights, from torch's global generator, on its default device."""
    image = ImageSpec(config.data.channels, config.data.resolution)
    make = registry.family(config.family).make
    return make(config.model, image, config.schema, config.training.loss)


class TurnNetwork(nn.Module):
    """What a turn's pass goes through: DistributedDataParallel wraps it, and exchanges the gradients of the turn."""

    def __init__(self, model: Trainable, turn: Turn) -> None:
        """Take a model, and one of its turns."""
        super().__init__()
        self.model, self.turn = model, turn.name

    def forward(
        self, inputs: Any, conditions: dict[str, Tensor], noise: Noise, clock: Clock
    ) -> dict[str, Tensor]:
        """Return the terms of the turn."""
        return self.model.terms(self.turn, inputs, conditions, noise, clock)


def compile_in_place(model: nn.Module) -> None:
    """Compile what the passes of a model go through: itself where it has a forward of its own, else its networks.

    The names of the weights stay. What the terms of a loss do beside that is not compiled, as it depends on the clock;
    nor are single layers, each of which is one kernel already.
    """
    if type(model).forward not in (nn.Module.forward, nn.Sequential.forward):
        model.compile()
        return
    for part in model.children():  # torch.compile passes over lists of modules and a plain nn.Sequential
        if next(part.children(), None) is not None:
            compile_in_place(part)


@contextmanager
def only(turn: Turn, model: nn.Module, turns: Sequence[Turn]) -> Iterator[None]:
    """Freeze the weights of a model that are not of a turn; a model of a single turn is left as it is."""
    if len(turns) == 1:
        yield
        return
    own = {id(parameter) for parameter in turn.parameters}
    others = [parameter for parameter in model.parameters() if id(parameter) not in own]
    for parameter in others:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in others:
            parameter.requires_grad_(True)


def drawn(shapes: Shapes, count: int, device: torch.device, own: slice) -> list[Tensor]:
    """Return this process's part of the noise of ``count`` patches, from torch's global generator."""
    return [torch.randn(count, *shape, device=device)[own] for shape in shapes]


def names(turns: Sequence[Turn]) -> tuple[str, ...]:
    """Return the names of the terms of all turns: those of a single one, or "total" and ``TURN_NAME``."""
    if len(turns) == 1:
        return tuple(turns[0].terms)
    return ("total", *(f"{turn.name}_{term}" for turn in turns for term in turn.terms))


def together(turns: Sequence[Turn], terms: Mapping[str, Sequence[Mapping[str, float]]]) -> dict[str, float]:
    """Return the terms of all turns by :func:`names`; the total is the sum of theirs.

    Args:
        turns: of the model.
        terms: name of a turn -> the terms of each of its steps, whose means count.
    """
    means = [{term: _mean(step[term] for step in terms[turn.name]) for term in turn.terms} for turn in turns]
    if len(turns) == 1:
        return means[0]
    every = {
        f"{turn.name}_{term}": value
        for turn, found in zip(turns, means, strict=True)
        for term, value in found.items()
    }
    return {"total": sum(found["total"] for found in means), **every}


def _mean(values: Iterable[float]) -> float:
    first, *rest = values
    return (first + sum(rest)) / (1 + len(rest)) if rest else first
