"""The mixture of a model on disk: ``best_model.mixture.safetensors`` beside ``best_model.safetensors``."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from nlbs.cvae.config import MOST_COMPONENTS
from nlbs.cvae.fitted_file import load_fitted, read_fitted, write_fitted
from nlbs.cvae.mixture import LatentMixture
from nlbs.cvae.mixture_em import Parameters
from nlbs.cvae.model import ConditionalVAE
from nlbs.errors import CheckpointError
from nlbs.text import shown

_KIND = "mixture"
_FIT_AGAIN = "fit it again with nlbs-train --mixture-components, or draw with --sampler prior"


def save_mixture(
    path: Path, mixture: LatentMixture, model: ConditionalVAE, metadata: Mapping[str, Any] | None = None
) -> None:
    """Writes a mixture, whole or not at all; the same one gives the same bytes.

    Args:
        path: the file, ``*.mixture.safetensors``.
        mixture: fitted to the latents of the model.
        model: whose weights the file belongs to.
        metadata: JSON values to keep beside it.
    """
    write_fitted(path, _KIND, mixture, model, {"components": mixture.components}, metadata)


def load_mixture(path: Path, model: ConditionalVAE) -> LatentMixture:
    """Gives the mixture of a model, in eval mode, on its device.

    Raises:
        CheckpointError: missing, damaged, of another format version, or fitted to other weights.
    """
    return open_mixture(path, model)[0]


def open_mixture(path: Path, model: ConditionalVAE) -> tuple[LatentMixture, dict[str, Any]]:
    """Gives the same with the metadata that :func:`save_mixture` was given."""
    values = read_fitted(path, _KIND, model, _FIT_AGAIN)
    components, fitting = values.get("components"), values.get("fitting")
    if type(components) is not int or not 1 <= components <= MOST_COMPONENTS or not isinstance(fitting, dict):
        raise CheckpointError(
            f"{path} describes no mixture of ours ({shown(components)} components); {_FIT_AGAIN}"
        )
    shape = (components, model.config.latent_dim)
    with torch.device("meta"):  # the file says how many: no memory before it has them
        expected = LatentMixture(Parameters(torch.ones(components), torch.ones(shape), torch.ones(shape)))
    parameters = Parameters(**load_fitted(path, _KIND, expected, model))
    _check(path, parameters)
    return LatentMixture(parameters).eval(), fitting


def _check(path: Path, parameters: Parameters) -> None:
    total = float(parameters.weights.double().sum())
    if bool((parameters.weights < 0).any()) or abs(total - 1) > 1e-3:
        raise CheckpointError(
            f"{path} is spoilt: its weights are not shares of 1 (together {total:g}); {_FIT_AGAIN}"
        )
    if not bool((parameters.variances > 0).all()):
        raise CheckpointError(f"{path} is spoilt: some of its variances are not above 0; {_FIT_AGAIN}")
