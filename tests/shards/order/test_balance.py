"""Classes and their shares, against counting by hand and closed forms."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nlbs.errors import ConfigError
from nlbs.shards.order.balance import balanced_shares, classes_of

COUNTS = st.lists(st.integers(1, 10**6), min_size=1, max_size=20)


@given(counts=COUNTS, power=st.floats(0, 1))
def test_without_a_cap_a_patch_weighs_its_frequency_to_the_power(counts: list[int], power: float) -> None:
    frequency = np.array(counts) / sum(counts)
    weight = frequency**-power
    expected = frequency * weight / (frequency * weight).sum()
    np.testing.assert_allclose(balanced_shares(counts, power, 1e12), expected)


@given(counts=COUNTS, power=st.floats(0, 1), cap=st.floats(1, 20))
def test_no_class_comes_above_the_cap_and_the_others_keep_their_ratios(
    counts: list[int], power: float, cap: float
) -> None:
    frequency = np.array(counts) / sum(counts)
    shares = balanced_shares(counts, power, cap)
    assert shares.sum() == pytest.approx(1)
    assert (shares <= cap * frequency * (1 + 1e-9)).all()
    free = shares < cap * frequency * (1 - 1e-9)
    scale = shares[free] / frequency[free] ** (1 - power)
    np.testing.assert_allclose(scale, scale[:1].repeat(len(scale)), rtol=1e-9)
    # What is capped would be above the cap with the scale of the others.
    if free.any():
        assert (frequency[~free] ** (1 - power) * scale[0] >= cap * frequency[~free] * (1 - 1e-6)).all()


def test_one_percent_cancer_comes_five_times_as_often_at_the_default() -> None:
    np.testing.assert_allclose(balanced_shares([99, 1], 0.5, 5), [0.95, 0.05])
    np.testing.assert_allclose(balanced_shares([90, 10], 0.5, 5), [0.75, 0.25])  # sqrt(9) : 1
    np.testing.assert_allclose(balanced_shares([3, 1], 1, 5), [0.5, 0.5])


def manifest() -> pa.Table:
    return pa.table(
        {
            "view": pa.DictionaryArray.from_arrays(
                pa.array([1, 0, None, 0, 1, 1, 0, None], pa.int8()), pa.array(["CC", "MLO", "ML"])
            ),
            "cancer": pa.array([1, 0, 0, None, 1, 0, 0, 0], pa.int8()),
            "age_bin": pa.array([3, 1, 2, 1, None, 3, 1, 2], pa.int8()),
            "x": pa.array(range(8), pa.int32()),
        }
    )


@pytest.mark.parametrize("columns", [("cancer",), ("view", "cancer"), ("age_bin", "view", "cancer")])
@pytest.mark.parametrize("rows", [range(8), [0, 2, 3, 5, 6]])
def test_classes_are_the_combinations_of_values_and_unknown_is_one(
    columns: tuple[str, ...], rows: list[int]
) -> None:
    table = manifest()
    expected: dict[str, list[int]] = {}
    for row in rows:
        values = [table[column][row].as_py() for column in columns]
        name = " ".join(f"{c}={'unknown' if v is None else v}" for c, v in zip(columns, values, strict=True))
        expected.setdefault(name, []).append(row)
    found = classes_of(table, columns, np.array(rows))
    assert {name: own.tolist() for name, own in found.items()} == expected


def test_classes_stand_in_the_order_of_codes_and_numbers_with_unknown_last() -> None:
    assert list(classes_of(manifest(), ["view"], np.arange(8))) == ["view=CC", "view=MLO", "view=unknown"]
    assert list(classes_of(manifest(), ["age_bin"], np.arange(8))) == [
        "age_bin=1", "age_bin=2", "age_bin=3", "age_bin=unknown",
    ]  # fmt: skip


def test_a_column_that_is_none_and_one_of_too_many_values_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"no column 'canser'; did you mean 'cancer'\?"):
        classes_of(manifest(), ["canser"], np.arange(8))
    table = pa.table({"x": pa.array(range(1001), pa.int32())})
    with pytest.raises(ConfigError, match="a balance by x has more than 1000 classes"):
        classes_of(table, ["x"], np.arange(1001))


def test_many_columns_are_combined_without_counting_combinations_that_do_not_occur() -> None:
    table = pa.table({str(k): pa.array([0, 1, 2, 3], pa.int8()) for k in range(40)})
    assert len(classes_of(table, [str(k) for k in range(40)], np.arange(4))) == 4
