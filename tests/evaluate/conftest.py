"""What the tests of evaluate share: one thread, and a classifier that has learnt the made-up signs."""

import pytest

from nlbs.evaluate.measures.classifier import ConditionClassifier, Recipe, train_classifier
from nlbs.manifests.schema import NLBS
from tests.evaluate.made_up import OTHER, other_patches, signed_patches
from tests.one_thread import one_thread  # noqa: F401  # a fixture

QUICK = Recipe(steps=120, batch_size=32, learning_rate=4e-3)


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
