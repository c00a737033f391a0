"""Condition control and utility, with samplers whose control is known."""

import numpy as np
import pytest

from nlbs.evaluate.measures.classifier import ConditionClassifier
from nlbs.evaluate.measures.control import Flip, control, flip_all
from nlbs.evaluate.measures.targets import targets_of
from nlbs.models.drawing import draw_patches
from tests.evaluate.made_up import OTHER, SignSampler, other_patches, signed_patches

SIGNS = ("view", "laterality", "age_bin", "cancer")


def test_real_patches_in_place_of_drawn_ones_have_a_ratio_of_one(
    signs_classifier: ConditionClassifier,
) -> None:
    held_out, other = signed_patches(400, seed=5), signed_patches(400, seed=6)
    found = control(signs_classifier, held_out, other.pixels, other.conditions)
    for name in SIGNS:
        ratio = found[name].ratio
        assert ratio is not None and ratio.low is not None and ratio.high is not None
        assert ratio.value == pytest.approx(1, abs=0.15)
        assert ratio.low - 0.05 <= 1 <= ratio.high + 0.05


def test_patches_that_ignore_what_was_asked_have_a_ratio_of_zero(
    signs_classifier: ConditionClassifier,
) -> None:
    held_out = signed_patches(400, seed=5)
    drawn = np.stack(list(draw_patches(SignSampler(SIGNS), held_out.conditions, seed=0)))
    found = control(signs_classifier, held_out, drawn, held_out.conditions)
    for name in SIGNS:
        ratio = found[name].ratio
        assert ratio is not None and ratio.low is not None and ratio.high is not None
        assert ratio.value == pytest.approx(0, abs=0.2)
        assert ratio.low < 0.05 and ratio.high > -0.05


def test_what_real_patches_do_not_show_is_not_measurable(signs_classifier: ConditionClassifier) -> None:
    held_out = signed_patches(200, seed=5)
    found = control(signs_classifier, held_out, held_out.pixels, held_out.conditions)["false_positive"]
    assert found.ratio is None
    assert "does not see it in held-out real patches" in found.why_not


def test_what_one_patient_alone_has_is_not_measurable(signs_classifier: ConditionClassifier) -> None:
    held_out = signed_patches(60, seed=5, patients=6)
    codes = {**held_out.conditions, "cancer": (held_out.patients == 0).astype(np.int64)}
    only = type(held_out)(held_out.pixels, codes, held_out.patients, held_out.images, held_out.rows)
    found = control(signs_classifier, only, only.pixels, codes)["cancer"]
    assert found.ceiling is None
    assert "fewer than two held-out patients" in found.why_not


def test_a_flipped_condition_moves_the_patch_its_way(signs_classifier: ConditionClassifier) -> None:
    start = signed_patches(64, seed=7).conditions
    found = flip_all(SignSampler(ignores=["cancer", "false_positive"]), signs_classifier, start, seed=0)
    for name in ("view", "laterality", "age_bin"):
        flip = found[name]
        assert flip is not None and flip.moved is not None and flip.moved > 0.85
        assert flip.change > 5
    assert found["cancer"] == Flip(64, moved=0.5, change=0)


def test_labels_and_numbers_are_obeyed_or_not(other_classifier: ConditionClassifier) -> None:
    held_out, sampler = other_patches(300, seed=5), SignSampler(["findings"], OTHER)
    drawn = np.stack(list(draw_patches(sampler, held_out.conditions, seed=0)))
    found = control(other_classifier, held_out, drawn, held_out.conditions)
    assert list(found) == [target.name for target in targets_of(OTHER)]
    across, mass = found["position: across"].ratio, found["findings: Mass"].ratio
    assert across is not None and across.low is not None and across.low > 0.8
    assert mass is not None and mass.low is not None and mass.high is not None
    assert mass.low < 0.05 and -0.1 < mass.high < 0.3
    for name in ("position: down", "findings: Calcification"):
        assert found[name].ratio is None
        assert "does not see it in held-out real patches" in found[name].why_not
    flips = flip_all(sampler, other_classifier, other_patches(64, seed=7).conditions, seed=0)
    moved = {name: flip.moved for name, flip in flips.items() if flip is not None}
    assert list(moved) == list(found)
    assert moved["position: across"] is not None and moved["position: across"] > 0.85
    assert moved["findings: Mass"] == 0.5
