"""Active units and KL by level of latents whose use is known."""

import numpy as np
import pytest

from nlbs.errors import EvaluationError
from nlbs.models.latent_use import active_units, latent_use


def test_active_units_are_those_whose_mean_varies_by_more_than_a_hundredth() -> None:
    means = np.random.default_rng(0).normal(0, [1.0, 0.2, 0.05, 0.0], (4000, 4))  # variances 1, .04, .0025, 0
    found = active_units(means)
    assert (found.active, found.total) == (2, 4)
    np.testing.assert_allclose(found.variances, [1, 0.04, 0.0025, 0], rtol=0.1, atol=1e-12)


def test_each_position_of_a_spatial_latent_is_a_unit() -> None:
    means = np.zeros((10, 2, 3, 3))
    means[:5, 1, 2, 2] = 1
    found = active_units(means)
    assert (found.active, found.total) == (1, 18)


def test_a_collapsed_latent_is_said_to_be_collapsed() -> None:
    use = latent_use({"z": np.full(8, 0.3)})
    assert use.collapsed
    assert use.sentence.startswith("The latent has collapsed: all levels together carry 0.30 nats")


def test_a_dead_level_is_named() -> None:
    use = latent_use({"8": np.zeros(4), "16": np.full(4, 30.0), "32": np.full(4, 10.0)})
    assert not use.collapsed
    assert [level.dead for level in use.levels] == [True, False, False]
    assert [level.share for level in use.levels] == [0, 0.75, 0.25]
    assert use.sentence == "The latent carries 40.0 nats, but 1 of 3 levels are dead (below 0.5 nats): 8."
    assert "every level takes part" in latent_use({"a": np.ones(2), "b": np.ones(2)}).sentence


def test_what_cannot_be_summed_up_is_refused_in_words() -> None:
    with pytest.raises(EvaluationError, match="no levels"):
        latent_use({})
    with pytest.raises(EvaluationError, match="KL of level a"):
        latent_use({"a": np.array([np.nan])})
    with pytest.raises(EvaluationError, match="2 or more"):
        active_units(np.zeros((1, 3)))
