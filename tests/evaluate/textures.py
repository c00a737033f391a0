"""Patches with a known power spectrum."""

import numpy as np
import numpy.typing as npt
from scipy import fft


def power_law_patches(
    count: int, size: int, beta: float, seed: int, std: float = 35.0
) -> npt.NDArray[np.uint8]:
    """Gives uint8 (count, size, size) cut from larger fields with P(f) = 1 / f^beta, so that no edge wraps round."""
    generator = np.random.default_rng(seed)
    big = 4 * size
    radius = np.hypot(fft.fftfreq(big)[:, None], fft.rfftfreq(big)[None, :])
    radius[0, 0] = np.inf
    # Structures larger than a patch only make its mean wander.
    amplitude = (np.maximum(radius, 0.5 / size) ** (-beta / 2)).astype(np.float32)
    patches = []
    for _ in range(-(-count // 16)):
        white = generator.standard_normal((big, big), dtype=np.float32)
        field = fft.irfft2(fft.rfft2(white) * amplitude, s=(big, big))
        grey = np.clip(np.rint(128 + std * field / field.std()), 1, 255).astype(np.uint8)
        patches.append(grey.reshape(4, size, 4, size).swapaxes(1, 2).reshape(16, size, size))
    return np.concatenate(patches)[:count]
