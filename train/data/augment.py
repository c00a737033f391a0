"""Random changes of training patches, a whole batch at once on the device."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from nlbs.manifests.schema import NLBS, Schema
from nlbs.models import conditioning
from nlbs.train.config import AugmentConfig

_STREAM = 0x617567  #: keeps these random numbers apart from others of the same seed
_HIDING = 0x6E756C
_COLUMNS = 6  #: flip, angle, brightness, contrast, corner y, corner x
_AIR = -1 + 1e-4  #: at or below it is air: interpolation may round -1


@dataclass(frozen=True)
class AugmentParameters:
    """What happens to each patch of a batch, (B,) float64 arrays unless said otherwise."""

    flip: npt.NDArray[np.bool_]
    angle_deg: npt.NDArray[np.float64]
    brightness: npt.NDArray[np.float64]  #: factor
    contrast: npt.NDArray[np.float64]  #: factor
    corners: npt.NDArray[np.float64]  #: (B, 2) in [0, 1), where a crop lies
    hiding: npt.NDArray[np.float64]  #: (B, conditions) in [0, 1): one below the rate is hidden

    def part(self, own: slice) -> "AugmentParameters":
        """Return those of some places of the batch."""
        return AugmentParameters(
            self.flip[own], self.angle_deg[own], self.brightness[own], self.contrast[own], self.corners[own],
            self.hiding[own],
        )  # fmt: skip


def draw_parameters(
    config: AugmentConfig, count: int, seed: int, epoch: int, step: int, conditions: int = len(NLBS)
) -> AugmentParameters:
    """Return the parameters of a batch: a pure function, so that a resumed run repeats them.

    Counter-based random numbers (Philox 4x64-10; Salmon et al., *Parallel random numbers: as
    easy as 1, 2, 3*, 2011): the counter holds epoch, step and place in the batch.
    ``conditions`` is how many of them may be hidden.
    """
    uniform = _uniform(count, _COLUMNS, seed, _STREAM, epoch, step)
    signed = 2 * uniform - 1
    return AugmentParameters(
        flip=uniform[:, 0] < config.horizontal_flip,
        angle_deg=config.rotation_deg * signed[:, 1],
        brightness=1 + config.brightness * signed[:, 2],
        contrast=1 + config.contrast * signed[:, 3],
        corners=uniform[:, 4:6],
        hiding=_uniform(count, conditions, seed, _HIDING, epoch, step),
    )


def hidden(
    conditions: Mapping[str, Tensor], rate: float, hiding: npt.NDArray[np.float64]
) -> dict[str, Tensor]:
    """Return conditions, each made unknown where its number in ``hiding`` (B, conditions) is below the rate."""
    if not rate:
        return dict(conditions)
    device = next(iter(conditions.values())).device
    chosen = torch.from_numpy(hiding < rate).to(device).unbind(dim=1)
    return conditioning.hidden(conditions, dict(zip(conditions, chosen, strict=True)))


def augment(
    pixels: Tensor,
    conditions: Mapping[str, Tensor],
    parameters: AugmentParameters,
    config: AugmentConfig,
    speckle: Tensor | None = None,
    schema: Schema = NLBS,
) -> tuple[Tensor, dict[str, Tensor]]:
    """Return changed patches and their conditions.

    Args:
        pixels: (B, C, R, R) floats in [-1, 1], air = -1 in all channels.
        conditions: as :mod:`nlbs.manifests.schema` says, on the same device.
        parameters: of this batch.
        config: what to leave out, and how much noise.
        speckle: the noise before its scale, from N(0, 1), like the pixels; None: drawn from torch's
            global generator.
        schema: of the conditions.

    Returns:
        Pixels as given, air still -1, and conditions in which a flip has swapped the sides.
    """
    if config.horizontal_flip:
        pixels, conditions = flipped(pixels, conditions, parameters.flip, schema)
    if config.rotation_deg:
        pixels = rotated(pixels, parameters.angle_deg)
    if config.brightness or config.contrast:
        pixels = adjusted(pixels, parameters.brightness, parameters.contrast)
    if config.noise:
        pixels = noisy(pixels, config.noise, speckle)
    return pixels, dict(conditions)


def flipped(
    pixels: Tensor, conditions: Mapping[str, Tensor], flip: npt.NDArray[np.bool_], schema: Schema = NLBS
) -> tuple[Tensor, dict[str, Tensor]]:
    """Mirror some patches left to right: a left breast becomes a right one, unknown stays unknown."""
    chosen = torch.from_numpy(flip).to(pixels.device, non_blocking=True)
    mirrored = torch.where(chosen[:, None, None, None], pixels.flip(-1), pixels)
    return mirrored, conditioning.mirrored(conditions, chosen, schema)


def rotated(pixels: Tensor, angle_deg: npt.NDArray[np.float64]) -> Tensor:
    """Turn each patch about its centre; what comes in at the corners is mirrored tissue."""
    radians = np.deg2rad(angle_deg)
    cos, sin = (on_device(ratio, pixels)[:, None, None] for ratio in (np.cos(radians), np.sin(radians)))
    edge = pixels.shape[-1]
    along = (2 * torch.arange(edge, dtype=pixels.dtype, device=pixels.device) + 1) / edge - 1
    x, y = along[None, None, :], along[None, :, None]
    # Output -> input coordinates, y downwards. affine_grid's matrix products take four times as long.
    grid = torch.stack([cos * x - sin * y, sin * x + cos * y], dim=-1)
    return functional.grid_sample(
        pixels, grid, mode="bilinear", padding_mode="reflection", align_corners=False
    )


def adjusted(
    pixels: Tensor, brightness: npt.NDArray[np.float64], contrast: npt.NDArray[np.float64]
) -> Tensor:
    """Multiply by brightness, and the distance to the patch's mean tissue by contrast; air stays air."""
    gain = _column(brightness, pixels)
    spread = _column(contrast, pixels)
    tissue = _tissue(pixels)
    value = (pixels + 1) / 2 * gain
    count = tissue.sum(dim=(1, 2, 3), keepdim=True).clamp(min=1)
    mean = (value * tissue).sum(dim=(1, 2, 3), keepdim=True) / count
    value = (mean + (value - mean) * spread).clamp(0, 1)
    return torch.where(tissue, 2 * value - 1, pixels)


def noisy(pixels: Tensor, deviation: float, speckle: Tensor | None = None) -> Tensor:
    """Add normal noise to the tissue, given or from torch's global generator; air stays air."""
    noise = deviation * (torch.randn_like(pixels) if speckle is None else speckle)
    return torch.where(_tissue(pixels), (pixels + noise).clamp(-1, 1), pixels)


def _tissue(pixels: Tensor) -> Tensor:
    """Return which pixels are no air, of the shape of the pixels: any of their channels is not."""
    return (pixels > _AIR).any(dim=1, keepdim=True).expand_as(pixels)


def _uniform(
    count: int, columns: int, seed: int, stream: int, epoch: int, step: int
) -> npt.NDArray[np.float64]:
    philox = np.random.Philox(counter=[0, 0, step, epoch], key=[seed, stream])
    return np.random.Generator(philox).random((count, columns))


def _column(values: npt.NDArray[np.float64], like: Tensor) -> Tensor:
    return on_device(values, like)[:, None, None, None]


def on_device(values: npt.NDArray[np.float64], like: Tensor) -> Tensor:
    """Return values where the pixels are, and of their type, without waiting for the device."""
    return torch.from_numpy(values).to(like.dtype).to(like.device, non_blocking=True)
