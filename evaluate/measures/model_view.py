"""What a model makes of real patches: reconstructions, latents, KL. Models of any architecture, one way in."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from nlbs.errors import EvaluationError
from nlbs.evaluate.measures.arrays import Floats, Patches
from nlbs.models.contract import Bounds, GenerativeModel, HasPrior, Reconstructs, lacks
from nlbs.models.drawing import Codes, to_uint8
from nlbs.models.pixels import with_channels

_AT_ONCE = 64


@dataclass(frozen=True)
class Encoded:
    """What a model makes of some patches."""

    reconstructed: Patches  #: uint8, as the patches are, from the means of the latents
    shifts: tuple[
        npt.NDArray[np.float32], ...
    ]  #: of each latent from its prior, (n, numbers), the coarsest first
    kl_levels: Floats  #: (n, levels), nats; no levels where the model bounds no likelihood
    absolute_error: Floats  #: (n,) sum of |x - reconstruction| over all pixels, in [-1, 1]


def encode(
    model: GenerativeModel,
    pixels: Patches,
    conditions: Codes,
    most: int = 0,
) -> Encoded:
    """Return reconstructions, KL, and how far the latents' means lie from the prior's (``model.shifts``).

    Args:
        model: in eval mode.
        pixels: uint8, (n, R, R) or (n, R, R, 3).
        conditions: of the same n patches.
        most: of how many patches the shifts are kept; those of a ladder are large.

    Raises:
        EvaluationError: the model does not rebuild images.
    """
    reconstructed, errors, kl = [], [], []
    shifts: list[list[npt.NDArray[np.float32]]] = []
    with torch.no_grad():
        for start in range(0, len(pixels), _AT_ONCE):
            some = slice(start, start + _AT_ONCE)
            x = as_floats(pixels[some], model.device)
            codes = {
                name: torch.from_numpy(conditions[name][some]).to(model.device) for name in model.schema.names
            }
            output, levels = _rebuilt(model, x, codes)
            again = output.float().clamp(-1, 1)
            reconstructed.append(to_uint8(again))
            errors.append((x - again).abs().sum(dim=(1, 2, 3)).double().cpu().numpy())
            kl.append(levels.double().cpu().numpy())
            if start < most and isinstance(model, HasPrior):
                found = [level.float().flatten(1).cpu().numpy() for level in model.shifts(x, codes)]
                shifts.append([level[: most - start] for level in found])
    return Encoded(
        np.concatenate(reconstructed),
        tuple(np.concatenate(level) for level in zip(*shifts, strict=True)),
        np.concatenate(kl),
        np.concatenate(errors),
    )


def _rebuilt(model: GenerativeModel, pixels: Tensor, codes: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Return reconstructions and nats of each level, in one pass."""
    if isinstance(model, Bounds):
        return model.bound(pixels, codes)
    if isinstance(model, Reconstructs):
        return model.reconstruct(pixels, codes), pixels.new_zeros(len(pixels), 0)
    raise EvaluationError(lacks(model, "rebuild images"))


def as_floats(pixels: Patches, device: torch.device | str) -> Tensor:
    """Return uint8 patches as (n, C, R, R) float32 in [-1, 1]."""
    values = with_channels(torch.from_numpy(np.ascontiguousarray(pixels)).to(device))
    return values.contiguous().float().div(127.5).sub(1)
