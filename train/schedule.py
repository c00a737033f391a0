"""The learning rate, as a pure function of the place in the run."""

import math

from nlbs.train.config import TrainingConfig


def learning_rate(config: TrainingConfig, step: int, steps_per_epoch: int) -> float:
    """Return the rate of a step counted from the start of the run.

    Cosine annealing (Eq. 5 of 1608.03983, without restarts) over all epochs; ``max_steps``
    does not shorten it, so that a run stopped there continues as if it had not been.
    """
    progress = min(1.0, step / (config.epochs * steps_per_epoch))
    drop = config.learning_rate - config.min_learning_rate
    rate = config.min_learning_rate + drop * (1 + math.cos(math.pi * progress)) / 2
    return rate * min(1.0, (step + 1) / (config.warmup_steps + 1))
