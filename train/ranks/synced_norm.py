"""BatchNorm whose batch is that of all processes together."""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn


class _Sum(torch.autograd.Function):
    """The sum over the processes. Each holds all of it, so its gradient is the sum of the gradients."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, group: dist.ProcessGroup | None) -> Tensor:
        ctx.group = group
        total = values.clone()
        dist.all_reduce(total, group=group)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        total = gradients[0].clone()
        dist.all_reduce(total, group=ctx.group)
        return total, None


def sum_over_ranks(values: Tensor, group: dist.ProcessGroup | None = None) -> Tensor:
    """Return the sum of a tensor over the processes of a group (None: all), with a gradient."""
    total: Tensor = _Sum.apply(values, group)  # type: ignore[no-untyped-call]
    return total


class SyncedBatchNorm(nn.BatchNorm2d):
    """BatchNorm2d with mean and variance over the batches of all processes, on any device.

    torch's SyncBatchNorm asks for CUDA. With this one, a run is the same (but for rounding) on any
    number of processes. In eval mode it is BatchNorm2d.
    """

    group: dist.ProcessGroup | None = None  #: whose batches they are; None: all processes

    @torch.compiler.disable  # type: ignore[untyped-decorator]  # a collective is no part of a graph
    def forward(self, x: Tensor) -> Tensor:
        """Return the normalised features, (B, C, H, W) as given; equally many in every process."""
        if not self.training:
            return super().forward(x)
        values = x.float()
        dims = (0, 2, 3)
        count = values.numel() // values.shape[1] * dist.get_world_size()
        mean = sum_over_ranks(values.sum(dims), self.group) / count
        centred = values - mean[:, None, None]
        # In two passes, as E[x^2] - E[x]^2 loses what float32 has.
        variance = sum_over_ranks(centred.square().sum(dims), self.group) / count
        self._follow(mean.detach(), variance.detach() * (count / max(count - 1, 1)))
        scaled = centred * torch.rsqrt(variance + self.eps)[:, None, None]
        if self.affine:
            scaled = scaled * self.weight[:, None, None] + self.bias[:, None, None]
        return scaled.to(x.dtype)

    def _follow(self, mean: Tensor, variance: Tensor) -> None:
        if self.running_mean is None or self.running_var is None or self.num_batches_tracked is None:
            return
        self.num_batches_tracked.add_(1)
        momentum = 0.1 if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean, momentum)
        self.running_var.lerp_(variance, momentum)


def synced(model: nn.Module, group: dist.ProcessGroup | None = None) -> None:
    """Put a :class:`SyncedBatchNorm` with the same weights in place of each BatchNorm2d of a model."""
    for name, child in model.named_children():
        if type(child) is nn.BatchNorm2d:
            norm = SyncedBatchNorm(child.num_features, child.eps, child.momentum, child.affine)
            norm.weight, norm.bias = child.weight, child.bias  # the optimizer has these
            norm.running_mean, norm.running_var = child.running_mean, child.running_var
            norm.num_batches_tracked = child.num_batches_tracked
            norm.group = group
            setattr(model, name, norm.train(child.training))
        else:
            synced(child, group)
