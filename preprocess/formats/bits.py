"""Which bits of a cell hold the value: HighBit and BitsStored, held against the bits that are in use (PS3.5 8.1.1)."""

import numpy as np

from nlbs.preprocess.formats.header import Header, Stored

_LINES = 128  #: of an image that are compared


def used_bits(cells: Stored, highest: int, header: Header) -> tuple[int, int, tuple[str, ...]]:
    """Return by how many bits cells are to be shifted down, how many bits are stored, and what was not believed.

    The standard leaves what stands in the other bits open (once overlays, now anything), so that bits in use where
    none should be are no proof. What tells is that neighbours in an image are alike: where values wrap at
    BitsStored, they are smoother with the bits above.

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
    if highest <= largest or not _smoother_with_all(cells, header):
        return 0, bits, ()
    if not (cells & np.array((1 << spare) - 1, cells.dtype)).any():
        return spare, bits, (f"HighBit is {header.high_bit}, the values stand in the {bits} highest bits",)
    return 0, header.bits_allocated, ()  # what is beyond BitsStored is remarked of any image


def _smoother_with_all(cells: Stored, header: Header) -> bool:
    """Say whether neighbours differ less by all bits of their cells than by the stored ones alone."""
    some = cells[:: max(1, len(cells) // _LINES)]
    unused = header.bits_allocated - header.bits_stored
    signed = np.dtype(f"i{cells.dtype.itemsize}")
    if header.signed:
        whole = some.view(signed)
        low = np.right_shift(np.left_shift(some, unused).view(signed), unused)
    else:
        whole, low = some, some & np.array((1 << header.bits_stored) - 1, cells.dtype)
    return _variation(whole) < _variation(low)


def _variation(values: Stored) -> int:
    return int(np.abs(np.diff(values.astype(np.int32), axis=1)).sum(dtype=np.int64))
