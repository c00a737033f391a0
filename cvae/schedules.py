"""How the KL weight rises, as pure functions of the place in the run."""

import math
from collections.abc import Callable

from nlbs.cvae.config import LossConfig


def kl_weight(config: LossConfig, epoch: int) -> float:
    """Return beta of an epoch: from 0 to ``kl_weight`` in ``kl_anneal_epochs``, by the way of ``kl_schedule``."""
    if not config.kl_anneal_epochs:
        return config.kl_weight
    return KL_SCHEDULES[config.kl_schedule](epoch / config.kl_anneal_epochs) * config.kl_weight


def level_weights(config: LossConfig, levels: int, done: float) -> list[float]:
    """Return the factors of each level's KL where a share ``done`` of the run is over.

    High factors for the fine levels at the start leave it to the coarse ones to hold what they can; in the end
    all are 1, which is the likelihood's own weight.
    """
    if not config.level_weights:
        return [1.0] * levels
    way = min(1.0, done / config.level_share) if config.level_share else 1.0
    return [first + way * (1 - first) for first in config.level_weights]


def annealed(config: LossConfig, epoch: int, done: float) -> float:
    """Return beta: by the epochs (:func:`kl_weight`), or by the share of the run with ``kl_anneal_share``."""
    if config.kl_anneal_share is None:
        return kl_weight(config, epoch)
    return config.kl_weight * (min(1.0, done / config.kl_anneal_share) if config.kl_anneal_share else 1.0)


def kl_weights(config: LossConfig, levels: int, epoch: int, done: float) -> list[float]:
    """Return the KL weight of each level, in an epoch, where a share ``done`` of the run is over."""
    beta = annealed(config, epoch, done)
    return [beta * factor for factor in level_weights(config, levels, done)]


def linear(position: float) -> float:
    """Return the share of the KL weight: a straight line from 0 to 1, then 1.

    ``position`` is the epoch over ``kl_anneal_epochs``, here and below.
    """
    return min(1.0, position)


def cyclical(position: float) -> float:
    """Return the share in cycles (Eq. 6 of 1903.10145, R = 1/2): up a quarter of a sine in one half, 1 in the other.

    Each cycle begins at 0, where the latent may take up again what beta had pressed out of it.
    """
    return math.sin(math.pi / 2 * min(1.0, (position % 1.0) / _RISING))


def progressive(position: float) -> float:
    """Return the share in stairs of equal length and height, 0, 1/4, 1/2, 3/4, then 1: time to settle on each."""
    return min(1.0, math.floor(position * _STAIRS) / _STAIRS)


_RISING = 0.5  #: of a cycle
_STAIRS = 4

#: The ways of training.loss.kl_schedule.
KL_SCHEDULES: dict[str, Callable[[float], float]] = {
    "linear": linear,
    "cyclical": cyclical,
    "progressive": progressive,
}
