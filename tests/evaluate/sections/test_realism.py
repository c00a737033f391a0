"""The section on realism: like is compared with like."""

from dataclasses import replace

import torch

from nlbs.cvae.model import ConditionalVAE
from nlbs.evaluate.measures.features import random_convolutions
from nlbs.evaluate.report import plain
from nlbs.evaluate.sections.realism import realism
from nlbs.evaluate.study import Study
from nlbs.models.stages.grain import LEVELS, Grain, GrainySampler, ring_count
from tests.evaluate.made_up import EDGE, SignSampler, signed_patches
from tests.evaluate.studies import SMALL


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
