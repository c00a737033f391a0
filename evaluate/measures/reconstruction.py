"""How well patches are reconstructed: L1, PSNR, SSIM and MS-SSIM on the breast alone.

The breast is where the real patch is above 0 (air is 0 by the format). Air is easy to reconstruct
and would flatter every figure, so it counts neither as a pixel nor within a window. The data
range is 255 throughout.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from nlbs.errors import EvaluationError
from nlbs.evaluate.measures.arrays import DATA_RANGE, Floats, Patches, check_pair

MS_SSIM_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
_WINDOW_SIGMA, _WINDOW_RADIUS = 1.5, 5  # 11 x 11 pixels, Wang et al. 2004, section III.C
_C1, _C2 = (0.01 * DATA_RANGE) ** 2, (0.03 * DATA_RANGE) ** 2


@dataclass(frozen=True)
class Reconstruction:
    """Figures of each patch, (n,) float64; NaN where a patch has no breast at all."""

    l1: Floats  #: mean absolute difference, as a share of the data range (0 to 1)
    psnr_db: Floats  #: 10 log10(range^2 / mean square difference); infinite for equal pixels
    ssim: Floats  #: -1 to 1
    ms_ssim: Floats  #: 0 to 1
    ms_ssim_weights: tuple[float, ...]  #: of the scales that these patches are large enough for, finest first
    data_range: float = DATA_RANGE  #: grey levels


def compare_reconstructions(real: Patches, reconstructed: Patches) -> Reconstruction:
    """Return L1, PSNR, SSIM and MS-SSIM of each reconstruction on the breast of its real patch, of luminance.

    Args:
        real: uint8, (n, R, R), air 0.
        reconstructed: uint8, of the same shape.

    Raises:
        EvaluationError: other types or shapes, or patches below 11 pixels.
    """
    real, reconstructed = check_pair(real, reconstructed, "reconstructions")
    weights = ms_ssim_weights(real.shape[1])
    rows = [_figures(x, y, weights) for x, y in zip(real, reconstructed, strict=True)]
    l1, psnr, ssim, ms_ssim = np.array(rows, dtype=np.float64).T
    return Reconstruction(l1, psnr, ssim, ms_ssim, weights)


def ms_ssim_weights(size: int) -> tuple[float, ...]:
    """Return the scales' weights for patches of ``size`` pixels, adding up to 1.

    Each scale halves the patch, and the 11-pixel window has to fit: 5 scales from 176 pixels on,
    4 at 128 (half of 88 to 175), 3 at 64, weights divided by their sum.

    Raises:
        EvaluationError: patches below 11 pixels.
    """
    width = 2 * _WINDOW_RADIUS + 1
    fitting = [w for scale, w in enumerate(MS_SSIM_WEIGHTS) if size >> scale >= width]
    if not fitting:
        raise EvaluationError(f"SSIM: found patches of {size} pixels, expected {width} or more")
    return tuple(w / sum(fitting) for w in fitting)


def _figures(
    real: Patches, reconstructed: Patches, weights: tuple[float, ...]
) -> tuple[float, float, float, float]:
    """Return L1, PSNR, SSIM and MS-SSIM of one (R, R) patch."""
    mask = (real > 0).astype(np.float64)
    if not mask.any():
        return (float("nan"),) * 4
    x, y = real.astype(np.float64), reconstructed.astype(np.float64)
    difference = (x - y)[mask > 0]
    square = float((difference**2).mean())
    psnr = float("inf") if square == 0 else 10 * np.log10(DATA_RANGE**2 / square)
    luminance, contrast = _ssim_parts(x, y, mask)
    ssim = float((luminance * contrast)[mask > 0].mean())
    return float(np.abs(difference).mean()) / DATA_RANGE, psnr, ssim, _ms_ssim(x, y, mask, weights)


def _ssim_parts(x: Floats, y: Floats, mask: Floats) -> tuple[Floats, Floats]:
    """Return luminance and contrast-structure at every pixel, (H, W) each: Eq. 13 of Wang et al. 2004.

    The Gaussian window is weighted by the mask, so that air and what lies beyond the patch do not enter.
    """
    blur = _masked_window(mask)
    mean_x, mean_y = blur(x), blur(y)
    var_x = np.maximum(blur(x * x) - mean_x**2, 0)
    var_y = np.maximum(blur(y * y) - mean_y**2, 0)
    covariance = blur(x * y) - mean_x * mean_y
    luminance = (2 * mean_x * mean_y + _C1) / (mean_x**2 + mean_y**2 + _C1)
    return luminance, (2 * covariance + _C2) / (var_x + var_y + _C2)


def _masked_window(mask: Floats) -> Callable[[Floats], Floats]:
    """Return a function: the Gaussian mean of an image over the breast pixels round each pixel."""

    def smooth(image: Floats) -> Floats:
        smoothed: Floats = ndimage.gaussian_filter(
            image, _WINDOW_SIGMA, mode="constant", truncate=_WINDOW_RADIUS / _WINDOW_SIGMA
        )
        return smoothed

    share = np.maximum(smooth(mask), 1e-12)
    return lambda image: smooth(mask * image) / share


def _ms_ssim(x: Floats, y: Floats, mask: Floats, weights: tuple[float, ...]) -> float:
    """Return the product over scales of contrast-structure^weight, and of luminance at the coarsest scale.

    A negative mean of a scale counts as 0: it has no real root.
    """
    product = 1.0
    for scale, weight in enumerate(weights):
        luminance, contrast = _ssim_parts(x, y, mask)
        if scale == len(weights) - 1:
            contrast = luminance * contrast
        mean = float((contrast * mask).sum() / mask.sum())
        product *= max(mean, 0.0) ** weight
        x, y, mask = _halve(x, y, mask)
    return product


def _halve(x: Floats, y: Floats, mask: Floats) -> tuple[Floats, Floats, Floats]:
    """Return both images at half size, each pixel the mean over the breast of 2 x 2, and the breast's share."""

    def pool(image: Floats) -> Floats:
        height, width = image.shape[0] // 2, image.shape[1] // 2
        blocks: Floats = image[: 2 * height, : 2 * width].reshape(height, 2, width, 2).mean(axis=(1, 3))
        return blocks

    share = pool(mask)
    inside = np.maximum(share, 1e-12)
    return pool(x * mask) / inside, pool(y * mask) / inside, share
