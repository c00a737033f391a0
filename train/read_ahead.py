"""Items that a thread computes before they are asked for."""

import queue
import threading
from collections.abc import Iterator
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
    ready: queue.Queue[T | _Raised | _End] = queue.Queue(_AHEAD)
    stopped = threading.Event()

    def work() -> None:
        end: _Raised | _End = _End()
        try:
            for item in items:
                ready.put(item)
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
            yield item
    finally:
        stopped.set()
        while thread.is_alive():  # make room for a put that waits
            while not ready.empty():
                ready.get_nowait()
            thread.join(timeout=0.05)
