"""Learning rate and KL weight, as pure functions of the position in the run."""

import math
from collections.abc import Callable

from nlbs.train.config import LossConfig, TrainingConfig


def learning_rate(config: TrainingConfig, step: int, steps_per_epoch: int) -> float:
    """Gives the rate of a step counted from the start of the run.

    Cosine annealing (Eq. 5 of 1608.03983, without restarts) over all epochs; ``max_steps``
    does not shorten it, so that a run stopped there continues as if it had not been.
    """
    progress = min(1.0, step / (config.epochs * steps_per_epoch))
    drop = config.learning_rate - config.min_learning_rate
    rate = config.min_learning_rate + drop * (1 + math.cos(math.pi * progress)) / 2
    return rate * min(1.0, (step + 1) / (config.warmup_steps + 1))


def kl_weight(config: LossConfig, epoch: int) -> float:
    """Gives beta of an epoch: from 0 to ``kl_weight`` in ``kl_anneal_epochs``, by the way of ``kl_schedule``."""
    if not config.kl_anneal_epochs:
        return config.kl_weight
    return KL_SCHEDULES[config.kl_schedule](epoch / config.kl_anneal_epochs) * config.kl_weight


def linear(position: float) -> float:
    """Gives the share of the KL weight: a straight line from 0 to 1, then 1.

    ``position`` is the epoch over ``kl_anneal_epochs``, here and below.
    """
    return min(1.0, position)


def cyclical(position: float) -> float:
    """Gives the share in cycles (Eq. 6 of 1903.10145, R = 1/2): up a quarter of a sine in one half, 1 in the other.

    Each cycle begins at 0, where the latent may take up again what beta had pressed out of it.
    """
    return math.sin(math.pi / 2 * min(1.0, (position % 1.0) / _RISING))


def progressive(position: float) -> float:
    """Gives the share in stairs of equal length and height, 0, 1/4, 1/2, 3/4, then 1: time to settle on each."""
    return min(1.0, math.floor(position * _STAIRS) / _STAIRS)


_RISING = 0.5  #: of a cycle
_STAIRS = 4

#: The ways of training.loss.kl_schedule.
KL_SCHEDULES: dict[str, Callable[[float], float]] = {
    "linear": linear,
    "cyclical": cyclical,
    "progressive": progressive,
}
