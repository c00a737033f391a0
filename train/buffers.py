"""Arrays for one batch after the other."""

import sys
from typing import Any

import numpy as np
import numpy.typing as npt

_MOST = 8  #: kept; the queue of a stream holds five, and a caller that keeps its batches gets new ones
_OWN_REFERENCES = 3  #: of an array that nobody has: this list's, the loop's, the count's


class Buffers:
    """Gives an array again once nobody holds it, or any tensor or view of it.

    A fresh one is memory that the system first fills with zeros, which takes as long as to copy patches into it.
    Threads may share it: an array that another one looks at counts as held.
    """

    def __init__(self) -> None:
        """Begins with none."""
        self._arrays: list[npt.NDArray[Any]] = []

    def take(self, shape: tuple[int, ...], dtype: npt.DTypeLike) -> npt.NDArray[Any]:
        """Gives an array of that shape and type with anything in it."""
        for array in self._arrays:
            if sys.getrefcount(array) == _OWN_REFERENCES and array.shape == shape and array.dtype == dtype:
                return array
        made = np.empty(shape, dtype)
        self._arrays = [*self._arrays[-_MOST + 1 :], made]
        return made
