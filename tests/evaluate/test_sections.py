"""The sections on conditions, of a study whose sampler obeys."""

import json
from dataclasses import replace

import numpy as np
import torch

from nlbs.cvae.config import DecoderConfig, EncoderConfig, ModelConfig
from nlbs.cvae.model import ConditionalVAE
from nlbs.evaluate.measures.classifier import ConditionClassifier
from nlbs.evaluate.measures.features import random_convolutions
from nlbs.evaluate.report import plain
from nlbs.evaluate.sections.control import condition_control
from nlbs.evaluate.sections.galleries import galleries
from nlbs.evaluate.sections.realism import realism
from nlbs.evaluate.sections.utility import training_utility
from nlbs.evaluate.study import Study
from nlbs.models.companions.grain import LEVELS, Grain, GrainySampler, ring_count
from tests.evaluate.conftest import QUICK
from tests.evaluate.made_up import EDGE, SignSampler, signed_patches

SMALL = ModelConfig(
    latent_dim=4,
    condition_embed_dim=6,
    encoder=EncoderConfig(channels=(8, 16)),
    decoder=DecoderConfig(channels=(16, 8, 1), use_skip_connections=False),
)


def obedient_study(classifier: ConditionClassifier) -> Study:
    torch.manual_seed(0)
    model = ConditionalVAE(SMALL, EDGE).eval()
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


def test_draws_with_grain_are_compared_with_reconstructions_with_grain() -> None:
    """And with those without: of a model that renders nearly one grey, these are smooth."""
    torch.manual_seed(0)
    model = ConditionalVAE(SMALL, EDGE)
    grain = Grain(torch.full((LEVELS,), 20 / 127.5), torch.ones(ring_count(EDGE)), EDGE)
    train, held_out = signed_patches(60, seed=1), signed_patches(40, seed=2)
    study = Study(model.eval(), GrainySampler(SignSampler(), grain), train, held_out, random_convolutions())
    rest = study.rebuilt.astype(int) - study.encoded.reconstructed
    assert abs(rest.std() - 20) < 1
    figures = plain(realism(study).figures)
    assert set(figures["frechet"]) == {"floor", "reconstructed", "without_grain", "generated", "point_mass"}
    assert figures["frechet"]["reconstructed"] != figures["frechet"]["without_grain"]
    sharp = figures["sharpness"]
    with_grain, without = (
        sharp[kind]["top_octave_ratio"]["value"] for kind in ("reconstructed", "without_grain")
    )
    assert with_grain > 5 * without
    plainly = replace(study, sampler=SignSampler())
    assert plainly.rebuilt is plainly.encoded.reconstructed
    assert "without_grain" not in plain(realism(plainly).figures)["frechet"]


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
