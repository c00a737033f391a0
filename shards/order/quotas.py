"""How many patches of each class a batch takes: whole numbers that come to the exact shares in the long run."""

import numpy as np
import numpy.typing as npt

Counts = npt.NDArray[np.int64]

_BITS = 32  # shares are multiples of 2^-32 of a batch
_ONE = 1 << _BITS


class Quotas:
    """The places of each batch, divided among classes by their shares.

    Systematic sampling: class k has the interval from C(k-1) to C(k) of the batch, C being the
    cumulated shares times the batch size. Step t shifts a comb of unit spacing by u(t), and a
    class gets a place per tooth in its interval: always B p(k) rounded down or up, for single
    classes and for neighbours taken together. u(t) is the van der Corput sequence (1935), t with its
    bits reversed behind the point: it covers 0..1 evenly from any step to any other, so what
    was rounded off is given back soon. How much a class had before step t is a closed form.
    """

    def __init__(self, shares: npt.ArrayLike, batch_size: int) -> None:
        """Take the share of each class, (K,) positive numbers, and the places of a batch."""
        cumulated = np.cumsum(np.asarray(shares, dtype=np.float64))
        edges = np.rint(cumulated / cumulated[-1] * batch_size * _ONE).astype(np.int64)
        self._whole, self._part = edges >> _BITS, edges & (_ONE - 1)

    def at(self, step: int) -> Counts:
        """Return how many places each class has in the batch of a step, (K,) int64."""
        teeth = self._whole + (self._part + _reversed_bits(step % _ONE) >> _BITS)
        return _differences(teeth)

    def of_steps(self, first: int, steps: int) -> tuple[Counts, Counts]:
        """Return what :meth:`at` and :meth:`before` give for steps that follow each other, (steps, K) int64 each."""
        combs = np.array(
            [_reversed_bits(step % _ONE) for step in range(first, first + steps)], dtype=np.int64
        )
        teeth = self._whole + (self._part + combs[:, None] >> _BITS)
        quotas = np.diff(teeth, axis=1, prepend=0)
        return quotas, self.before(first) + np.cumsum(quotas, axis=0) - quotas

    def before(self, step: int) -> Counts:
        """Return how many places each class had in all batches before a step, (K,) int64."""
        periods, rest = divmod(step, _ONE)
        extra = periods * self._part + _count_at_least(_ONE - self._part, rest)
        return _differences(step * self._whole + extra)


def _differences(cumulated: Counts) -> Counts:
    result = cumulated.copy()
    result[1:] -= cumulated[:-1]
    return result


def _reversed_bits(number: int) -> int:
    return int(f"{number:0{_BITS}b}"[::-1], 2)


def _count_at_least(limits: Counts, steps: int) -> Counts:
    """Return for each limit how many of u(0), ..., u(steps - 1), times 2^32, reach it."""
    counts = np.zeros_like(limits)
    done = 0
    for bit in reversed(range(steps.bit_length())):
        if steps >> bit & 1:
            # The next 2^bit values of u are evenly spaced, from u(done) on.
            shift = _BITS - bit
            below = np.maximum(limits - _reversed_bits(done) + (1 << shift) - 1 >> shift, 0)
            counts += (1 << bit) - below
            done += 1 << bit
    return counts
