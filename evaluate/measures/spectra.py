"""Sharpness without any network: the power spectrum of patches, its exponent, its top octave.

Mammographic texture follows ``P(f) ~ 1 / f^beta`` with beta about 3 (Burgess 2001, Med. Phys. 28:419).
A model that blurs has too steep a spectrum and too little energy at the finest scale.
Frequencies are in cycles per patch: f cycles per patch of R pixels have a period of R / f pixels.
"""

from dataclasses import dataclass

import numpy as np

from nlbs.errors import EvaluationError
from nlbs.evaluate.measures.arrays import DATA_RANGE, Floats, Groups, Patches, check_patches
from nlbs.evaluate.measures.intervals import Interval, bootstrap, has_tails

LOWEST_FREQUENCY = 4  #: cycles per patch; below, the window's own width shows
_ROUNDING = 1e-20  #: power that is none; one grey level of noise has 1.5e-5
_BLOCK = 256  #: patches that are transformed at once


@dataclass(frozen=True)
class Sharpness:
    """Exponent and top octave of generated patches beside the real ones."""

    exponent: Interval  #: beta of the generated patches
    real_exponent: Interval
    top_octave_share: float  #: share of the generated patches' variance in the top octave
    real_top_octave_share: float
    top_octave_ratio: Interval  #: generated over real energy in the top octave
    lowest: float  #: the fit's frequencies, cycles per patch
    highest: float


