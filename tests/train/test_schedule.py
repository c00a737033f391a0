import pytest
import torch

from nlbs.train.config import TrainingConfig
from nlbs.train.schedule import learning_rate


def test_the_rate_is_that_of_torch_cosine_annealing() -> None:
    config = TrainingConfig(learning_rate=1e-4, min_learning_rate=1e-6, epochs=5)
    optimizer = torch.optim.Adam([torch.zeros(1, requires_grad=True)], lr=1e-4)
    reference = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=5 * 7, eta_min=1e-6)
    for step in range(5 * 7 + 1):
        assert learning_rate(config, step, steps_per_epoch=7) == pytest.approx(
            reference.get_last_lr()[0], rel=1e-9
        )
        optimizer.step()
        reference.step()
    assert learning_rate(config, 100, 7) == pytest.approx(1e-6)


def test_a_limit_of_steps_does_not_bend_the_rate() -> None:
    limited, free = (TrainingConfig(epochs=5, max_steps=limit) for limit in (3, None))
    assert [learning_rate(limited, s, 7) for s in range(9)] == [learning_rate(free, s, 7) for s in range(9)]


def test_a_warm_up_rises_to_the_cosine_in_even_steps() -> None:
    cold, warm = (TrainingConfig(epochs=100, warmup_steps=steps) for steps in (0, 4))
    shares = [learning_rate(warm, step, 7) / learning_rate(cold, step, 7) for step in range(7)]
    assert shares == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0, 1.0, 1.0])
