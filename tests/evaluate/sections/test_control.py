"""The sections on control and utility, of a study whose sampler obeys all conditions but one.

Also covers: evaluate/sections/utility.py.
"""

import json

from nlbs.evaluate.measures.classifier import ConditionClassifier
from nlbs.evaluate.measures.targets import targets_of
from nlbs.evaluate.report import plain
from nlbs.evaluate.sections.control import condition_control, what_an_auc_is
from nlbs.evaluate.sections.utility import training_utility
from nlbs.manifests.schema import NLBS, Condition, Schema
from tests.evaluate.made_up import OTHER
from tests.evaluate.studies import obedient_study


def test_control_and_utility_find_the_one_condition_that_is_ignored(
    signs_classifier: ConditionClassifier,
) -> None:
    study = obedient_study(signs_classifier)
    section = condition_control(study)
    assert section.attention == [
        "Drawn patches do not show the condition laterality better than chance, with confidence."
    ]
    figures = json.loads(json.dumps(plain(section.figures), allow_nan=False))
    assert figures["view"]["ratio"]["value"] > 0.85
    assert figures["laterality"]["flip"]["change"] == 0
    assert figures["false_positive"]["ratio"] is None
    assert "not measurable" in section.tables[0].rows[-1][-1]
    figures = plain(training_utility(study).figures)
    assert figures["laterality"]["difference"]["high"] < -0.3
    assert figures["view"]["synthetic_auc"]["value"] > 0.9


def test_labels_and_numbers_have_rows_of_their_own(other_classifier: ConditionClassifier) -> None:
    study = obedient_study(other_classifier, ["findings"], OTHER)
    section = condition_control(study)
    ignored = "Drawn patches do not show the condition findings: Mass better than chance, with confidence."
    assert ignored in section.attention
    assert not any("position: across" in sentence or "density" in sentence for sentence in section.attention)
    figures = json.loads(json.dumps(plain(section.figures), allow_nan=False))
    assert list(figures) == [target.name for target in targets_of(OTHER)]
    assert figures["position: across"]["ratio"]["value"] > 0.85
    assert figures["position: across"]["values"] == []
    assert figures["findings: Mass"]["values"] == ["no", "yes"]
    figures = plain(training_utility(study).figures)
    assert figures["position: across"]["difference"]["low"] > -0.1
    assert figures["findings: Mass"]["difference"]["high"] < -0.3


def test_a_sentence_says_what_an_auc_is_of_each_kind() -> None:
    bins = "AUC of patches; of {} the mean over {} bins, each against the rest"
    assert what_an_auc_is(targets_of(NLBS)) == bins.format("age", "its") + "."
    assert what_an_auc_is(targets_of(OTHER)).startswith(
        bins.format("density", "its") + "; of position the concordance index: of two patches"
    )
    several = (NLBS["age_bin"], OTHER["density"], Condition("scanner", "categorical", ("x", "y", "z")))
    assert what_an_auc_is(targets_of(Schema(several))) == (
        bins.format("age and density", "their")
        + "; of scanner the mean over its values, each against the rest."
    )
