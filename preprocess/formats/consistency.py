"""A header held against its pixels: which bits hold a value, its sign and byte order, length of rows, polarity.

PS3.5 8.1.1 leaves what stands in the bits beside the stored ones open (once overlays, now anything), so that bits in
use where none should be are no proof. What tells is that neighbours in an image are alike: where values wrap, because
they were read by too few bits, with another sign or in the other byte order, they are not.
"""

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from nlbs.preprocess.formats.header import Header, Stored, element, padding_of

_LINES = 48  #: of an image that are compared

#: A reading that the header contradicts has to be smoother than the header's own by these factors.
_OF_SIGNED, _OF_SWAPPED = 4, 4
#: Unsigned values that were read as signed jump from one end of the range to the other, over this share of it, and
#: this share of them comes near the ends, without being the very least or greatest.
_JUMP, _NEAR_THE_ENDS = 0.75, 0.0005
#: Values that wrap at a wrong sign leave the middle half of the range nearly empty: at most this share.
_IN_THE_MIDDLE = 0.005


def used_bits(cells: Stored, highest: int, header: Header) -> tuple[int, int, tuple[str, ...]]:
    """Return by how many bits cells are to be shifted down, how many bits are stored, and what was not believed.

    Args:
        cells: (H, W) uint8 or uint16, as they stand in the file.
        highest: the largest of them.
        header: its bits.
    """
    bits = header.bits_stored
    spare, shift = header.bits_allocated - bits, header.high_bit - bits + 1
    if not spare:
        return 0, bits, ()
    largest = (1 << bits) - 1
    if shift:
        if highest > largest or not (cells & np.array((1 << shift) - 1, cells.dtype)).any():
            return shift, bits, ()
        note = f"HighBit is {header.high_bit}, the values stand in the {bits} lowest bits: it is not believed"
        return 0, bits, (note,)
    if highest <= largest or _states_overlay(header) or (header.signed and _is_extended(cells, bits)):
        return 0, bits, ()
    if not (cells & np.array((1 << spare) - 1, cells.dtype)).any():
        return spare, bits, (f"HighBit is {header.high_bit}, the values stand in the {bits} highest bits",)
    # What is beyond BitsStored is remarked of any image.
    return 0, header.bits_allocated if _smoother_with_all(cells, header) else bits, ()


def _is_extended(cells: Stored, bits: int) -> bool:
    """Say whether the bits above the stored ones are the sign alone, as most writers leave them."""
    values = cells.view(f"i{cells.dtype.itemsize}")
    return bool(values.min() >= -(1 << (bits - 1)) and values.max() < 1 << (bits - 1))


def _states_overlay(header: Header) -> bool:
    """Say whether an overlay stands in a bit beside the values: Overlay Bit Position (60xx,0102), until 2004."""
    found = (element(header.dataset, tag) for tag in range(0x60000102, 0x60200102, 0x20000))
    positions = (getattr(overlay, "value", None) for overlay in found)  # by its tag the element itself is got
    return any(isinstance(position, int) and position > 0 for position in positions)


def swapped_bytes(cells: Stored, header: Header) -> Stored | None:
    """Return 16-bit cells the other way round, where their bytes stand in the other order; None where they do not.

    Args:
        cells: (H, W) uint16, some of them larger than the header's bits allow.
        header: its bits.
    """
    if cells.dtype.itemsize != 2:
        return None
    some = _some(cells)
    # In the right order no value takes more than the stored bits, wherever these stand; of 15 and 16, which say
    # nothing, no more than detectors have. Values of 8 bits in the upper byte have nothing in the lower one.
    highest, said = int(some.byteswap().max()), header.bits_stored <= 14
    if highest >= (2 << header.high_bit if said else 1 << 14) or (not said and highest < 1 << 8):
        return None
    own, other = _variation(some), _variation(some.byteswap())
    return cells.byteswap() if own > _OF_SWAPPED * other else None


