"""The Inception network of the Fréchet inception distance, for a weights file that the user has.

TensorFlow's graph ``inception-2015-12-05`` as pytorch-fid and torch-fidelity port it; their weights
file (``pt_inception-2015-12-05-6726825d.pth``, under either name) fits. Against torchvision's
Inception v3 three things differ: average pools leave the padding out, ``Mixed_7c`` pools by maximum,
and images are resized as TensorFlow 1 did.
"""

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

INPUT_PX = 299
DIM = 2048

#: A convolution: name, channels, kernel, stride. A tuple of two stands side by side.
Step = tuple[str, int, int | tuple[int, int], int]
Chain = Sequence[Step | tuple[Step, Step]]


class Convolution(nn.Module):
    """ReLU(BatchNorm(Conv)); pads to keep the size where ``padded``."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int | tuple[int, int], stride: int, padded: bool
    ) -> None:
        super().__init__()
        height, width = (kernel, kernel) if isinstance(kernel, int) else kernel
        padding = (height // 2, width // 2) if padded else (0, 0)
        self.conv = nn.Conv2d(inputs, outputs, (height, width), stride, padding, bias=False)
        self.bn = nn.BatchNorm2d(outputs, eps=0.001)

    def forward(self, x: Tensor) -> Tensor:
        """Return the features."""
        return torch.relu(self.bn(self.conv(x)))


class Mixed(nn.Module):
    """Chains of convolutions side by side, and a pool, joined by channel."""

    def __init__(self, inputs: int, chains: Sequence[Chain], pool: str, pool_channels: int) -> None:
        super().__init__()
        self._chains, self._pool = chains, pool
        for chain in chains:
            channels = inputs
            for step in chain:
                pair = step if isinstance(step[0], tuple) else (step,)
                for name, outputs, kernel, stride in cast(tuple[Step, ...], pair):
                    self.add_module(name, Convolution(channels, outputs, kernel, stride, padded=stride == 1))
                channels = sum(outputs for _, outputs, _, _ in cast(tuple[Step, ...], pair))
        if pool_channels:
            self.branch_pool = Convolution(inputs, pool_channels, 1, 1, padded=True)

    def forward(self, x: Tensor) -> Tensor:
        """Return the joined features."""
        joined = [self._run(chain, x) for chain in self._chains]
        if self._pool == "halve":
            return torch.cat([*joined, nn.functional.max_pool2d(x, 3, 2)], dim=1)
        if self._pool == "max":
            pooled = nn.functional.max_pool2d(x, 3, 1, padding=1)
        else:
            pooled = nn.functional.avg_pool2d(x, 3, 1, padding=1, count_include_pad=False)
        return torch.cat([*joined, self.branch_pool(pooled)], dim=1)

    def _run(self, chain: Chain, x: Tensor) -> Tensor:
        for step in chain:
            if isinstance(step[0], tuple):
                x = torch.cat([self.get_submodule(name)(x) for name, *_ in step], dim=1)
            else:
                x = self.get_submodule(step[0])(x)
        return x


def _mixed_5(inputs: int, pool_channels: int) -> Mixed:
    chains: Sequence[Chain] = (
        [("branch1x1", 64, 1, 1)],
        [("branch5x5_1", 48, 1, 1), ("branch5x5_2", 64, 5, 1)],
        [("branch3x3dbl_1", 64, 1, 1), ("branch3x3dbl_2", 96, 3, 1), ("branch3x3dbl_3", 96, 3, 1)],
    )
    return Mixed(inputs, chains, "average", pool_channels)


def _mixed_6a() -> Mixed:
    chains: Sequence[Chain] = (
        [("branch3x3", 384, 3, 2)],
        [("branch3x3dbl_1", 64, 1, 1), ("branch3x3dbl_2", 96, 3, 1), ("branch3x3dbl_3", 96, 3, 2)],
    )
    return Mixed(288, chains, "halve", 0)


def _mixed_6(c: int) -> Mixed:
    chains: Sequence[Chain] = (
        [("branch1x1", 192, 1, 1)],
        [("branch7x7_1", c, 1, 1), ("branch7x7_2", c, (1, 7), 1), ("branch7x7_3", 192, (7, 1), 1)],
        [
            ("branch7x7dbl_1", c, 1, 1),
            ("branch7x7dbl_2", c, (7, 1), 1),
            ("branch7x7dbl_3", c, (1, 7), 1),
            ("branch7x7dbl_4", c, (7, 1), 1),
            ("branch7x7dbl_5", 192, (1, 7), 1),
        ],
    )
    return Mixed(768, chains, "average", 192)


def _mixed_7a() -> Mixed:
    chains: Sequence[Chain] = (
        [("branch3x3_1", 192, 1, 1), ("branch3x3_2", 320, 3, 2)],
        [
            ("branch7x7x3_1", 192, 1, 1),
            ("branch7x7x3_2", 192, (1, 7), 1),
            ("branch7x7x3_3", 192, (7, 1), 1),
            ("branch7x7x3_4", 192, 3, 2),
        ],
    )
    return Mixed(768, chains, "halve", 0)


def _mixed_7(inputs: int, pool: str) -> Mixed:
    chains: Sequence[Chain] = (
        [("branch1x1", 320, 1, 1)],
        [("branch3x3_1", 384, 1, 1), (("branch3x3_2a", 384, (1, 3), 1), ("branch3x3_2b", 384, (3, 1), 1))],
        [
            ("branch3x3dbl_1", 448, 1, 1),
            ("branch3x3dbl_2", 384, 3, 1),
            (("branch3x3dbl_3a", 384, (1, 3), 1), ("branch3x3dbl_3b", 384, (3, 1), 1)),
        ],
    )
    return Mixed(inputs, chains, pool, 192)


class Inception(nn.Module):
    """Grey levels (n, 3, H, W), 0 to 255 -> pooled features (n, 2048)."""

    def __init__(self) -> None:
        super().__init__()
        self.Conv2d_1a_3x3 = Convolution(3, 32, 3, 2, padded=False)
        self.Conv2d_2a_3x3 = Convolution(32, 32, 3, 1, padded=False)
        self.Conv2d_2b_3x3 = Convolution(32, 64, 3, 1, padded=True)
        self.Conv2d_3b_1x1 = Convolution(64, 80, 1, 1, padded=False)
        self.Conv2d_4a_3x3 = Convolution(80, 192, 3, 1, padded=False)
        self.Mixed_5b, self.Mixed_5c, self.Mixed_5d = _mixed_5(192, 32), _mixed_5(256, 64), _mixed_5(288, 64)
        self.Mixed_6a = _mixed_6a()
        self.Mixed_6b, self.Mixed_6c = _mixed_6(128), _mixed_6(160)
        self.Mixed_6d, self.Mixed_6e = _mixed_6(160), _mixed_6(192)
        self.Mixed_7a = _mixed_7a()
        self.Mixed_7b, self.Mixed_7c = _mixed_7(1280, "average"), _mixed_7(2048, "max")

    def forward(self, grey: Tensor) -> Tensor:
        """Return the features of the last pool."""
        x = (resize_like_tensorflow_1(grey, INPUT_PX) - 128) / 128
        x = self.Conv2d_2b_3x3(self.Conv2d_2a_3x3(self.Conv2d_1a_3x3(x)))
        x = nn.functional.max_pool2d(x, 3, 2)
        x = self.Conv2d_4a_3x3(self.Conv2d_3b_1x1(x))
        x = nn.functional.max_pool2d(x, 3, 2)
        x = self.Mixed_5d(self.Mixed_5c(self.Mixed_5b(x)))
        x = self.Mixed_6e(self.Mixed_6d(self.Mixed_6c(self.Mixed_6b(self.Mixed_6a(x)))))
        x = self.Mixed_7c(self.Mixed_7b(self.Mixed_7a(x)))
        return cast(Tensor, x.mean(dim=(2, 3)))


def resize_like_tensorflow_1(images: Tensor, size: int) -> Tensor:
    """Return (n, c, size, size), bilinear without antialiasing, pixel i at i * H / size in the image (n, c, H, W)."""
    return _weights(images.shape[2], size, images) @ images @ _weights(images.shape[3], size, images).T


def _weights(inputs: int, outputs: int, like: Tensor) -> Tensor:
    """Return the interpolation along one axis as a matrix (outputs, inputs)."""
    position = torch.arange(outputs, dtype=like.dtype, device=like.device) * (inputs / outputs)
    low = position.long()
    share = (position - low)[:, None]
    units = torch.eye(inputs, dtype=like.dtype, device=like.device)
    return units[low] * (1 - share) + units[(low + 1).clamp_max(inputs - 1)] * share
