"""Patches as the network takes them: floats in [-1, 1], at the model's size."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

#: Where the windows of a batch lie: (B, 2) in [0, 1), fractions of the room along y and x.
Corners = npt.NDArray[np.float64]


def to_float(pixels: Tensor) -> Tensor:
    """Gives uint8 or uint16 pixels as float32 in [-1, 1]; air, 0, becomes -1."""
    highest = torch.iinfo(pixels.dtype).max
    return pixels.to(torch.float32) / (highest / 2) - 1


def downsample(pixels: Tensor, resolution: int, corners: Corners | None = None) -> Tensor:
    """Gives the whole patches at the model's resolution, each pixel the mean of the area it covers.

    Args:
        pixels: (B, 1, S, S) floats, S at least ``resolution``.
        resolution: R.
        corners: not used.

    Returns:
        (B, 1, R, R).
    """
    if pixels.shape[-1] == resolution:
        return pixels
    return functional.adaptive_avg_pool2d(pixels, resolution)


def crop(pixels: Tensor, resolution: int, corners: Corners | None = None) -> Tensor:
    """Gives a window of each patch at its own scale: the centre, or where ``corners`` says.

    Args:
        pixels: (B, 1, S, S) floats, S at least ``resolution``.
        resolution: R.
        corners: fractions of the room S - R; None: the centre.

    Returns:
        (B, 1, R, R).
    """
    room = pixels.shape[-1] - resolution
    if corners is None:
        start = room // 2
        return pixels[:, :, start : start + resolution, start : start + resolution]
    first = torch.from_numpy(np.floor(corners * (room + 1)).astype(np.int64)).to(
        pixels.device, non_blocking=True
    )
    along = torch.arange(resolution, device=pixels.device)
    y, x = first[:, 0, None] + along, first[:, 1, None] + along
    sample = torch.arange(len(pixels), device=pixels.device)
    return pixels[sample[:, None, None], 0, y[:, :, None], x[:, None, :]].unsqueeze(1)


#: The ways of data.fit.
FITS: dict[str, Callable[[Tensor, int, Corners | None], Tensor]] = {"downsample": downsample, "crop": crop}
