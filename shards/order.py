"""The order of samples: pure functions of (size, seed, epoch, position), without any stored list."""

import hashlib

import numpy as np
import numpy.typing as npt

Positions = npt.NDArray[np.int64]

_ROUNDS = 8


def permutation(n: int, seed: int, epoch: int, positions: npt.ArrayLike) -> Positions:
    """Gives the samples that stand at some positions of an epoch's random order.

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
    where = np.atleast_1d(np.asarray(positions, dtype=np.int64))
    if where.size and (where.min() < 0 or where.max() >= n):
        raise IndexError(f"positions {where.min()}..{where.max()} do not lie in 0..{n - 1}")
    a = max(1, int(np.ceil(np.sqrt(n))))
    b = -(-n // a)
    keys = _round_keys(seed, epoch)
    result = _feistel(where, a, b, keys)
    outside = result >= n
    while outside.any():  # every cycle leads back into 0..n-1, so this ends
        result[outside] = _feistel(result[outside], a, b, keys)
        outside = result >= n
    return result.reshape(np.shape(positions))


def _feistel(index: Positions, a: int, b: int, keys: npt.NDArray[np.uint64]) -> Positions:
    left, right = np.divmod(index, b)
    for number, key in enumerate(keys):
        if number % 2:
            right = (right + _mix(left, key) % b) % b
        else:
            left = (left + _mix(right, key) % a) % a
    return left * b + right


def _mix(value: Positions, key: np.uint64) -> Positions:
    """Gives 62 pseudo-random bits of each value: the finaliser of SplitMix64 (Steele et al., 2014)."""
    x = value.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15) + key
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return ((x ^ (x >> np.uint64(31))) >> np.uint64(2)).astype(np.int64)


def _round_keys(seed: int, epoch: int) -> npt.NDArray[np.uint64]:
    digest = hashlib.shake_256(f"nlbs order {seed} {epoch}".encode()).digest(8 * _ROUNDS)
    return np.frombuffer(digest, dtype="<u8").astype(np.uint64)
