import numpy as np
import pytest
import torch

from nlbs.errors import ConfigError
from nlbs.models.conditioning import ConditionEncoder, checked_conditions, repeated
from tests.cvae.conftest import codes

CPU = torch.device("cpu")


def test_the_vector_is_one_hots_age_embedding_and_two_scalars() -> None:
    encoder = ConditionEncoder(6)
    age = encoder.age_embedding.weight.detach()
    found = encoder.vector(codes([0, 1], [1, 0], [3, 0], [1, 0], [0, 1])).detach()
    expected = torch.stack(
        [
            torch.cat([torch.tensor([1.0, 0, 0, 1]), age[3], torch.tensor([1.0, 0])]),
            torch.cat([torch.tensor([0.0, 1, 1, 0]), age[0], torch.tensor([0.0, 1])]),
        ]
    )
    assert found.shape == (2, 14)
    assert torch.equal(found, expected)


def test_an_unknown_condition_is_zeros_or_a_half_beside_known_ones() -> None:
    encoder = ConditionEncoder(6)
    known = codes(1, 1, 2, 1, 1)
    slots = {"view": slice(0, 2), "laterality": slice(2, 4), "age_bin": slice(4, 12), "cancer": slice(12, 13)}
    slots["false_positive"] = slice(13, 14)
    for name, slot in slots.items():
        expected = encoder.vector(known)
        expected[:, slot] = 0.5 if name in ("cancer", "false_positive") else 0.0
        assert torch.equal(encoder.vector({**known, name: torch.tensor([-1])}), expected), name


def test_unknown_ages_teach_the_embedding_nothing() -> None:
    encoder = ConditionEncoder(6)
    encoder(codes([0, 0], [0, 0], [-1, 2], [0, 0], [0, 0])).sum().backward()
    gradient = encoder.age_embedding.weight.grad
    assert gradient is not None
    assert (gradient != 0).any(dim=1).tolist() == [False, False, True, False]


def test_the_embedding_is_two_layers_with_silu_between() -> None:
    encoder = ConditionEncoder(6)
    conditions = codes([0, 1, -1], [1, 0, 1], [3, -1, 0], [1, 0, 0], [0, 1, -1])
    v = encoder.vector(conditions).detach().numpy().astype(np.float64)
    first, _, last = encoder.mlp
    hidden = v @ first.weight.detach().numpy().T + first.bias.detach().numpy()
    hidden = hidden / (1 + np.exp(-hidden))
    expected = hidden @ last.weight.detach().numpy().T + last.bias.detach().numpy()
    np.testing.assert_allclose(encoder(conditions).detach().numpy(), expected, atol=1e-6)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"age_bin": torch.tensor([4])}, "'age_bin' has the code 4; expected 0 to 3, or -1"),
        ({"view": torch.tensor([-2])}, "'view' has the code -2; expected 0 to 1"),
        ({"cancer": torch.tensor([0.5])}, "'cancer' has the type torch.float32; expected integer"),
        ({"view": torch.tensor([0, 1])}, "different sizes .*view 2, laterality 1"),
        ({"density": torch.tensor([1])}, "no condition 'density'; expected view, laterality"),
    ],
)
def test_conditions_that_make_no_sense_are_refused(change: dict[str, torch.Tensor], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        checked_conditions(codes() | change, CPU)


def test_a_missing_condition_is_refused_and_plain_integers_are_taken() -> None:
    given = {"view": 1, "laterality": 0, "age_bin": True, "cancer": np.int64(1)}
    with pytest.raises(ConfigError, match="'false_positive' is missing"):
        checked_conditions(given, CPU)  # type: ignore[arg-type]
    taken = checked_conditions({**given, "false_positive": -1}, CPU)  # type: ignore[dict-item]
    assert {name: code.tolist() for name, code in taken.items()} == {
        "view": [1], "laterality": [0], "age_bin": [1], "cancer": [1], "false_positive": [-1],
    }  # fmt: skip


def test_one_condition_is_repeated_and_several_are_taken_one_each() -> None:
    assert repeated(codes(1), 3)["view"].tolist() == [1, 1, 1]
    several = {name: code.repeat(3) for name, code in codes().items()}
    assert len(repeated(several, 1)["view"]) == 3
    assert len(repeated(several, 3)["view"]) == 3
    with pytest.raises(ConfigError, match="2 samples of 3 conditions"):
        repeated(several, 2)
