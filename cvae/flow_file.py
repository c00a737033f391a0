"""The flow of a model on disk: ``best_model.flow.safetensors`` beside ``best_model.safetensors``."""

import dataclasses
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from nlbs.config import from_mapping
from nlbs.cvae.checkpoint import check_weights, read_weights, write_weights
from nlbs.cvae.config import FlowConfig
from nlbs.cvae.flow import LatentFlow
from nlbs.cvae.model import ConditionalVAE
from nlbs.errors import CheckpointError, ConfigError

FORMAT_VERSION = 1

_KEY = "nlbs_cvae_flow"
_EXAMPLE = "runs/NAME/best_model.flow.safetensors"


def weights_digest(model: ConditionalVAE) -> str:
    """Gives a SHA-256 of a model's weights, 64 hexadecimal digits: a flow belongs to just these."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def save_flow(
    path: Path, flow: LatentFlow, model: ConditionalVAE, metadata: Mapping[str, Any] | None = None
) -> None:
    """Writes a flow's weights, whole or not at all; the same flow gives the same bytes."""
    values = {
        "format_version": FORMAT_VERSION,
        "flow": dataclasses.asdict(flow.config),
        "model_digest": weights_digest(model),
        "fitting": dict(metadata or {}),
    }
    write_weights(path, flow, _KEY, values)


def load_flow(path: Path, model: ConditionalVAE) -> LatentFlow:
    """Gives the flow of a model, in eval mode, on its device.

    Raises:
        CheckpointError: missing, damaged, of another format version, or fitted to other weights.
    """
    device = next(model.parameters()).device
    values, tensors = read_weights(path, _KEY, str(device), _EXAMPLE)
    if values.get("format_version") != FORMAT_VERSION:
        raise CheckpointError(
            f"{path} has flow format version {values.get('format_version')!r}, this nlbs-cvae reads version "
            f"{FORMAT_VERSION}: install the release that wrote it"
        )
    if values.get("model_digest") != weights_digest(model):
        raise CheckpointError(
            f"{path} was fitted to other weights than those of the checkpoint beside it; fit it again with "
            "nlbs-train, or draw with --sampler prior"
        )
    try:
        flow = LatentFlow(from_mapping(FlowConfig, values["flow"], f"the metadata of {path}"), model).to(
            device
        )
    except (ConfigError, KeyError, TypeError) as error:
        raise CheckpointError(
            f"{path} describes no flow of ours ({error}); fit it again with nlbs-train"
        ) from None
    flow.load_state_dict(check_weights(path, flow, tensors))
    return flow.eval()
