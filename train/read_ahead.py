"""Items that a thread computes before they are asked for."""

import threading
from collections.abc import Iterator
from queue import SimpleQueue
from typing import TypeVar

T = TypeVar("T")

_AHEAD = 3


class _Raised:
    def __init__(self, error: BaseException) -> None:
        self.error = error


class _End:
    pass


def read_ahead(items: Iterator[T]) -> Iterator[T]:
    """Gives what ``items`` gives, computed up to three ahead by a thread.

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
