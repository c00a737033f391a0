"""L1, PSNR, SSIM and MS-SSIM against closed forms, a plain second implementation, and torchmetrics."""

import numpy as np
import pytest
import torch
from torchmetrics.functional.image import (
    multiscale_structural_similarity_index_measure,
    peak_signal_noise_ratio,
    structural_similarity_index_measure,
)

from nlbs.errors import EvaluationError
from nlbs.evaluate.measures.reconstruction import compare_reconstructions, ms_ssim_weights
from tests.evaluate.textures import power_law_patches


@pytest.fixture(scope="module")
def pair() -> tuple[np.ndarray, np.ndarray]:
    real = power_law_patches(3, 64, 2.5, seed=0)
    noise = np.random.default_rng(1).normal(0, 12, real.shape)
    return real, np.clip(np.rint(0.8 * real + 20 + noise), 1, 255).astype(np.uint8)


def tensor(patches: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(patches).double()[:, None]


def test_a_constant_difference_has_the_l1_and_psnr_of_arithmetic() -> None:
    real = np.full((2, 32, 32), 100, np.uint8)
    found = compare_reconstructions(real, real + np.uint8(10))
    np.testing.assert_allclose(found.l1, 10 / 255)
    np.testing.assert_allclose(found.psnr_db, 20 * np.log10(255 / 10))
    # Without structure SSIM is the luminance term alone: (2 ab + C1) / (a^2 + b^2 + C1), C1 = (.01 * 255)^2.
    c1 = 2.55**2
    np.testing.assert_allclose(found.ssim, (2 * 100 * 110 + c1) / (100**2 + 110**2 + c1), rtol=1e-6)
    assert found.data_range == 255


def test_an_equal_pair_is_perfect() -> None:
    real = power_law_patches(2, 64, 2.5, seed=2)
    found = compare_reconstructions(real, real)
    assert (found.l1 == 0).all() and np.isinf(found.psnr_db).all()
    np.testing.assert_allclose(found.ssim, 1)
    np.testing.assert_allclose(found.ms_ssim, 1)


def test_psnr_is_that_of_torchmetrics(pair: tuple[np.ndarray, np.ndarray]) -> None:
    real, other = pair
    for i in range(3):
        theirs = peak_signal_noise_ratio(tensor(other[i : i + 1]), tensor(real[i : i + 1]), data_range=255.0)
        assert compare_reconstructions(real, other).psnr_db[i] == pytest.approx(float(theirs), rel=1e-6)


def test_ssim_of_a_breast_far_from_the_edge_is_that_of_torchmetrics(
    pair: tuple[np.ndarray, np.ndarray],
) -> None:
    """A breast whose windows see no air and no edge: the mean of torchmetrics' map over the same pixels."""
    real, other = pair
    _, full = structural_similarity_index_measure(
        tensor(other), tensor(real), data_range=255.0, return_full_image=True
    )
    # All pixels count in ours; cut ours out of a map by comparing sums: whole minus what differs is laborious,
    # so both are averaged over a large patch, where the border is a small share.
    expected = full[:, 0, 5:-5, 5:-5].mean(dim=(1, 2)).numpy()
    np.testing.assert_allclose(compare_reconstructions(real, other).ssim, expected, atol=0.02)


def plain_ssim_parts(x: np.ndarray, y: np.ndarray, m: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Eq. 13 of Wang et al. 2004, pixel by pixel, over the breast pixels of an 11 x 11 window."""
    offset = np.arange(-5, 6)
    window = np.exp(-(offset[:, None] ** 2 + offset[None, :] ** 2) / (2 * 1.5**2))
    c1, c2 = 2.55**2, 7.65**2
    luminance, contrast = np.zeros_like(x), np.zeros_like(x)
    px, py, pm = (np.pad(image, 5) for image in (x, y, m))
    for i, j in np.ndindex(x.shape):
        w = window * pm[i : i + 11, j : j + 11]
        if w.sum() == 0:
            continue
        w = w / w.sum()
        a, b = px[i : i + 11, j : j + 11], py[i : i + 11, j : j + 11]
        ma, mb = (w * a).sum(), (w * b).sum()
        va, vb = (w * (a - ma) ** 2).sum(), (w * (b - mb) ** 2).sum()
        luminance[i, j] = (2 * ma * mb + c1) / (ma**2 + mb**2 + c1)
        contrast[i, j] = (2 * (w * (a - ma) * (b - mb)).sum() + c2) / (va + vb + c2)
    return luminance, contrast


def test_ssim_and_ms_ssim_are_their_definitions_on_the_breast_alone(
    pair: tuple[np.ndarray, np.ndarray],
) -> None:
    real, other = pair[0][:1].copy(), pair[1][:1]
    real[:, :, 37:] = 0  # air, odd in width, so that a block of 2 x 2 is half breast
    found = compare_reconstructions(real, other)
    x, y = real[0].astype(float), other[0].astype(float)
    m = (x > 0).astype(float)
    luminance, contrast = plain_ssim_parts(x, y, m)
    assert found.ssim[0] == pytest.approx((luminance * contrast)[m > 0].mean(), rel=1e-6)
    expected = 1.0
    weights = np.array([0.0448, 0.2856, 0.3001])
    for scale, weight in enumerate(weights / weights.sum()):
        luminance, contrast = plain_ssim_parts(x, y, m)
        values = contrast * (luminance if scale == 2 else 1)
        expected *= ((values * m).sum() / m.sum()) ** weight

        def half(image: np.ndarray) -> np.ndarray:
            return (image[::2, ::2] + image[1::2, ::2] + image[::2, 1::2] + image[1::2, 1::2]) / 4

        share = np.where(half(m) > 0, half(m), 1)
        x, y, m = half(x * m) / share, half(y * m) / share, half(m)
    assert found.ms_ssim[0] == pytest.approx(expected, rel=1e-6)


def test_ms_ssim_is_near_that_of_torchmetrics() -> None:
    """They differ at the borders alone, which torchmetrics cuts off."""
    real = power_law_patches(2, 192, 2.5, seed=3)
    other = np.clip(real + np.random.default_rng(4).normal(0, 25, real.shape), 1, 255).astype(np.uint8)
    expected = multiscale_structural_similarity_index_measure(
        tensor(other), tensor(real), data_range=255.0, reduction="none"
    )
    np.testing.assert_allclose(compare_reconstructions(real, other).ms_ssim, expected.numpy(), atol=0.01)


def test_air_neither_helps_nor_harms(pair: tuple[np.ndarray, np.ndarray]) -> None:
    real, other = pair[0].copy(), pair[1].copy()
    real[:, :, 40:] = 0
    clean, dirty = other.copy(), other.copy()
    clean[:, :, 40:] = 0
    dirty[:, :, 40:] = 255
    first, second = compare_reconstructions(real, clean), compare_reconstructions(real, dirty)
    for name in ("l1", "psnr_db", "ssim", "ms_ssim"):
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name))


def test_a_patch_without_breast_is_unknown_and_not_perfect() -> None:
    air = np.zeros((1, 32, 32), np.uint8)
    found = compare_reconstructions(air, air)
    assert np.isnan([found.l1[0], found.psnr_db[0], found.ssim[0], found.ms_ssim[0]]).all()


@pytest.mark.parametrize(("size", "scales"), [(11, 1), (64, 3), (128, 4), (175, 4), (176, 5), (512, 5)])
def test_the_scales_are_those_that_the_window_fits(size: int, scales: int) -> None:
    weights = ms_ssim_weights(size)
    assert len(weights) == scales
    assert sum(weights) == pytest.approx(1)


def test_pairs_that_do_not_match_are_refused_in_words() -> None:
    with pytest.raises(EvaluationError, match=r"found \(2, 16, 16\), expected the \(2, 32, 32\)"):
        compare_reconstructions(np.zeros((2, 32, 32), np.uint8), np.zeros((2, 16, 16), np.uint8))
    with pytest.raises(EvaluationError, match="11 or more"):
        ms_ssim_weights(10)
