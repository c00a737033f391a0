"""Grain: what is measured is what was put in, and what is drawn has what was measured.

Also covers: models/stages/fitted.py, models/stages/grain_stage.py.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from nlbs.cvae.model import ConditionalVAE
from nlbs.errors import CheckpointError
from nlbs.models.drawing import OwnSampler, draw_noise, draw_patches
from nlbs.models.stages.fitted import load_stage, save_stage
from nlbs.models.stages.grain import (
    LEVELS,
    Grain,
    GrainMeasure,
    GrainySampler,
    level_of,
    ring_count,
)
from nlbs.models.stages.grain_stage import GRAIN
from tests.conftest import some
from tests.cvae.test_ladder import ladder

EDGE = 32
CPU = torch.device("cpu")


def cycles() -> np.ndarray[Any, Any]:
    """Of each frequency of the whole plane, in cycles per patch, to the nearest whole number."""
    steps = np.fft.fftfreq(EDGE) * EDGE
    return np.floor(np.hypot(steps[:, None], steps[None]) + 0.5).astype(int)


def coloured(count: int, amplitude: np.ndarray[Any, Any], seed: int) -> Tensor:
    """Gives noise of deviation 1 whose amplitude spectrum is that of its rings, by the full transform of numpy."""
    white = np.random.default_rng(seed).normal(size=(count, EDGE, EDGE))
    weight = amplitude[cycles()]
    weight = weight / np.sqrt(np.mean(weight**2))
    return torch.from_numpy(np.fft.ifft2(np.fft.fft2(white) * weight).real[:, None]).float()


def halves(count: int) -> Tensor:
    """Gives images that are air on the left, and of one grey value on the right."""
    image = torch.full((count, 1, EDGE, EDGE), -1.0)
    image[..., EDGE // 2 :] = 0.2
    return image


def measured(real: Tensor, rendered: Tensor) -> Grain:
    measure = GrainMeasure(EDGE, CPU)
    measure.add_strength(real, rendered)
    measure.add_spectrum(real, rendered)
    return measure.result()


def test_levels_are_air_and_equal_parts_of_the_rest() -> None:
    grey = torch.arange(256)
    level = level_of(grey / 127.5 - 1)
    assert level[0] == 0
    assert level[1] == 1
    assert level[255] == LEVELS - 1
    assert set(torch.bincount(level)[1:].tolist()) == {7, 8}
    assert torch.equal(level, level.sort().values)


def test_strength_and_spectrum_come_back() -> None:
    amplitude = np.linspace(2, 0.2, ring_count(EDGE))
    amplitude[0] = 0
    rendered = torch.full((800, 1, EDGE, EDGE), 0.3)
    found = measured(rendered + 0.05 * coloured(800, amplitude, seed=1), rendered)
    level = level_of(rendered).flatten()[0]
    assert float(found.deviations[level]) == pytest.approx(0.05, rel=0.01)
    expected = amplitude / np.sqrt(np.mean(amplitude[cycles()] ** 2))
    np.testing.assert_allclose(found.gains.numpy(), expected, rtol=0.05, atol=0.01)
    # Levels that no pixel had take the strength of the nearest that had some; air has none.
    assert found.deviations[0] == 0
    torch.testing.assert_close(found.deviations[1:], found.deviations[level].expand(LEVELS - 1))


def test_what_is_drawn_is_as_strong_as_it_was_at_each_brightness_and_has_its_spectrum() -> None:
    deviations = torch.zeros(LEVELS)
    dark, bright = torch.tensor(-0.5), torch.tensor(0.5)
    deviations[level_of(dark)], deviations[level_of(bright)] = 0.02, 0.08
    gains = torch.zeros(ring_count(EDGE))
    gains[10:14] = 1  # a band alone
    gains /= float(np.sqrt(np.mean(gains.numpy()[cycles()] ** 2)))
    grain = Grain(deviations, gains, EDGE)
    for value, strength in ((dark, 0.02), (bright, 0.08)):
        rendered = value.expand(300, 1, EDGE, EDGE)
        rest = (grain(rendered, torch.randn(300, 1, EDGE, EDGE)) - rendered)[:, 0]
        assert float(rest.std()) == pytest.approx(strength, rel=0.03)
        power = np.abs(np.fft.fft2(rest.numpy())) ** 2
        band = (cycles() >= 10) & (cycles() < 14)
        assert power[:, ~band].sum() < 1e-6 * power.sum()


def test_the_grain_of_colours_is_that_of_their_channels_together_and_one_noise_for_all() -> None:
    rendered = torch.full((60, 3, EDGE, EDGE), 0.3)
    real = rendered + 0.05 * torch.randn(rendered.shape, generator=torch.Generator().manual_seed(0))
    found = measured(real, rendered)
    alone = measured(real.reshape(180, 1, EDGE, EDGE), rendered.reshape(180, 1, EDGE, EDGE))
    torch.testing.assert_close(found.state_dict(), alone.state_dict())
    rest = found(rendered[:4], torch.randn(4, *found.noise_shape)) - rendered[:4]
    assert float(rest.std()) == pytest.approx(0.05, rel=0.1)
    torch.testing.assert_close(rest, rest[:, :1].expand_as(rest))


def test_air_stays_air_and_nothing_leaves_the_range() -> None:
    grain = measured(halves(20) + 0.5 * torch.randn(20, 1, EDGE, EDGE), halves(20))
    found = grain(halves(8), torch.randn(8, 1, EDGE, EDGE))
    assert torch.equal(found[..., : EDGE // 2], torch.full((8, 1, EDGE, EDGE // 2), -1.0))
    assert float(found[..., EDGE // 2 :].std()) > 0.2
    assert float(found.abs().max()) <= 1


def test_patches_of_air_alone_have_no_grain() -> None:
    air = torch.full((4, 1, EDGE, EDGE), -1.0)
    found = measured(air, air)
    assert float(found.deviations.abs().max()) == 0
    assert torch.equal(found(air, torch.randn_like(air)), air)


@pytest.fixture
def model() -> ConditionalVAE:
    return ladder(latent_dim=16).eval()


def some_grain(model: ConditionalVAE) -> Grain:
    return Grain(torch.full((LEVELS,), 0.05), torch.ones(ring_count(model.resolution)), model.resolution)


def test_grain_comes_on_top_of_the_same_patch_and_depends_on_seed_and_place_alone(
    model: ConditionalVAE,
) -> None:
    plain, grainy = OwnSampler(model), GrainySampler(OwnSampler(model), some_grain(model))
    noise = draw_noise(3, 5, grainy.noise_shapes)
    for one, other in some(zip(noise, draw_noise(3, 5, plain.noise_shapes), strict=False)):
        np.testing.assert_array_equal(one, other)
    codes = {name: np.full(20, -1) for name in ("view", "laterality", "age_bin", "cancer", "false_positive")}
    smooth, grain = (np.stack(list(draw_patches(sampler, codes, 3))) for sampler in (plain, grainy))
    rest = grain.astype(float) - smooth
    assert rest[(smooth > 30) & (smooth < 225)].std() == pytest.approx(0.05 * 127.5, rel=0.1)
    np.testing.assert_array_equal(np.stack(list(draw_patches(grainy, codes, 3, first=7))), grain[7:])
    assert not np.array_equal(rest[0], rest[1])


def test_a_grain_comes_back_from_disk_for_its_own_model_alone(model: ConditionalVAE, tmp_path: Path) -> None:
    checkpoint, path = tmp_path / "best_model.safetensors", tmp_path / "best_model.grain.safetensors"
    save_stage(checkpoint, GRAIN, some_grain(model), model, {"patches": 5})
    before = path.read_bytes()
    save_stage(checkpoint, GRAIN, some_grain(model), model, {"patches": 5})
    assert path.read_bytes() == before
    rendered, noise = (
        torch.zeros(2, 1, model.resolution, model.resolution),
        draw_noise(0, 0, [(2, 1, 16, 16)])[0],
    )
    noise = torch.randn_like(rendered)
    assert torch.equal(
        load_stage(checkpoint, GRAIN, model)(rendered, noise), some_grain(model)(rendered, noise)
    )
    tensors = load_file(path)
    length = int.from_bytes(before[:8], "little")
    metadata = json.loads(before[8 : 8 + length])["__metadata__"]
    for spoilt, message in (
        ({"deviations": torch.full((LEVELS,), -0.1)}, "strengths below 0"),
        ({"deviations": torch.full((LEVELS,), float("nan"))}, "not finite"),
        ({"gains": torch.ones(3)}, "another model than expected"),
    ):
        save_file(tensors | spoilt, path, metadata)
        with pytest.raises(CheckpointError, match=message):
            load_stage(checkpoint, GRAIN, model)
    path.write_bytes(before)
    with torch.no_grad():
        model.from_latent.bias += 1e-3
    with pytest.raises(CheckpointError, match=r"fitted to other weights.*--no-grain"):
        load_stage(checkpoint, GRAIN, model)
