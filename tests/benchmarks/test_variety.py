"""The benchmark of variety: its variants are valid runs, and its figures tell one shape from many."""

import numpy as np
import pytest
import torch
from benchmarks.variety import PRESET, VARIANTS, changes_of, variety

from nlbs.evaluate.measures.features import random_convolutions
from nlbs.train.config import resolved_config
from nlbs.train.turns import fresh_model


@pytest.mark.parametrize("edge", [32, 64])
@pytest.mark.parametrize("name", VARIANTS)
def test_each_variant_is_a_run_of_the_preset(name: str, edge: int) -> None:
    config = resolved_config(PRESET, None, changes_of(name, edge))
    with torch.device("meta"):
        assert fresh_model(config).resolution == edge
    changed = config != resolved_config(PRESET, None, changes_of("nothing", edge))
    assert changed == (name != "nothing")


def test_one_shape_recalls_nothing() -> None:
    noise = np.random.default_rng(0)
    real, many = (noise.integers(0, 256, (20, 16, 16), dtype=np.uint8) for _ in range(2))
    features = random_convolutions()
    varied, same = variety(real, many, features), variety(real, many[:1].repeat(20, axis=0), features)
    assert varied["recall"] > 0.5
    assert same["recall"] == same["next_difference"] == 0
    assert same["frechet"] > varied["frechet"]
    assert varied["next_difference"] == pytest.approx(256 / 3, rel=0.05)  # of two uniform numbers
