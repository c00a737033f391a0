"""Pixel padding held against the pixels: what lies in the breast is no padding (PS3.3 C.7.5.1.1.2)."""

from dataclasses import replace

from nlbs.preprocess.formats.header import Header, Stored
from nlbs.preprocess.images.mask import NoBreastError, breast_mask, breast_values

_LINES = 32  #: of an image that are looked at first
#: A padding range that takes more than this share of the image's values is looked at.
_WIDE = 1 / 16
#: Padding is a frame or a background: the neighbour of a padding pixel is one as well, in this share at least.
_LEAST_TOGETHER = 0.8
#: Values on both sides of the padding, in this share of the image at least: then it is no end of the range.
_BOTH_SIDES = 0.005
#: Of the breast's pixels, found without regard to padding, this share may be padding: of a range, of a single value.
_MOST_OF_RANGE, _MOST_OF_VALUE = 0.05, 1e-4


def without_false_padding(stored: Stored, header: Header) -> tuple[Header, tuple[str, ...]]:
    """Return the header without padding values that are tissue, and a remark where it had some.

    Args:
        stored: (H, W) integers.
        header: of the image.
    """
    if header.padding is None:
        return header, ()
    limit = _most_of_breast(stored, header.padding)
    if limit is None:
        return header, ()
    plain = replace(header, padding=None)
    try:
        breast = breast_values(stored, breast_mask(stored, plain))
    except NoBreastError:
        return header, ()
    low, high = header.padding
    share = float(((breast >= low) & (breast <= high)).mean()) if breast.size else 0.0
    if share <= limit:
        return header, ()
    note = f"the padding values {low} to {high} take {100 * share:.3g} % of the breast: they are not believed"
    return plain, (note,)


def _most_of_breast(stored: Stored, padding: tuple[int, int]) -> float | None:
    """Return the share of the breast that padding may take, None where nothing speaks against it at all."""
    some = stored[:: max(1, len(stored) // _LINES)]
    low, high = padding
    inside = (some >= low) & (some <= high)
    count = int(inside.sum())
    if not count:
        return None
    lowest, highest = int(some.min()), int(some.max())
    if min(high, highest) - max(low, lowest) + 1 > _WIDE * (highest - lowest + 1):
        return _MOST_OF_RANGE
    sides = min(float((some < low).mean()), float((some > high).mean()))
    together = float((inside[:, 1:] & inside[:, :-1]).sum()) / count
    return _MOST_OF_VALUE if sides >= _BOTH_SIDES and together < _LEAST_TOGETHER else None
