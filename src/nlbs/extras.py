"""What the extra ``train`` installs, and what is said where that is missing. The data stage runs without it."""

import sys

#: Modules of its packages.
TRAIN = frozenset({"matplotlib", "safetensors", "tensorboard", "torch"})


def what_to_install(error: ModuleNotFoundError) -> str | None:
    """Return what to install so that a module is found; None where the extra does not have it."""
    package = (error.name or "").partition(".")[0]
    if package not in TRAIN:
        return None
    return (
        f"training, drawing and evaluating need the package {package}, which is not installed for {sys.executable}; "
        "what works without it is nlbs-preprocess and nlbs.open_shards. Install what is missing with: pip install "
        "'nlbs-cvae[train]'"
    )
