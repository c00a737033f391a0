import math

import pytest

from nlbs.cvae.config import LossConfig
from nlbs.cvae.schedules import kl_weight


def test_beta_rises_by_a_twentieth_each_epoch_and_stays_at_the_weight() -> None:
    guide = LossConfig()
    assert [kl_weight(guide, epoch) for epoch in (0, 1, 10, 19, 20, 99)] == [0.0, 0.05, 0.5, 0.95, 1.0, 1.0]
    assert kl_weight(LossConfig(kl_weight=0.2), 5) == pytest.approx(0.05)
    assert kl_weight(LossConfig(kl_anneal_epochs=0), 0) == 1.0


def test_a_cycle_rises_by_a_sine_to_its_middle_and_begins_again() -> None:
    config = LossConfig(kl_weight=0.2, kl_anneal_epochs=6, kl_schedule="cyclical")
    cycle = [0.0, 0.5, math.sqrt(3) / 2, 1.0, 1.0, 1.0]  # sines of 0, 30, 60 and 90 degrees
    expected = [0.2 * share for share in cycle * 3]
    assert [kl_weight(config, epoch) for epoch in range(18)] == pytest.approx(expected)


def test_stairs_are_four_and_end_at_the_weight() -> None:
    config = LossConfig(kl_weight=2.0, kl_anneal_epochs=8, kl_schedule="progressive")
    expected = [0, 0, 0.5, 0.5, 1, 1, 1.5, 1.5, 2, 2, 2]
    assert [kl_weight(config, epoch) for epoch in range(11)] == expected


@pytest.mark.parametrize("name", ["linear", "cyclical", "progressive"])
def test_every_schedule_stays_within_the_weight_and_is_off_at_no_epochs(name: str) -> None:
    config = LossConfig(kl_weight=0.3, kl_anneal_epochs=7, kl_schedule=name)  # type: ignore[arg-type]
    betas = [kl_weight(config, epoch) for epoch in range(50)]
    assert (betas[0], max(betas)) == (0.0, 0.3)
    assert min(betas) >= 0
    assert kl_weight(LossConfig(kl_anneal_epochs=0, kl_schedule=name), 0) == 1.0  # type: ignore[arg-type]
