"""Between and around latents: closed forms, and a decoder that the test knows."""

from collections.abc import Mapping, Sequence

import numpy as np
import pytest
import torch
from torch import Tensor

from nlbs.cvae import ConditionalVAE
from nlbs.cvae.ladder import Prior
from nlbs.errors import ConfigError
from nlbs.generate.latents import (
    interpolate,
    noise_latents,
    one_row,
    reconstruct,
    slerp,
    traverse,
    vary,
)
from nlbs.manifests.schema import NLBS
from nlbs.models.conditioning import ConditionEncoder
from nlbs.models.drawing import OwnSampler, draw_patches, to_uint8
from tests.conftest import some
from tests.cvae.conftest import tiny

CPU = torch.device("cpu")
ONE = dict.fromkeys(NLBS.names, 0)
OTHER = {**ONE, "view": 1, "cancer": 1, "age_bin": 3}


@pytest.fixture(scope="module")
def model() -> ConditionalVAE:
    torch.manual_seed(0)
    return ConditionalVAE(tiny(latent_dim=6, condition_embed_dim=8), 16).eval()


def shown(latents: Sequence[Tensor], conditions: Mapping[str, Tensor]) -> Tensor:
    """A decoder that gives the latent itself."""
    return torch.cat([latent.reshape(1, 1, 1, -1) for latent in latents], dim=-1)


def test_a_spherical_interpolation_turns_at_equal_angles_and_keeps_the_length() -> None:
    a, b = torch.tensor([[2.0, 0.0]]), torch.tensor([[0.0, 2.0]])
    third = slerp(a, b, 1 / 3)
    np.testing.assert_allclose(third, [[2 * np.cos(np.pi / 6), 2 * np.sin(np.pi / 6)]], rtol=1e-6)
    assert torch.equal(slerp(a, b, 0), a)
    assert torch.equal(slerp(a, b, 1), b)
    generator = torch.Generator().manual_seed(0)
    one, other = torch.randn(2, 1, 4, 8, 8, generator=generator)
    other = other / other.norm() * one.norm()
    for t in (0.1, 0.5, 0.9):
        assert slerp(one, other, t).shape == one.shape
        assert float(slerp(one, other, t).norm()) == pytest.approx(float(one.norm()), rel=1e-5)
        assert float(torch.lerp(one, other, 0.5).norm()) < 0.9 * float(one.norm())


def test_parallel_opposite_and_zero_latents_go_straight() -> None:
    a = torch.tensor([[1.0, 1.0]])
    torch.testing.assert_close(slerp(a, 3 * a, 0.5), 2 * a)
    torch.testing.assert_close(slerp(a, -a, 0.25), 0.5 * a)
    assert torch.isfinite(slerp(torch.zeros(1, 2), a, 0.5)).all()


def test_the_ends_of_an_interpolation_are_the_patches_that_a_seed_draws(model: ConditionalVAE) -> None:
    sampler = OwnSampler(model)
    ends = [
        (noise_latents(seed, 0, sampler.noise_shapes, CPU), one_row(codes, NLBS, CPU))
        for seed, codes in ((0, ONE), (5, OTHER))
    ]
    between = to_uint8(interpolate([model], sampler.draw, ends[0], ends[1], 4))
    assert between.shape == (4, 16, 16)
    for place, seed, codes in ((0, 0, ONE), (3, 5, OTHER)):
        arrays = {name: np.array([code], dtype=np.int64) for name, code in codes.items()}
        drawn = next(iter(draw_patches(sampler, arrays, seed)))
        assert np.abs(between[place].astype(int) - drawn).max() <= 1  # rounding of another batch size


def test_conditions_are_interpolated_between_their_embeddings(model: ConditionalVAE) -> None:
    noise = noise_latents(0, 0, model.latent_shapes, CPU)
    one, other = one_row(ONE, NLBS, CPU), one_row(OTHER, NLBS, CPU)
    way = interpolate([model], model.render, (noise, one), (noise, other), 3)
    with torch.no_grad():
        middle = (model.condition_encoder(one) + model.condition_encoder(other)) / 2
        expected = model._decode(noise[0], middle, (), Prior((), None)).clamp(-1, 1)
        torch.testing.assert_close(way[1:2], expected)
        torch.testing.assert_close(way[2:], model.render(noise, other))
        torch.testing.assert_close(way[:1], model.render(noise, one))  # and nothing is left behind
    assert not torch.equal(way[0], way[1])


def test_other_codes_than_those_of_the_ends_keep_their_embedding(model: ConditionalVAE) -> None:
    """As a guided sampler asks for "unknown" beside the conditions."""
    unknown = one_row(dict.fromkeys(NLBS.names, -1), NLBS, CPU)
    with torch.no_grad():
        expected = model.condition_encoder(unknown)
    seen = []

    def decode(latents: Sequence[Tensor], conditions: Mapping[str, Tensor]) -> Tensor:
        seen.append(model.condition_encoder(unknown))
        return shown(latents, conditions)

    z = [torch.ones(1, 6)]
    interpolate([model], decode, (z, one_row(ONE, NLBS, CPU)), (z, one_row(OTHER, NLBS, CPU)), 3)
    for embedding in some(seen):
        torch.testing.assert_close(embedding, expected)


