"""Conditions told in stages: few at first, all in the last share of a run (``training.condition_stages``).

All functions are of the step alone, so that every process, and a run that is continued, tells the same.
"""

from collections.abc import Mapping, Sequence

from torch import Tensor

from nlbs.manifests.conditions import UNKNOWN
from nlbs.models import conditioning
from nlbs.train.config import TrainConfig


def count_told(config: TrainConfig, step: int, steps_per_epoch: int) -> int:
    """Return how many conditions are told in a step, counted from 0; of several labels each counts."""
    stages = config.training.condition_stages
    if not stages:
        return len(config.schema.parts)
    place = step * len(stages) // (config.training.epochs * steps_per_epoch)
    return stages[min(place, len(stages) - 1)]


def told(
    conditions: Mapping[str, Tensor], config: TrainConfig, step: int, steps_per_epoch: int
) -> dict[str, Tensor]:
    """Return the conditions of a batch as they are told in a step: the others are unknown."""
    if not config.training.condition_stages:
        return dict(conditions)
    return conditioning.told(conditions, config.schema, count_told(config, step, steps_per_epoch))


def begin_stage(config: TrainConfig, step: int, steps_per_epoch: int) -> str:
    """Return a line where a stage begins with a step; else an empty one."""
    count = count_told(config, step, steps_per_epoch)
    before = count_told(config, step - 1, steps_per_epoch) if step else 0
    if not config.training.condition_stages or count == before:
        return ""
    parts = config.schema.parts
    return f"conditions: {count} of {len(parts)} told from step {step + 1:,} on, new {', '.join(parts[before:count])}"


def met(
    codes: Mapping[str, Sequence[int]], config: TrainConfig, step: int, steps_per_epoch: int
) -> dict[str, list[int]]:
    """Return of the codes that training patches have those that the model was told up to a step."""
    if not config.training.condition_stages:
        return {name: list(own) for name, own in codes.items()}
    schema, first = config.schema, config.schema.among_first(count_told(config, 0, steps_per_epoch))
    found = {}
    for name, known in schema.among_first(count_told(config, step, steps_per_epoch)).items():
        labels = schema[name].kind == "multilabel"
        new = {code for code in codes[name] if known and not (labels and code >= known)}
        if first[name] < len(schema[name].parts):
            new.add(UNKNOWN)
        found[name] = sorted(new)
    return found
