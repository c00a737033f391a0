"""Quotas against exact fractions: the shares of every batch, and of all of them."""

from fractions import Fraction
from math import ceil, floor

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from nlbs.shards.order.quotas import Quotas

WEIGHTS = st.lists(st.integers(1, 1000), min_size=1, max_size=12)


@given(weights=WEIGHTS, batch=st.integers(1, 300), step=st.integers(0, 10**12))
def test_a_class_has_its_share_of_every_batch_rounded_up_or_down(
    weights: list[int], batch: int, step: int
) -> None:
    quotas = Quotas(weights, batch).at(step)
    assert quotas.sum() == batch
    for weight, quota in zip(weights, quotas.tolist(), strict=True):
        share = Fraction(batch * weight, sum(weights))
        # A share that is a whole number may be stored as a hair more or less.
        assert floor(share - Fraction(1, 10**6)) <= quota <= ceil(share + Fraction(1, 10**6))


@given(weights=WEIGHTS, batch=st.integers(1, 300), first=st.integers(0, 2**33))
def test_what_was_given_before_is_the_sum_of_the_batches(weights: list[int], batch: int, first: int) -> None:
    quotas = Quotas(weights, batch)
    given_before = quotas.before(first)
    for step in range(first, first + 20):
        np.testing.assert_array_equal(quotas.before(step), given_before)
        given_before = given_before + quotas.at(step)
    np.testing.assert_array_equal(quotas.before(0), np.zeros(len(weights)))


@given(weights=WEIGHTS, batch=st.integers(1, 300), steps=st.integers(1, 10**7))
def test_the_shares_are_exact_in_the_long_run(weights: list[int], batch: int, steps: int) -> None:
    before = Quotas(weights, batch).before(steps)
    exact = np.array(weights) / sum(weights) * batch * steps
    # The discrepancy of the van der Corput sequence grows as log2(steps)/3 + 1, for either edge of a class.
    assert np.abs(before - exact).max() <= 2 * (np.log2(steps) / 3 + 1) + 1e-2


@given(weights=WEIGHTS, batch=st.integers(1, 300), steps=st.integers(1, 1000), cut=st.integers(0, 12))
def test_neighbouring_classes_together_have_their_share_of_every_batch_too(
    weights: list[int], batch: int, steps: int, cut: int
) -> None:
    quotas = Quotas(weights, batch).at(steps)
    share = Fraction(batch * sum(weights[:cut]), sum(weights))
    assert (
        floor(share - Fraction(1, 10**6)) <= quotas[:cut].sum() <= ceil(share + Fraction(1, 10**6))
    )  # a set of a mixture, divided into classes


def test_a_share_of_a_tenth_of_a_place_is_one_place_in_ten_batches() -> None:
    quotas = Quotas([1, 99], 10)
    taken = np.array([quotas.at(step)[0] for step in range(1000)])
    assert set(taken.tolist()) == {0, 1}
    assert abs(taken.sum() - 100) <= 1
    gaps = np.diff(np.flatnonzero(taken))
    assert gaps.max() <= 20  # not all at once, and none left out for long


@given(shares=WEIGHTS, batch=st.integers(1, 300), first=st.integers(0, 2**33), steps=st.integers(1, 70))
def test_steps_that_follow_each_other_are_what_each_is_alone(
    shares: list[int], batch: int, first: int, steps: int
) -> None:
    quotas = Quotas(shares, batch)
    at, before = quotas.of_steps(first, steps)
    assert at.tolist() == [quotas.at(first + k).tolist() for k in range(steps)]
    assert before.tolist() == [quotas.before(first + k).tolist() for k in range(steps)]
