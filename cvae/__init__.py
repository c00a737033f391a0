"""The conditional VAE: conditions, layers, model, losses, checkpoints."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nlbs.cvae.checkpoint import load_checkpoint, read_metadata, save_checkpoint
    from nlbs.cvae.model import ConditionalVAE, ModelOutput

__all__ = ["ConditionalVAE", "ModelOutput", "load_checkpoint", "read_metadata", "save_checkpoint"]

_MODEL = ("ConditionalVAE", "ModelOutput")


def __getattr__(name: str) -> Any:
    """Imports torch on first use only, so that ``--help`` of a command is instant."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from nlbs.cvae import checkpoint, model

    return getattr(model if name in _MODEL else checkpoint, name)
