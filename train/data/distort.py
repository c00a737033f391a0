"""Told distortions: patches are changed in shape a little, the network is told how, and draws as if nothing was.

A generator that sees few patches again and again learns them by heart. Changed at random they are as good as new, but
what it learns of them it would draw as well: breasts cut off at the wall, blurred by being turned. So each change comes
with the numbers that made it, which the network sees beside the conditions while it learns; drawn from without them, it
draws patches as they are (the non-leaking augmentation of Karras et al., 2206.00364, Appendix F.2, after Jun et al.,
2020, *Distribution Augmentation for Generative Modeling*). All changes are small ones: mirrored, turned upside down and
by any angle there are many times as many kinds of patches to learn, for which an hour of a processor is too short.
"""

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from nlbs.train.data.augment import on_device

_STREAM = 0x646973  #: keeps these random numbers apart from others of the same seed
#: Standard deviations of the columns of :data:`nlbs.models.distortion.DISTORTIONS`.
_DEVIATIONS = np.array([0.12, 0.09, 0.1, 0.1, 0.08, 0.08])
_WAYS = np.array([0, 1, 2, 2, 3, 3])  #: which columns come together

Numbers = npt.NDArray[np.float64]


def draw_distortions(rate: float, count: int, seed: int, number: int) -> Numbers:
    """Return how each patch of a batch is distorted, (count, DISTORTIONS): a pure function, as resumed runs repeat it.

    Args:
        rate: how often each way is taken, in [0, 1].
        count: patches of the batch.
        seed: of the run.
        number: of the batch since the start.
    """
    generator = np.random.Generator(np.random.Philox(counter=[0, 0, 0, number], key=[seed, _STREAM]))
    taken = generator.random((count, _WAYS.max() + 1)) < rate
    found: Numbers = generator.normal(0, _DEVIATIONS, (count, len(_DEVIATIONS))) * taken[:, _WAYS]
    return found


def distorted(pixels: Tensor, distortions: Numbers) -> Tensor:
    """Return patches (B, C, R, R) in [-1, 1] that are distorted; air, -1, comes in from outside.

    Args:
        pixels: floats, air = -1.
        distortions: (B, DISTORTIONS), as :func:`draw_distortions` returns them; zeros leave a patch as it is.
    """
    if not distortions.any():
        return pixels
    inverse = np.linalg.inv(matrices(distortions))[:, :2].astype(np.float64)
    grid = functional.affine_grid(on_device(inverse, pixels), list(pixels.shape), align_corners=False)
    moved = functional.grid_sample(pixels + 1, grid, mode="bilinear", align_corners=False) - 1
    changed = torch.from_numpy(distortions.any(axis=1)).to(pixels.device, non_blocking=True)
    return torch.where(changed[:, None, None, None], moved, pixels)


def matrices(distortions: Numbers) -> Numbers:
    """Return where each distortion moves a place (x, y, 1), x and y in [-1, 1]: (B, 3, 3)."""
    size, angle, stretch_x, stretch_y, x, y = distortions.T
    zeros, ones = np.zeros_like(x), np.ones_like(x)

    def matrix(*rows: Numbers) -> Numbers:
        return np.stack([*rows, zeros, zeros, ones], axis=1).reshape(-1, 3, 3)

    def turning(by: Numbers) -> Numbers:
        return matrix(np.cos(by), -np.sin(by), zeros, np.sin(by), np.cos(by), zeros)

    scale, stretch = np.exp2(size), np.exp2(np.hypot(stretch_x, stretch_y))
    along = np.arctan2(stretch_y, stretch_x) / 2  # an axis is the same axis half a turn on
    scaled = matrix(scale * stretch, zeros, zeros, zeros, scale / stretch, zeros)
    moved = matrix(ones, zeros, x, zeros, ones, y)
    found: Numbers = moved @ turning(along) @ scaled @ turning(-along) @ turning(angle)
    return found
