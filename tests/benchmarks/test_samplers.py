"""The benchmark of samplers: what its ratios say."""

from benchmarks.samplers import compared


def test_a_ratio_is_of_means_and_its_ends_are_of_single_seeds() -> None:
    found = compared(slow=[10.0, 12.0], quick=[11.0, 11.0])
    assert found == {"frechet": [11.0, 11.0], "over_slow": 1.0, "least": round(11 / 12, 4), "largest": 1.1}
