"""The batches of an epoch on the device, and how long the run waited for them."""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from nlbs.train.data.stream import Batch


@dataclass(frozen=True)
class DeviceBatch:
    """A batch whose tensors are on the device, or under way to it."""

    pixels: Tensor  #: (b, C, S, S) uint8 or uint16
    conditions: dict[str, Tensor]  #: (b, ...) each, as :mod:`nlbs.manifests.schema` says
    epoch: int
    step: int

    def __len__(self) -> int:
        return len(self.pixels)


class Feed:
    """Gives the batches of a stream one by one; None where it ends."""

    def __init__(self, batches: Iterator[Batch], device: torch.device) -> None:
        self._batches = batches
        self._device = device
        self.waited_s = 0.0  #: on the host; what the device waits for beside that does not show here

    def next(self) -> DeviceBatch | None:
        """Return the next batch. Raises ShardError where it cannot be read."""
        started = time.perf_counter()
        try:
            batch = next(self._batches, None)
        finally:
            self.waited_s += time.perf_counter() - started
        return None if batch is None else to_device(batch, self._device)


def to_device(batch: Batch, device: torch.device) -> DeviceBatch:
    """Return a batch on a device, without waiting for the copy of pinned memory."""
    pixels = batch.pixels.to(device, non_blocking=True)
    return DeviceBatch(pixels, _in_one_copy(batch.conditions, device), batch.epoch, batch.step)


def _in_one_copy(values: Mapping[str, Tensor], device: torch.device) -> dict[str, Tensor]:
    if device.type == "cpu":
        return dict(values)
    return copied(values, lambda together: together.to(device, non_blocking=True))


def copied(values: Mapping[str, Tensor], copy: Callable[[Tensor], Tensor]) -> dict[str, Tensor]:
    """Return tensors of whatever shapes, copied as one vector for each dtype: a copy has its price, however small."""
    found: dict[str, Tensor] = {}
    for dtype in {one.dtype for one in values.values()}:
        some = {name: one for name, one in values.items() if one.dtype == dtype}
        together = copy(torch.cat([one.reshape(-1) for one in some.values()]))
        parts = torch.split(together, [one.numel() for one in some.values()])
        found |= {name: part.view(one.shape) for (name, one), part in zip(some.items(), parts, strict=True)}
    return {name: found[name] for name in values}
