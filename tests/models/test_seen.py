"""Which conditions a model is asked for that its training never met."""

import numpy as np
import pytest

from nlbs.manifests.schema import NLBS
from nlbs.models.seen import guess, unseen

MET = {"view": [-1, 0, 1], "laterality": [0, 1], "age_bin": [-1], "cancer": [-1, 0], "false_positive": [0, 1]}


def codes(**said: int) -> dict[str, list[int]]:
    return {name: [0, said.get(name, 0)] for name in NLBS.names} | {"age_bin": [said.get("age_bin", -1)]}


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ({}, []),
        ({"view": 1, "laterality": 1, "false_positive": 1}, []),
        ({"cancer": 1}, ["cancer yes"]),
        ({"laterality": -1}, ["laterality unknown"]),
        ({"age_bin": 3}, ["age bin known at all"]),
        ({"age_bin": 3, "cancer": 1}, ["age bin known at all", "cancer yes"]),
    ],
)
def test_values_that_training_never_met_are_named(said: dict[str, int], expected: list[str]) -> None:
    found = unseen(
        {"conditions": MET}, {name: np.array(values) for name, values in codes(**said).items()}, NLBS
    )
    assert found == expected
    if len(expected) == 2:
        assert guess(found).startswith(
            "The model met no training patch with age bin known at all, or with cancer"
        )


@pytest.mark.parametrize(
    "training", [None, {}, {"conditions": None}, {"conditions": [1]}, {"conditions": dict.fromkeys(MET, 1)}]
)
def test_a_checkpoint_that_does_not_say_what_it_met_gives_nothing(training: object) -> None:
    assert unseen(training, codes(cancer=1), NLBS) == []
