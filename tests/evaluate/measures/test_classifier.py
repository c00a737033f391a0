"""A classifier of conditions: on patches in which each has a sign of its own."""

import numpy as np
import pytest
import torch

from nlbs.evaluate.measures.classifier import ConditionClassifier, Recipe, train_classifier
from nlbs.evaluate.measures.intervals import auroc
from nlbs.manifests.schema import NLBS
from tests.evaluate.made_up import OTHER, other_patches, signed_patches


def test_it_learns_the_signs_and_nothing_where_there_is_none(signs_classifier: ConditionClassifier) -> None:
    new = signed_patches(400, seed=2)
    found = signs_classifier.readings(new.pixels)
    aucs = {name: auroc(found[name][:, 1], new.conditions[name] == 1) for name in found if name != "age_bin"}
    assert aucs["view"] > 0.95
    assert aucs["laterality"] > 0.95
    assert aucs["cancer"] > 0.9
    assert auroc(found["age_bin"][:, 3], new.conditions["age_bin"] == 3) > 0.85
    assert 0.4 < aucs["false_positive"] < 0.6


def test_probabilities_add_up(signs_classifier: ConditionClassifier) -> None:
    found = signs_classifier.readings(signed_patches(5).pixels)
    assert {name: values.shape for name, values in found.items()} == {
        "view": (5, 2), "laterality": (5, 2), "age_bin": (5, 4), "cancer": (5, 2), "false_positive": (5, 2)
    }  # fmt: skip
    for values in found.values():
        np.testing.assert_allclose(values.sum(axis=1), 1)


def test_the_same_seed_gives_the_same_one_and_leaves_torch_as_it_was() -> None:
    some, recipe = signed_patches(40), Recipe(steps=3, batch_size=8)
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    one, same, other = (
        train_classifier(some.pixels, some.conditions, NLBS, seed, recipe=recipe).readings(some.pixels)[
            "view"
        ]
        for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(one, same)
    assert np.abs(one - other).max() > 0
    assert torch.equal(torch.rand(1), expected)


def test_what_is_unknown_or_always_the_same_is_not_learnt() -> None:
    some = signed_patches(30)
    codes = {**some.conditions, "cancer": np.full(30, -1), "view": np.where(np.arange(30) < 9, -1, 1)}
    found = train_classifier(some.pixels, codes, NLBS, 0, recipe=Recipe(steps=2, batch_size=8))
    assert found.unlearnt == {
        "view": "all training patches have the same value",
        "cancer": "it is unknown of every training patch",
    }
    assert set(found.readings(some.pixels)) == {"laterality", "age_bin", "false_positive"}


def test_unknown_codes_teach_nothing() -> None:
    """Patches of unknown cancer that look like those with one do not make it less likely."""
    some = signed_patches(300, seed=3)
    hidden = np.random.default_rng(0).random(300) < 0.5
    codes = {**some.conditions, "cancer": np.where(hidden, -1, some.conditions["cancer"])}
    found = train_classifier(
        some.pixels, codes, NLBS, 0, recipe=Recipe(steps=120, batch_size=32, learning_rate=4e-3)
    )
    new = signed_patches(200, seed=4)
    assert auroc(found.readings(new.pixels)["cancer"][:, 1], new.conditions["cancer"]) > 0.8


@pytest.mark.parametrize("edge", [16, 40, 128])
def test_patches_of_any_size_can_be_read(edge: int) -> None:
    pixels = np.zeros((4, edge, edge), np.uint8)
    codes = {name: np.array([0, 1, 0, 1]) for name in signed_patches(1).conditions}
    found = train_classifier(pixels, codes, NLBS, 0, recipe=Recipe(steps=1, batch_size=4))
    assert found.readings(pixels)["age_bin"].shape == (4, 4)


def test_more_patches_are_looked_at_longer_within_bounds() -> None:
    assert Recipe.of(100).steps == Recipe.of(10_000).steps == Recipe().steps
    assert Recipe.of(25_600).steps == 5 * 25_600 // 64
    assert Recipe.of(10**7).steps == 5000


def test_labels_and_numbers_have_heads_of_their_own(other_classifier: ConditionClassifier) -> None:
    new = other_patches(300, seed=2)
    found = other_classifier.readings(new.pixels)
    assert {name: values.shape for name, values in found.items()} == {
        "view": (300, 2), "density": (300, 4), "findings: Calcification": (300, 2), "findings: Mass": (300, 2),
        "position: across": (300, 1), "position: down": (300, 1),
    }  # fmt: skip
    has, across = new.conditions["findings"], new.conditions["position"][:, 0]
    assert auroc(found["findings: Mass"][:, 1], has[:, 1]) > 0.9
    assert 0.4 < auroc(found["findings: Calcification"][:, 1], has[:, 0]) < 0.6
    assert np.corrcoef(found["position: across"][:, 0], across)[0, 1] > 0.8


def test_unknown_labels_and_numbers_teach_nothing() -> None:
    some, recipe = other_patches(40), Recipe(steps=2, batch_size=8)
    codes = {
        **some.conditions,
        "findings": np.full((40, 2), -1, np.int8),
        "position": np.full((40, 2), np.nan, np.float32),
    }
    codes["position"][:, 0] = 0.5
    found = train_classifier(some.pixels, codes, OTHER, 0, recipe=recipe)
    never, same = "it is unknown of every training patch", "all training patches have the same value"
    assert found.unlearnt == {
        "findings: Calcification": never, "findings: Mass": never, "position: across": same, "position: down": never
    }  # fmt: skip
    codes["position"][:9, 0], codes["findings"][4:, 0] = np.nan, np.arange(36) % 2
    codes["position"][9:20, 0] = 0.25
    half_known = train_classifier(some.pixels, codes, OTHER, 0, recipe=recipe)
    assert set(half_known.unlearnt) == {"findings: Mass", "position: down"}
    assert all(np.isfinite(values).all() for values in half_known.readings(some.pixels).values())
