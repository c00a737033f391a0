"""Synthetic patches by condition: sample i is a function of (model, conditions, seed, i) alone."""

from collections.abc import Iterator, Mapping

import numpy as np
import numpy.typing as npt
import torch

from nlbs.cvae import ConditionalVAE
from nlbs.manifests.conditions import CONDITIONS

#: Samples are decoded in batches of just this size, the last one filled up: how many are asked for
#: does not change how the arithmetic of one is rounded.
BATCH = 16


def draw_latent(seed: int, index: int, latent_dim: int) -> npt.NDArray[np.float32]:
    """Gives the latent of one sample, (latent_dim,) from N(0, I), whatever is drawn beside it."""
    stream = np.random.SeedSequence(seed, spawn_key=(index,))
    generator = np.random.Generator(np.random.Philox(stream))
    return generator.standard_normal(latent_dim, dtype=np.float32)


def generate_patches(
    model: ConditionalVAE, conditions: Mapping[str, int], count: int, seed: int, device: torch.device
) -> Iterator[npt.NDArray[np.uint8]]:
    """Gives synthetic patches of one set of conditions, one after the other.

    Args:
        model: trained, on ``device``.
        conditions: a code for each of :data:`nlbs.manifests.conditions.CONDITIONS`, -1 for unknown.
        count: how many.
        seed: not negative; the same one draws the same patches.
        device: of the model.

    Yields:
        (R, R) uint8, air 0.
    """
    codes = {
        name: torch.full((BATCH,), conditions[name], dtype=torch.int64, device=device) for name in CONDITIONS
    }
    model.eval()
    for start in range(0, count, BATCH):
        latents = [draw_latent(seed, start + offset, model.config.latent_dim) for offset in range(BATCH)]
        with torch.no_grad():
            decoded = model.decode(torch.from_numpy(np.stack(latents)).to(device), codes)
        pixels = decoded.float().clamp(-1, 1).add(1).mul(127.5).round().to(torch.uint8).cpu().numpy()
        yield from pixels[: count - start, 0]
