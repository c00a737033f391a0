"""Grain: what real patches have beyond what a model renders of them, put back into what is drawn.

The likelihood takes for noise all that varies by less than its scale: no latent carries it, and a rendered image, the
median of p(x | z, c), lacks it, so it is smoother than any film or detector. Here the rest is drawn too, as it is
measured on training patches and not as the likelihood assumes it, independent and everywhere alike: normal noise with
the mean spectrum of what rendering leaves over, as strong as at places rendered equally bright. Air stays air. Video
codecs treat film grain in the same way (AV1 Bitstream & Decoding Process Specification, 7.18.3). In colour it is one
noise for all channels, grain of brightness.
"""

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from nlbs.models.contract import Shapes
from nlbs.models.device import with_float64
from nlbs.models.drawing import Sampler, SamplerAround
from nlbs.models.stages.fitted import Fitted

LEVELS = 1 + 32
_FEWEST_PIXELS = 1000  #: that tell the strength of a level; another takes that of its neighbours


class Grain(Fitted):
    """Noise that makes rendered patches as grainy as real ones."""

    deviations: Tensor
    gains: Tensor
    rings: Tensor

    def __init__(self, deviations: Tensor, gains: Tensor, resolution: int) -> None:
        """Take what was measured.

        Args:
            deviations: (LEVELS,) standard deviations on the scale of images, [-1, 1]; air first.
            gains: (rings,) amplitude of each spatial frequency, in cycles per patch, whatever its direction.
            resolution: R, edge of the patches in pixels.
        """
        super().__init__()
        self.register_buffer("deviations", deviations)
        self.register_buffer("gains", gains)
        self.register_buffer("rings", _rings(resolution).to(gains.device), persistent=False)
        self.noise_shape = (1, resolution, resolution)

    def fault(self) -> str:
        """Return what is wrong with its numbers, in words; empty: nothing."""
        return "it has strengths below 0" if any(bool((b < 0).any()) for b in self.buffers()) else ""

    def forward(self, rendered: Tensor, noise: Tensor) -> Tensor:
        """Return rendered patches (B, C, R, R) in [-1, 1] with the grain that noise (B, 1, R, R) becomes."""
        spectrum = torch.fft.rfft2(noise) * self.gains[self.rings]
        grain = torch.fft.irfft2(spectrum, s=noise.shape[-2:])
        found: Tensor = (rendered + self.deviations[level_of(rendered)] * grain).clamp(-1, 1)
        return found


class GrainySampler(SamplerAround):
    """A sampler whose patches have grain."""

    def __init__(self, sampler: Sampler, grain: Grain) -> None:
        """Take any sampler of the model that the grain was measured on."""
        super().__init__(sampler)
        self.grain = self._added = grain.eval()

    @property
    def noise_shapes(self) -> Shapes:
        """Those of the sampler, and of the grain last."""
        return [*self.sampler.noise_shapes, self._added.noise_shape]

    def draw(self, noise: Sequence[Tensor], conditions: Mapping[str, Tensor]) -> Tensor:
        """Return patches (B, C, R, R) in [-1, 1]."""
        found: Tensor = self._added(self.sampler.draw(noise[:-1], conditions), noise[-1])
        return found


class GrainMeasure:
    """Measures grain: first how strong it is at each brightness, then, by that, its spectrum."""

    def __init__(self, resolution: int, device: torch.device) -> None:
        """Take the edge of the patches in pixels, and where they are."""
        self.resolution, device = resolution, with_float64(device)
        self._pixels, self._sizes = torch.zeros(2, LEVELS, dtype=torch.float64, device=device)
        self._power = torch.zeros(resolution, resolution // 2 + 1, dtype=torch.float64, device=device)

    def add(self, real: Tensor, rendered: Tensor, share: float) -> None:
        """Take patches and what the model renders of them: of the first half the strengths, then the spectrum."""
        here = self._power.device
        (self.add_strength if share < 0.5 else self.add_spectrum)(real.to(here), rendered.to(here))

    def add_strength(self, real: Tensor, rendered: Tensor) -> None:
        """Take patches and what the model renders of them, (B, C, R, R) in [-1, 1] each."""
        level = level_of(rendered).flatten()
        rest = (real - rendered).double().flatten()
        self._pixels.index_add_(0, level, torch.ones_like(rest))
        self._sizes.index_add_(0, level, rest.abs())

    def add_spectrum(self, real: Tensor, rendered: Tensor) -> None:
        """Take more of them, of which the strengths are known by now."""
        deviations = self.deviations()[level_of(rendered)]
        rest = torch.where(deviations > 0, (real - rendered) / deviations.clamp(min=1e-6), 0.0)
        self._power += torch.fft.rfft2(rest.double()).flatten(0, 1).abs().square().sum(dim=0)

    def deviations(self) -> Tensor:
        """Return the strengths, (LEVELS,) float32; 0 in air.

        They are those of normal noise of the same mean size: edges and dots that a model does not render are few and
        large, and would count for more than all noise by their squares.
        """
        enough = torch.nonzero(self._pixels >= _FEWEST_PIXELS).flatten()
        enough = enough[enough > 0]
        found = torch.zeros(LEVELS, dtype=torch.float64, device=self._pixels.device)
        if len(enough):
            nearest = (torch.arange(LEVELS, device=enough.device)[:, None] - enough).abs().argmin(dim=1)
            found = (self._sizes / self._pixels.clamp(min=1))[enough[nearest]] * math.sqrt(math.pi / 2)
            found[0] = 0
        return found.float()

    def result(self) -> Grain:
        """Return the grain; without any contrast in the patches, none."""
        rings = _rings(self.resolution).to(self._power.device)
        # rfft2 holds one half of the plane: its inner columns stand for two frequencies each.
        weight = torch.full_like(self._power, 2.0)
        weight[:, 0] = weight[:, -1] = 1.0
        flat = rings.flatten()
        of_ring = torch.zeros(int(rings.max()) + 1, dtype=torch.float64, device=flat.device)
        power = of_ring.index_add(0, flat, (self._power * weight).flatten())
        count = of_ring.index_add(0, flat, weight.flatten())
        mean = power / count
        mean[0] = 0  # how bright a patch is on the whole is no grain
        total = float((mean * count).sum()) / self.resolution**2
        gains = (mean / total).sqrt() if total > 0 else mean
        return Grain(self.deviations(), gains.float(), self.resolution)


def level_of(rendered: Tensor) -> Tensor:
    """Return the level of each pixel of images in [-1, 1], int64 from 0: what becomes grey value 0 is air."""
    grey = (rendered.clamp(-1, 1) + 1).mul(127.5).round().long()
    return torch.where(grey == 0, 0, 1 + (grey - 1) * (LEVELS - 1) // 255)


def no_grain(resolution: int) -> Grain:
    """Return a grain of no strength, on the CPU even where the default device is another, such as meta."""
    with torch.device("cpu"):
        return Grain(torch.zeros(LEVELS), torch.zeros(ring_count(resolution)), resolution)


def ring_count(resolution: int) -> int:
    """Return how many rings a spectrum of patches of R x R pixels has."""
    return int(_rings(resolution).max()) + 1


def _rings(resolution: int) -> Tensor:
    """Return the whole cycles per patch of each frequency of rfft2, (R, R / 2 + 1) int64."""
    down, across = torch.fft.fftfreq(resolution), torch.fft.rfftfreq(resolution)
    cycles = torch.hypot(down[:, None], across[None]) * resolution
    return torch.floor(cycles + 0.5 + math.ulp(1.0)).long()