def test_a_condition_that_a_sampler_hides_stays_hidden_while_the_others_move(model: ConditionalVAE) -> None:
    """As one does that is guided by cancer alone."""
    one, other = dict(ONE), {name: 1 - ONE[name] if name != "age_bin" else 2 for name in NLBS.names}
    hidden = [one_row(codes | {"cancer": -1}, NLBS, CPU) for codes in (one, other)]
    seen = []

    def decode(latents: Sequence[Tensor], conditions: Mapping[str, Tensor]) -> Tensor:
        seen.append(model.condition_encoder(conditions | {"cancer": torch.tensor([-1])}))
        return shown(latents, conditions)

    z = [torch.ones(1, 6)]
    interpolate([model], decode, (z, one_row(one, NLBS, CPU)), (z, one_row(other, NLBS, CPU)), 3)
    with torch.no_grad():
        ends = [model.condition_encoder(codes) for codes in hidden]
    for embedding, expected in zip(seen, (ends[0], (ends[0] + ends[1]) / 2, ends[1]), strict=True):
        torch.testing.assert_close(embedding, expected)


def test_from_unknown_conditions_to_known_ones_what_a_sampler_hides_is_not_moved(
    model: ConditionalVAE,
) -> None:
    unknown, other = one_row(dict.fromkeys(NLBS.names, -1), NLBS, CPU), one_row(OTHER, NLBS, CPU)
    seen = []

    def decode(latents: Sequence[Tensor], conditions: Mapping[str, Tensor]) -> Tensor:
        seen.append((model.condition_encoder(conditions), model.condition_encoder(unknown)))
        return shown(latents, conditions)

    z = [torch.ones(1, 6)]
    interpolate([model], decode, (z, unknown), (z, other), 3)
    with torch.no_grad():
        ends = [model.condition_encoder(codes) for codes in (unknown, other)]
    way = (ends[0], (ends[0] + ends[1]) / 2, ends[1])
    for (embedding, hidden), expected in zip(seen, way, strict=True):
        torch.testing.assert_close(embedding, expected)
        torch.testing.assert_close(hidden, ends[0])


def test_a_traversal_changes_one_number_and_no_other() -> None:
    latents = [torch.arange(2.0)[None], torch.arange(8.0).reshape(1, 2, 2, 2)]
    rows = traverse(shown, latents, {}, level=1, dimension=5, values=[-3, 0, 3])[:, 0, 0]
    expected = torch.arange(2.0).tolist() + torch.arange(8.0).tolist()
    for row, value in zip(rows.tolist(), (-3, 0, 3), strict=True):
        assert row == [*expected[:7], value, *expected[8:]]
    assert latents[1].flatten().tolist() == expected[2:]  # the given latent is as it was
    for level, dimension in ((2, 0), (1, 8), (0, 2)):
        with pytest.raises(ConfigError, match=r"there is no level|has no dimension"):
            traverse(shown, latents, {}, level, dimension, [0])


def test_variations_add_normal_noise_of_a_given_strength() -> None:
    latents = [torch.full((1, 500), 2.0)]
    rows = vary(shown, latents, {}, num=8, strength=0.25, seed=3)[:, 0, 0]
    error = 4 / np.sqrt(2 * rows.numel())
    assert float((rows - 2).std()) == pytest.approx(0.25, rel=error)
    assert len({tuple(row) for row in rows.tolist()}) == 8
    torch.testing.assert_close(vary(shown, latents, {}, 2, 0.25, 3)[:, 0, 0], rows[:2], rtol=0, atol=0)
    assert torch.equal(vary(shown, latents, {}, 1, 0, 3)[0, 0, 0], latents[0][0])


def test_a_reconstruction_is_what_the_network_gives_in_range(model: ConditionalVAE) -> None:
    pixels = torch.rand(3, 1, 16, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1
    codes = {name: torch.tensor([0, 1, -1]) for name in NLBS.names}
    with torch.no_grad():
        mu, _ = model.encode(pixels, codes)
        expected = model.decode(mu, codes).clamp(-1, 1)
    torch.testing.assert_close(reconstruct(model, pixels, codes), expected)


def test_a_flow_beside_the_model_goes_along(model: ConditionalVAE) -> None:
    torch.manual_seed(3)
    flow = torch.nn.ModuleDict({"conditions": ConditionEncoder(12)})
    one, other = one_row(ONE, NLBS, CPU), one_row(OTHER, NLBS, CPU)
    seen = []

    def decode(latents: Sequence[Tensor], conditions: Mapping[str, Tensor]) -> Tensor:
        seen.append(flow["conditions"](conditions))
        return shown(latents, conditions)

    z = [torch.ones(1, 6)]
    interpolate([model, flow], decode, (z, one), (z, other), 3)
    with torch.no_grad():
        ends = [flow["conditions"](codes) for codes in (one, other)]
    for embedding, expected in zip(seen, (ends[0], (ends[0] + ends[1]) / 2, ends[1]), strict=True):
        torch.testing.assert_close(embedding, expected)
