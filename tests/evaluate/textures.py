"""Patches with a known power spectrum."""

import numpy as np
import numpy.typing as npt


def power_law_patches(
    count: int, size: int, beta: float, seed: int, std: float = 35.0
) -> npt.NDArray[np.uint8]:
    """Gives uint8 (count, size, size) cut from larger fields with P(f) = 1 / f^beta, so that no edge wraps round."""
    generator = np.random.default_rng(seed)
    big = 4 * size
    radius = np.hypot(np.fft.fftfreq(big)[:, None], np.fft.fftfreq(big)[None, :])
    radius[0, 0] = np.inf
    # Structures larger than a patch only make its mean wander.
    amplitude = np.maximum(radius, 0.5 / size) ** (-beta / 2)
    patches = np.empty((count, size, size), dtype=np.uint8)
    for i in range(0, count, 4):
        field = np.fft.ifft2(np.fft.fft2(generator.standard_normal((big, big))) * amplitude).real
        field = 128 + std * field / field.std()
        corners = [(0, 0), (0, 2 * size), (2 * size, 0), (2 * size, 2 * size)]
        for j, (y, x) in enumerate(corners[: count - i]):
            patches[i + j] = np.clip(np.rint(field[y : y + size, x : x + size]), 1, 255)
    return patches
