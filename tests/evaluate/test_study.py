"""What sections share is made once."""

import numpy as np

from nlbs.evaluate.measures.classifier import ConditionClassifier
from nlbs.evaluate.study import Study
from tests.evaluate.studies import obedient_study


def test_what_is_drawn_is_drawn_once(signs_classifier: ConditionClassifier) -> None:
    said: list[str] = []
    study = obedient_study(signs_classifier)
    study = Study(study.model, study.sampler, study.train, study.held_out, study.extractor, say=said.append)
    assert study.drawn is study.drawn
    np.testing.assert_array_equal(study.features("drawn"), study.features("drawn"))
    assert said == [
        "drawing 300 patches",
        "features of 300 drawn patches by random-convolutions-0 (untrained fallback)",
    ]
