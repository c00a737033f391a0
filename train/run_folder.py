"""The run folder: what a training run leaves, and what it needs to continue exactly."""

import dataclasses
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click
import torch

from nlbs.config import read_yaml, write_yaml
from nlbs.errors import CheckpointError, ConfigError
from nlbs.files import atomic_file
from nlbs.json_text import parse_json
from nlbs.models.checkpoint import check_weights, save_checkpoint
from nlbs.models.contract import Clock, GenerativeModel
from nlbs.models.folder import BEST_MODEL, CONFIG
from nlbs.models.stages.stage import stages
from nlbs.system_calls import replace, sync
from nlbs.text import shown
from nlbs.train.config import RemovedOptionError, TrainConfig, train_config, without_removed
from nlbs.train.state import (
    check_progress,
    check_scaler,
    checked_counts,
    checked_moments,
    load_state,
    moments_of,
    section,
    tensor_bytes,
)
from nlbs.train.turns import fresh_model

STATE_VERSION = 1

#: What may change between the parts of a run, because no weight depends on it.
_FREE = {
    "training.max_steps",
    "training.max_minutes",
    "training.early_stop_epochs",
    "training.log_every_steps",
    "training.save_every_steps",
    "training.samples_every_steps",
    "data.mix",  # the id of a mixture holds the ratio of its shares
    "data.generation",  # it has an id of its own
    "data.verify",
    "data.on_damage",  # so that a run which damage has stopped can go on
}
_MAY_RISE = {"training.epochs"}

#: What last_state.pt holds.
_KEYS = {"state_version", "dataset_id", "config", "progress", "model", "optimizer"}

#: A state holds the weights, their average and two moments of each: no file of more than twice that is one.
_TIMES_THE_WEIGHTS = 8
_LONGEST_CONFIG = 1 << 20  #: characters; a real one has some thousand


@dataclass
class Progress:
    """Where a run is, and what it has seen."""

    steps_per_epoch: int
    epoch: int = 0  #: the one under way, from 0
    step: int = 0  #: batches of it that are done; steps_per_epoch: all, validation is next
    skipped: int = 0  #: steps that were not applied, because something was not finite
    skipped_in_row: int = 0
    best_loss: float | None = None
    best_epoch: int = 0  #: from 1; the epoch whose weights best_model.safetensors holds
    sums: dict[str, float] = field(default_factory=dict)  #: of each loss term over the epoch's batches
    seconds: float = 0.0  #: spent so far, in all parts of the run
    training_s: float = 0.0  #: of these in training epochs, without validation
    waited_s: float = 0.0  #: of these waiting for data, on the host; the mean over the processes

    @property
    def total_steps(self) -> int:
        """How many batches have been seen since the start."""
        return self.epoch * self.steps_per_epoch + self.step

    def steps_left(self, config: TrainConfig) -> int:
        """Return how many steps epochs and ``max_steps`` still allow."""
        every = config.training.epochs * self.steps_per_epoch
        return max(min(every, config.training.max_steps or every) - self.total_steps, 0)

    def done(self, config: TrainConfig) -> float:
        """The share of all epochs that is over; ``max_steps`` does not count, so that it can be changed."""
        return self.total_steps / max(config.training.epochs * self.steps_per_epoch, 1)

    def clock(self, config: TrainConfig) -> Clock:
        """Return what schedules are functions of."""
        return Clock(self.total_steps, self.steps_per_epoch, self.epoch, self.done(config))

    def is_finished(self, config: TrainConfig) -> bool:
        """Whether nothing is left to do; at the end of an epoch there is always its validation."""
        if self.step == self.steps_per_epoch:
            return False
        limit = config.training.max_steps
        if self.epoch >= config.training.epochs or (limit is not None and self.total_steps >= limit):
            return True
        return self.is_stopped_early(config)

    def has_no_epochs_left(self, config: TrainConfig) -> bool:
        """Whether the run has come to its own end: not that of ``max_steps``, which may be raised."""
        return self.epoch >= config.training.epochs or self.is_stopped_early(config)

    def is_stopped_early(self, config: TrainConfig) -> bool:
        """Whether the last ``early_stop_epochs`` epochs brought no better loss."""
        training = config.training
        # All conditions are to be told for as long, too.
        shares = max(len(training.condition_stages), 1)
        since = max(self.best_epoch, training.epochs * (shares - 1) / shares)
        return training.early_stop_epochs is not None and self.epoch - since >= training.early_stop_epochs


