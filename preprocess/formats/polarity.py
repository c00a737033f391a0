"""Whether the smallest value is white: told from the pixels where the header does not say it."""

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from nlbs.preprocess.formats.header import Header, Stored

_LINES = 128  #: of an image that are looked at
#: Air takes a large part of a mammogram. Where this share of it is as bright as the brightest tenth of all values,
#: and this much less of it is dark, it is shown as a negative.
_BRIGHT_SHARE, _DARK_SHARE = 0.3, 1 / 3


def with_polarity(header: Header, stored: Stored) -> tuple[Header, tuple[str, ...]]:
    """Return the header with the polarity that the background has, where no element states one, and a remark."""
    if header.polarity_known:
        return header, ()
    inverted = air_is_bright(sample(stored, header))
    name = "MONOCHROME1" if inverted else "MONOCHROME2"
    return replace(header, inverted=inverted, polarity_known=True), (
        f"by its background the image is taken as {name}",
    )


def sample(stored: Stored, header: Header) -> npt.NDArray[Any]:
    """Return the values of some lines of an image, without padding: (n,) integers."""
    values = stored[:: max(1, len(stored) // _LINES), ::4].ravel()
    if header.padding is None:
        return values
    low, high = header.padding
    kept = values[(values < low) | (values > high)]
    return kept if kept.size else values


def air_is_bright(values: npt.NDArray[Any]) -> bool:
    """Say whether the value that most pixels have nearly lies in the upper half of the range: the air of a negative."""
    low, high = np.percentile(values, (0.5, 99.5))
    if high <= low:
        return False
    counts, _ = np.histogram(values, bins=64, range=(float(low), float(high)))
    return bool(np.argmax(counts) >= 32)


def looks_negative(values: npt.NDArray[Any], inverted: bool) -> bool:
    """Say whether a background that should be dark is bright without a doubt.

    Args:
        values: of :func:`sample`.
        inverted: whether small values are shown bright.
    """
    low, high = (float(value) for value in np.percentile(values, (0.1, 99.9)))
    tenth = (high - low) / 10
    if tenth <= 0:
        return False
    low_share, high_share = float((values <= low + tenth).mean()), float((values >= high - tenth).mean())
    bright, dark = (low_share, high_share) if inverted else (high_share, low_share)
    return bright > _BRIGHT_SHARE and dark < _DARK_SHARE * bright
