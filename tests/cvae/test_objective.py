"""The loss of a model with a learned scale, and when each level pays how much."""

import math

import pytest
import torch
from torch.distributions import Laplace

from nlbs.cvae.config import LossConfig
from nlbs.cvae.losses import edge_loss, laplace_loss
from nlbs.cvae.objective import Objective
from nlbs.cvae.schedules import kl_weights

A, B = (2 * torch.rand(3, 1, 8, 8, generator=torch.Generator().manual_seed(seed)) - 1 for seed in (0, 1))


def test_without_edges_the_loss_is_the_negative_likelihood_per_pixel_and_the_kl() -> None:
    scale, kl = torch.tensor(0.3), torch.tensor([[1.0, 4.0], [2.0, 5.0], [3.0, 6.0]])
    found = laplace_loss(A, B, kl, scale, [1.0, 1.0], edge_weight=0.0)
    expected = -Laplace(A, scale).log_prob(B).mean() + (2 + 5) / 64
    torch.testing.assert_close(found.total, expected)
    torch.testing.assert_close(found.kl, torch.tensor(7.0))


def test_each_level_pays_by_its_own_weight_and_edges_by_theirs() -> None:
    scale, kl = torch.tensor(0.5), torch.tensor([[1.0, 4.0]] * 3)
    plain = laplace_loss(A, B, kl, scale, [0.0, 0.0], edge_weight=0.0).total
    torch.testing.assert_close(
        laplace_loss(A, B, kl, scale, [0.5, 3.0], edge_weight=0.0).total, plain + 12.5 / 64
    )
    with_edges = laplace_loss(A, B, kl, scale, [0.0, 0.0], edge_weight=0.1).total
    torch.testing.assert_close(with_edges, plain + 0.1 * edge_loss(A, B) / 0.5)


def test_the_best_scale_is_the_mean_absolute_error() -> None:
    """The maximum likelihood estimate of a Laplace distribution's scale."""
    scale = (A - B).abs().mean().clone().requires_grad_()
    laplace_loss(A, B, torch.zeros(3, 1), scale, [1.0], edge_weight=0.0).total.backward()
    assert scale.grad is not None
    assert abs(scale.grad.item()) < 1e-5


def test_what_judges_is_the_loss_at_the_final_weights() -> None:
    objective = Objective(LossConfig(), numbers=64, levels=2, likely=True)
    assert objective.names == ("total", "reconstruction", "kl", "edge", "scale", "kl_0", "kl_1")
    means = {
        "reconstruction": 0.2,
        "kl": 32.0,
        "edge": 0.5,
        "scale": 0.25,
        "kl_0": 30.0,
        "kl_1": 2.0,
        "total": 9.0,
    }
    found = objective.judged(means)
    assert found == pytest.approx(math.log(0.5) + (0.2 + 0.1 * 0.5) / 0.25 + 32 / 64)


def test_a_model_without_scale_has_the_guides_loss() -> None:
    objective = Objective(LossConfig(kl_weight=0.5), numbers=64, levels=1, likely=False)
    assert objective.names == ("total", "reconstruction", "kl", "edge")
    assert objective.judged({"reconstruction": 0.2, "kl": 3.0, "edge": 0.4}) == pytest.approx(1.74)


@pytest.mark.parametrize(
    ("done", "expected"),
    [(0.0, [0.0, 0.0]), (0.15, [0.5, 0.5 * 3.25]), (0.3, [1.0, 2.5]), (0.6, [1.0, 1.0]), (1.0, [1.0, 1.0])],
)
def test_fine_levels_cost_more_at_first_and_in_the_end_all_cost_1(done: float, expected: list[float]) -> None:
    loss = LossConfig(kl_anneal_share=0.3, level_weights=(1.0, 4.0), level_share=0.6)
    assert kl_weights(loss, 2, epoch=0, done=done) == pytest.approx(expected)


def test_by_default_beta_goes_by_epochs_and_levels_are_alike() -> None:
    assert kl_weights(LossConfig(kl_anneal_epochs=4), 3, epoch=1, done=0.9) == [0.25] * 3
