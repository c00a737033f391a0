import math

import numpy as np
import pytest
import torch
from torch import Tensor

from nlbs.errors import ConfigError
from nlbs.manifests.schema import NLBS, POSITION, Condition, Schema
from nlbs.models.conditioning import (
    ConditionEncoder,
    checked_conditions,
    hidden,
    mirrored,
    repeated,
    told,
    zeros_of,
)
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


OTHER = Schema(
    (
        NLBS["laterality"],
        Condition("density", "ordinal", ("A", "B", "C")),
        Condition("findings", "multilabel", ("Mass", "Nodule"), healthy=0),
        POSITION,
    )
)


def others() -> dict[str, Tensor]:
    """Two patches: a left one of which all is known, and one of which nothing is."""
    return {
        "laterality": torch.tensor([0, -1]),
        "density": torch.tensor([2, -1]),
        "findings": torch.tensor([[1, 0], [-1, -1]], dtype=torch.int8),
        "position": torch.tensor([[0.25, 1.0], [math.nan, math.nan]]),
    }


def test_each_kind_has_its_part_of_the_vector() -> None:
    encoder = ConditionEncoder(6, OTHER)
    known, unknown = encoder.vector(others()).detach()
    angles = [math.pi * share * 2**octave for share in (0.25, 1.0) for octave in range(6)]
    waves = [
        *map(math.sin, angles[:6]), *map(math.cos, angles[:6]), *map(math.sin, angles[6:]), *map(math.cos, angles[6:])
    ]  # fmt: skip
    expected = [1, 0, *encoder.density_embedding.weight[2].tolist(), 1, 0, 1, 1, *waves, 1, 1]
    torch.testing.assert_close(known, torch.tensor(expected), atol=1e-5, rtol=0)
    assert unknown.tolist() == [0.0] * len(expected)


def test_a_mirror_image_swaps_sides_and_mirrors_the_place_alone() -> None:
    given = others()
    found = mirrored(given, torch.tensor([True, True]), OTHER)
    assert found["laterality"].tolist() == [1, -1]
    assert found["position"][0].tolist() == [0.75, 1.0]
    assert found["position"][1].isnan().all()
    assert found["density"] is given["density"]
    assert found["findings"] is given["findings"]
    left_alone = mirrored(given, torch.tensor([False, False]), OTHER)
    assert left_alone["laterality"].tolist() == [0, -1]
    assert left_alone["position"][0].tolist() == [0.25, 1.0]


def test_labels_may_swap_their_places_in_a_mirror_image() -> None:
    sides = Schema((Condition("lesions", "multilabel", ("left", "both", "right"), mirrored=(2, 1, 0)),))
    given = torch.tensor([[1, 0, 0], [-1, -1, -1]], dtype=torch.int8)
    found = mirrored({"lesions": given}, torch.tensor([True, True]), sides)["lesions"]
    assert found.tolist() == [[0, 0, 1], [-1, -1, -1]]


def test_what_is_hidden_is_unknown_in_the_way_of_its_kind() -> None:
    found = hidden(others(), {name: torch.tensor([True, False]) for name in OTHER.names})
    blank = OTHER.unknown(1)
    for name in OTHER.names:
        np.testing.assert_array_equal(found[name][:1].numpy(), blank[name])
    kept = hidden(others(), {name: torch.tensor([False, True]) for name in OTHER.names})
    assert kept["density"].tolist() == [2, -1]


@pytest.mark.parametrize("count", range(6))
def test_the_first_parts_are_told_and_the_others_unknown(count: int) -> None:
    assert OTHER.parts == ("laterality", "density", "Mass", "Nodule", "position")
    given, blank = others(), OTHER.unknown(2)
    found = told(given, OTHER, count)
    places = {"laterality": [0], "density": [1], "findings": [2, 3], "position": [4, 4]}
    for name, own in places.items():
        expected = given[name].clone().reshape(2, -1)
        for column, place in enumerate(own):
            if place >= count:
                expected[:, column] = torch.from_numpy(blank[name].reshape(2, -1)[:, column])
        np.testing.assert_array_equal(found[name].reshape(2, -1).numpy(), expected.numpy())
        assert (found[name].dtype, found[name].shape) == (given[name].dtype, given[name].shape)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"findings": torch.tensor([[2, 0], [0, 0]])}, "'findings' has the code 2; expected 0 to 1"),
        ({"findings": torch.tensor([1, 0])}, r"the shape \(2,\); expected \(n, 2\), of Mass, Nodule"),
        ({"position": torch.tensor([[0, 1], [0, 1]])}, "expected floats, NaN unknown"),
        ({"position": torch.zeros(2, 3)}, r"expected \(n, 2\), of across, down"),
        ({"density": torch.tensor([3, 0])}, "'density' has the code 3; expected 0 to 2"),
        ({"cancer": torch.tensor([0, 0])}, "there is no condition 'cancer'; expected laterality, density"),
    ],
)
def test_values_that_a_schema_does_not_have_are_refused(change: dict[str, Tensor], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        checked_conditions(others() | change, CPU, OTHER)


def test_zeros_of_a_schema_have_the_shapes_and_types_that_are_checked() -> None:
    given = zeros_of(OTHER, 3)
    found = checked_conditions(given, CPU, OTHER)
    assert {name: (v.dtype, v.shape) for name, v in found.items()} == {
        name: (v.dtype, v.shape) for name, v in given.items()
    }
