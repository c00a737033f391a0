"""The sections on conditions, of a study whose sampler obeys."""

import json

import numpy as np
import torch

from nlbs.cvae.config import DecoderConfig, EncoderConfig, ModelConfig
from nlbs.cvae.model import ConditionalVAE
from nlbs.evaluate.classifier import ConditionClassifier
from nlbs.evaluate.features import random_convolutions
from nlbs.evaluate.page_conditions import condition_control, galleries, training_utility
from nlbs.evaluate.report import plain
from nlbs.evaluate.study import Study
from tests.evaluate.conftest import QUICK
from tests.evaluate.made_up import EDGE, SignSampler, signed_patches


def obedient_study(classifier: ConditionClassifier) -> Study:
    torch.manual_seed(0)
    config = ModelConfig(
        latent_dim=4,
        condition_embed_dim=6,
        encoder=EncoderConfig(channels=(8, 16)),
        decoder=DecoderConfig(channels=(16, 8, 1), use_skip_connections=False),
    )
    model = ConditionalVAE(config, EDGE).eval()
    train, held_out = signed_patches(600, seed=1), signed_patches(300, seed=2)
    study = Study(model, SignSampler(["laterality"]), train, held_out, random_convolutions(), recipe=QUICK)
    study.__dict__["on_real"] = study.__dict__["on_few_real"] = classifier  # trained on just these patches
    return study


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
