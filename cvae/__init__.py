"""The conditional VAE: configuration, network, ladder, losses. What it shares with other families lies in models/."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nlbs.cvae.model import ConditionalVAE, ModelOutput, load_checkpoint
    from nlbs.models.checkpoint import read_metadata, save_checkpoint

__all__ = ["ConditionalVAE", "ModelOutput", "load_checkpoint", "read_metadata", "save_checkpoint"]

_OF_MODEL = ("ConditionalVAE", "ModelOutput", "load_checkpoint")


def __getattr__(name: str) -> Any:
    """Import torch on first use only, so that ``--help`` of a command is instant."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from nlbs.cvae import model
    from nlbs.models import checkpoint

    return getattr(model if name in _OF_MODEL else checkpoint, name)
