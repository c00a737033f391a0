"""Anomaly scores against their formulas, and that the model is not told what it has to find.

Also covers: evaluate/measures/model_view.py.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from nlbs.errors import ConfigError
from nlbs.evaluate.measures.anomaly import (
    PatchScores,
    aurocs,
    by_image,
    default_filters,
    healthy_conditions,
    images_of,
    negative_elbo,
    score_rows,
    tissue_error,
)
from nlbs.manifests.schema import NLBS, Condition, Schema
from nlbs.models.family import ImageSpec
from nlbs.shards import open_shards
from tests.conftest import some
from tests.evaluate.made_up import OTHER, draw_other_conditions
from tests.shards.conftest import make_shard_set


class GreyModel(nn.Module):
    """Rebuilds everything as one grey, at a KL of 3 + 1 nats in two levels; remembers what it was told."""

    resolution, device, schema = 16, torch.device("cpu"), NLBS
    image = ImageSpec(1, 16)

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.told: list[dict[str, Tensor]] = []

    def bound(self, pixels: Tensor, conditions: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        self.told.append(dict(conditions))
        return torch.zeros_like(pixels), torch.tensor([[3.0, 1.0]]).repeat(len(pixels), 1)


def test_the_error_counts_the_breast_alone() -> None:
    x = np.array([[[0, 10], [20, 0]], [[0, 0], [0, 0]]], np.uint8)
    y = np.array([[[255, 13], [15, 255]], [[9, 9], [9, 9]]], np.uint8)
    np.testing.assert_array_equal(tissue_error(x, y), [(3 + 5) / 2, 0])


def test_the_elbo_is_that_of_a_laplace_at_its_likeliest_scale() -> None:
    errors, kl = np.array([20.0, 60.0]), np.array([5.0, 7.0])
    found, scale = negative_elbo(errors, kl, pixels=100)
    assert scale == pytest.approx(0.4)
    laplace = torch.distributions.Laplace(0.0, 0.4)
    for value, error, nats in some(zip(found, errors, kl, strict=True)):
        expected = -laplace.log_prob(torch.full((100,), error / 100)).sum().item() + nats
        assert value == pytest.approx(expected, rel=1e-5)


def test_an_image_scores_by_its_highest_patches() -> None:
    images = np.array([5, 2, 5, 5, 5, 2])
    values = np.array([1.0, 8.0, 4.0, 3.0, 2.0, 6.0])
    np.testing.assert_array_equal(by_image(values, images, "max"), [8, 4])
    np.testing.assert_array_equal(by_image(values, images, "top"), [7, 3])  # means of two, and of three


def test_of_many_patches_the_highest_tenth_counts() -> None:
    assert by_image(np.arange(100.0), np.zeros(100, np.int64), "top")[0] == np.arange(90, 100).mean()


def test_scores_that_find_the_abnormal_have_an_auroc_of_one() -> None:
    images = np.repeat(np.arange(12), 4)
    abnormal = images % 3 == 0
    lesion = abnormal & (np.arange(48) % 4 == 1)  # one patch of each abnormal image shows it
    scores = {"kl": np.where(lesion, 9.0, np.arange(48) / 48)}
    found = PatchScores(scores, images, images // 2, abnormal, 0.1)
    table = aurocs(found)["kl"]
    assert table["max"].value == table["top"].value == 1
    assert 0.5 < table["patch"].value < 0.8
    assert table["max"].groups == 6
    np.testing.assert_array_equal(images_of(found)[2], np.arange(12) % 3 == 0)


def test_the_model_is_told_that_nothing_was_found(tmp_path: Path) -> None:
    pixels = make_shard_set(tmp_path, 20, columns={"cancer": [0, 1] * 10})
    shards, model = open_shards(tmp_path), GreyModel()
    rows = np.arange(20)
    found = score_rows(model, shards, rows, rows % 2 == 1)  # type: ignore[arg-type]
    for told in some(model.told):
        assert (told["cancer"] == 0).all() and (told["false_positive"] == 0).all()
    told_views = torch.cat([told["view"] for told in model.told]).numpy()
    np.testing.assert_array_equal(told_views, shards.conditions(rows)["view"])
    grey = 128  # (0 + 1) * 127.5, rounded to even
    expected = [np.abs(one[one > 0].astype(int) - grey).mean() for one in pixels]
    np.testing.assert_allclose(found.scores["reconstruction_error"], expected)
    np.testing.assert_array_equal(found.scores["kl"], 4)


def test_healthy_conditions_keep_the_rest() -> None:
    codes = {"view": np.array([1]), "laterality": np.array([-1]), "age_bin": np.array([2]),
             "cancer": np.array([1]), "false_positive": np.array([-1])}  # fmt: skip
    found = {name: int(code[0]) for name, code in healthy_conditions(codes, NLBS).items()}
    assert found == {"view": 1, "laterality": -1, "age_bin": 2, "cancer": 0, "false_positive": 0}


def test_labels_are_denied_too() -> None:
    columns = draw_other_conditions(5, np.random.default_rng(0))
    found = healthy_conditions(columns, OTHER)
    assert found["findings"].dtype == np.int8 and not found["findings"].any()
    assert all(found[name] is columns[name] for name in ("view", "density", "position"))


def test_who_is_healthy_follows_from_the_conditions() -> None:
    assert default_filters(NLBS, {}) == ("cancer == 0", "cancer == 1")
    assert default_filters(Schema((NLBS["view"],)), {}) == ("cancer == 0", "cancer == 1")
    false_positive = Schema((NLBS["view"], NLBS["false_positive"]))
    assert default_filters(false_positive, {}) == ("false_positive == 0", "false_positive == 1")
    words = ["Mass", "Mass|Skin fold", "No Finding", "Skin fold", "none", "normal"]
    healthy, abnormal = default_filters(OTHER, {"findings": words})
    assert healthy == "findings in ['No Finding', 'normal']"
    assert abnormal == "findings not in ['No Finding', 'normal', 'none']"
    grades = Schema((Condition("grade", "categorical", ("high", "nil"), healthy=1),))
    assert default_filters(grades, {"grade": ["high", "nil", "odd"]}) == (
        "grade in ['nil']", "grade not in ['nil', 'odd']"
    )  # fmt: skip
    with pytest.raises(
        ConfigError, match="no findings, and no patch of the shard set says so; give --healthy"
    ):
        default_filters(OTHER, {"findings": ["Mass"]})


def test_what_is_unknown_is_neither_healthy_nor_abnormal(tmp_path: Path) -> None:
    column = ["No Finding", None, "Mass", "Calcification|Mass"] * 3
    make_shard_set(tmp_path, 12, columns={"findings": column})
    with open_shards(tmp_path) as shards:
        healthy, abnormal = default_filters(OTHER, shards.code_books)
        assert shards.rows(where=healthy).tolist() == [0, 4, 8]
        assert shards.rows(where=abnormal).tolist() == [2, 3, 6, 7, 10, 11]
