"""The guide's loss: L1, KL divergence to N(0, I), and L1 between Laplacian edges."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

_LAPLACIAN = ((0.0, -1.0, 0.0), (-1.0, 4.0, -1.0), (0.0, -1.0, 0.0))


class LossTerms(NamedTuple):
    """The loss and what it is the sum of; scalars, the terms before their weights."""

    total: Tensor
    reconstruction: Tensor
    kl: Tensor
    edge: Tensor


def reconstruction_loss(reconstruction: Tensor, pixels: Tensor) -> Tensor:
    """Return (1/N) sum |x - y| over all pixels of the batch."""
    return functional.l1_loss(reconstruction, pixels)


def kl_divergence(mu: Tensor, logvar: Tensor) -> Tensor:
    """Return KL(N(mu, exp(logvar)) || N(0, I)) of each sample, (B,), in nats.

    KL = 1/2 sum_d (mu^2 + exp(logvar) - logvar - 1); arguments (B, D).
    """
    return 0.5 * (mu.square() + logvar.exp() - logvar - 1).sum(dim=1)


def charged_kl(mu: Tensor, logvar: Tensor, free_bits: float) -> Tensor:
    """Return the KL divergence that training pays for, a scalar in nats: sum_d max(free_bits, E_batch[KL_d]).

    Eq. 15 of 1606.04934, with a group per latent dimension: below ``free_bits`` nats a dimension
    costs the same whatever it holds, so nothing presses it to hold less. Arguments (B, D).
    """
    return (0.5 * (mu.square() + logvar.exp() - logvar - 1)).mean(dim=0).clamp(min=free_bits).sum()


def edge_loss(reconstruction: Tensor, pixels: Tensor) -> Tensor:
    """Return the L1 loss between the Laplacians of two batches, (B, C, H, W).

    Only where the 3x3 filter lies within the image: padding would invent edges.
    """
    return functional.l1_loss(_laplacian(reconstruction), _laplacian(pixels))


def guide_loss(
    reconstruction: Tensor,
    pixels: Tensor,
    kl: Tensor,
    reconstruction_weight: float = 1.0,
    kl_weight: float = 1.0,
    edge_weight: float = 0.1,
    charged: Tensor | None = None,
) -> LossTerms:
    """Return w_r L_reconstruction + beta L_KL + lambda L_edge (guide, section 8).

    Args:
        reconstruction, pixels: (B, 1, R, R) in [-1, 1].
        kl: (B,) nats, summed over the latent, averaged over the batch here.
        reconstruction_weight, kl_weight, edge_weight: w_r, beta (annealed by the caller), lambda.
        charged: what the total holds in place of the mean of ``kl``, see :func:`charged_kl`; None: that mean.
    """
    reconstruction_term = reconstruction_loss(reconstruction, pixels)
    kl_term = kl.mean()
    edge_term = edge_loss(reconstruction, pixels)
    paid = kl_term if charged is None else charged
    total = reconstruction_weight * reconstruction_term + kl_weight * paid + edge_weight * edge_term
    return LossTerms(total, reconstruction_term, kl_term, edge_term)


def laplace_loss(
    reconstruction: Tensor,
    pixels: Tensor,
    kl_levels: Tensor,
    scale: Tensor,
    kl_weights: Sequence[float],
    reconstruction_weight: float = 1.0,
    edge_weight: float = 0.1,
) -> LossTerms:
    """Return the guide's terms as a likelihood with a learned scale b, in nats per pixel.

    log 2b + (w_r L_reconstruction + lambda L_edge) / b + sum_l beta_l KL_l / N (sigma-VAE, 2006.13202, with the
    Laplace distribution in place of the normal one). With all beta_l = 1 and lambda = 0 it is the negative
    evidence lower bound.

    Args:
        reconstruction, pixels: (B, 1, R, R) in [-1, 1]; N = R * R.
        kl_levels: (B, levels) nats.
        scale: b, a scalar above 0.
        kl_weights: beta_l of each level.
        reconstruction_weight, edge_weight: w_r, lambda.
    """
    reconstruction_term = reconstruction_loss(reconstruction, pixels)
    edge_term = edge_loss(reconstruction, pixels)
    levels = kl_levels.mean(dim=0)
    paid = (levels * levels.new_tensor(kl_weights)).sum() / pixels[0].numel()
    error = reconstruction_weight * reconstruction_term + edge_weight * edge_term
    return LossTerms((2 * scale).log() + error / scale + paid, reconstruction_term, levels.sum(), edge_term)


def _laplacian(x: Tensor) -> Tensor:
    kernel = torch.tensor(_LAPLACIAN, dtype=x.dtype, device=x.device)
    channels = x.shape[1]
    return functional.conv2d(x, kernel.expand(channels, 1, 3, 3), groups=channels)
