"""The sections on conditions, of a study whose sampler obeys."""

import json

from nlbs.evaluate.measures.classifier import ConditionClassifier
from nlbs.evaluate.report import plain
from nlbs.evaluate.sections.control import condition_control, galleries, training_utility
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


def test_a_gallery_has_each_value_of_each_condition(signs_classifier: ConditionClassifier) -> None:
    section = galleries(obedient_study(signs_classifier))
    assert [title for title, _ in section.pictures] == [
        "view",
        "laterality",
        "age bin",
        "cancer",
        "false positive",
    ]
    assert [len(group) for _, group in section.pictures] == [2, 2, 4, 2, 2]
