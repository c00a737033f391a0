"""Sample i is a function of (model, conditions, seed, i) alone."""

import numpy as np
import pytest
import torch

from nlbs.cvae import ConditionalVAE
from nlbs.cvae.config import DecoderConfig, EncoderConfig, ModelConfig
from nlbs.generate.sampling import BATCH, draw_latent, generate_patches

CPU = torch.device("cpu")
CODES = {"view": 1, "laterality": 0, "age_bin": 2, "cancer": 1, "false_positive": -1}


@pytest.fixture(scope="module")
def model() -> ConditionalVAE:
    torch.manual_seed(0)
    config = ModelConfig(
        latent_dim=8,
        condition_embed_dim=16,
        encoder=EncoderConfig(channels=(8, 16)),
        decoder=DecoderConfig(channels=(16, 8, 1), use_skip_connections=False),
    )
    return ConditionalVAE(config, 32)


def test_the_first_samples_do_not_depend_on_how_many_are_drawn(model: ConditionalVAE) -> None:
    few = list(generate_patches(model, CODES, 3, 7, CPU))
    many = list(generate_patches(model, CODES, 2 * BATCH + 5, 7, CPU))
    assert len(few) == 3
    assert len(many) == 2 * BATCH + 5
    np.testing.assert_array_equal(few, many[:3])


def test_another_seed_or_index_draws_another_latent() -> None:
    drawn = {draw_latent(seed, index, 4).tobytes() for seed in range(20) for index in range(20)}
    assert len(drawn) == 400


def test_latents_are_standard_normal() -> None:
    latents = np.stack([draw_latent(0, index, 64) for index in range(500)]).astype(np.float64)
    count = latents.size
    assert abs(latents.mean()) < 4 / np.sqrt(count)
    assert abs(latents.var() - 1) < 4 * np.sqrt(2 / count)
    neighbours = np.corrcoef(latents[:-1].ravel(), latents[1:].ravel())[0, 1]
    assert abs(neighbours) < 4 / np.sqrt(count)


def test_pixels_are_the_decoders_output_from_minus_one_to_one_as_bytes(model: ConditionalVAE) -> None:
    patch = next(generate_patches(model, CODES, 1, 3, CPU))
    z = torch.from_numpy(draw_latent(3, 0, 8))[None]
    codes = {name: torch.tensor([code]) for name, code in CODES.items()}
    with torch.no_grad():
        decoded = model.eval().decode(z, codes)[0, 0].numpy()
    expected = (np.clip(decoded, -1, 1) + 1) / 2 * 255
    assert patch.dtype == np.uint8
    assert np.abs(patch - expected).max() <= 0.5 + 1e-3


def test_other_conditions_draw_other_patches(model: ConditionalVAE) -> None:
    first = next(generate_patches(model, CODES, 1, 0, CPU))
    other = next(generate_patches(model, {**CODES, "view": 0}, 1, 0, CPU))
    assert (first != other).any()
