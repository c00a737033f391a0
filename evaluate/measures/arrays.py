"""The arrays that every measure takes, and the sentences for those that it cannot take."""

from typing import Any

import numpy as np
import numpy.typing as npt

from nlbs.errors import EvaluationError
from nlbs.pictures import luminance

Patches = npt.NDArray[np.uint8]  #: (n, R, R), grey 0 to 255, air 0; or (n, R, R, 3) in colour
Features = npt.NDArray[np.floating[Any]]  #: (n, d), one row per patch
Floats = npt.NDArray[np.float64]
Groups = npt.NDArray[Any]  #: (n,), the patient or image of each row

DATA_RANGE = 255.0  #: grey levels from black to white


def check_patches(patches: Patches, what: str = "patches", at_least: int = 1) -> Patches:
    """Return the patches, those in colour as their luminance, (n, R, R): what most measures look at.

    Raises:
        EvaluationError: they are not uint8 (n, R, R) or (n, R, R, 3), or fewer than ``at_least``.
    """
    is_square = patches.ndim >= 3 and patches.shape[1] == patches.shape[2]
    if patches.dtype != np.uint8 or not is_square or patches.shape[3:] not in ((), (3,)):
        raise EvaluationError(
            f"{what}: found {patches.dtype} {patches.shape}, expected uint8 (n, R, R) or (n, R, R, 3), square"
        )
    if len(patches) < at_least:
        raise EvaluationError(f"{what}: found {len(patches)} patches, expected {at_least} or more")
    return grey_of(patches)


def grey_of(patches: Patches) -> Patches:
    """Return patches in colour as their luminance, (n, R, R); grey ones as they are."""
    return patches if patches.ndim == 3 else luminance(patches)


def check_pair(real: Patches, other: Patches, what: str) -> tuple[Patches, Patches]:
    """Return the luminance of two sets of patches of one shape, image by image.

    Raises:
        EvaluationError: another type, or two shapes.
    """
    if real.shape != other.shape:
        raise EvaluationError(f"{what}: found {other.shape}, expected the {real.shape} of the real patches")
    return check_patches(real, "real patches"), check_patches(other, what)


def check_features(features: Features, what: str, at_least: int = 2) -> Floats:
    """Return the features as float64 (n, d).

    Raises:
        EvaluationError: another shape, fewer rows than ``at_least``, or values that are not finite.
    """
    if features.ndim != 2 or len(features) < at_least:
        raise EvaluationError(f"{what}: found {features.shape}, expected (n, d) with {at_least} rows or more")
    wide = np.asarray(features, dtype=np.float64)
    if not np.isfinite(wide).all():
        bad = int((~np.isfinite(wide).all(axis=1)).sum())
        raise EvaluationError(f"{what}: {bad} of {len(wide)} rows hold NaN or infinity; check the extractor")
    return wide


def check_widths(a: Features, b: Features) -> None:
    """Refuse features of two lengths.

    Raises:
        EvaluationError: the two have other dimensions.
    """
    if a.shape[1] != b.shape[1]:
        raise EvaluationError(
            f"features of {a.shape[1]} and of {b.shape[1]} numbers cannot be compared: use one extractor for both"
        )
