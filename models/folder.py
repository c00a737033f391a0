"""One folder is one model: a run folder, or a copy of some of its files, that commands take as ``--checkpoint``.

The model is ``best_model.safetensors``, with its configuration, and one ``best_model.STAGE.safetensors`` for each stage
that was fitted to just these weights (:mod:`nlbs.models.stages`). Nothing else of the folder is looked at to draw or to
judge. Models of phantoms that come with the product stand in :data:`PRETRAINED`, and are known by their name alone. No
torch, so that commands start at once.
"""

import hashlib
import importlib.resources
from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path

from click.types import FuncParamType

from nlbs.errors import CheckpointError
from nlbs.paths import LOCAL_PATH
from nlbs.system_calls import open_regular

BEST_MODEL = "best_model.safetensors"
CONFIG = "config.yaml"  #: of its training; nothing is drawn by it
PRETRAINED = Path(str(importlib.resources.files("nlbs"))) / "pretrained"


def model_file(path: Path) -> Path:
    """Return the file with the weights of a model, of that file, of its folder, or of its name.

    Args:
        path: "tiny-phantom" is the model of that name in :data:`PRETRAINED`, where no file or folder is called so.

    Raises:
        CheckpointError: a folder without one, or what is nearly the name of one of :data:`PRETRAINED`.
    """
    if len(path.parts) == 1 and not path.exists():
        if (PRETRAINED / path).is_dir():
            path = PRETRAINED / path
        elif alike := get_close_matches(
            path.name, [one.name for one in PRETRAINED.iterdir() if one.is_dir()]
        ):
            raise CheckpointError(f"no file or model is called {path}; did you mean {alike[0]}?")
    if not path.is_dir():
        return path
    if not (path / BEST_MODEL).exists():
        raise CheckpointError(
            f"the folder {path} holds no {BEST_MODEL}, which nlbs-train writes into its run folder once weights are "
            "judged, at the end of an epoch; give the folder of such a run, or a checkpoint file"
        )
    return path / BEST_MODEL


def model_name(checkpoint: Path) -> str:
    """Return what to call a model in a title: the name of its folder, and of its file where that is not the best."""
    file = Path.cwd() / checkpoint
    return file.parent.name if file.name == BEST_MODEL else f"{file.parent.name}/{file.stem}"


def model_id(checkpoint: Path) -> str:
    """Return the first 16 digits of :func:`file_digest`."""
    return file_digest(checkpoint)[:16]


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file of a model, 64 hexadecimal digits.

    Raises:
        CheckpointError: it is no file that can be read.
    """
    try:
        descriptor = open_regular(path)
    except OSError as error:
        raise CheckpointError(f"cannot read {path} ({error.strerror}): remove it, or fit it again") from None
    with open(descriptor, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fitted_ids(files: Iterable[Path]) -> str:
    """Return the ids of files that are fitted to a checkpoint: "flow 0a1b..., grain 2c3d..."."""
    return ", ".join(f"{file.name.split('.')[-2]} {model_id(file)}" for file in files)


def _from_option(text: str) -> Path:
    path: Path = LOCAL_PATH.func(text)
    return model_file(path)


#: Type of the option --checkpoint.
CHECKPOINT = FuncParamType(_from_option)
CHECKPOINT.name = "path"
