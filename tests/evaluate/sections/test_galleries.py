"""Pictures of each value of each condition."""

import numpy as np
import pytest

from nlbs.evaluate.measures.classifier import ConditionClassifier
from nlbs.evaluate.sections import galleries as module
from nlbs.evaluate.sections.galleries import galleries, values_of
from nlbs.manifests.schema import AGE_YEARS
from tests.evaluate.made_up import OTHER
from tests.evaluate.studies import obedient_study


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


def test_labels_have_a_picture_each_and_numbers_one_of_each_third(
    other_classifier: ConditionClassifier,
) -> None:
    section = galleries(obedient_study(other_classifier, schema=OTHER))
    words = {title: [one.caption.partition(":")[0] for one in group] for title, group in section.pictures}
    assert words["findings"] == ["findings Calcification", "findings Mass", "findings no finding"]
    thirds = ("0 to 0.333", "0.333 to 0.667", "0.667 to 1")
    assert words["position"] == [
        f"position {axis} {third}" for axis in ("across", "down") for third in thirds
    ]
    assert section.figures["groups"] == 2 + 4 + 3 + 6


def test_each_patch_has_one_third_of_a_number_and_unknown_ones_none() -> None:
    numbers = np.array([0, 20, 50, 80, AGE_YEARS.high, np.nan], np.float32)[:, None]
    found = dict(values_of(AGE_YEARS, {"age_years": numbers}))
    assert list(found) == ["years 0 to 30", "years 30 to 60", "years 60 to 90"]
    assert [has.tolist() for has in found.values()] == [
        [True, True, False, False, False, False],
        [False, False, True, False, False, False],
        [False, False, False, True, True, False],
    ]


def test_of_very_many_values_the_first_are_shown(
    other_classifier: ConditionClassifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_VALUES", 3)
    section = galleries(obedient_study(other_classifier, schema=OTHER))
    assert [len(group) for _, group in section.pictures] == [2, 3, 3, 3]
    assert section.lead[1:] == [
        "Of density the first 3 of 4 values are shown.", "Of position the first 3 of 6 values are shown."
    ]  # fmt: skip
