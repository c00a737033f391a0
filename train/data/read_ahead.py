"""Batches read ahead by a thread, into arrays that come back when a batch is let go."""

import threading
from collections import deque
from collections.abc import Iterator
from queue import SimpleQueue
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

_MOST = 8  #: kept while nobody has them; the queue of a stream holds five

_Memory = npt.NDArray[np.uint8]


class _Lease:
    """What every array over a piece of memory is based on: with the last of them it goes, and gives the memory back.

    numpy keeps the object whose ``__array_interface__`` an array was made from, a view keeps its array, and a tensor
    the array it came from. So the end of a lease says that nobody has the memory any more, on every Python: nothing
    is concluded from a count of references, of which newer ones make fewer. Arrays are no containers to the collector
    of cycles, which therefore never takes a lease for garbage while an array is left.
    """

    __slots__ = ("__array_interface__", "_free", "_memory")

    def __init__(self, memory: _Memory, free: "deque[_Memory]") -> None:
        self._memory, self._free = memory, free
        self.__array_interface__ = memory.__array_interface__

    def __del__(self) -> None:
        self._free.append(self._memory)


class Buffers:
    """Gives memory again once nobody holds the array over it, or any tensor or view of that.

    Fresh memory is first filled with zeros by the system, which takes as long as to copy patches into it. Threads may
    share it: what another one looks at is held.
    """

    def __init__(self) -> None:
        """Begin with none."""
        self._free: deque[_Memory] = deque(
            maxlen=_MOST
        )  # of a full one the oldest goes; append and pop are atomic

    def take(self, shape: tuple[int, ...], dtype: npt.DTypeLike) -> npt.NDArray[Any]:
        """Return an array of that shape and type with anything in it."""
        kind = np.dtype(dtype)
        size = int(np.prod(shape, dtype=np.int64)) * kind.itemsize
        memory = self._given_back(size)
        if memory is None:
            memory = np.empty(size, np.uint8)
        return np.asarray(_Lease(memory, self._free)).view(kind).reshape(shape)

    def _given_back(self, size: int) -> _Memory | None:
        """Return memory of so many bytes that is free; None: there is none."""
        for _ in range(len(self._free)):
            try:
                memory = self._free.pop()  # the last one first: it is in the cache
            except IndexError:  # another thread was quicker
                return None
            if memory.nbytes == size:
                return memory
            self._free.appendleft(memory)
        return None


T = TypeVar("T")

_AHEAD = 3


class _Raised:
    def __init__(self, error: BaseException) -> None:
        self.error = error


class _End:
    pass


def read_ahead(items: Iterator[T]) -> Iterator[T]:
    """Yield what ``items`` gives, computed up to three ahead by a thread.

    An error there is raised here. The thread ends when the caller drops this iterator.
    """
    # Queues in C, one each way: a queue.Queue with its locks in Python takes as long as a batch of patches.
    ready: SimpleQueue[T | _Raised | _End] = SimpleQueue()
    room: SimpleQueue[None] = SimpleQueue()
    for _ in range(_AHEAD):
        room.put(None)
    stopped = threading.Event()

    def work() -> None:
        end: _Raised | _End = _End()
        try:
            for item in items:
                ready.put(item)
                room.get()
                if stopped.is_set():
                    return
        except BaseException as error:  # raised again where it can be handled: in the main thread
            end = _Raised(error)
        ready.put(end)

    thread = threading.Thread(target=work, name="nlbs-stream", daemon=True)
    thread.start()
    try:
        while not isinstance(item := ready.get(), _End):
            if isinstance(item, _Raised):
                raise item.error
            room.put(None)
            yield item
    finally:
        stopped.set()
        room.put(None)  # for a thread that waits for it
        thread.join()
