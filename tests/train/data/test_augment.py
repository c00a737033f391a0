import dataclasses

import numpy as np
import pytest
import torch
from scipy.ndimage import rotate

from nlbs.manifests.schema import NLBS
from nlbs.train.config import NO_AUGMENT, AugmentConfig
from nlbs.train.data.augment import adjusted, augment, draw_parameters, flipped, hidden, noisy, rotated
from tests.conftest import some

CONFIG = AugmentConfig()


def patches(count: int = 4, size: int = 16) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return 2 * torch.rand(count, 1, size, size, generator=generator) - 1


def conditions(sides: list[int]) -> dict[str, torch.Tensor]:
    return {"view": torch.zeros(len(sides), dtype=torch.int64), "laterality": torch.tensor(sides)}


def as_tuples(*place: int) -> list[list[float]]:
    return [values.tolist() for values in vars(draw_parameters(CONFIG, 8, *place)).values()]


def test_parameters_are_a_pure_function_of_seed_epoch_and_step() -> None:
    assert as_tuples(1, 2, 3) == as_tuples(1, 2, 3)
    others = [as_tuples(2, 2, 3), as_tuples(1, 3, 3), as_tuples(1, 2, 4), as_tuples(1, 3, 2)]
    assert all(other != as_tuples(1, 2, 3) for other in others)


def test_parameters_lie_where_the_configuration_says_and_differ_by_sample() -> None:
    many = draw_parameters(CONFIG, 20_000, seed=0, epoch=0, step=0)
    assert abs(many.flip.mean() - 0.5) < 0.02
    for values, low, high in (
        (many.angle_deg, -10, 10),
        (many.brightness, 0.9, 1.1),
        (many.contrast, 0.9, 1.1),
        (many.corners, 0, 1),
    ):
        assert low <= values.min() < low + 0.01 * (high - low)
        assert high - 0.01 * (high - low) < values.max() <= high
    assert abs(np.corrcoef(many.angle_deg, many.brightness)[0, 1]) < 0.03


def test_a_flip_mirrors_and_swaps_the_side_but_not_an_unknown_one() -> None:
    pixels = patches(6)
    flip = np.array([True, True, True, False, False, False])
    found, codes = flipped(pixels, conditions([0, 1, -1, 0, 1, -1]), flip)
    np.testing.assert_array_equal(found[:3].numpy(), pixels[:3].numpy()[..., ::-1])
    assert torch.equal(found[3:], pixels[3:])
    assert codes["laterality"].tolist() == [1, 0, -1, 0, 1, -1]
    assert codes["view"].tolist() == [0] * 6


def test_a_rotation_is_that_of_scipy_within_the_circle() -> None:
    size = 65
    y, x = np.mgrid[:size, :size] / size
    image = np.sin(6 * x) * np.cos(4 * y + x)
    angles = np.array([0.0, 10.0, -7.5])
    found = rotated(torch.from_numpy(np.stack([image] * 3)[:, None]), angles).numpy()[:, 0]
    circle = (x - 0.5) ** 2 + (y - 0.5) ** 2 < 0.45**2
    for angle, turned in some(zip(angles, found, strict=True)):
        expected = rotate(image, angle, reshape=False, order=1)
        assert np.abs(turned - expected)[circle].max() < 1e-3, angle


def test_a_rotation_brings_no_black_corners() -> None:
    bright = torch.full((1, 1, 32, 32), 0.7)
    torch.testing.assert_close(rotated(bright, np.array([10.0])), bright)


def test_brightness_multiplies_and_contrast_stretches_about_the_mean_of_the_tissue() -> None:
    pixels = torch.tensor([-1.0, -1.0, 0.0, 0.4]).reshape(1, 1, 2, 2)  # air, air, grey .5 and .7
    bright = adjusted(pixels, np.array([1.1]), np.array([1.0])).flatten()
    np.testing.assert_allclose(bright, [-1, -1, 2 * 0.55 - 1, 2 * 0.77 - 1], atol=1e-6)
    flat = adjusted(pixels, np.array([1.0]), np.array([0.5])).flatten()
    np.testing.assert_allclose(flat, [-1, -1, 2 * 0.55 - 1, 2 * 0.65 - 1], atol=1e-6)


