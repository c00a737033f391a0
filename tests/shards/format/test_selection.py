"""Rows in a bit each, against the plain list of their numbers."""

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from nlbs.shards.format.selection import AllRows, Selection

PART = 512

MASKS = st.integers(0, 2300).flatmap(
    lambda size: st.one_of(
        arrays(np.bool_, size),
        st.just(np.ones(size, np.bool_)),
        st.just(np.zeros(size, np.bool_)),
        st.integers(0, 9).map(lambda seed: np.random.default_rng(seed).random(size) < 0.3),
    )
)


def selected(mask: npt.NDArray[np.bool_]) -> Selection:
    return Selection(mask[start : start + PART] for start in range(0, len(mask), PART))


@given(mask=MASKS)
def test_it_reads_like_the_array_of_its_rows(mask: npt.NDArray[np.bool_]) -> None:
    rows, selection = np.flatnonzero(mask), selected(mask)
    assert len(selection) == len(rows)
    np.testing.assert_array_equal(selection.numbers(), rows)
    positions = np.random.default_rng(0).permutation(len(rows))
    found = selection[positions]
    assert found.dtype == np.int64
    np.testing.assert_array_equal(found, rows[positions])
    np.testing.assert_array_equal(selection[positions[None]], rows[positions][None])


@given(mask=MASKS)
def test_a_rank_counts_the_rows_before(mask: npt.NDArray[np.bool_]) -> None:
    places = np.arange(len(mask) + 3)
    np.testing.assert_array_equal(
        selected(mask).rank(places), [int(mask[:place].sum()) for place in places.tolist()]
    )


def test_all_rows_are_what_they_are() -> None:
    rows = AllRows(7)
    assert len(rows) == 7
    np.testing.assert_array_equal(rows.numbers(), np.arange(7))
    np.testing.assert_array_equal(rows[[6, 0]], [6, 0])
    np.testing.assert_array_equal(rows.rank([0, 7]), [0, 7])


@pytest.mark.parametrize("bit", [0, 1, 63, 64, 511, 512, 1023])
def test_a_single_row_is_found_wherever_it_stands(bit: int) -> None:
    mask = np.arange(1024) == bit
    assert selected(mask)[[0]].tolist() == [bit]
    assert selected(mask).rank([bit, bit + 1]).tolist() == [0, 1]


def test_it_takes_a_bit_per_row_and_not_much_more() -> None:
    selection = selected(np.ones(1 << 20, np.bool_))
    assert sum(array.nbytes for array in vars(selection).values() if isinstance(array, np.ndarray)) < 1.2 * (
        (1 << 20) / 8
    )
