"""What the processes of a run compare before the first step: a difference would show as a hang, or not at all."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import torch

from nlbs import __version__
from nlbs.errors import ConfigError
from nlbs.train.config import TrainConfig
from nlbs.train.ranks.ranks import Ranks
from nlbs.train.run_folder import Progress, flat

_ADVICE = "start every process with the same command, the same release and the same shards"


def facts_of(ranks: Ranks, config: TrainConfig, dataset_id: str, patches: list[int]) -> dict[str, Any]:
    """Return what has to be the same before anything is loaded.

    Args:
        ranks: of the run.
        config: resolved.
        dataset_id: of the shards.
        patches: of the training and the validation split, after the filter.
    """
    return {
        "nlbs version": __version__,
        "torch version": torch.__version__,
        "world size": ranks.world_size,
        "dataset id": dataset_id,
        "training and validation patches": patches,
        **flat(dataclasses.asdict(config)),
    }


def place_of(progress: Progress) -> dict[str, Any]:
    """Return what has to be the same before the first step."""
    return {"epoch": progress.epoch, "step": progress.step, "steps per epoch": progress.steps_per_epoch}


def shake_hands(ranks: Ranks, facts: Mapping[str, Any]) -> None:
    """Compare facts over all processes.

    Raises:
        ConfigError: they differ; in every process, with what differs and where.
    """
    of_all = ranks.gather(dict(facts))
    names = list(dict.fromkeys(name for one in of_all for name in one))
    differing = [name for name in names if any(one.get(name) != of_all[0].get(name) for one in of_all)]
    if differing:
        raise ConfigError(
            f"the {ranks.world_size} processes of this run do not agree: "
            f"{'; '.join(_difference(name, of_all) for name in differing)}; {_ADVICE}"
        )


def _difference(name: str, of_all: list[dict[str, Any]]) -> str:
    """Return "dataset id is 1a in process 0, 2, and 3b in process 1"."""
    where: dict[str, list[str]] = {}
    for rank, facts in enumerate(of_all):
        where.setdefault(str(facts.get(name, "not known")), []).append(str(rank))
    return f"{name} is " + ", and ".join(
        f"{value} in process {', '.join(ranks)}" for value, ranks in where.items()
    )
