"""The orders of an epoch: each a permutation, computed for any position alone."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nlbs.shards.order.order import ORDERS, permutation
from nlbs.shards.order.window import Window

SIZES = st.lists(st.integers(0, 40), min_size=1, max_size=25).filter(any)
NAMES = st.sampled_from(sorted(ORDERS))
WINDOWS = st.builds(Window, streams=st.integers(1, 9), shards=st.integers(2, 9))
SEEDS = st.integers(0, 2**63)


@given(name=NAMES, sizes=SIZES, seed=SEEDS, epoch=st.integers(0, 10**6), window=WINDOWS)
def test_every_sample_stands_once_in_every_epoch_of_every_order(
    name: str, sizes: list[int], seed: int, epoch: int, window: Window
) -> None:
    n = sum(sizes)
    order = ORDERS[name](sizes, seed, window)(epoch, np.arange(n))
    np.testing.assert_array_equal(np.sort(order), np.arange(n))


@given(name=NAMES, sizes=SIZES, seed=SEEDS, window=WINDOWS, data=st.data())
def test_a_position_has_its_sample_whoever_else_is_asked_for_and_whatever_was_asked_before(
    name: str, sizes: list[int], seed: int, window: Window, data: st.DataObject
) -> None:
    n = sum(sizes)
    order = ORDERS[name](sizes, seed, window)
    whole = {epoch: order(epoch, np.arange(n)) for epoch in (3, 4)}
    for _ in range(3):
        epoch, position = data.draw(st.sampled_from([3, 4])), data.draw(st.integers(0, n - 1))
        assert order(epoch, np.array([position]))[0] == whole[epoch][position]
        assert ORDERS[name](sizes, seed, window)(epoch, np.array([position]))[0] == whole[epoch][position]


@pytest.mark.parametrize("name", ["global", "window"])
def test_seeds_and_epochs_each_give_another_order(name: str) -> None:
    sizes = [10] * 20
    orders = {
        tuple(ORDERS[name](sizes, seed, Window(2, 4))(epoch, np.arange(200)))
        for seed in range(4)
        for epoch in range(4)
    }
    assert len(orders) == 16


def test_the_sequential_order_is_that_of_the_manifest_and_the_global_one_the_permutation() -> None:
    positions = np.arange(60)
    for epoch in (0, 5):
        np.testing.assert_array_equal(
            ORDERS["sequential"]([10, 50], 3, Window())(epoch, positions), positions
        )
        np.testing.assert_array_equal(
            ORDERS["global"]([10, 50], 3, Window())(epoch, positions), permutation(60, 3, epoch, positions)
        )


@pytest.mark.parametrize("name", sorted(ORDERS))
@pytest.mark.parametrize("position", [-1, 10])
def test_a_position_that_does_not_exist_is_an_error(name: str, position: int) -> None:
    with pytest.raises(IndexError, match=r"do not lie in 0\.\.9"):
        ORDERS[name]([4, 6], 0, Window())(0, np.array([3, position]))
