"""Which device a model runs on, and in which precision it is quick there."""

from typing import Literal

import torch

from nlbs.errors import ConfigError


def choose_device(name: str) -> torch.device:
    """Return the device of "cpu", "cuda", "mps" (the GPU of an Apple processor) or "auto" (CUDA where there is one).

    Raises:
        ConfigError: "cuda" or "mps" where there is none.
    """
    if name == "mps" and not torch.backends.mps.is_available():
        raise ConfigError(
            f"torch {torch.__version__} sees no GPU of an Apple processor: pass --device cpu, or auto for what there is"
        )
    if name in ("cpu", "mps"):
        return torch.device(name)
    available = torch.cuda.is_available()
    if name == "cuda" and not available:
        raise ConfigError(
            f"torch {torch.__version__} sees no CUDA device: pass --device cpu, or install a driver and a CUDA "
            "build of torch"
        )
    return torch.device("cuda" if available else "cpu")


def with_float64(device: torch.device) -> torch.device:
    """Return a device for sums in float64: the CPU in place of an Apple GPU, which has no such numbers."""
    return torch.device("cpu") if device.type == "mps" else device


def require_float64(device: torch.device, what: str) -> None:
    """Raise ConfigError where something cannot be computed on a device that has no float64."""
    if with_float64(device) != device:
        raise ConfigError(f"{what} computes in float64, which {device.type} has not: pass --device cpu")


Precision = Literal["auto", "float32", "bfloat16", "float16"]


def quick_precision(device: torch.device) -> Precision:
    """Return the precision that the passes of a model are quickest in, never "auto".

    A processor without instructions for bfloat16 (AVX512-BF16, AMX) imitates it, and is 1.5 to 4 times slower in it
    than in float32. CUDA cards have it from compute capability 8.0 on, and float16 from 7.0 on.
    """
    if device.type == "cuda":
        if torch.cuda.is_bf16_supported(including_emulation=False):
            return "bfloat16"
        return "float16" if torch.cuda.get_device_capability(device) >= (7, 0) else "float32"
    if device.type != "cpu":
        return "float32"
    # Private names: where a release of torch lacks them, the safe answer is float32.
    looks = (
        getattr(torch.cpu, name, None) for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    )
    return "bfloat16" if any(look is not None and look() for look in looks) else "float32"
