"""What a run will need up to its last file, looked at before its first step."""

import os
import shutil
from pathlib import Path

import torch

from nlbs.errors import ConfigError
from nlbs.models.contract import Denoises, GenerativeModel
from nlbs.models.device import require_float64
from nlbs.models.stages.fitted import Fitted
from nlbs.models.stages.stage import LatentTraining
from nlbs.train.config import TrainConfig
from nlbs.train.state import tensor_bytes
from nlbs.train.turns import fresh_model

_STATE = 4  #: in weights: they, their average and two moments
_GB = 1e9
_PASS = 1 / 3  #: of a training step: one pass forward, of that and twice as much backward


def check_needs(config: TrainConfig, device: torch.device) -> None:
    """Check before a model is made that it can be trained here, and that what is fitted afterwards goes with it.

    Raises:
        ConfigError: the model is too large for the device, or cannot have one of the stages.
    """
    model, _ = networks(config)
    if isinstance(model, Denoises):
        require_float64(device, f"the family {config.family}")
    _check_memory(model.num_parameters, 4 * sum(p.nbytes for p in model.parameters()), device)


def check_disk(config: TrainConfig, folder: Path) -> None:
    """Check that the checkpoints of a run fit on the disk of its folder, which is there.

    Raises:
        ConfigError: they do not.
    """
    model, stages = networks(config)
    weights = tensor_bytes(model)
    state = weights * (_STATE if config.training.ema_decay is not None else _STATE - 1)
    # The last state, the one before and a new one beside them for a moment; best and last weights; the stages.
    needed = 3 * state + 3 * weights + (_STATE + 1) * sum(tensor_bytes(stage) for stage in stages)
    usage = shutil.disk_usage(folder)
    there = sum(path.stat().st_size for path in folder.glob("*") if path.suffix in (".pt", ".safetensors"))
    if usage.total and needed - there > usage.free:
        raise ConfigError(
            f"the checkpoints of this run take {needed / _GB:,.2f} GB, and the disk of {folder} has "
            f"{usage.free / _GB:,.2f} GB left; make room, or choose another --run"
        )


def networks(config: TrainConfig) -> tuple[GenerativeModel, list[Fitted]]:
    """Return the model of a run and what its stages are to fit, without memory of their own.

    Raises:
        ConfigError: the model is too large for any machine, or cannot have one of the stages.
    """
    with torch.device("meta"):
        try:
            model = fresh_model(config)
        except RuntimeError:  # of sizes whose product has no number
            raise ConfigError(
                "the model is larger than any machine; take smaller widths or fewer latents"
            ) from None
        return model, [stage.fresh(options, model) for stage, options in config.stages]


def cost_of_stages(config: TrainConfig, steps_per_epoch: int) -> float:
    """Return about what the stages of a run take, in patches of an epoch; 0 where ``max_steps`` ends it before them.

    A pass without gradients is a third of a patch's training. A stage's own network costs as its share of the
    weights: at most that, as convolutions use each weight more often.
    """
    most = config.training.max_steps
    if not config.stages or (most is not None and most < config.training.epochs * steps_per_epoch):
        return 0.0
    model, fitted = networks(config)
    cost = 0.0
    for (_, options), network in zip(config.stages, fitted, strict=True):
        if isinstance(options, LatentTraining):
            share = network.num_parameters / model.num_parameters
            cost += options.patches * (_PASS / options.reuse + share)
        else:
            cost += options.patches * _PASS
    return cost


def _check_memory(parameters: int, needed: int, device: torch.device) -> None:
    there = _memory_of(device)
    if there is not None and needed > there:
        raise ConfigError(
            f"the model has {parameters:,} parameters: with gradients and moments these take {needed / _GB:,.1f} GB, "
            f"and {device} has {there / _GB:,.1f} GB in all; take smaller widths (model.encoder.channels) or fewer "
            "latents, or another preset"
        )


def _memory_of(device: torch.device) -> int | None:
    """Return the bytes of a device's memory; None where the system does not say."""
    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory)
    if device.type != "cpu" or not hasattr(os, "sysconf"):
        return None
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError):
        return None
