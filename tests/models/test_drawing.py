"""Patch i is a function of (sampler, its condition, seed, i) alone."""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor

from nlbs.cvae import ConditionalVAE
from nlbs.errors import ConfigError
from nlbs.models.drawing import BATCH, Bfloat16Sampler, OwnSampler, draw_noise, draw_patches, to_uint8
from tests.cvae.conftest import tiny

CODES = {"view": 1, "laterality": 0, "age_bin": 2, "cancer": 1, "false_positive": -1}


@pytest.fixture(scope="module")
def model() -> ConditionalVAE:
    torch.manual_seed(0)
    return ConditionalVAE(tiny(latent_dim=8, condition_embed_dim=16), 32)


def codes(count: int, **changed: int) -> dict[str, npt.NDArray[np.int64]]:
    return {name: np.full(count, code) for name, code in {**CODES, **changed}.items()}


def test_the_first_patches_do_not_depend_on_how_many_are_drawn(model: ConditionalVAE) -> None:
    few = list(draw_patches(OwnSampler(model), codes(3), 7))
    many = list(draw_patches(OwnSampler(model), codes(2 * BATCH + 5), 7))
    assert len(few) == 3
    assert len(many) == 2 * BATCH + 5
    np.testing.assert_array_equal(few, many[:3])


@pytest.mark.parametrize("first", [1, BATCH - 1, BATCH, BATCH + 3])
def test_patches_may_be_drawn_from_any_one_on(model: ConditionalVAE, first: int) -> None:
    sampler = OwnSampler(model)
    np.testing.assert_array_equal(
        list(draw_patches(sampler, codes(BATCH + 5), 7, first)),
        list(draw_patches(sampler, codes(BATCH + 5), 7))[first:],
    )


def test_each_patch_has_its_own_condition(model: ConditionalVAE) -> None:
    mixed = codes(4)
    mixed["view"] = np.array([0, 1, 0, 1])
    found = list(draw_patches(OwnSampler(model), mixed, 7))
    for index, view in enumerate([0, 1, 0, 1]):
        np.testing.assert_array_equal(
            found[index], list(draw_patches(OwnSampler(model), codes(4, view=view), 7))[index]
        )


def test_at_temperature_0_all_draws_of_a_condition_are_alike(model: ConditionalVAE) -> None:
    first, second = draw_patches(OwnSampler(model, temperature=0), codes(2), 7)
    np.testing.assert_array_equal(first, second)


def test_a_temperature_below_0_is_refused(model: ConditionalVAE) -> None:
    with pytest.raises(ConfigError, match="temperature is -1"):
        OwnSampler(model, -1)


def test_another_seed_or_index_draws_another_latent() -> None:
    drawn = {draw_noise(seed, index, [(4,)])[0].tobytes() for seed in range(20) for index in range(20)}
    assert len(drawn) == 400


def test_latents_are_standard_normal() -> None:
    latents = np.stack([draw_noise(0, index, [(64,)])[0] for index in range(500)]).astype(np.float64)
    count = latents.size
    assert abs(latents.mean()) < 4 / np.sqrt(count)
    assert abs(latents.var() - 1) < 4 * np.sqrt(2 / count)
    neighbours = np.corrcoef(latents[:-1].ravel(), latents[1:].ravel())[0, 1]
    assert abs(neighbours) < 4 / np.sqrt(count)


def test_pixels_are_the_decoders_output_from_minus_one_to_one_as_bytes(model: ConditionalVAE) -> None:
    patch = next(draw_patches(OwnSampler(model), codes(1), 3))
    z = torch.from_numpy(draw_noise(3, 0, [(8,)])[0])[None]
    one = {name: torch.tensor([code]) for name, code in CODES.items()}
    with torch.no_grad():
        decoded = model.eval().decode(z, one)[0, 0].numpy()
    expected = (np.clip(decoded, -1, 1) + 1) / 2 * 255
    assert patch.dtype == np.uint8
    assert np.abs(patch - expected).max() <= 0.5 + 1e-3


def test_other_conditions_draw_other_patches(model: ConditionalVAE) -> None:
    first = next(draw_patches(OwnSampler(model), codes(1), 0))
    other = next(draw_patches(OwnSampler(model), codes(1, view=0), 0))
    assert (first != other).any()


def test_grey_values_cover_the_range_and_clip() -> None:
    found = to_uint8(torch.tensor([-2.0, -1.0, 0.0, 1.0, 1.5, 0.25]).reshape(1, 1, 2, 3))
    np.testing.assert_array_equal(found[0], [[0, 0, 128], [255, 255, 159]])


def test_networks_of_a_draw_in_bfloat16_compute_in_it_and_others_do_not(model: ConditionalVAE) -> None:
    computed: list[torch.dtype] = []

    class Spy(OwnSampler):
        def draw(self, noise: Sequence[Tensor], conditions: Mapping[str, Tensor]) -> Tensor:
            computed.append((torch.ones(2, 2) @ torch.ones(2, 2)).dtype)
            return super().draw(noise, conditions)

    sampler = Spy(model)
    noise = [torch.zeros(2, *shape) for shape in sampler.noise_shapes]
    conditions = {name: torch.zeros(2, dtype=torch.long) for name in sampler.schema.names}
    with torch.no_grad():
        drawn = [each.draw(noise, conditions) for each in (sampler, Bfloat16Sampler(sampler))]
    assert computed == [torch.float32, torch.bfloat16]
    assert [patches.dtype for patches in drawn] == [torch.float32] * 2
    assert not torch.equal(*drawn)
