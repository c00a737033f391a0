"""How fast a run goes, what of the time it waits for data, and how long it will take."""

import time


class Pace:
    """Counts patches and seconds, of an epoch and of the run. All times are those of the host."""

    def __init__(self) -> None:
        self.seen = 0  #: patches of the epoch
        self._before = 0  #: of these before this part of the run
        self._waited_s = 0.0
        self._started = time.monotonic()
        self._ended: float | None = None
        self._run_started: float | None = None
        self._in_run = 0
        self._left = 0

    def start_epoch(self, done: int, left_in_run: int) -> None:
        """Begins an epoch of which some patches were seen before."""
        self.seen = self._before = done
        self._waited_s, self._left = 0.0, left_in_run
        self._started, self._ended = time.monotonic(), None
        if self._run_started is None:
            self._run_started = self._started

    def add(self, patches: int, waited_s: float) -> None:
        """Counts a batch."""
        self.seen += patches
        self._in_run += patches
        self._left -= patches
        self._waited_s += waited_s

    def end_epoch(self) -> None:
        """Stops the clock of the epoch."""
        self._ended = self._ended or time.monotonic()

    @property
    def elapsed_s(self) -> float:
        """Seconds of the epoch, until now or its end."""
        return max((self._ended or time.monotonic()) - self._started, 1e-9)

    @property
    def rate(self) -> float:
        """Patches per second in the epoch."""
        return (self.seen - self._before) / self.elapsed_s

    @property
    def waiting(self) -> float:
        """The share of the epoch in which it waited for data, 0 to 1."""
        return min(self._waited_s / self.elapsed_s, 1.0)

    @property
    def waited_s(self) -> float:
        """Seconds of the epoch in which it waited for data."""
        return self._waited_s

    @property
    def left_s(self) -> float:
        """Seconds until the run ends, if it goes on as since its start: with validation, pictures and saving."""
        if self._run_started is None or not self._in_run:
            return 0.0
        return max(self._left, 0) * (time.monotonic() - self._run_started) / self._in_run
