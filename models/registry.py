"""Which families of models there are: the one place that names them. Imports a family when it is asked for."""

import importlib
from pathlib import Path
from typing import TYPE_CHECKING

from nlbs.config import nearest
from nlbs.errors import CheckpointError, ConfigError
from nlbs.models.family import Family
from nlbs.text import shown

if TYPE_CHECKING:
    import torch

    from nlbs.models.contract import GenerativeModel
DEFAULT = "cvae"

#: name -> module whose ``FAMILY`` describes it
_MODULES = {
    "cvae": "nlbs.cvae.family",
    "diffusion": "nlbs.models.diffusion",
    "latent-diffusion": "nlbs.models.latent_diffusion",
    "vae": "nlbs.models.vae",
    "lsgan": "nlbs.models.lsgan",
    "gmvae": "nlbs.models.gmvae",
    "spatial-cvae": "nlbs.models.spatial_cvae",
    "spatial-mlp": "nlbs.models.spatial_mlp",
}


def register(name: str, module: str) -> None:
    """Add a family, or replace one: ``module`` holds a :class:`~nlbs.models.family.Family` named ``FAMILY``."""
    _MODULES[name] = module


def names() -> list[str]:
    """Return the names of all families."""
    return list(_MODULES)


def family(name: object) -> Family:
    """Return a family by its name.

    Raises:
        ConfigError: there is none of that name.
    """
    if not isinstance(name, str) or name not in _MODULES:
        advice = nearest(name, names()) if isinstance(name, str) else f"known: {', '.join(names())}"
        raise ConfigError(f"there is no family of models {shown(name)}; {advice}")
    found: Family = importlib.import_module(_MODULES[name]).FAMILY
    return found


def family_of_preset(preset: str) -> Family:
    """Return the family that has a preset.

    Raises:
        ConfigError: no family has one of that name.
    """
    every = [family(name) for name in names()]
    for one in every:
        if preset in one.presets:
            return one
    known = ["auto", *(name for one in every for name in one.presets)]
    raise ConfigError(f"there is no preset {preset!r}; {nearest(preset, known)}")


def load_checkpoint(path: Path, device: "str | torch.device" = "cpu") -> "GenerativeModel":
    """Return the model of a checkpoint, of whatever family, in eval mode.

    Raises:
        CheckpointError: missing, damaged, no checkpoint of ours, of another format version or of a family that is not
            known here, of another architecture than its own metadata says, or with weights that are no numbers.
    """
    from nlbs.models.checkpoint import load_model, read_metadata

    return load_model(path, read_metadata(path), family_of_checkpoint(path), device)


def family_of_checkpoint(path: Path) -> Family:
    """Return the family of the model of a checkpoint.

    Raises:
        CheckpointError: missing, damaged, no checkpoint of ours, or of a family that is not known here.
    """
    from nlbs.models.checkpoint import read_metadata

    try:
        return family(read_metadata(path).get("family", DEFAULT))
    except ConfigError as error:
        raise CheckpointError(f"{path} holds a model that this nlbs-cvae does not know: {error}") from None
