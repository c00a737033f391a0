"""What synthetic patches are worth for training."""

import numpy as np

from nlbs.evaluate.measures.classifier import ConditionClassifier, train_classifier
from nlbs.evaluate.measures.utility import utility
from nlbs.manifests.schema import NLBS
from nlbs.models.drawing import draw_patches
from tests.evaluate.conftest import QUICK
from tests.evaluate.made_up import SignSampler, signed_patches


def test_synthetic_patches_are_worth_what_they_show(signs_classifier: ConditionClassifier) -> None:
    """A sampler that obeys all but the view teaches all but the view."""
    held_out, learnt = signed_patches(300, seed=5), signed_patches(600, seed=1)
    drawn = np.stack(list(draw_patches(SignSampler(ignores=["view"]), learnt.conditions, seed=3)))
    on_synthetic = train_classifier(drawn, learnt.conditions, NLBS, seed=0, recipe=QUICK)
    found = utility(signs_classifier, on_synthetic, held_out)
    sides, view = found["laterality"].difference, found["view"].difference
    assert sides is not None and abs(sides.value) < 0.05
    assert view is not None and view.high is not None and view.high < -0.3
