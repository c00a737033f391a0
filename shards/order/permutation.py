"""Random permutations computed a position at a time: no list of samples is ever made or stored."""

import hashlib
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Positions = npt.NDArray[np.int64]

_ROUNDS = 8


def permutation(n: int, seed: int, epoch: int, positions: npt.ArrayLike) -> Positions:
    """Return the samples that stand at some positions of an epoch's random order.

    A Feistel network over Z_a x Z_b with a*b just above n, and cycle walking for what falls
    outside (Black and Rogaway, *Ciphers with arbitrary finite domains*, 2002): a bijection of
    0..n-1 for every (seed, epoch), computed for any position alone, in O(1) memory.

    Args:
        n: how many samples there are.
        seed, epoch: choose the permutation.
        positions: integers in 0..n-1, any shape.

    Returns:
        int64, the shape of ``positions``: for each position the index of a sample.

    Raises:
        IndexError: a position outside 0..n-1.
    """
    where = np.asarray(positions, dtype=np.int64)
    return permutations(n, seed, [epoch], where.reshape(1, -1)).reshape(where.shape)


def permutations(n: int, seed: int, epochs: Sequence[int], positions: npt.ArrayLike) -> Positions:
    """Return the samples at some positions of several epochs at once, as :func:`permutation` gives them for each.

    Args:
        n: how many samples there are.
        seed, epochs: choose the permutations.
        positions: (epochs, m) integers in 0..n-1.

    Returns:
        (epochs, m) int64.

    Raises:
        IndexError: a position outside 0..n-1.
    """
    where = np.asarray(positions, dtype=np.int64)
    if where.size and (where.min() < 0 or where.max() >= n):
        raise IndexError(f"positions {where.min()}..{where.max()} do not lie in 0..{n - 1}")
    a = max(1, int(np.ceil(np.sqrt(n))))
    b = -(-n // a)
    keys = np.stack([_round_keys(f"nlbs order {seed} {epoch}") for epoch in epochs], axis=1)[:, :, None]
    result = _feistel(where, a, b, keys)
    outside = result >= n
    while outside.any():  # every cycle leads back into 0..n-1, so this ends
        own = np.broadcast_to(keys, (_ROUNDS, *result.shape))[:, outside]
        result[outside] = _feistel(result[outside], a, b, own)
        outside = result >= n
    return result


def permutation_of_parts(
    sizes: npt.ArrayLike, seed: int, parts: npt.ArrayLike, passes: npt.ArrayLike, positions: npt.ArrayLike
) -> Positions:
    """Return the samples at some positions of the random orders of many parts, all at once.

    The same cipher as :func:`permutation`, with keys of their own for every (part, pass).

    Args:
        sizes: for each position, how many samples its part has.
        seed: chooses the permutations.
        parts: the number of the part.
        passes: how often the part was gone through before; each pass is another order.
        positions: integers, each in 0..size-1.

    Returns:
        int64, of the shape that these broadcast to: the index of a sample inside its part.
    """
    n, part, number, where = np.broadcast_arrays(
        *(np.asarray(values, dtype=np.int64) for values in (sizes, parts, passes, positions))
    )
    a: Positions = np.maximum(np.ceil(np.sqrt(n)).astype(np.int64), 1)
    b: Positions = -(-n // a)
    base = _round_keys(f"nlbs parts {seed}")
    tweak = _hash(number, _hash(part, base[0]))
    keys = base.reshape(-1, *[1] * tweak.ndim) + tweak
    result = _feistel(where, a, b, keys)
    outside = result >= n
    while outside.any():
        result[outside] = _feistel(result[outside], a[outside], b[outside], keys[:, outside])
        outside = result >= n
    return result


def _feistel(
    index: Positions, a: int | Positions, b: int | Positions, keys: npt.NDArray[np.uint64]
) -> Positions:
    left, right = np.divmod(index, b)
    for number, key in enumerate(keys):
        if number % 2:
            right = (right + _mix(left, key) % b) % b
        else:
            left = (left + _mix(right, key) % a) % a
    return np.asarray(left * b + right, dtype=np.int64)


def _mix(value: Positions, key: np.uint64 | npt.NDArray[np.uint64]) -> Positions:
    """Return 62 pseudo-random bits of each value."""
    return (_hash(value, key) >> np.uint64(2)).astype(np.int64)


def _hash(value: Positions, key: np.uint64 | npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """Return 64 pseudo-random bits of each value: the finaliser of SplitMix64 (Steele et al., 2014)."""
    x = value.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15) + key
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(x ^ (x >> np.uint64(31)))


def _round_keys(name: str) -> npt.NDArray[np.uint64]:
    digest = hashlib.shake_256(name.encode()).digest(8 * _ROUNDS)
    return np.frombuffer(digest, dtype="<u8").astype(np.uint64)
