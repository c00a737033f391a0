"""What the tests of evaluate share: one thread, and a classifier that has learnt the made-up signs."""

from collections.abc import Iterator

import pytest
import torch

from nlbs.evaluate.measures.classifier import ConditionClassifier, Recipe, train_classifier
from nlbs.manifests.schema import NLBS
from tests.evaluate.made_up import OTHER, other_patches, signed_patches

QUICK = Recipe(steps=120, batch_size=32, learning_rate=4e-3)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def signs_classifier() -> ConditionClassifier:
    """Trained on 600 patches of seed 1; others are held out."""
    learnt = signed_patches(600, seed=1)
    return train_classifier(learnt.pixels, learnt.conditions, NLBS, seed=0, recipe=QUICK)


@pytest.fixture(scope="session")
def other_classifier() -> ConditionClassifier:
    """Trained on 600 patches of other conditions."""
    learnt = other_patches(600, seed=1)
    return train_classifier(learnt.pixels, learnt.conditions, OTHER, seed=0, recipe=QUICK)
