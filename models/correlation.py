"""Noise that is alike nearby: stationary Gaussian fields of unit variance in the place of independent numbers.

White noise w on a torus of N cells becomes F^-1 sqrt(lambda) F w, where lambda = F rho is the spectrum of the wrapped
Gaussian rho(d) = sum_m exp(-(d + m N)^2 / (2 L^2)), scaled to rho(0) = 1: a convolution with a Gaussian kernel of
deviation L / sqrt(2). Each number stays N(0, 1), and two that are d cells apart have the correlation rho(d), exactly
(circulant embedding; Dietrich & Newsam 1997, SIAM J. Sci. Comput. 18:1088).
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from nlbs.errors import ConfigError
from nlbs.models.drawing import Sampler, SamplerAround
from nlbs.models.passes import Portable

_LONGEST = 4.0  #: edges of a map: beyond one of them it is of one value, to the last digit
_WRAPS = 40  #: times round the torus, after which a Gaussian of the longest length has gone


class CorrelatedSampler(SamplerAround):
    """A sampler whose noise is alike nearby, where it has maps; patch i is still of the i-th noise alone."""

    def __init__(self, sampler: Sampler, length_px: float, resolution: int) -> None:
        """Take a sampler.

        Args:
            sampler: of a model.
            length_px: L in pixels of the model's images: maps of half their edge take half as many cells.
            resolution: edge of these images in pixels.

        Raises:
            ConfigError: the length is below 0, or none of the sampler's noise has a map.
        """
        super().__init__(sampler)
        shapes = [tuple(shape) for shape in sampler.noise_shapes]
        if not length_px >= 0:
            raise ConfigError(f"a correlation of {length_px:g} pixels is asked for; expected 0 or more")
        if not any(map(_is_map, shapes)):
            raise ConfigError(
                f"--correlation {length_px:g} needs noise that has a place in the image, and this model is drawn from "
                f"{' and '.join('x'.join(map(str, shape)) for shape in shapes)} numbers that have none; leave it out, "
                "or take a model with latent maps (nlbs) or one that denoises"
            )
        self.length = length_px / resolution

    def draw(self, noise: Sequence[Tensor], conditions: Mapping[str, Tensor]) -> Tensor:
        """Return patches (B, C, R, R) in [-1, 1]."""
        smooth = [correlated(level, self.length) if _is_map(level.shape[1:]) else level for level in noise]
        return self.sampler.draw(smooth, conditions)

    def portable(self) -> Portable:
        """Raise ConfigError: what smooths the noise is done in torch."""
        raise ConfigError(
            "--correlation smooths the noise in torch, and cannot be had without it; leave it out"
        )


def correlated(white: Tensor, length: float) -> Tensor:
    """Return fields (B, C, H, W) from N(0, 1) of noise that is independent; each channel by itself.

    Args:
        white: (B, C, H, W) from N(0, I).
        length: L, as a share of the edge.
    """
    if not length:
        return white
    down, across = (_amplitudes(edge, length * edge, white.device) for edge in white.shape[-2:])
    spectrum = torch.fft.fft2(white.double()) * (down[:, None] * across)
    field: Tensor = torch.fft.ifft2(spectrum).real.to(white.dtype)
    return field


def _amplitudes(cells: int, length: float, device: torch.device) -> Tensor:
    """Return sqrt(lambda) of each frequency of a torus, (cells,) float64, for a length in cells."""
    wraps = torch.arange(-_WRAPS, _WRAPS + 1, dtype=torch.float64)[:, None] * cells
    away = torch.arange(cells, dtype=torch.float64) + wraps
    rho = torch.exp(-((away / min(length, _LONGEST * cells)) ** 2) / 2).sum(dim=0)
    spectrum: Tensor = torch.fft.fft(rho / rho[0]).real
    return spectrum.clamp(min=0).sqrt().to(device)


def _is_map(shape: Sequence[int]) -> bool:
    return len(shape) == 3 and min(shape[1:]) > 1
