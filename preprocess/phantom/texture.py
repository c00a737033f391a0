"""Textures of the phantom: power-law tissue, strands towards the nipple, vessels."""

from typing import cast

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw
from scipy import fft, ndimage

Field = npt.NDArray[np.float32]


def power_law(
    rows: int, columns: int, beta: float, corner_per_px: float, generator: np.random.Generator
) -> Field:
    """Return a random texture whose power spectrum falls as ``1 / f^beta``.

    White noise filtered in Fourier space, ``P(f) = (f^2 + f0^2)^(-beta / 2)``. Mammograms follow
    this law with beta about 3 (Burgess 2001, Med. Phys. 28:419).

    Args:
        rows, columns: size of the result in pixels.
        beta: exponent of the power (not the amplitude) spectrum.
        corner_per_px: f0 in cycles per pixel; larger structures than ``1 / f0`` do not grow further.
        generator: source of the white noise.

    Returns:
        float32, (rows, columns), mean 0, standard deviation 1.
    """
    height, width = fft.next_fast_len(rows), fft.next_fast_len(columns, real=True)
    spectrum = fft.rfft2(generator.standard_normal((height, width), dtype=np.float32))
    square = (
        fft.fftfreq(height).astype(np.float32)[:, None] ** 2
        + fft.rfftfreq(width).astype(np.float32)[None, :] ** 2
        + np.float32(corner_per_px) ** 2
    )
    spectrum *= square ** np.float32(-beta / 4)  # the amplitude is the root of the power
    spectrum[0, 0] = 0
    field = fft.irfft2(spectrum, s=(height, width))[:rows, :columns]
    field -= field.mean()
    return cast(Field, (field / field.std()).astype(np.float32, copy=False))


def converging(
    y_mm: Field,
    x_mm: Field,
    nipple_mm: tuple[float, float],
    beta: float,
    scale: float,
    generator: np.random.Generator,
) -> Field:
    """Return a random texture stretched towards the nipple, as ducts and ligaments stretch the breast's.

    A power-law texture in polar coordinates round a point in front of the nipple, where a step
    along the radius counts less than a step across it.

    Args:
        y_mm, x_mm: float32, (H, W), position of each pixel; x from the chest wall.
        nipple_mm: (y, x).
        beta: exponent of the power spectrum in polar coordinates.
        scale: size of the coarsest structures, in samples: 1.3 mm along the radius, 0.28 degrees across it.
        generator: source of the noise.

    Returns:
        float32, (H, W), mean about 0, standard deviation about 1.
    """
    angles, radii = 640, 192
    polar = power_law(radii, angles, beta, 1 / scale, generator)
    # The centre lies in front of the nipple, so that lines do not all meet in one bright point.
    y, x = y_mm - np.float32(nipple_mm[0]), np.float32(nipple_mm[1] + 45) - x_mm
    angle = (np.arctan2(y, np.maximum(x, 1)) / np.float32(np.pi) + 0.5) * (angles - 1)
    radius = np.hypot(y, x) / np.float32(1.3)
    return cast(Field, ndimage.map_coordinates(polar, np.stack((radius, angle)), order=1, mode="mirror"))


def ridges(texture: Field, width: float) -> Field:
    """Return the lines along which a texture of unit variance crosses zero, 1 on them and 0 away from them."""
    return cast(Field, np.exp(-((texture / np.float32(width)) ** 2)))


def vessels(
    shape: tuple[int, int], pixel_mm: float, paths_mm: tuple[tuple[tuple[float, float], ...], ...]
) -> Field:
    """Return blood vessels: smooth tubes along Bézier curves.

    Args:
        shape: (H, W) of the result.
        pixel_mm: size of a pixel of the result.
        paths_mm: for each vessel its four control points (y, x).

    Returns:
        float32, (H, W), 0 to 1, about 1 on a vessel's axis.
    """
    page = Image.new("F", (shape[1], shape[0]), 0.0)
    draw = ImageDraw.Draw(page)
    t = np.linspace(0, 1, 60)[:, None]
    for path in paths_mm:
        p0, p1, p2, p3 = (np.asarray(point) for point in path)
        # Cubic Bézier: (1-t)^3 p0 + 3(1-t)^2 t p1 + 3(1-t) t^2 p2 + t^3 p3
        curve = (1 - t) ** 3 * p0 + 3 * (1 - t) ** 2 * t * p1 + 3 * (1 - t) * t**2 * p2 + t**3 * p3
        points = [(float(x), float(y)) for y, x in curve / pixel_mm]
        draw.line(points, fill=1.0, width=max(1, round(1.4 / pixel_mm)), joint="curve")
    return cast(Field, ndimage.gaussian_filter(np.asarray(page, dtype=np.float32), 0.45 / pixel_mm))