@dataclass(frozen=True)
class State:
    """What a run continues from."""

    progress: Progress
    model: dict[str, torch.Tensor]
    optimizers: list[dict[str, Any]]  #: of each turn of the model
    more: dict[str, Any]  #: what some runs have beside: average, scaler


class RunFolder:
    """The files of one run. Weights are safetensors; the state of training is read as data only."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config = path / CONFIG
        self.best_model = path / BEST_MODEL
        self.last_model = path / "last_model.safetensors"
        self.last_state = path / "last_state.pt"
        self.previous_state = path / "previous_state.pt"
        self.metrics = path / "metrics.jsonl"
        self.curve = path / "curve.png"
        self.samples = path / "samples"
        self.tensorboard = path / "tensorboard"

    def precision(self) -> str | None:
        """Return the precision that the run was started with; None where it is not started."""
        if not self.config.exists():
            return None
        training = read_yaml(self.config).get("training")
        found = training.get("precision") if isinstance(training, dict) else None
        return found if isinstance(found, str) else None

    def write_config(self, config: TrainConfig) -> None:
        """Write the resolved configuration."""
        with atomic_file(self.config, "w", encoding="utf-8") as file:
            file.write(write_yaml(config))

    def save_best(self, model: GenerativeModel, metadata: Mapping[str, Any]) -> None:
        """Write ``best_model.safetensors``. Raises CheckpointError where that fails."""
        with saving(self.best_model):
            save_checkpoint(self.best_model, model, metadata)

    def save_last(
        self,
        model: GenerativeModel,
        optimizers: Sequence[torch.optim.Optimizer],
        progress: Progress,
        config: TrainConfig,
        metadata: Mapping[str, Any],
        more: Mapping[str, Any] | None = None,
    ) -> None:
        """Write ``last_state.pt``, keeping the one before, and ``last_model.safetensors``.

        The state holds the weights too: one file, replaced in one step, can never disagree
        with itself.

        Raises:
            CheckpointError: the disk is full, or another fault of it; the files before are whole.
        """
        state = {
            "state_version": STATE_VERSION,
            "dataset_id": metadata["dataset_id"],
            "config": json.dumps(dataclasses.asdict(config)),
            "progress": dataclasses.asdict(progress),
            "model": model.state_dict(),
            **moments_of(optimizers, more or {}),
        }
        with saving(self.last_state), atomic_file(self.last_state) as file:
            torch.save(state, file)
            file.flush()
            sync(file.fileno())
            if self.last_state.exists():
                replace(self.last_state, self.previous_state)
        with saving(self.last_model):
            save_checkpoint(self.last_model, model, metadata)

    def load_state(
        self,
        config: TrainConfig,
        dataset_id: str,
        generations: Mapping[str, int] | None = None,
        steps_per_epoch: int | None = None,
    ) -> "State | None":
        """Return the state to continue from; None where there is none.

        Where the last state is damaged, the one before is taken, and a line says so.

        Args:
            config: resolved.
            dataset_id: of the shards.
            generations: what earlier generations of the shard set there are, by their ids.
            steps_per_epoch: of the run; None: what the state says.

        Raises:
            CheckpointError: none can be read.
            ConfigError: the run was made with other options or another shard set.
        """
        problems = []
        for path in (self.last_state, self.previous_state):
            if not os.path.lexists(path):
                continue
            try:
                state = self._checked_state(path, config, dataset_id, generations or {}, steps_per_epoch)
            except CheckpointError as error:
                problems.append(str(error))
                continue
            for problem in problems:
                click.echo(f"{problem}; taking {path.name} instead")
            return state
        if problems:
            raise CheckpointError(
                f"{self.path} cannot be continued: {'; '.join(problems)}; take another --run, or delete these "
                "files to start it anew"
            )
        return None

    def _checked_state(
        self,
        path: Path,
        config: TrainConfig,
        dataset_id: str,
        generations: Mapping[str, int],
        steps_per_epoch: int | None,
    ) -> "State":
        """Return what a file says, once everything in it is found right for the run.

        Raises:
            CheckpointError: it is damaged, or no state of such a model.
            ConfigError: the run was made with other options or another shard set.
        """
        with torch.device("meta"):
            model = fresh_model(config)
        values = _read_state(path, _TIMES_THE_WEIGHTS * tensor_bytes(model))
        before = _config_of(path, values)
        check_progress(path, values["progress"], Progress, before.training.epochs, None)
        self._check_same(values, before, config, dataset_id, generations)
        check_progress(path, values["progress"], Progress, config.training.epochs, steps_per_epoch)
        progress, more = Progress(**values["progress"]), values["more"]
        check_weights(path, model, values["model"])
        steps, applied = progress.total_steps, progress.total_steps - progress.skipped
        moments = checked_moments(path, values, model, applied, steps)
        if config.training.ema_decay is not None:
            average = section(path, more, "average", {"model", "steps"})
            check_weights(path, model, average["model"])
            checked_counts(path, "average", average, {"steps": steps})
        if config.training.precision == "float16":
            check_scaler(path, more.get("scaler"))
        return State(progress, values["model"], moments, more)

    def _check_same(
        self,
        state: Mapping[str, Any],
        config_before: TrainConfig,
        config: TrainConfig,
        dataset_id: str,
        generations: Mapping[str, int],
    ) -> None:
        if (was := state["dataset_id"]) != dataset_id:
            same = "give the same --shards"
            if was in generations:
                same = f"the set has grown since: give --generation {generations[was]}"
            raise ConfigError(
                f"{self.path} was trained on the shard set with id {was}, this one is {dataset_id}; {same} to "
                "continue it, or another --run"
            )
        later = {stage.section for stage in stages()}
        before, after = flat(dataclasses.asdict(config_before)), flat(dataclasses.asdict(config))
        for key in before | after:
            if key.split(".")[0] in later:
                continue  # they are fitted afterwards, and anew where their options change
            then: Any = before.get(key)
            now: Any = after.get(key)
            if then == now or key in _FREE or (key in _MAY_RISE and now > then):
                continue
            raise ConfigError(
                f"{self.path} was trained with {key} = {_in_words(then)}, now it is {_in_words(now)}; give the same "
                "options to continue it, or another --run to start anew"
            )


@contextmanager
def saving(path: Path) -> Iterator[None]:
    """Turn what goes wrong with a file that is being written into a CheckpointError that names it."""
    try:
        yield
    except (OSError, RuntimeError) as error:  # torch.save turns a full disk into a RuntimeError
        raise CheckpointError(
            f"cannot save {path} ({error}); make room and run the same command again, which continues "
            "from the checkpoint before"
        ) from None


def _in_words(value: Any) -> Any:
    """Return a value of a configuration for a message: of conditions, their names and kinds."""
    if isinstance(value, tuple | list) and value and all(isinstance(item, dict) for item in value):
        return ", ".join(f"{item['name']}:{item['kind']} ({len(item['values'])} values)" for item in value)
    return value


def _read_state(path: Path, most_bytes: int) -> dict[str, Any]:
    state = load_state(path, most_bytes)
    if (
        not isinstance(state, dict)
        or state.get("state_version") != STATE_VERSION
        or not state.keys() >= _KEYS
    ):
        raise CheckpointError(f"{path} is no state of a run in version {STATE_VERSION}")
    state = {"more": {}} | state
    if not isinstance(state["dataset_id"], str) or not isinstance(state["more"], dict):
        raise CheckpointError(f"{path} is spoilt: it does not say what it belongs to")
    return state


def _config_of(path: Path, state: Mapping[str, Any]) -> TrainConfig:
    """Return the options that a state was made with.

    Raises:
        CheckpointError: it holds none, or some that cannot be.
        RemovedOptionError: it was made with what this version no longer has.
    """
    text = state["config"]
    try:
        if not isinstance(text, str) or len(text) > _LONGEST_CONFIG:
            raise ConfigError("no text of options")
        values = parse_json(text)
        if not isinstance(values, dict):
            raise ConfigError("no options")
        return train_config(without_removed(values, str(path)), "its options")
    except RemovedOptionError:
        raise
    except (ConfigError, ValueError) as error:
        raise CheckpointError(
            f"{path} is spoilt, or of another version of nlbs-cvae: {shown(str(error))}"
        ) from None


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested sections as one: {"training.loss.kl_weight": 1.0, ...}."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            found |= flat(value, f"{prefix}{key}.")
        else:
            found[prefix + key] = value
    return found
