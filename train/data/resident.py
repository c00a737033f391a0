"""All pixels of a split on the device, gathered into batches there: where they fit, no patch is read twice."""

import math
import sys
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from nlbs.errors import ConfigError
from nlbs.models.pixels import picked
from nlbs.system_calls import memory_bytes
from nlbs.train.data.stream import PatchStream

Rows = npt.NDArray[np.int64]
Choice = Literal["auto", "always", "never"]

_ROWS_AT_ONCE = 1024
_SHARE = 0.5  # of the free memory, that "auto" takes: the rest is for the model and its activations
_GB = 1e9


class ResidentPixels:
    """The pixels of some rows as one tensor on a device."""

    def __init__(self, source: Any, rows: Rows, device: torch.device) -> None:
        """Read them.

        Args:
            source: a shard set or a mixture.
            rows: (n,) sorted.
            device: where the tensor is to be.

        Raises:
            ShardError: a patch is damaged or missing.
        """
        self._rows = rows
        kind = torch.from_numpy(np.empty(0, source.dtype)).dtype
        shape = (len(rows), *source.patch_shape)
        self._pixels = torch.empty(shape, dtype=kind, device=device)
        for start in range(0, len(rows), _ROWS_AT_ONCE):
            part = rows[start : start + _ROWS_AT_ONCE]
            self._pixels[start : start + len(part)].copy_(torch.from_numpy(source.read(part)))

    def gather(self, rows: Rows) -> Tensor:
        """Return the pixels of some of the rows, (b, *patch_shape) on the device, a tensor of their own."""
        places = torch.from_numpy(np.searchsorted(self._rows, rows)).to(self._pixels.device)
        return picked(self._pixels, places)


def keep_on_device(stream: PatchStream, choice: Choice, device: torch.device) -> bool:
    """Put the pixels of a stream on the device, where that is wanted and they fit; its batches then lie there.

    Rows, order, conditions and pixels stay what they are. Reads the whole split at once.

    Args:
        stream: of any split.
        choice: "always"; "never"; "auto": where the device is no CPU and half of its free memory holds them.
        device: of the model.

    Returns:
        Whether they are there now.

    Raises:
        ConfigError: "always", and they do not fit.
        ShardError: a patch is damaged or missing.
    """
    if choice == "never" or (choice == "auto" and device.type == "cpu"):
        return False
    source = stream.shards
    needed = stream.num_patches * math.prod(source.patch_shape) * source.dtype.itemsize
    free = free_memory(device)
    if choice == "auto" and needed > _SHARE * free:
        return False
    if needed > free:
        split = f"the split {stream.split!r}" if stream.split else "the shard set"
        raise ConfigError(
            f"data.resident is always, but the {stream.num_patches:,} patches of {split} take {needed / _GB:.1f} GB "
            f"and {device} has {free / _GB:.1f} GB free; take auto or never, or fewer patches with --where"
        )
    stream.resident = ResidentPixels(source, stream.row_numbers(), device)
    return True


def free_memory(device: torch.device) -> int:
    """Return the bytes that a device has free; of a CPU, what the system says it can give without swapping."""
    if device.type == "cuda":
        # What torch holds and does not use is free to it as well.
        unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(torch.cuda.mem_get_info(device)[0]) + unused
    free = memory_bytes(free=True)
    return sys.maxsize if free is None else free  # a system that does not say refuses by itself
