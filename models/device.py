"""Which device a model runs on."""

import torch

from nlbs.errors import ConfigError


def choose_device(name: str) -> torch.device:
    """Return the device of "cpu", "cuda" or "auto" (CUDA where there is one).

    Raises:
        ConfigError: "cuda" where there is none.
    """
    available = torch.cuda.is_available()
    if name == "cuda" and not available:
        raise ConfigError(
            f"torch {torch.__version__} sees no CUDA device: pass --device cpu, or install a driver and a CUDA "
            "build of torch"
        )
    return torch.device("cuda" if available and name != "cpu" else "cpu")
