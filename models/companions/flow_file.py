"""The flow of a model on disk: ``best_model.flow.safetensors`` beside ``best_model.safetensors``."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from nlbs.config import from_mapping
from nlbs.errors import CheckpointError, ConfigError
from nlbs.models.companions.file import fitting_of, load_fitted, read_fitted, write_fitted
from nlbs.models.companions.flow import LatentFlow
from nlbs.models.companions.flow_config import FlowConfig
from nlbs.models.contract import GenerativeModel, encoding

_KIND = "flow"
_INSTEAD = "draw with --sampler prior"


def save_flow(
    path: Path, flow: LatentFlow, model: GenerativeModel, metadata: Mapping[str, Any] | None = None
) -> None:
    """Writes a flow's weights, whole or not at all; the same flow gives the same bytes."""
    about = {"flow": dataclasses.asdict(flow.config)}
    write_fitted(path, _KIND, flow, model, about, metadata)


def load_flow(path: Path, model: GenerativeModel, instead: str = _INSTEAD) -> LatentFlow:
    """Gives the flow of a model, in eval mode, on its device.

    Args:
        path: the file.
        model: that it has to belong to.
        instead: what to do without it, in words.

    Raises:
        CheckpointError: missing, damaged, of another format version, or fitted to other weights.
    """
    return open_flow(path, model, instead)[0]


def open_flow(
    path: Path, model: GenerativeModel, instead: str = _INSTEAD
) -> tuple[LatentFlow, dict[str, Any]]:
    """Gives the same with the metadata that :func:`save_flow` was given."""
    fit_again = f"fit it again with nlbs-train, or {instead}"
    values = read_fitted(path, _KIND, model, fit_again)
    try:
        config = from_mapping(FlowConfig, values["flow"], f"the metadata of {path}")
        latents = encoding(model, "a flow")
        with torch.device("meta"):
            expected = LatentFlow(config, latents)
        weights = load_fitted(path, _KIND, expected, model)
        flow = LatentFlow(config, latents).to(model.device)
    except (ConfigError, KeyError, RuntimeError) as error:
        raise CheckpointError(f"{path} describes no flow of ours ({error}); {fit_again}") from None
    flow.load_state_dict(weights)
    return flow.eval(), fitting_of(values)
