"""Spectra against textures of known exponent and against Parseval's theorem."""

import numpy as np
import pytest
from scipy import ndimage

from nlbs.errors import EvaluationError
from nlbs.evaluate.measures.spectra import (
    band_energy,
    compare_sharpness,
    power_spectra,
    spectral_exponent,
    top_octave_energy,
)
from tests.evaluate.textures import power_law_patches


@pytest.mark.parametrize("beta", [1.0, 2.0, 3.2])
def test_the_exponent_of_a_known_texture_is_found(beta: float) -> None:
    spectrum = power_spectra(power_law_patches(96, 64, beta, seed=0)).mean(axis=0)
    assert spectral_exponent(spectrum) == pytest.approx(beta, abs=0.1)


def test_white_noise_has_its_variance_at_every_frequency() -> None:
    noise = np.random.default_rng(1).normal(128, 20, (64, 32, 32))
    patches = np.clip(np.rint(noise), 0, 255).astype(np.uint8)
    spectra = power_spectra(patches)
    np.testing.assert_allclose(spectra.mean(axis=0)[2:], (20 / 255) ** 2, rtol=0.1)
    _, total = band_energy(spectra)
    # The corners of the square beyond R/2 are a share of 1 - pi/4 of all frequencies.
    assert total.mean() == pytest.approx((20 / 255) ** 2 * np.pi / 4, rel=0.05)


def test_a_wave_appears_at_its_frequency_alone() -> None:
    wave = 128 + 60 * np.sin(2 * np.pi * 10 * np.arange(64) / 64)
    patches = np.rint(np.broadcast_to(wave, (1, 64, 64))).astype(np.uint8)
    spectrum = power_spectra(patches)[0]
    assert spectrum.argmax() + 1 == 10
    assert spectrum[8:11].sum() > 0.999 * spectrum.sum()


def test_blur_steepens_the_spectrum_and_empties_the_top_octave() -> None:
    real = power_law_patches(48, 64, 2.0, seed=2)
    blurred = np.stack([ndimage.gaussian_filter(patch, 1.5) for patch in real])
    patients = np.repeat(np.arange(12), 4)
    found = compare_sharpness(blurred, real, patients, repeats=50)
    assert found.exponent.value > found.real_exponent.value + 0.3
    # |exp(-(2 pi f s)^2 / 2)|^2 of a Gaussian of s pixels is at most .0039 from R/4 on.
    assert found.top_octave_ratio.value < 0.02
    same = compare_sharpness(real, real, patients, repeats=50)
    assert same.top_octave_ratio.value == pytest.approx(1)
    assert same.top_octave_ratio.low is not None and same.top_octave_ratio.high is not None
    assert same.top_octave_ratio.low < 1 < same.top_octave_ratio.high
    assert same.real_exponent.groups == 12
    two = compare_sharpness(real, real, patients // 6, repeats=50)  # few patients, however many draws
    assert (two.top_octave_ratio.low, two.real_exponent.low, two.top_octave_ratio.groups) == (None, None, 2)


def test_the_top_octave_of_white_noise_is_three_quarters_of_the_disc() -> None:
    noise = np.random.default_rng(3).normal(128, 20, (64, 64, 64))
    share = top_octave_energy(power_spectra(np.clip(np.rint(noise), 0, 255).astype(np.uint8)))
    assert share == pytest.approx(1 - 0.25, abs=0.03)


def test_patches_that_have_no_spectrum_are_refused_in_words() -> None:
    with pytest.raises(EvaluationError, match="16 or more"):
        power_spectra(np.zeros((2, 8, 8), np.uint8))
    with pytest.raises(EvaluationError, match="constant grey"):
        spectral_exponent(power_spectra(np.full((2, 64, 64), 9, np.uint8)).mean(axis=0))
    with pytest.raises(EvaluationError, match="expected uint8"):
        power_spectra(np.zeros((2, 64, 64), np.float32))  # type: ignore[arg-type]
