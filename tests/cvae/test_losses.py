import math

import numpy as np
import pytest
import torch
from scipy.signal import convolve2d
from torch.distributions import Normal
from torch.distributions import kl_divergence as reference_kl

from nlbs.cvae.losses import charged_kl, edge_loss, guide_loss, kl_divergence, reconstruction_loss


def two_batches() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return tuple(2 * torch.rand(3, 1, 8, 9, generator=generator) - 1 for _ in range(2))  # type: ignore[return-value]


def test_reconstruction_is_the_mean_absolute_difference() -> None:
    x, y = two_batches()
    expected = np.abs(x.numpy().astype(np.float64) - y.numpy()).mean()
    np.testing.assert_allclose(reconstruction_loss(x, y).item(), expected, rtol=1e-6)
    one, other = torch.tensor([0.8, 0.2, 0.9, 0.1]), torch.tensor([0.7, 0.3, 0.8, 0.2])
    np.testing.assert_allclose(reconstruction_loss(one, other).item(), 0.1, rtol=1e-6)  # the guide's, over N


def test_kl_is_that_of_normal_distributions_summed_over_the_latent() -> None:
    mu, logvar = torch.randn(5, 7, dtype=torch.float64), torch.randn(5, 7, dtype=torch.float64)
    expected = reference_kl(Normal(mu, torch.exp(logvar / 2)), Normal(0.0, 1.0)).sum(dim=1)
    torch.testing.assert_close(kl_divergence(mu, logvar), expected)
    assert torch.equal(kl_divergence(torch.zeros(2, 3), torch.zeros(2, 3)), torch.zeros(2))


def test_edges_are_those_of_the_laplacian_within_the_image() -> None:
    x, y = two_batches()
    kernel = np.array([[0, -1, 0], [-1, 4, -1], [0, -1, 0]])
    edges = [[convolve2d(i[0], kernel, mode="valid") for i in batch.numpy()] for batch in (x, y)]
    expected = np.abs(np.array(edges[0]) - np.array(edges[1])).mean()
    np.testing.assert_allclose(edge_loss(x, y).item(), expected, rtol=1e-5)
    assert edge_loss(x + 0.25, x).item() < 1e-6  # a constant has no edges, not even at the border


def test_the_total_weights_the_three_terms() -> None:
    x, y = two_batches()
    kl = torch.tensor([1.0, 2.0, 6.0])
    terms = guide_loss(x, y, kl, reconstruction_weight=2.0, kl_weight=0.5, edge_weight=0.1)
    assert terms.kl.item() == 3.0
    expected = 2 * terms.reconstruction.item() + 0.5 * 3.0 + 0.1 * terms.edge.item()
    np.testing.assert_allclose(terms.total.item(), expected, rtol=1e-6)


def test_free_bits_charge_each_dimension_by_its_mean_but_no_less_than_they_are() -> None:
    # KL of N(m, 1) is m^2 / 2: means over the batch of 0.25, 4 and 0 nats
    mu = torch.tensor([[1.0, 2.0, 0.0], [0.0, math.sqrt(12), 0.0]], requires_grad=True)
    charged = charged_kl(mu, torch.zeros(2, 3), free_bits=0.5)
    assert charged.item() == pytest.approx(0.5 + 4 + 0.5)
    charged.backward()  # type: ignore[no-untyped-call]
    torch.testing.assert_close(mu.grad, torch.tensor([[0.0, 1.0, 0.0], [0.0, math.sqrt(12) / 2, 0.0]]))
    nothing_free = charged_kl(mu, torch.zeros(2, 3), free_bits=0.0)
    torch.testing.assert_close(nothing_free, kl_divergence(mu, torch.zeros(2, 3)).mean())


def test_the_total_charges_what_it_is_told_and_still_names_the_whole_kl() -> None:
    x, _ = two_batches()
    terms = guide_loss(x, x, torch.tensor([1.0, 3.0]), 1.0, 0.5, 0.1, charged=torch.tensor(7.0))
    assert (terms.total.item(), terms.kl.item()) == (3.5, 2.0)
