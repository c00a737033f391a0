"""Whether small bright dots, such as calcifications, survive reconstruction.

A dot is a local maximum of the scale-normalised, negative Laplacian of Gaussian, the matched filter
for a Gaussian spot in 1/f noise (Lindeberg 1998, Int. J. Comput. Vis. 30:79).
"""

from dataclasses import dataclass
from typing import cast

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from nlbs.errors import EvaluationError
from nlbs.evaluate.measures.arrays import DATA_RANGE, Groups, Patches, check_pair, check_patches
from nlbs.evaluate.measures.intervals import Interval, mean_interval

Positions = npt.NDArray[np.intp]  #: (m, 3): patch, y, x
Response = npt.NDArray[np.float32]

_EDGE_PX = 4  #: no dot is planted or looked for nearer to the edge of a patch or of the breast
_MAD_TO_SIGMA = 1.4826  #: of a normal law
_TRIES = 50
_TOLERANCE_PX = 1  #: how far a dot may move along each axis
_STRENGTH = 0.5  #: least response of a dot that is recalled, as a share of the real one


@dataclass(frozen=True)
class PlantedDots:
    """Patches with dots at known places."""

    patches: Patches  #: uint8, (n, R, R)
    positions: Positions  #: the dots' centres


@dataclass(frozen=True)
class DotRecall:
    """Share of dots that a reconstruction still shows."""

    recall: Interval
    chance: float  #: the same for places at random in the same breasts: what noise alone would show; NaN without room
    dots: int


def plant_dots(
    patches: Patches, per_patch: int = 3, diameter_px: float = 3.0, contrast: float = 0.2, seed: int = 0
) -> PlantedDots:
    """Return patches with Gaussian dots added inside the breast, at random.

    Args:
        patches: uint8, (n, R, R), air 0.
        per_patch: dots of each patch; fewer where the breast has no room.
        diameter_px: full width at half maximum.
        contrast: height above the tissue, as a share of the range; values above white are clipped.
        seed: of the places.

    Raises:
        EvaluationError: another type or shape.
    """
    grey = check_patches(patches)
    generator = np.random.default_rng(seed)
    sigma = _sigma(diameter_px)
    axis = np.arange(patches.shape[1])
    drawn = patches.astype(np.float64)
    channel = (None,) * (patches.ndim - 3)  # a dot is as bright in each
    positions = []
    for index, room in enumerate(_inside(grey)):
        for y, x in _scatter(room, per_patch, 3 * diameter_px, generator):
            spot = np.exp(-((axis[:, None] - y) ** 2 + (axis[None, :] - x) ** 2) / (2 * sigma**2))
            drawn[index] += contrast * DATA_RANGE * spot[(..., *channel)]
            positions.append((index, y, x))
    air = patches == 0
    found = np.clip(np.rint(drawn), 0, DATA_RANGE).astype(np.uint8)
    return PlantedDots(np.where(air, patches, found), np.array(positions, dtype=np.intp).reshape(-1, 3))


def find_dots(patches: Patches, diameter_px: float = 3.0, threshold: float = 6.0) -> Positions:
    """Return the small bright dots of real patches, (m, 3).

    Args:
        patches: uint8, (n, R, R), air 0.
        diameter_px: full width at half maximum of the dots that are looked for.
        threshold: least response, in robust standard deviations of the response within this breast.

    Raises:
        EvaluationError: another type or shape.
    """
    patches = check_patches(patches)
    response = dot_response(patches, diameter_px)
    peaks = _is_peak(response) & _inside(patches)
    for index, room in enumerate(_inside(patches)):
        if not room.any():
            continue
        values = response[index][room]
        middle = np.median(values)
        spread = _MAD_TO_SIGMA * np.median(np.abs(values - middle))
        peaks[index] &= response[index] > middle + threshold * max(float(spread), 1e-6)
    return np.argwhere(peaks).astype(np.intp)


