"""The streaming trainer: reads shards, never DICOM."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nlbs.train.data.stream import Batch, PatchStream

__all__ = ["Batch", "PatchStream"]


def __getattr__(name: str) -> Any:
    """Import torch on first use only, so that ``--help`` of a command is instant."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from nlbs.train.data import stream

    return getattr(stream, name)