def power_spectra(patches: Patches) -> Floats:
    """Return the radially averaged power spectrum of each patch, (n, R/2).

    Column f - 1 is the mean power over the ring of frequencies that round to f cycles per patch,
    f = 1 to R/2. Patches are scaled to 0 to 1, their mean is taken off, and a Hann window keeps the
    edges out of the spectrum; it is divided by the window's energy, so that white noise of variance
    s^2 has power s^2 at every frequency.

    Args:
        patches: uint8, (n, R, R), R at least 16.

    Raises:
        EvaluationError: another type or shape, or patches below 16 pixels.
    """
    patches = check_patches(patches)
    size = patches.shape[1]
    if size < 16:
        raise EvaluationError(f"a spectrum: found patches of {size} pixels, expected 16 or more")
    window = np.hanning(size + 1)[:size]  # the periodic window: its leakage ends after one bin
    window = window[:, None] * window[None, :]
    ring, counts = _rings(size)
    spectra = np.empty((len(patches), size // 2))
    for start in range(0, len(patches), _BLOCK):
        grey = patches[start : start + _BLOCK].astype(np.float64) / DATA_RANGE
        # The mean under the window, so that nothing of it leaks into the lowest ring.
        grey -= (grey * window).sum(axis=(1, 2), keepdims=True) / window.sum()
        power = np.abs(np.fft.fft2(grey * window)) ** 2 / (window**2).sum()
        for row, image in enumerate(power, start):
            spectra[row] = np.bincount(ring, image.ravel(), size // 2 + 2)[1:-1] / counts[1:-1]
    return spectra


def _rings(size: int) -> tuple[np.ndarray[tuple[int], np.dtype[np.intp]], Floats]:
    """Return each frequency's ring (R * R,), those beyond R/2 in ring R/2 + 1, and the rings' sizes."""
    axis = np.fft.fftfreq(size, 1 / size)
    radius = np.hypot(axis[:, None], axis[None, :])
    ring = np.minimum(np.rint(radius), size // 2 + 1).astype(np.intp).ravel()
    return ring, np.bincount(ring, minlength=size // 2 + 2).astype(np.float64)


def spectral_exponent(
    spectrum: Floats, lowest: float = LOWEST_FREQUENCY, highest: float | None = None
) -> float:
    """Return beta of ``P(f) ~ 1 / f^beta``: minus the least-squares slope of log P over log f.

    Args:
        spectrum: (R/2,), power at 1 to R/2 cycles per patch, usually the mean over patches.
        lowest: first frequency of the fit, cycles per patch.
        highest: last one; None is R/4, below the top octave, where noise of a detector takes over.

    Raises:
        EvaluationError: fewer than 4 frequencies, or one without any power.
    """
    frequency = np.arange(1, len(spectrum) + 1)
    top = len(spectrum) / 2 if highest is None else highest
    used = (frequency >= lowest) & (frequency <= top)
    if used.sum() < 4:
        raise EvaluationError(
            f"a spectral exponent: found {used.sum()} frequencies from {lowest:g} to {top:g} cycles per patch, "
            "expected 4 or more: take larger patches or a wider range"
        )
    if (spectrum[used] < _ROUNDING).any():
        raise EvaluationError("a spectral exponent: these patches have no power at all (constant grey)")
    slope, _ = np.polyfit(np.log(frequency[used]), np.log(spectrum[used]), 1)
    return float(-slope)


def band_energy(spectra: Floats) -> tuple[Floats, Floats]:
    """Return each patch's variance in the top octave [R/4, R/2] and at all frequencies up to R/2, (n,) each.

    Args:
        spectra: (n, R/2) of :func:`power_spectra`.

    Returns:
        Both in squared units of the 0 to 1 grey scale.
    """
    half = spectra.shape[1]
    _, counts = _rings(2 * half)
    energy = spectra * counts[1:-1] / (2 * half) ** 2
    return energy[:, half // 2 - 1 :].sum(axis=1), energy.sum(axis=1)


def top_octave_energy(spectra: Floats) -> float:
    """Return the share of the variance at frequencies from R/4 to R/2 cycles per patch, 0 to 1.

    Args:
        spectra: (n, R/2) of :func:`power_spectra`; energies are added up before they are divided.
    """
    top, total = band_energy(spectra)
    return float(top.sum() / total.sum()) if total.sum() > 0 else float("nan")


def compare_sharpness(
    generated: Patches,
    real: Patches,
    real_groups: Groups,
    lowest: float = LOWEST_FREQUENCY,
    highest: float | None = None,
    repeats: int = 200,
    seed: int = 0,
) -> Sharpness:
    """Return exponent and top octave of both sets, from their mean spectra.

    Args:
        generated: uint8, (n, R, R), independent samples.
        real: uint8, (m, R, R).
        real_groups: (m,), the patient or image of each real patch.
        lowest, highest: frequencies of the fit, cycles per patch; see :func:`spectral_exponent`.
        repeats, seed: of the bootstrap.

    Raises:
        EvaluationError: other types or shapes, patches of two sizes, patches without any structure.
    """
    if generated.shape[1:] != real.shape[1:]:
        raise EvaluationError(f"spectra: {generated.shape[1:]} and {real.shape[1:]} pixels do not compare")
    spectra, real_spectra = power_spectra(generated), power_spectra(real)

    def exponent(table: Floats, groups: Groups) -> Interval:
        return bootstrap(
            lambda rows: spectral_exponent(table[rows].mean(axis=0), lowest, highest),
            groups,
            repeats,
            seed=seed,
        )

    top, _ = band_energy(spectra)
    real_top, _ = band_energy(real_spectra)

    def ratio(rows: np.ndarray[tuple[int], np.dtype[np.intp]]) -> float:
        ours, theirs = rows[rows < len(top)], rows[rows >= len(top)] - len(top)
        if not len(ours) or not len(theirs):
            return float("nan")
        return float(top[ours].mean() / real_top[theirs].mean())

    _, patients = np.unique(real_groups, return_inverse=True)
    both = np.concatenate([np.arange(len(top)), len(top) + patients])
    energy = bootstrap(ratio, both, repeats, seed=seed)
    if not has_tails(count := len(np.unique(patients))):  # however many independent draws there are
        energy = Interval(energy.value, None, None, energy.level, count)
    return Sharpness(
        exponent(spectra, np.arange(len(spectra))),
        exponent(real_spectra, real_groups),
        top_octave_energy(spectra),
        top_octave_energy(real_spectra),
        energy,
        float(lowest),
        real.shape[1] / 4 if highest is None else float(highest),
    )