def dot_recall(
    real: Patches,
    reconstructed: Patches,
    positions: Positions,
    groups: Groups,
    diameter_px: float = 3.0,
    seed: int = 0,
) -> DotRecall:
    """Return the share of dots that the reconstruction shows in their place.

    A dot is recalled where a local maximum of the reconstruction's response lies within the tolerance
    and is at least half of the real response. Chance is that share when each dot is looked for
    somewhere else in the same breast.

    Args:
        real: uint8, (n, R, R), with the dots.
        reconstructed: uint8, of the same shape.
        positions: (m, 3) of :func:`plant_dots` or :func:`find_dots`.
        groups: (n,), the patient or image of each patch.
        diameter_px: full width at half maximum.
        seed: of the places for chance.

    Raises:
        EvaluationError: no dots, other types or shapes.
    """
    real, reconstructed = check_pair(real, reconstructed, "reconstructions")
    if not len(positions):
        raise EvaluationError("recall of dots: found no dots in these patches, expected at least one")
    index = positions[:, 0]
    ours, theirs = dot_response(reconstructed, diameter_px), dot_response(real, diameter_px)
    peaks = np.where(_is_peak(ours), ours, -np.inf)
    width = 2 * _TOLERANCE_PX + 1
    shown = ndimage.maximum_filter(peaks, size=(1, width, width), mode="constant", cval=-np.inf)
    needed = _STRENGTH * theirs[tuple(positions.T)]
    recalled = shown[tuple(positions.T)] >= needed
    generator = np.random.default_rng(seed)
    room = _inside(real)
    elsewhere = [(i, *generator.choice(np.argwhere(room[i]))) for i in index if room[i].any()]
    possible = np.array([bool(room[i].any()) for i in index])
    chance = shown[tuple(np.array(elsewhere, dtype=np.intp).reshape(-1, 3).T)] >= needed[possible]
    return DotRecall(
        mean_interval(recalled.astype(np.float64), np.asarray(groups)[index], seed=seed),
        float(chance.mean()) if len(chance) else float("nan"),
        len(positions),
    )


def dot_response(patches: Patches, diameter_px: float) -> Response:
    """Return -sigma^2 LoG of each patch, float32 (n, R, R), in grey levels; largest at bright dots of this width.

    A Gaussian dot of the same width and height h answers h / 2 at its centre.
    """
    sigma = _sigma(diameter_px)
    grey = patches.astype(np.float32)
    curvature = sum(
        ndimage.gaussian_filter(grey, (0, sigma, sigma), order=order, mode="nearest")
        for order in ((0, 2, 0), (0, 0, 2))
    )
    return cast(Response, -(sigma**2) * curvature)


def _sigma(diameter_px: float) -> float:
    """Return the standard deviation of a Gaussian of this full width at half maximum."""
    return float(diameter_px / (2 * np.sqrt(2 * np.log(2))))


def _is_peak(response: Response) -> npt.NDArray[np.bool_]:
    """Return whether a pixel is the largest of its 3 x 3 neighbours."""
    return cast(npt.NDArray[np.bool_], response == ndimage.maximum_filter(response, size=(1, 3, 3)))


def _inside(patches: Patches) -> npt.NDArray[np.bool_]:
    """Return the breast without a margin at its own edge and at the patch's, (n, R, R)."""
    size = 2 * _EDGE_PX + 1
    inside = ndimage.minimum_filter(patches > 0, size=(1, size, size), mode="constant", cval=0)
    return cast(npt.NDArray[np.bool_], inside)


def _scatter(
    room: npt.NDArray[np.bool_], count: int, apart_px: float, generator: np.random.Generator
) -> list[tuple[int, int]]:
    """Return up to ``count`` places within ``room`` that lie ``apart_px`` from each other."""
    places: list[tuple[int, int]] = []
    free = np.argwhere(room)
    for _ in range(_TRIES if len(free) else 0):
        y, x = (int(value) for value in free[generator.integers(len(free))])
        if all(np.hypot(y - b, x - a) >= apart_px for b, a in places):
            places.append((y, x))
        if len(places) == count:
            break
    return places
