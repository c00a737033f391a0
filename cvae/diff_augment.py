"""DiffAugment: the same kinds of random change for real and made images, before a discriminator sees either.

With few real images a discriminator learns them by heart; it cannot when it never sees one as it is. Every change is
differentiable, so that the model learns through it, and none is a flip: sides are conditions (Zhao et al.,
2006.10738: brightness, contrast, translation, cutout).
"""

from typing import NamedTuple

import torch
from torch import Tensor

_SHIFT = 0.125  #: the farthest, as a share of the edge, either way
_HOLE = 0.5  #: edge of the square that is cut out, as a share of the image's


class Changes(NamedTuple):
    """What becomes of each of B images."""

    brightness: Tensor  #: (B,) added to the pixels, within 0.5 either way
    contrast: Tensor  #: (B,) factor about the image's mean, 0.5 to 1.5
    shift: Tensor  #: (B, 2) int64 pixels down and to the right
    hole: Tensor  #: (B, 2) int64, row and column of the middle of what is cut out; it may lie half outside

    def part(self, places: slice) -> "Changes":
        """Gives those of some of the images."""
        return Changes(*(values[places] for values in self))

    def repeated(self, times: int) -> "Changes":
        """Gives those of several batches one after the other, the same for each."""
        return Changes(*(torch.cat([values] * times) for values in self))


def draw_changes(count: int, size: int, generator: torch.Generator) -> Changes:
    """Gives random changes of ``count`` images of ``size`` x ``size`` pixels, on the generator's device."""
    how = {"generator": generator, "device": generator.device}
    brightness, contrast = torch.rand(2, count, **how).unbind()  # type: ignore[call-overload]
    farthest = round(_SHIFT * size)
    shift = torch.randint(-farthest, farthest + 1, (count, 2), **how)  # type: ignore[call-overload]
    hole = torch.randint(0, size + 1, (count, 2), **how)  # type: ignore[call-overload]
    return Changes(brightness - 0.5, contrast + 0.5, shift, hole)


def diff_augment(images: Tensor, changes: Changes) -> Tensor:
    """Gives images (B, 1, R, R), changed; 0, a middle grey, where a shift or a hole leaves nothing."""
    column = (-1, 1, 1, 1)
    images = images + changes.brightness.view(column)
    mean = images.mean(dim=(1, 2, 3), keepdim=True)
    images = (images - mean) * changes.contrast.view(column) + mean
    size = images.shape[-1]
    along = torch.arange(size, device=images.device)
    # Where each row and column comes from, and whether that lies in the image: (B, R) for rows, (B, R) for columns.
    rows, columns = (along - changes.shift[:, axis, None] for axis in (0, 1))
    taken = images[
        torch.arange(len(images), device=images.device).view(column),
        0,
        rows.clamp(0, size - 1)[:, None, :, None],
        columns.clamp(0, size - 1)[:, None, None, :],
    ]
    inside = _both((rows >= 0) & (rows < size), (columns >= 0) & (columns < size))
    half = round(_HOLE * size) // 2
    cut = _both(*((along - changes.hole[:, axis, None] + half).div(2 * half, rounding_mode="floor") == 0
                  for axis in (0, 1)))  # fmt: skip
    return taken * (inside & ~cut)


def _both(rows: Tensor, columns: Tensor) -> Tensor:
    """Gives where a row and a column are both so: (B, 1, R, R) of two (B, R)."""
    return rows[:, None, :, None] & columns[:, None, None, :]
