"""The grain of a model on disk: ``best_model.grain.safetensors`` beside ``best_model.safetensors``."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from nlbs.errors import CheckpointError
from nlbs.models.companions.file import fitting_of, load_fitted, read_fitted, write_fitted
from nlbs.models.companions.grain import LEVELS, Grain, ring_count
from nlbs.models.contract import GenerativeModel

_KIND = "grain"
_MEASURE_AGAIN = "measure it again with nlbs-train, or draw with --no-grain"


def save_grain(
    path: Path, grain: Grain, model: GenerativeModel, metadata: Mapping[str, Any] | None = None
) -> None:
    """Writes a grain, whole or not at all; the same one gives the same bytes."""
    write_fitted(path, _KIND, grain, model, {}, metadata)


def load_grain(path: Path, model: GenerativeModel) -> Grain:
    """Gives the grain of a model, on its device.

    Raises:
        CheckpointError: missing, damaged, of another format version, or measured on other weights.
    """
    return open_grain(path, model)[0]


def open_grain(path: Path, model: GenerativeModel) -> tuple[Grain, dict[str, Any]]:
    """Gives the same with the metadata that :func:`save_grain` was given."""
    values = read_fitted(path, _KIND, model, _MEASURE_AGAIN)
    expected = Grain(torch.zeros(LEVELS), torch.zeros(ring_count(model.resolution)), model.resolution)
    state = load_fitted(path, _KIND, expected, model)
    if any(bool((tensor < 0).any()) for tensor in state.values()):
        raise CheckpointError(f"{path} is spoilt: it has strengths below 0; {_MEASURE_AGAIN}")
    grain = Grain(state["deviations"], state["gains"], model.resolution)
    return grain.eval(), fitting_of(values)
