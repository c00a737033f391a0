"""A sampler as passes of a network: what something without torch, such as a page in a browser, does to draw patches.

Solvers are linear in the noise and in what the network says. So each is run once on unit vectors in their place, which
leaves a table: what each pass is given is a sum of the noise and of what earlier passes gave, each times a factor.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from nlbs.errors import ConfigError
from nlbs.models.contract import Conditions, Noise

#: What a pass makes of sums (B, n) at the time or the sigma of the pass, (B,), by conditions; (B, n).
Network = Callable[[Tensor, Tensor, Conditions], Tensor]
#: Solves from a start by a network that is asked with its input and the time or sigma, a number.
Solve = Callable[[Tensor, Callable[[Tensor, float], Tensor]], Tensor]


class Passes(NamedTuple):
    """From noise to what is finished; guided outside, as factors of passes are the same with other conditions."""

    network: Network
    levels: int  #: so many first ones of the noise, flat in a row, are the start
    at: list[float]  #: time or sigma of each pass
    inputs: list[list[float]]  #: of pass k, 1 + k factors: of the start, and of what each earlier pass gave
    result: list[float]  #: the factors of what is finished
    weak: Network | None = None  #: what autoguidance leads away from
    autoguidance: float = 1.0


class Portable(NamedTuple):
    """How patches are drawn without torch: passes, and what makes patches of what they lead to."""

    passes: Passes | None  #: None: it takes none, and nothing to guide by
    #: Patches (B, C, R, R) in [-1, 1] of what passes lead to (B, n), all noise and conditions.
    finish: Callable[[Tensor, Noise, Conditions], Tensor]


def recorded(solve: Solve) -> tuple[list[float], list[list[float]], list[float]]:
    """Return ``at``, ``inputs`` and ``result`` of :class:`Passes` for a solver that is linear."""
    at: list[float] = []
    inputs: list[list[float]] = []

    def count(x: Tensor, when: float) -> Tensor:
        at.append(when)
        return x

    solve(torch.ones(1, dtype=torch.float64), count)
    units = torch.eye(1 + len(at), dtype=torch.float64)

    def ask(x: Tensor, when: float) -> Tensor:
        inputs.append(x[: 1 + len(inputs)].tolist())
        return units[len(inputs)]

    return at, inputs, solve(units[0], ask).tolist()


def no_passes(sampler: str) -> ConfigError:
    """Return the error for a sampler whose draws need more than noise at the start."""
    return ConfigError(
        f"the sampler {sampler} takes other noise at each step, which cannot be done outside of torch; take "
        "--sampler dpm or ode"
    )
