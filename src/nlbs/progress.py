"""What a person sees while images are worked on: a bar in a terminal, a plain line now and then elsewhere."""

import sys
import time
from types import TracebackType

from tqdm import tqdm

from nlbs.text import duration

_SECONDS_BETWEEN_LINES = 30.0


class Progress:
    """Counts images and patches of one stage, with rate and time left, on standard error."""

    def __init__(self, what: str, total: int, unit: str = "image") -> None:
        """Begin a stage of ``total`` images, or of what else ``unit`` says."""
        self._what, self._total, self._unit = what, total, unit
        self._images = self._patches = 0
        self._begun = self._said = time.monotonic()
        terminal = sys.stderr.isatty()
        self._bar = tqdm(total=total, desc=what, unit=unit, file=sys.stderr, disable=not terminal)

    def advance(self, images: int = 1, patches: int = 0) -> None:
        """Count what is done."""
        self._images += images
        self._patches += patches
        self._bar.update(images)
        if self._patches:
            self._bar.set_postfix(patches=self._patches, refresh=False)
        now = time.monotonic()
        if self._bar.disable and now - self._said >= _SECONDS_BETWEEN_LINES:
            self._said = now
            print(self._line(now - self._begun), file=sys.stderr, flush=True)

    def say(self, text: str) -> None:
        """Say a line, above the bar if there is one."""
        self._bar.write(text, file=sys.stderr)

    def __enter__(self) -> "Progress":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.close()

    def _line(self, seconds: float) -> str:
        rate = self._images / seconds
        left = (self._total - self._images) / rate if rate else 0.0
        patches = f", {self._patches:,} patches" if self._patches else ""
        speed = f"{rate:.1f} {self._unit}s/s" if rate >= 1 else f"{60 * rate:.1f} {self._unit}s/min"
        done = f"{self._images:,} of {self._total:,} {self._unit}s{patches}"
        return f"{self._what}: {done}, {speed}, {duration(left)} left"
