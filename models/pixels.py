"""Stored patches as a model takes them: floats in [-1, 1], at its size."""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from nlbs.errors import ConfigError

#: Where the windows of a batch lie: (B, 2) in [0, 1), fractions of the room along y and x.
Corners = npt.NDArray[np.float64]


def require_channels(patches: int, images: int, where: object) -> None:
    """Raise ConfigError where the patches of a shard set have other channels than the images of a model."""
    if patches != images:
        raise ConfigError(
            f"{where} has patches of {patches} channels, and the model images of {images}: name a shard set like the "
            "one that it was trained on"
        )


def with_channels(pixels: Tensor) -> Tensor:
    """Return stored patches (n, R, R) as (n, 1, R, R), and coloured ones (n, R, R, 3) as (n, 3, R, R): a view."""
    return pixels.unsqueeze(1) if pixels.ndim == 3 else pixels.permute(0, 3, 1, 2)


def as_patches(values: Tensor) -> npt.NDArray[Any]:
    """Return (n, 1, R, R) as patches (n, R, R), and (n, 3, R, R) as (n, R, R, 3): the way back."""
    array: npt.NDArray[Any] = values.cpu().numpy()
    return array[:, 0] if array.shape[1] == 1 else np.ascontiguousarray(np.moveaxis(array, 1, -1))


def picked(pixels: Tensor, places: Tensor) -> Tensor:
    """Return the patches at some places; torch takes no elements of uint16 by index."""
    if pixels.dtype is torch.uint16:
        return pixels.view(torch.int16)[places].view(torch.uint16)
    return pixels[places]


def to_float(pixels: Tensor) -> Tensor:
    """Return uint8 or uint16 pixels as float32 in [-1, 1]; air, 0, becomes -1."""
    return _scaled(pixels.to(torch.float32), pixels.dtype)


def area_means(pixels: Tensor, resolution: int) -> Tensor:
    """Return smaller patches, each pixel the mean of the area that it covers.

    Args:
        pixels: (B, C, S, S) uint8 or uint16, S at least ``resolution``.
        resolution: R.

    Returns:
        (B, C, R, R) float32, in the units of the pixels.
    """
    size = pixels.shape[-1]
    if size == resolution:
        return pixels.to(torch.float32)
    block, rest = divmod(size, resolution)
    if rest or block > _MOST_ROWS:
        return functional.adaptive_avg_pool2d(pixels.to(torch.float32), resolution)
    # Whole numbers, rows first, as small as their sums allow: exact, and bytes in a tenth of the time of floats.
    kind = torch.int16 if pixels.dtype == torch.uint8 else torch.int32
    if kind == torch.int32:
        pixels = pixels.to(kind)  # torch adds up no uint16
    rows = pixels.reshape(*pixels.shape[:2], resolution, block, size).sum(dim=3, dtype=kind)
    sums = rows.reshape(*pixels.shape[:2], resolution, resolution, block).sum(dim=4, dtype=torch.int32)
    return sums.to(torch.float32) / (block * block)


def downsample(pixels: Tensor, resolution: int, corners: Corners | None = None) -> Tensor:
    """Return the whole patches at the model's resolution, each pixel the mean of the area it covers.

    Args:
        pixels: (B, C, S, S) uint8 or uint16, S at least ``resolution``.
        resolution: R.
        corners: not used.

    Returns:
        (B, C, R, R) float32 in [-1, 1].
    """
    return _scaled(area_means(pixels, resolution), pixels.dtype)


def crop(pixels: Tensor, resolution: int, corners: Corners | None = None) -> Tensor:
    """Return a window of each patch at its own scale: the centre, or where ``corners`` says.

    Args:
        pixels: (B, C, S, S) uint8 or uint16, S at least ``resolution``.
        resolution: R.
        corners: fractions of the room S - R; None: the centre.

    Returns:
        (B, C, R, R) float32 in [-1, 1].
    """
    room = pixels.shape[-1] - resolution
    if corners is None:
        start = room // 2
        return to_float(pixels[:, :, start : start + resolution, start : start + resolution])
    floats = to_float(pixels)  # first: torch picks no single pixels of uint16
    first = torch.from_numpy(np.floor(corners * (room + 1)).astype(np.int64)).to(
        pixels.device, non_blocking=True
    )
    along = torch.arange(resolution, device=pixels.device)
    y, x = first[:, 0, None] + along, first[:, 1, None] + along
    sample = torch.arange(len(pixels), device=pixels.device)
    return floats[sample[:, None, None], :, y[:, :, None], x[:, None, :]].permute(0, 3, 1, 2).contiguous()


#: The ways of data.fit.
FITS: dict[str, Callable[[Tensor, int, Corners | None], Tensor]] = {"downsample": downsample, "crop": crop}

_MOST_ROWS = 128  #: whose sums the integers hold: 128 * 255 < 2^15, 128 * 128 * 65535 < 2^31


def _scaled(values: Tensor, stored: torch.dtype) -> Tensor:
    """Return values in units of stored pixels as [-1, 1], channel after channel. Changes the values."""
    return values.contiguous().div_(torch.iinfo(stored).max / 2).sub_(1)
