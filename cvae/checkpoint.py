"""Checkpoints: weights as safetensors, with the model's configuration in the metadata. No pickles."""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load, save
from torch import Tensor

from nlbs import __version__
from nlbs.config import from_mapping
from nlbs.cvae.config import ModelConfig
from nlbs.cvae.model import ConditionalVAE
from nlbs.errors import CheckpointError, ConfigError
from nlbs.files import write_with

FORMAT_VERSION = 1

#: The one metadata key. safetensors orders several at random; one keeps the bytes the same.
_KEY = "nlbs_cvae"
_EXAMPLE = "runs/NAME/best_model.safetensors"
_HOW_TO_MEND = "take another checkpoint of the run, or train again"
_ZIP, _PICKLE = b"PK\x03\x04", b"\x80"


def save_checkpoint(path: Path, model: ConditionalVAE, metadata: Mapping[str, Any] | None = None) -> None:
    """Writes a model's weights, whole or not at all; the same model gives the same bytes.

    Args:
        path: the file, ``*.safetensors``.
        model: whose configuration goes into the metadata.
        metadata: JSON values to keep beside it: dataset id, step, validation loss.
    """
    values = {
        "format_version": FORMAT_VERSION,
        "nlbs_version": __version__,
        "model": dataclasses.asdict(model.config),
        "resolution": model.resolution,
        "training": dict(metadata or {}),
    }
    write_weights(path, model, _KEY, values)


def write_weights(path: Path, module: torch.nn.Module, key: str, values: Mapping[str, Any]) -> None:
    """Writes the weights of a module, and JSON values under one key of the metadata."""
    text = json.dumps(values, sort_keys=True, allow_nan=False)
    tensors = {name: tensor.detach().contiguous() for name, tensor in module.state_dict().items()}
    write_with(path, lambda file: file.write(save(tensors, {key: text})))


def load_checkpoint(path: Path, device: str | torch.device = "cpu") -> ConditionalVAE:
    """Gives the model of a checkpoint, in eval mode.

    Raises:
        CheckpointError: missing, damaged, not a checkpoint of ours, of another format version,
            of another architecture than its own metadata says, or with weights that are no numbers.
    """
    values, tensors = _read(path, str(device))
    try:
        config = from_mapping(ModelConfig, values["model"], f"the metadata of {path}")
        with torch.device("meta"):
            model = ConditionalVAE(config, int(values["resolution"]))
    except (ConfigError, KeyError, TypeError, ValueError, OverflowError, RuntimeError) as error:
        raise CheckpointError(f"{path} describes no model of ours ({error}); {_HOW_TO_MEND}") from None
    state = _fitting(path, model.state_dict(), tensors)
    model.load_state_dict(state, assign=True)
    return model.eval()


def read_metadata(path: Path) -> dict[str, Any]:
    """Gives what stands beside the weights: format_version, nlbs_version, model, resolution, training.

    Raises:
        CheckpointError: as :func:`load_checkpoint`.
    """
    values, _ = _read(path, device=None)
    return values


def check_weights(source: Path, model: torch.nn.Module, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Gives the weights that a model expects; they fit it and are numbers.

    Raises:
        CheckpointError: they do not; the message begins with ``source`` and names the tensor.
    """
    return _fitting(source, model.state_dict(), tensors)


def _read(path: Path, device: str | None) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Gives the metadata and, where a device is named, the tensors."""
    values, tensors = read_weights(path, _KEY, device, _EXAMPLE)
    if not isinstance(values.get("model"), dict):
        raise _no_description(path, _EXAMPLE)
    if values.get("format_version") != FORMAT_VERSION:
        raise CheckpointError(
            f"{path} has checkpoint format version {values.get('format_version')!r}, this nlbs-cvae reads "
            f"version {FORMAT_VERSION}: install the release that wrote it ({values.get('nlbs_version')})"
        )
    return values, tensors


def read_weights(
    path: Path, key: str, device: str | None, example: str
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Gives the JSON values under a key of the metadata and, where a device is named, the tensors.

    Raises:
        CheckpointError: missing, damaged, a pickle, or without such values; ``example`` names a right one.
    """
    _check_kind(path, example)
    try:
        metadata, tensors = _contents(path, device)
        text = metadata.get(key)
    except (SafetensorError, OSError) as error:
        raise CheckpointError(
            f"{path} is no complete safetensors file ({error}): it was cut off or damaged; {_HOW_TO_MEND}"
        ) from None
    try:
        values = json.loads(text or "null")
    except ValueError:
        values = None
    if not isinstance(values, dict):
        raise _no_description(path, example)
    return values, tensors


def _contents(path: Path, device: str | None) -> tuple[dict[str, str], dict[str, Tensor]]:
    """Gives the metadata of a safetensors file and, where a device is named, the tensors."""
    try:
        with safe_open(path, framework="pt", device=device or "cpu") as file:
            tensors = {} if device is None else {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            return file.metadata() or {}, tensors
    except SafetensorError:
        raise
    except OSError:  # no memory map on this file system (some FUSE): read as a whole
        data = path.read_bytes()
        tensors = {name: tensor.to(device or "cpu") for name, tensor in load(data).items()}
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])  # load has checked it
        return header.get("__metadata__", {}), {} if device is None else tensors


def _no_description(path: Path, example: str) -> CheckpointError:
    return CheckpointError(
        f"{path} holds weights but no description of an NLBS model; expected a file that nlbs-train "
        f"wrote, such as {example}"
    )


def _check_kind(path: Path, example: str) -> None:
    if not path.exists():
        raise CheckpointError(f"there is no checkpoint {path}; nlbs-train writes {example}")
    if not path.is_file():
        raise CheckpointError(f"{path} is no file; expected a checkpoint such as {example}")
    try:
        with path.open("rb") as file:
            start = file.read(9)
    except OSError as error:
        raise CheckpointError(f"cannot read the checkpoint {path}: {error.strerror}") from None
    # A safetensors file begins with 8 bytes of length, which may be anything, and then JSON.
    if start.startswith((_ZIP, _PICKLE)) and start[8:] != b"{":
        raise CheckpointError(
            f"{path} is a PyTorch pickle, which could run code when opened, so it was not opened; expected a "
            f"safetensors file such as {example}"
        )


def _fitting(source: Path, expected: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Gives the tensors that a model expects, checked one by one, in its dtypes."""
    for name in found.keys() - expected.keys():
        raise CheckpointError(f"{source} has a tensor {name!r} that the model does not have; {_HOW_TO_MEND}")
    state = {}
    for name, target in expected.items():
        if name not in found:
            raise CheckpointError(f"{source} lacks the tensor {name!r} of the model; {_HOW_TO_MEND}")
        tensor = found[name]
        if tensor.shape != target.shape:
            raise CheckpointError(
                f"{source} holds another model than expected: its tensor {name!r} has the shape "
                f"{_in_words(tensor)}, the model has {_in_words(target)}; {_HOW_TO_MEND}"
            )
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise CheckpointError(
                f"{source} is spoilt: its tensor {name!r} has values that are not finite (NaN or infinity); "
                f"{_HOW_TO_MEND}"
            )
        # A copy: safetensors maps the file, unaligned, and kernels round otherwise on unaligned data.
        state[name] = tensor.to(target.dtype, copy=True)
    return state


def _in_words(tensor: Tensor) -> str:
    return " x ".join(str(size) for size in tensor.shape) or "a single number"
