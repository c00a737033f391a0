"""Quizzes: the cases of ``educational``, and real patches beside what is drawn by the same conditions."""

from collections import Counter
from pathlib import Path

import numpy as np

from nlbs.generate.educational import cases
from nlbs.generate.page.quiz import quiz_of_kinds, quiz_of_real
from nlbs.manifests.schema import NLBS
from nlbs.models.drawing import OwnSampler, draw_patches
from nlbs.models.registry import load_checkpoint
from nlbs.shards import open_shards
from tests.conftest import some


def test_the_kinds_are_the_cases_and_their_conditions_are_not_told(checkpoint: Path) -> None:
    sampler = OwnSampler(load_checkpoint(checkpoint, "cpu"))
    quiz, plan = quiz_of_kinds(sampler, 2, 3), cases(NLBS, 2, 3, {})
    assert [quiz.choices[answer] for answer in quiz.answers] == list(plan.columns["answer"])
    assert Counter(quiz.answers) == {0: 2, 1: 2, 2: 2}
    np.testing.assert_array_equal(quiz.images, list(draw_patches(sampler, plan.values, 3)))
    for told in quiz.told:
        assert told.split()[0] in NLBS["view"].values
        assert "cancer" not in told
        assert "normal" not in told


def test_real_and_synthetic_share_conditions_and_come_in_no_order(
    checkpoint: Path, dataset_root: Path
) -> None:
    model = load_checkpoint(checkpoint, "cpu")
    quiz = quiz_of_real(OwnSampler(model), model, checkpoint, dataset_root, "train", 5, 0, "CC0")
    real = [
        told for told, answer in zip(quiz.told, quiz.answers, strict=True) if quiz.choices[answer] == "real"
    ]
    others = [
        told for told, answer in zip(quiz.told, quiz.answers, strict=True) if quiz.choices[answer] != "real"
    ]
    assert len(real) == 5
    assert Counter(real) == Counter(others)
    assert list(quiz.answers) not in ([0] * 5 + [1] * 5, [1] * 5 + [0] * 5)
    assert quiz.note == "Real patches: CC0"
    with open_shards(dataset_root) as shards:
        stored = shards.read(shards.rows("train"))
    halves = stored.reshape(len(stored), 32, 2, 32, 2).mean(axis=(2, 4))
    for image, answer in some(zip(quiz.images, quiz.answers, strict=True)):
        apart = np.abs(halves - image).max(axis=(1, 2)).min()
        assert (apart <= 1) == (quiz.choices[answer] == "real")
