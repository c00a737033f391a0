"""What a build will take, in time and on disk, by the first of its images."""

import time
from dataclasses import dataclass

from nlbs.paths import AnyPath
from nlbs.preprocess.images.grid import CutOptions
from nlbs.preprocess.images.store import ImageStore
from nlbs.shards.format.payload import channels_of, pixel_dtype
from nlbs.stores import store_of
from nlbs.text import counted, duration

FIRST = 16  #: images that a forecast is made by
_RECORD_BYTES = 2048  #: of a patch in a tar: headers, the record and what fills up its blocks


@dataclass
class Forecast:
    """Counts the first images of a build."""

    total: int  #: images that are to be decoded
    cut: CutOptions
    store: ImageStore  #: that takes them
    seen: int = 0
    patches: int = 0
    image_bytes: int = 0  #: of their folders in the store
    _first: float = 0.0  #: when the first one came: before it, workers were started
    _last: float = 0.0

    def add(self, patches: int, folder: AnyPath | None) -> None:
        """Count an image that has been decoded, its folder in the store, or None: it has failed."""
        self._last = time.monotonic()
        self._first = self._first or self._last
        self.seen += 1
        self.patches += patches
        if folder is not None:
            self.image_bytes += sum(store_of(folder).sizes(folder).values())

    @property
    def seconds(self) -> float:
        """Seconds that decoding takes in all, as quick as it was so far."""
        return self.total * (self._last - self._first) / max(self.seen - 1, 1)

    @property
    def nbytes(self) -> tuple[int, int]:
        """Bytes of all decoded images, and of the shards cut from them at most, if the rest is like these."""
        attributes = self.store.attributes or {}
        pixel = pixel_dtype(self.cut.dtype or attributes["dtype"]).itemsize * channels_of(attributes)
        each = self.cut.resolution**2 * pixel + (_RECORD_BYTES if self.cut.container == "tar" else 0)
        share = self.total / max(self.seen, 1)
        return round(self.image_bytes * share), round(self.patches * each * share)

    def line(self, root: AnyPath) -> str:
        """Return it in a sentence, with what the disk of a root has left."""
        images, shards = self.nbytes
        patches = round(self.patches * self.total / max(self.seen, 1))
        text = (
            f"By the first {counted(self.seen, 'image')}: {counted(self.total, 'image')} take about "
            f"{duration(self.seconds)} to decode and {_size(images)}, and become about {patches:,} patches in "
            f"{'up to ' if self.cut.compression != 'none' else ''}{_size(shards)}"
        )
        free = store_of(root).free_bytes(root)
        if free is None:
            return text
        text += f"; the disk has {_size(free)} left"
        short = images + shards > free
        return f"Warning: {text}, which may not be enough" if short else text


def _size(nbytes: int) -> str:
    return f"{nbytes / 1e9:,.1f} GB" if nbytes >= 1e9 else f"{nbytes / 1e6:,.1f} MB"
