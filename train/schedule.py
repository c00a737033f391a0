"""Learning rate and KL weight, as pure functions of the position in the run."""

import math

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
    """Gives beta of an epoch: from 0, linearly, to ``kl_weight`` after ``kl_anneal_epochs``."""
    share = min(1.0, epoch / config.kl_anneal_epochs) if config.kl_anneal_epochs else 1.0
    return share * config.kl_weight
