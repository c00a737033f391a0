"""Benchmarks follow the code that they measure."""

import importlib
from pathlib import Path

import pytest

BENCHMARKS = sorted(path.stem for path in (Path(__file__).parents[1] / "benchmarks").glob("*.py"))


def test_there_are_benchmarks() -> None:
    assert len(BENCHMARKS) > 10


@pytest.mark.parametrize("name", BENCHMARKS)
def test_a_benchmark_can_be_imported(name: str) -> None:
    importlib.import_module(f"benchmarks.{name}")


def test_the_step_beside_a_busy_neighbour_is_that_of_the_preset() -> None:
    from benchmarks.busy_neighbour import steps_per_s

    assert steps_per_s("nlbs-small", batch_size=2, seconds=0.0) > 0
