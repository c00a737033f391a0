import numpy as np
import torch

from nlbs.train.samples import describe, sample_page
from nlbs.train.start import build
from tests.train.conftest import tiny_config


def codes(*rows: tuple[int, int, int, int, int]) -> dict[str, torch.Tensor]:
    names = ("view", "laterality", "age_bin", "cancer", "false_positive")
    return dict(zip(names, torch.tensor(rows).unbind(dim=1), strict=True))


def test_conditions_in_words_name_what_is_unknown() -> None:
    described = describe(codes((0, 0, 2, 1, 0), (1, 1, 3, 0, 1), (1, 0, 0, 0, 0), (-1, -1, -1, -1, -1)))
    assert described == ["CC L 56-65\ncancer", "MLO R >65\nfalse pos.", "MLO L <=45\nnormal", "? ? ?\n?"]


def test_a_page_leaves_model_and_random_state_as_they_were() -> None:
    model, _ = build(tiny_config(), torch.device("cpu"))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = torch.get_rng_state()
    pages = [
        sample_page(model, torch.zeros(2, 1, 16, 16), codes((0,) * 5, (1,) * 5), "title") for _ in range(2)
    ]
    np.testing.assert_array_equal(*pages)
    assert model.training
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