def test_air_stays_air_and_no_pixel_leaves_the_range() -> None:
    pixels = patches(64)
    pixels[:, :, :, :5] = -1
    strong = AugmentConfig(rotation_deg=0, brightness=0.9, contrast=0.9, noise=0.5)
    parameters = draw_parameters(strong, 64, seed=0, epoch=0, step=0)
    parameters = dataclasses.replace(parameters, flip=np.zeros(64, dtype=bool))
    found, _ = augment(pixels, conditions([0] * 64), parameters, strong)
    assert (found[..., :5] == -1).all()
    assert not torch.equal(found[..., 5:], pixels[..., 5:])
    assert found.min() >= -1
    assert found.max() <= 1


def test_a_dark_channel_of_a_colour_is_no_air_and_changes_with_the_others() -> None:
    pixels = torch.full((1, 3, 4, 4), -1.0)
    pixels[:, 0, 1:] = 0.5  # pure red below a row of black
    found = adjusted(pixels, np.array([1.0]), np.array([0.5]))
    assert (found[:, :, 0] == -1).all()
    np.testing.assert_allclose(found[:, 0, 1:], 2 * (0.25 + 0.25) - 1, atol=1e-6)  # red .75, mean .25
    np.testing.assert_allclose(found[:, 1:, 1:], 2 * 0.125 - 1, atol=1e-6)
    config = AugmentConfig(horizontal_flip=0, rotation_deg=0, brightness=0, contrast=0, noise=0.3)
    parameters = draw_parameters(config, 1, seed=0, epoch=0, step=0)
    noised, _ = augment(pixels, conditions([0]), parameters, config)
    assert (noised[:, :, 0] == -1).all()
    assert (noised[:, :, 1:] != pixels[:, :, 1:]).all(dim=1).any()


def test_a_patch_of_air_alone_is_left_alone() -> None:
    air = torch.full((1, 1, 8, 8), -1.0)
    assert torch.equal(adjusted(air, np.array([1.1]), np.array([1.1])), air)


def test_noise_has_the_asked_deviation_and_comes_from_the_global_generator() -> None:
    grey = torch.zeros(1, 1, 256, 256)
    torch.manual_seed(5)
    found = noisy(grey, 0.02)
    torch.manual_seed(5)
    torch.testing.assert_close(found, 0.02 * torch.randn(1, 1, 256, 256))
    assert found.std().item() == pytest.approx(0.02, rel=0.02)


def test_without_augmentation_nothing_changes() -> None:
    pixels, codes = patches(), conditions([0, 1, -1, 0])
    parameters = draw_parameters(NO_AUGMENT, 4, seed=0, epoch=0, step=0)
    found, found_codes = augment(pixels, codes, parameters, NO_AUGMENT)
    assert torch.equal(found, pixels)
    assert found_codes["laterality"].tolist() == [0, 1, -1, 0]


def test_each_condition_is_hidden_by_itself_and_at_its_rate() -> None:
    count = 4000
    known = {name: torch.zeros(count, dtype=torch.int64) for name in NLBS.names}
    hiding = draw_parameters(NO_AUGMENT, count, seed=1, epoch=0, step=0).hiding
    found = hidden(known, 0.1, hiding)
    shares = torch.stack([(found[name] == -1).double().mean() for name in NLBS.names])
    assert (shares - 0.1).abs().max() < 4 * (0.09 / count) ** 0.5
    assert not torch.equal(found["view"], found["cancer"])
    assert all(torch.equal(code, known[name]) for name, code in some(hidden(known, 0.0, hiding).items()))


def test_what_is_hidden_is_the_same_for_any_number_of_processes() -> None:
    whole = draw_parameters(NO_AUGMENT, 8, seed=1, epoch=2, step=3).hiding
    part = draw_parameters(NO_AUGMENT, 8, seed=1, epoch=2, step=3).part(slice(4, 8)).hiding
    assert (part == whole[4:]).all()
