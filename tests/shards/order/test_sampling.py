"""Batches by strata: the shares of every batch, each row before any again, whoever asks and when."""

from collections import Counter

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nlbs.shards.order.order import ORDERS
from nlbs.shards.order.sampling import Epochs, Strata, Stratum
from nlbs.shards.order.window import Window

STEPS = 5


def strata(sizes: list[int], shares: list[float], batch: int, order: str = "global", seed: int = 0) -> Strata:
    """Gives strata whose rows are 1000 k, 1000 k + 1, ... in shards of three."""
    parts = [
        Stratum(str(k), 1000 * k + np.arange(size), np.bincount(np.arange(size) // 3), share)
        for k, (size, share) in enumerate(zip(sizes, shares, strict=True))
    ]
    return Strata(parts, order, batch, STEPS, seed, Window(2, 2))


def whole(made: Strata, batch: int, number: int) -> npt.NDArray[np.int64]:
    return made.rows(*divmod(number, STEPS), np.arange(batch))


CLASSES = st.lists(st.tuples(st.integers(1, 30), st.floats(0.01, 1)), min_size=1, max_size=5)
NAMES = st.sampled_from(sorted(ORDERS))


@given(classes=CLASSES, batch=st.integers(1, 40), order=NAMES, seed=st.integers(0, 99))
def test_every_row_of_a_stratum_is_used_before_one_comes_again(
    classes: list[tuple[int, float]], batch: int, order: str, seed: int
) -> None:
    sizes, shares = [size for size, _ in classes], [share for _, share in classes]
    made = strata(sizes, shares, batch, order, seed)
    drawn: list[Counter[int]] = [Counter() for _ in sizes]
    for number in range(12):
        for row in whole(made, batch, number).tolist():
            drawn[row // 1000][row] += 1
        for k, (size, counter) in enumerate(zip(sizes, drawn, strict=True)):
            assert set(counter) <= set(range(1000 * k, 1000 * k + size))
            passes = sum(counter.values()) // size
            assert all(passes <= counter[row] <= passes + 1 for row in counter)
            assert len(counter) == size or passes == 0


@given(classes=CLASSES, batch=st.integers(1, 40), number=st.integers(0, 1000))
def test_every_batch_has_the_shares_rounded_up_or_down(
    classes: list[tuple[int, float]], batch: int, number: int
) -> None:
    shares = np.array([share for _, share in classes])
    rows = whole(strata([size for size, _ in classes], shares.tolist(), batch), batch, number)
    found = np.bincount(rows // 1000, minlength=len(classes))
    exact = batch * shares / shares.sum()
    assert (np.abs(found - exact) < 1 + 1e-6).all()
    assert len(rows) == batch


@given(classes=CLASSES, order=NAMES, batch=st.integers(1, 40), number=st.integers(0, 1000), data=st.data())
def test_a_part_of_a_batch_is_the_same_when_it_is_asked_for_alone(
    classes: list[tuple[int, float]], order: str, batch: int, number: int, data: st.DataObject
) -> None:
    sizes, shares = [size for size, _ in classes], [share for _, share in classes]
    made = strata(sizes, shares, batch, order)
    rows = whole(made, batch, number)
    places = np.array(data.draw(st.lists(st.integers(0, batch - 1), min_size=1)))
    fresh = strata(sizes, shares, batch, order)
    np.testing.assert_array_equal(fresh.rows(*divmod(number, STEPS), places), rows[places])


def test_the_places_of_a_stratum_in_a_batch_are_random_so_that_each_rank_has_all() -> None:
    made = strata([30, 30], [0.5, 0.5], 40)
    halves = [np.bincount(whole(made, 40, number)[:20] // 1000, minlength=2)[0] for number in range(200)]
    # Hypergeometric: 20 of 40 places, 20 of which are the stratum's; mean 10, standard deviation 1.6.
    assert abs(np.mean(halves) - 10) < 4 * 1.6 / np.sqrt(200)
    assert 1.2 < np.std(halves) < 2.0


@pytest.mark.parametrize("order", ["global", "window"])
def test_seeds_and_passes_have_orders_of_their_own(order: str) -> None:
    # Batches of half the rows: which half comes first is another in every pass.
    halves = {
        frozenset(whole(strata([60], [1], 30, order, seed), 30, 2 * number).tolist())
        for seed in range(3)
        for number in range(9)
    }
    assert len(halves) == 27


def test_the_digest_tells_shares_sizes_and_names_apart() -> None:
    digests = {strata(*change, 8).digest for change in (([5, 5], [1, 1]), ([5, 6], [1, 1]), ([5, 5], [1, 2]))}
    assert len(digests) == 3
    assert strata([5, 5], [1, 1], 8).digest in digests


def test_an_epoch_is_filled_up_with_its_last_sample() -> None:
    epochs = Epochs(np.array([7, 8, 9]), ORDERS["sequential"]([3], 0, Window()), 2)
    assert epochs.rows(0, 0, np.arange(2)).tolist() == [7, 8]
    assert epochs.rows(0, 1, np.arange(2)).tolist() == [9, 9]
