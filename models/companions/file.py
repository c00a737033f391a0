"""What is fitted to a trained model, on disk: ``best_model.KIND.safetensors`` beside ``best_model.safetensors``."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from nlbs.errors import CheckpointError
from nlbs.models.checkpoint import load_weights, read_description, write_weights
from nlbs.models.contract import GenerativeModel
from nlbs.text import shown

FORMAT_VERSION = 1


def weights_digest(model: nn.Module) -> str:
    """Return a SHA-256 of a network's weights, 64 hexadecimal digits: what is fitted to it belongs to just these."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def write_fitted(
    path: Path,
    kind: str,
    fitted: nn.Module,
    model: GenerativeModel,
    about: Mapping[str, Any],
    metadata: Mapping[str, Any] | None,
) -> None:
    """Write weights, whole or not at all; the same ones give the same bytes.

    Args:
        path: the file.
        kind: "flow" or "grain".
        fitted: to the model.
        model: whose weights the file belongs to.
        about: JSON values that say what it is.
        metadata: JSON values to keep beside it.
    """
    values = {
        "format_version": FORMAT_VERSION,
        **about,
        "model_digest": weights_digest(model),
        "fitting": dict(metadata or {}),
    }
    write_weights(path, fitted, _key(kind), values)


def read_fitted(path: Path, kind: str, model: GenerativeModel, fit_again: str) -> dict[str, Any]:
    """Return what the file says of what it holds.

    Args:
        path: the file.
        kind: "flow" or "grain".
        model: that it has to belong to.
        fit_again: what to do where it does not, in words.

    Raises:
        CheckpointError: missing, damaged, of another format version, or fitted to other weights.
    """
    values = read_description(path, _key(kind), _example(kind))
    if values.get("format_version") != FORMAT_VERSION:
        raise CheckpointError(
            f"{path} has {kind} format version {shown(values.get('format_version'))}, this nlbs-cvae reads version "
            f"{FORMAT_VERSION}: install the release that wrote it"
        )
    if values.get("model_digest") != weights_digest(model):
        raise CheckpointError(
            f"{path} was fitted to other weights than those of the checkpoint beside it; {fit_again}"
        )
    return values


def load_fitted(path: Path, kind: str, fitted: nn.Module, model: GenerativeModel) -> dict[str, Tensor]:
    """Return the weights that ``fitted``, which may lie on the meta device, expects of a file, on the model's device.

    Raises:
        CheckpointError: they do not fit, or are not finite.
    """
    return load_weights(path, fitted, model.device, _example(kind))


def fitting_of(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the metadata that :func:`write_fitted` was given, of what :func:`read_fitted` gives."""
    fitting = values.get("fitting")
    return fitting if isinstance(fitting, dict) else {}


def _key(kind: str) -> str:
    return f"nlbs_cvae_{kind}"


def _example(kind: str) -> str:
    return f"runs/NAME/best_model.{kind}.safetensors"
