"""The order of samples against the definition: bijective, seeded, uniform, and the same in every release."""

import hashlib
from collections import Counter
from itertools import pairwise, permutations
from math import ceil, sqrt

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from nlbs.shards.order.permutation import permutation, permutation_of_parts

SEEDS = st.integers(0, 2**63)
EPOCHS = st.integers(0, 10**6)


def by_the_book(n: int, seed: int, epoch: int, position: int) -> int:
    """Gives one sample of the order in Python's unbounded integers: SplitMix64's finaliser, 8 Feistel rounds."""
    a = ceil(sqrt(n))
    b = -(-n // a)
    keys = hashlib.shake_256(f"nlbs order {seed} {epoch}".encode()).digest(64)
    while True:
        left, right = divmod(position, b)
        for number in range(8):
            z = (right if number % 2 == 0 else left) * 0x9E3779B97F4A7C15
            z = (z + int.from_bytes(keys[8 * number : 8 * number + 8], "little")) % 2**64
            z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 % 2**64
            z = (z ^ z >> 27) * 0x94D049BB133111EB % 2**64
            z = (z ^ z >> 31) >> 2
            if number % 2 == 0:
                left = (left + z) % a
            else:
                right = (right + z) % b
        position = left * b + right
        if position < n:
            return position


@given(n=st.integers(1, 3000), seed=SEEDS, epoch=EPOCHS)
def test_every_sample_stands_once_in_every_epoch(n: int, seed: int, epoch: int) -> None:
    order = permutation(n, seed, epoch, np.arange(n))
    np.testing.assert_array_equal(np.sort(order), np.arange(n))


@given(n=st.integers(1, 2**48), seed=SEEDS, epoch=EPOCHS, part=st.floats(0, 1, exclude_max=True))
def test_the_order_is_that_of_the_documented_cipher_in_exact_arithmetic(
    n: int, seed: int, epoch: int, part: float
) -> None:
    position = min(int(n * part), n - 1)
    assert permutation(n, seed, epoch, [position])[0] == by_the_book(n, seed, epoch, position)


@given(n=st.integers(2, 10**15), seed=SEEDS, data=st.data())
def test_distinct_positions_have_distinct_samples_in_sets_that_no_list_could_hold(
    n: int, seed: int, data: st.DataObject
) -> None:
    positions = data.draw(st.lists(st.integers(0, n - 1), min_size=2, max_size=50, unique=True))
    order = permutation(n, seed, 0, positions)
    assert len(set(order.tolist())) == len(positions)
    assert order.min() >= 0
    assert order.max() < n


def test_a_position_has_its_sample_whoever_else_is_asked_for() -> None:
    whole = permutation(1000, 3, 5, np.arange(1000))
    assert [int(permutation(1000, 3, 5, [p])[0]) for p in (0, 17, 999)] == whole[[0, 17, 999]].tolist()
    np.testing.assert_array_equal(permutation(1000, 3, 5, [[999, 0], [0, 17]]), whole[[[999, 0], [0, 17]]])


def test_seed_and_epoch_each_give_another_order() -> None:
    orders = {tuple(permutation(100, seed, epoch, np.arange(100))) for seed in range(5) for epoch in range(5)}
    assert len(orders) == 25


def test_every_sample_is_equally_likely_at_every_position() -> None:
    n, epochs = 10, 3000
    orders = np.stack([permutation(n, 0, epoch, np.arange(n)) for epoch in range(epochs)])
    counts = np.stack([np.bincount(orders[:, position], minlength=n) for position in range(n)])
    chi_square = float(((counts - epochs / n) ** 2 / (epochs / n)).sum())
    # Rows and columns of the counts each sum to the epochs: (n-1)^2 degrees of freedom.
    assert stats.chi2.sf(chi_square, (n - 1) ** 2) > 1e-3


def test_every_order_of_four_samples_is_equally_likely() -> None:
    draws = 4800
    counts = Counter(tuple(permutation(4, seed, 0, np.arange(4)).tolist()) for seed in range(draws))
    assert set(counts) == set(permutations(range(4)))
    chi_square = sum((count - draws / 24) ** 2 / (draws / 24) for count in counts.values())
    assert stats.chi2.sf(chi_square, 23) > 1e-3


def test_neighbours_in_the_order_are_not_neighbours_in_the_set() -> None:
    n = 10_000
    order = permutation(n, 0, 0, np.arange(n)).tolist()
    # Of n-1 pairs of a random order about 2 are neighbours: Poisson, above 12 once in 10^6.
    assert sum(abs(a - b) == 1 for a, b in pairwise(order)) <= 12
    assert abs(stats.spearmanr(order, range(n)).statistic) < 4 / sqrt(n)


@pytest.mark.parametrize("position", [-1, 10])
def test_a_position_that_does_not_exist_is_an_error(position: int) -> None:
    with pytest.raises(IndexError, match=r"do not lie in 0\.\.9"):
        permutation(10, 0, 0, [3, position])


def test_an_empty_set_has_an_empty_order() -> None:
    assert permutation(0, 0, 0, []).shape == (0,)
    with pytest.raises(IndexError):
        permutation(0, 0, 0, [0])


@given(sizes=st.lists(st.integers(1, 60), min_size=1, max_size=8), seed=SEEDS, passed=EPOCHS)
def test_parts_are_permuted_each_in_itself(sizes: list[int], seed: int, passed: int) -> None:
    part = np.repeat(np.arange(len(sizes)), sizes)
    position = np.concatenate([np.arange(size) for size in sizes])
    order = permutation_of_parts(np.array(sizes)[part], seed, part, passed, position)
    for number, size in enumerate(sizes):
        np.testing.assert_array_equal(np.sort(order[part == number]), np.arange(size))
    backwards = permutation_of_parts(np.array(sizes)[part][::-1], seed, part[::-1], passed, position[::-1])
    np.testing.assert_array_equal(backwards[::-1], order)


def test_parts_passes_and_seeds_each_have_an_order_of_their_own() -> None:
    n, position = np.full(100, 100), np.arange(100)
    orders = {
        tuple(permutation_of_parts(n, seed, part, number, position))
        for seed in range(3)
        for part in range(3)
        for number in range(3)
    }
    assert len(orders) == 27


def test_every_sample_of_a_part_is_equally_likely_at_every_position() -> None:
    n, passes = 10, 3000
    orders = permutation_of_parts(
        np.full((passes, n), n), 0, 4, np.arange(passes)[:, None], np.arange(n)[None, :]
    )
    counts = np.stack([np.bincount(orders[:, position], minlength=n) for position in range(n)])
    chi_square = float(((counts - passes / n) ** 2 / (passes / n)).sum())
    assert stats.chi2.sf(chi_square, (n - 1) ** 2) > 1e-3
