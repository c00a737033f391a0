"""Which images of a set are unlike the others: robust, so that the odd ones do not hide themselves."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

#: In robust standard deviations. Of a normal distribution, 2 in 10^9 lie farther out.
FAR = 6.0
#: Fewer images say nothing about what is usual.
LEAST_IMAGES = 8

Values = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Usual:
    """How a figure of images.csv is compared with that of the other images."""

    least_spread: float  #: standard deviation that is taken at least, after the logarithm
    logarithm: bool = False  #: compare log(value)
    low_too: bool = False  #: a value far below is odd as well as one far above


#: Signs of a stream that was damaged and still decoded: see nlbs.preprocess.images.quality.
DAMAGE = {
    "qc_row_jump": Usual(0.15, logarithm=True),
    "qc_streaks": Usual(0.05, low_too=True),
    "qc_busiest": Usual(0.15, logarithm=True),
    "qc_flattest": Usual(0.15, logarithm=True),
}
#: Grey levels inside the breast, as shares of the display range.
INTENSITY = {
    "breast_p1": Usual(0.03, low_too=True),
    "breast_median": Usual(0.03, low_too=True),
    "breast_p99": Usual(0.03, low_too=True),
}


def outliers(columns: Mapping[str, Values], how: Mapping[str, Usual], far: float = FAR) -> dict[int, str]:
    """Return position of each odd image -> the figure that is farthest out, and how far, the oddest first.

    A value's distance is (value - median) / (1.4826 MAD), with a least spread so that a set of alike images
    does not flag its own noise. None is odd where fewer than 8 images have the figure.

    Args:
        columns: figure -> (images,) values, NaN where an image has none.
        how: how each figure is compared; figures that are not in ``columns`` are left out.
        far: distance from which an image is odd.
    """
    worst: dict[int, tuple[float, str]] = {}
    for name, usual in how.items():
        if name not in columns:
            continue
        distance = distances(columns[name], usual)
        for position in np.flatnonzero(np.abs(distance) > far):
            found = (abs(float(distance[position])), name)
            worst[int(position)] = max(worst.get(int(position), (0.0, "")), found)
    ordered = sorted(worst.items(), key=lambda item: (-item[1][0], item[0]))
    return {
        position: f"{name} {distance:.1f} deviations from the usual" for position, (distance, name) in ordered
    }


def distances(values: Values, usual: Usual) -> Values:
    """Return how far each value is from the usual one, in robust standard deviations; 0 where unknown or allowed."""
    compared = np.log(np.maximum(values, 1e-6)) if usual.logarithm else np.asarray(values, dtype=np.float64)
    known = np.isfinite(compared)
    if np.count_nonzero(known) < LEAST_IMAGES:
        return np.zeros(len(compared))
    middle = float(np.median(compared[known]))
    spread = max(usual.least_spread, 1.4826 * float(np.median(np.abs(compared[known] - middle))))
    distance = np.where(known, (compared - middle) / spread, 0.0)
    return distance if usual.low_too else np.maximum(distance, 0.0)
