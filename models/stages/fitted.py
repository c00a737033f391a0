"""What stages fit to a trained model, and its file: ``best_model.STAGE.safetensors`` beside ``best_model.safetensors``.

What is trained keeps the contract of a model's turns (:class:`nlbs.models.contract.Trainable`), with latents in the
place of pixels; what is measured has no turn.
"""

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from nlbs.config import from_mapping
from nlbs.errors import CheckpointError, ConfigError
from nlbs.models.checkpoint import load_weights, read_description, write_weights
from nlbs.models.contract import Clock, Conditions, GenerativeModel, Noise, Trainable, Turn
from nlbs.models.stages.stage import Stage
from nlbs.text import shown

FORMAT_VERSION = 1


class Fitted(Trainable):
    """What a stage fits. One that is trained overrides turns, terms and, where it has a scale, begin."""

    config: Any = None

    @property
    def distort(self) -> float:
        """How often each way of distorting changes a patch that it learns from, and is told of.

        See :mod:`nlbs.models.distortion`.
        """
        return 0.0

    def turns(self) -> Sequence[Turn]:
        """Return what takes turns on each batch of latents; nothing, where it is measured."""
        return ()

    def terms(
        self, turn: str, inputs: Sequence[Tensor], conditions: Conditions, noise: Noise, clock: Clock
    ) -> dict[str, Tensor]:
        """Return the terms of a turn of latents (B, *shape) each, as ``infer`` gives them; see the contract."""
        raise NotImplementedError

    def begin(self, latents: Sequence[Tensor]) -> None:
        """Take a scale, as buffers, before the first step: of the latents of the first pool, (n, *shape) each."""

    def fault(self) -> str:
        """Return what is wrong with its numbers, in words; empty: nothing."""
        return ""


class Measure(Protocol):
    """Measures something on patches and what the model renders of them."""

    def add(self, real: Tensor, rendered: Tensor, share: float) -> None:
        """Take some of both, (B, C, R, R) in [-1, 1], once such a share of all has been taken; without a gradient."""
        ...

    def result(self) -> Fitted:
        """Return what came of all of them."""
        ...


def weights_digest(model: nn.Module) -> str:
    """Return a SHA-256 of a network's weights, 64 hexadecimal digits: what is fitted to it belongs to just these."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def save_stage(
    checkpoint: Path,
    stage: Stage,
    fitted: Fitted,
    model: GenerativeModel,
    metadata: Mapping[str, Any] | None = None,
) -> None:
    """Write what a stage has fitted beside a checkpoint, whole or not at all; the same weights give the same bytes.

    Args:
        checkpoint: of the model.
        stage: whose file it is.
        fitted: to the model.
        model: whose weights the file belongs to.
        metadata: JSON values to keep beside it.
    """
    values = {
        "format_version": FORMAT_VERSION,
        "model_digest": weights_digest(model),
        "fitting": dict(metadata or {}),
    }
    if stage.network:
        values[stage.kind] = dataclasses.asdict(fitted.config)
    write_weights(stage.path(checkpoint), fitted, _key(stage), values)


def load_stage(checkpoint: Path, stage: Stage, model: GenerativeModel) -> Any:
    """Return what a stage has fitted to the model of a checkpoint, in eval mode, on the model's device.

    Raises:
        CheckpointError: missing, damaged, of another format version, or fitted to other weights.
    """
    return open_stage(checkpoint, stage, model)[0]


def open_stage(checkpoint: Path, stage: Stage, model: GenerativeModel) -> tuple[Any, dict[str, Any]]:
    """Return the same with the metadata that :func:`save_stage` was given."""
    path, example = stage.path(checkpoint), f"runs/NAME/best_model.{stage.name}.safetensors"
    again = f"fit it again with nlbs-train, or {stage.instead}"
    values = read_description(path, _key(stage), example)
    if values.get("format_version") != FORMAT_VERSION:
        raise CheckpointError(
            f"{path} has {stage.kind} format version {shown(values.get('format_version'))}, this nlbs-cvae reads "
            f"version {FORMAT_VERSION}: install the release that wrote it"
        )
    if values.get("model_digest") != weights_digest(model):
        raise CheckpointError(
            f"{path} was fitted to other weights than those of the checkpoint beside it; {again}"
        )
    try:
        network = None
        if stage.network:
            network = from_mapping(stage.network, values[stage.kind], f"the metadata of {path}")
        with torch.device("meta"):
            expected = stage.make(network, model)
        weights = load_weights(path, expected, model.device, example)
        fitted = stage.make(network, model).to(model.device)
    except (ConfigError, KeyError, RuntimeError) as error:
        raise CheckpointError(f"{path} describes no {stage.words} of ours ({error}); {again}") from None
    fitted.load_state_dict(weights)
    if fault := fitted.fault():
        raise CheckpointError(f"{path} is spoilt: {fault}; {again}")
    fitting = values.get("fitting")
    return fitted.eval(), fitting if isinstance(fitting, dict) else {}


def _key(stage: Stage) -> str:
    return f"nlbs_cvae_{stage.kind}"
