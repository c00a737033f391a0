"""A limit on waiting, for waits that nothing else ends."""

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from nlbs.command import EXIT_ERROR

GRACE_S = 15.0
_LOOK_EVERY_S = 1.0


class Watch:
    """A thread that ends the process where it waits too long.

    Gloo ends a wait by itself. A wait for NCCL is one for the device, in which Python cannot be
    reached: only another thread can say what happened, and leave.
    """

    def __init__(self, timeout_s: float, explain: Callable[[str], str]) -> None:
        """Start to look.

        Args:
            timeout_s: of a single wait.
            explain: what is waited for -> the sentence to leave with.
        """
        self.limit_s = timeout_s + GRACE_S  #: of a single wait
        self._explain = explain
        self._under_way: tuple[float, str] | None = None
        self._closed = threading.Event()
        threading.Thread(target=self._look, name="nlbs-watch", daemon=True).start()

    @contextmanager
    def over(self, what: str) -> Iterator[None]:
        """Watch a wait; one within another counts as the outer."""
        outer = self._under_way
        self._under_way = outer or (time.monotonic(), what)
        try:
            yield
        finally:
            self._under_way = outer

    def close(self) -> None:
        """End looking."""
        self._closed.set()

    def _look(self) -> None:
        while not self._closed.wait(_LOOK_EVERY_S):
            under_way = self._under_way
            if under_way is not None and time.monotonic() - under_way[0] > self.limit_s:
                print(f"Error: {self._explain(under_way[1])}", file=sys.stderr, flush=True)
                sys.stdout.flush()
                os._exit(EXIT_ERROR)
