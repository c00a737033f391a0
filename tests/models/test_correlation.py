"""Noise that is alike nearby: its correlations are those of the closed form, and models without maps are told so."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from nlbs.errors import ConfigError
from nlbs.models.checkpoint import save_checkpoint
from nlbs.models.correlation import CorrelatedSampler, correlated
from nlbs.models.drawing import BATCH, OwnSampler, draw_patches
from nlbs.models.registry import family
from nlbs.models.stages.choice import SamplerChoice
from nlbs.train.config import resolved_config
from nlbs.train.turns import fresh_model
from tests.cvae.test_ladder import ladder

CODES = {"view": 1, "laterality": 0, "age_bin": 2, "cancer": 1, "false_positive": -1}


def wrapped(distance: int, cells: int, length: float) -> float:
    """The correlation on a torus by its Fourier series (Poisson's sum), not by the sum over windings."""

    def series(at: int) -> float:
        terms = (
            math.exp(-2 * (math.pi * length * k / cells) ** 2) * math.cos(2 * math.pi * k * at / cells)
            for k in range(-400, 401)
        )
        return math.fsum(terms)

    return series(distance) / series(0)


def covariance(rows: int, columns: int, length: float) -> Tensor:
    """Return that of all pairs of cells, (H, W, H, W): the field is linear in the noise, A A^T of its matrix."""
    one_each = torch.eye(rows * columns, dtype=torch.float64).reshape(-1, 1, rows, columns)
    matrix = correlated(one_each, length).reshape(rows * columns, -1)
    return (matrix.T @ matrix).reshape(rows, columns, rows, columns)


@pytest.mark.parametrize("length", [0.05, 0.125, 0.5, 30.0])
def test_every_number_stays_standard_normal_with_the_correlations_of_the_closed_form(length: float) -> None:
    found = covariance(8, 6, length)
    for y, x in [(0, 0), (3, 5)]:
        for down in range(8):
            for across in range(6):
                expected = wrapped(down, 8, 8 * length) * wrapped(across, 6, 6 * length)
                assert float(found[y, x, (y + down) % 8, (x + across) % 6]) == pytest.approx(
                    expected, abs=1e-7
                )


def test_far_from_the_seam_it_falls_as_a_gaussian_to_61_percent_at_the_length() -> None:
    found = covariance(24, 24, 3 / 24)[4, 4]
    for distance in range(8):
        assert float(found[4, 4 + distance]) == pytest.approx(math.exp(-(distance**2) / 18), abs=1e-6)
    assert float(found[4, 7]) == pytest.approx(0.6065, abs=1e-4)


def test_channels_and_patches_stay_independent_and_length_0_changes_nothing() -> None:
    white = torch.zeros(2, 2, 8, 8)
    white[0, 1, 3, 3] = 1
    found = correlated(white, 0.2)
    assert bool(found[0, 1].abs().max() > 0)
    assert float(found[0, 0].abs().max()) == float(found[1].abs().max()) == 0
    assert correlated(white, 0.0) is white


class Noisy:
    """A sampler that shows its noise: a vector, a map of half the size, and the pixels."""

    networks: Sequence[torch.nn.Module] = ()
    noise_shapes = ((3,), (2, 4, 4), (1, 8, 8))
    device = torch.device("cpu")
    grain = None

    def draw(self, noise: Sequence[Tensor], conditions: Mapping[str, Tensor]) -> Tensor:
        self.seen = noise
        return noise[2]


def test_the_length_is_in_pixels_of_the_image_on_maps_of_any_size() -> None:
    torch.manual_seed(0)
    white = [torch.randn(2, *shape) for shape in Noisy.noise_shapes]
    noisy = Noisy()
    CorrelatedSampler(noisy, 2.0, 8).draw(white, {})  # type: ignore[arg-type]
    assert noisy.seen[0] is white[0]
    assert torch.equal(noisy.seen[1], correlated(white[1], 1 / 4))
    assert torch.equal(noisy.seen[2], correlated(white[2], 2 / 8))


def test_draws_of_a_model_with_maps_change_and_patch_i_is_of_seed_and_i_alone(tmp_path: Path) -> None:
    model = ladder(latent_dim=8).eval()
    path = tmp_path / "best_model.safetensors"
    save_checkpoint(path, model)

    def drawn(
        count: int, first: int = 0, **choice: float
    ) -> list[np.ndarray[tuple[int, ...], np.dtype[np.uint8]]]:
        codes = {name: np.full(count, code) for name, code in CODES.items()}
        return list(draw_patches(SamplerChoice(**choice).open(model, path), codes, 7, first))  # type: ignore[arg-type]

    plain, smooth = drawn(BATCH + 3), drawn(BATCH + 3, correlation=8.0)
    np.testing.assert_array_equal(drawn(BATCH + 3, correlation=0.0), plain)
    assert not np.array_equal(smooth, plain)
    np.testing.assert_array_equal(drawn(3, correlation=8.0), smooth[:3])
    np.testing.assert_array_equal(drawn(BATCH + 3, BATCH + 1, correlation=8.0), smooth[BATCH + 1 :])
    assert str(SamplerChoice(correlation=8).of(path)) == "prior, temperature 1, correlation 8 px"
    assert str(SamplerChoice().of(path)) == "prior, temperature 1"


def test_a_model_that_is_drawn_from_a_vector_refuses_it() -> None:
    tiny = {"model": {"widths": [4, 8], "latent_dim": 8}, "data": {"resolution": 32}}
    model = fresh_model(resolved_config("vindr-vae-small", None, tiny))
    with pytest.raises(
        ConfigError, match=r"--correlation 4 needs noise .* drawn from 8 numbers that have none"
    ):
        CorrelatedSampler(OwnSampler(model), 4.0, 32)


def test_the_sampler_with_noise_at_each_step_refuses_it(tmp_path: Path) -> None:
    tiny = {"model": {"widths": [16, 24], "steps": 2}, "data": {"resolution": 32}}
    model = fresh_model(resolved_config("diffusion-small", None, tiny)).eval()
    assert family(model.family).denoises
    path = tmp_path / "best_model.safetensors"
    save_checkpoint(path, model)
    with pytest.raises(
        ConfigError, match=r"--correlation 4 is of the noise that a draw begins with, .*dpm or ode"
    ):
        SamplerChoice("sde", correlation=4.0).of(path)
    codes = {name: np.full(1, code) for name, code in CODES.items()}
    plain, smooth = (
        list(draw_patches(SamplerChoice(correlation=length).open(model, path), codes, 7))
        for length in (0, 4.0)
    )
    assert not np.array_equal(plain, smooth)


@pytest.mark.parametrize("length", [-1.0, math.nan])
def test_a_length_below_0_is_refused(length: float) -> None:
    with pytest.raises(ConfigError, match="expected 0 or more"):
        CorrelatedSampler(Noisy(), length, 8)  # type: ignore[arg-type]