def settled_sign(stored: Stored, header: Header) -> tuple[Stored, Header, tuple[str, ...]]:
    """Return stored values and header with the sign that the values have, and a remark where that is another one.

    Args:
        stored: (H, W), signed integers where the header says so.
        header: of the image.
    """
    some, bits = _some(stored), header.bits_stored
    lowest, highest, span = int(some.min()), int(some.max()), 1 << bits
    if lowest < -span // 2 or highest >= (span // 2 if header.signed else span):
        return stored, header, ()  # beyond BitsStored: of that the sign is not the matter
    if header.signed:
        if lowest >= 0 or not _wraps(some, bits):
            return stored, header, ()
        note = "PixelRepresentation says signed, the values are unsigned: it is not believed"
        return _unsigned(stored, bits), _with_sign(header, signed=False), (note,)
    # Of fewer bits the cells themselves would show a sign, in the bits above.
    if bits < 16 or lowest > span // 4 or highest < span - span // 4:
        return stored, header, ()
    middle = float(((some >= span // 4) & (some < span - span // 4)).mean())
    if middle > _IN_THE_MIDDLE or _variation(some) <= _OF_SIGNED * _variation(_signed(some, bits)):
        return stored, header, ()
    note = "PixelRepresentation says unsigned, the values are signed: it is not believed"
    return _signed(stored, bits), _with_sign(header, signed=True), (note,)


def _wraps(values: Stored, bits: int) -> bool:
    """Say whether signed values are unsigned ones, which run on where these jump to the other end of the range."""
    span = 1 << bits
    jumps, other = (
        int((np.abs(np.diff(read.astype(np.int32), axis=1)) > _JUMP * span).sum())
        for read in (values, _unsigned(values, bits))
    )
    lowest, highest, margin = int(values.min()), int(values.max()), span // 16
    low = (values > lowest) & (values < margin - span // 2)
    high = (values < highest) & (values >= span // 2 - margin)
    near = min(float(low.mean()), float(high.mean()))
    return jumps > 4 * other + len(values) // 8 and near > _NEAR_THE_ENDS


def _with_sign(header: Header, signed: bool) -> Header:
    return replace(header, signed=signed, padding=padding_of(header.dataset, header.bits_allocated, signed))


def _signed(values: Stored, bits: int) -> Stored:
    wide = values.astype(np.int32)
    wide[wide >= 1 << (bits - 1)] -= 1 << bits
    signed: Stored = wide.astype(f"i{values.dtype.itemsize}")
    return signed


def _unsigned(values: Stored, bits: int) -> Stored:
    cells = values.view(f"u{values.dtype.itemsize}")
    masked: Stored = cells & np.array((1 << bits) - 1, cells.dtype)
    return masked


def _smoother_with_all(cells: Stored, header: Header) -> bool:
    """Say whether neighbours differ less by all bits of their cells than by the stored ones alone."""
    some, bits = _some(cells), header.bits_stored
    if header.signed:
        return _variation(some.view(f"i{cells.dtype.itemsize}")) < _variation(
            _signed(_unsigned(some, bits), bits)
        )
    return _variation(some) < _variation(_unsigned(some, bits))


def _some(values: Stored) -> Stored:
    return np.ascontiguousarray(values[:: max(1, len(values) // _LINES)])


def _variation(values: Stored) -> int:
    return int(np.abs(np.diff(values.astype(np.int32), axis=1)).sum(dtype=np.int64))


_PLACES = 20_000
#: Pixels that are neighbours with Rows and Columns swapped have to be alike so many times more.
_SWAPPED_TIMES = 4.0


def is_swapped(stored: Stored) -> bool:
    """Say whether pixels ``rows`` apart are alike and pixels ``columns`` apart are not: then Rows is Columns.

    Nothing else in an uncompressed image tells it: both ways it has as many pixels.

    Args:
        stored: (rows, columns) integers, as the header has them.
    """
    rows, columns = stored.shape
    values = stored.reshape(-1)
    last = len(values) - max(rows, columns)
    if rows == columns or last < 1:
        return False
    places = np.arange(0, last, max(1, last // _PLACES))
    here = values[places].astype(np.int64)
    by_columns, by_rows = (float(np.abs(values[places + n] - here).mean()) for n in (columns, rows))
    return by_columns > _SWAPPED_TIMES * by_rows


_LINES_SAMPLED = 128  #: of an image that are looked at
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
    values = stored[:: max(1, len(stored) // _LINES_SAMPLED), ::4].ravel()
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
