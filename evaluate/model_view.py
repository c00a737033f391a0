"""What a model makes of real patches: reconstructions, latents, KL. Models of any architecture, one way in."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from nlbs.cvae.model import ConditionalVAE
from nlbs.cvae.samplers import to_uint8
from nlbs.evaluate.arrays import Floats, Patches
from nlbs.manifests.conditions import CONDITIONS

_AT_ONCE = 64


@dataclass(frozen=True)
class Encoded:
    """What a model makes of some patches."""

    reconstructed: Patches  #: (n, R, R) uint8, from the means of the latents
    shifts: tuple[
        npt.NDArray[np.float32], ...
    ]  #: of each latent from its prior, (n, numbers), the coarsest first
    kl_levels: Floats  #: (n, levels), nats
    absolute_error: Floats  #: (n,) sum of |x - reconstruction| over all pixels, in [-1, 1]


def encode(
    model: ConditionalVAE, pixels: Patches, conditions: Mapping[str, npt.NDArray[np.int64]], most: int = 0
) -> Encoded:
    """Gives reconstructions, KL, and how far the latents' means lie from the prior's (``model.shifts``).

    Args:
        model: in eval mode.
        pixels: uint8, (n, R, R).
        conditions: their codes, (n,) each.
        most: of how many patches the shifts are kept; those of a ladder are large.
    """
    device = next(model.parameters()).device
    reconstructed, errors, kl = [], [], []
    shifts: list[list[npt.NDArray[np.float32]]] = [[] for _ in model.latent_shapes]
    with torch.no_grad():
        for start in range(0, len(pixels), _AT_ONCE):
            some = slice(start, start + _AT_ONCE)
            x = as_floats(pixels[some], device)
            codes = {name: torch.from_numpy(conditions[name][some]).to(device) for name in CONDITIONS}
            output = model(x, codes)
            levels: Tensor = getattr(output, "kl_levels", output.kl[:, None])
            again = output.reconstruction.float().clamp(-1, 1)
            reconstructed.append(to_uint8(again))
            errors.append((x - again).abs().sum(dim=(1, 2, 3)).double().cpu().numpy())
            kl.append(levels.double().cpu().numpy())
            if start < most:
                for kept, latent in zip(shifts, model.shifts(x, codes), strict=True):
                    kept.append(latent.float().flatten(1).cpu().numpy()[: most - start])
    shapes = [int(np.prod(shape)) for shape in model.latent_shapes]
    empty = [np.empty((0, width), np.float32) for width in shapes]
    return Encoded(
        np.concatenate(reconstructed),
        tuple(np.concatenate([none, *kept]) for none, kept in zip(empty, shifts, strict=True)),
        np.concatenate(kl),
        np.concatenate(errors),
    )


def as_floats(pixels: Patches, device: torch.device | str) -> Tensor:
    """Gives uint8 pixels (n, R, R) as (n, 1, R, R) float32 in [-1, 1]."""
    return torch.from_numpy(np.ascontiguousarray(pixels)).to(device).float().div(127.5).sub(1).unsqueeze(1)
