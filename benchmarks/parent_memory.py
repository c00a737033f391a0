"""Memory that the command's own process needs per image while workers decode, as tracemalloc counts it.

Decodes made-up images with a decoder that costs nothing and a mask as long as a real one's, so that what comes back
is all there is to measure. Prints one JSON line.
"""

import argparse
import gc
import hashlib
import json
import tempfile
import tracemalloc
from pathlib import Path
from typing import Any

from nlbs.manifests.conditions import Conditions
from nlbs.manifests.tables.table import ImageRow
from nlbs.preprocess.images.decode import DecodedImage, DecodeOptions
from nlbs.preprocess.images.grid import CutOptions
from nlbs.preprocess.images.store import ImageStore
from nlbs.preprocess.root.decoding import Decoding
from nlbs.preprocess.root.ingest import ingest
from nlbs.preprocess.root.sources import Source
from nlbs.preprocess.workers import Workers

RECORD: dict[str, Any] = {
    "source_rows": 4096, "source_columns": 3328, "crop_y": 300, "crop_x": 1001, "crop_rows": 2811, "crop_columns": 1717,
    "mask": {"step": 8, "rows": 352, "columns": 215, "runs": [0, *([100, 115] * 352)]},
    "mask_fraction": 0.4321, "voi": "window", "inverted": False, "bits_stored": 12, "spacing_mm": [0.07, 0.07],
    "transfer_syntax": "1.2.840.10008.1.2.4.70", "decoder": "imagecodecs 2026.3.6", "frame": None,
    "mask_y": 310, "mask_x": 1010, "mask_rows": 2800, "mask_columns": 1700, "mask_method": "background 1",
    "mask_threshold": 148.2, "mask_raggedness": 1.07, "mask_components": 1, "mask_borders": 1, "mask_flags": [],
    "header_view": "CC", "header_laterality": "L", "header_age_years": 61, "header_rows_toward": "A",
}  # fmt: skip
#: Numbers that differ from image to image, and so are kept for each.
OWN = (
    "mask_fraction",
    "mask_threshold",
    "mask_raggedness",
    "breast_p1",
    "breast_median",
    "breast_p99",
    "qc_row_jump",
    "qc_streaks",
    "qc_busiest",
    "qc_flattest",
)


class Store(ImageStore):
    """Takes every image and keeps none."""

    def put(self, image: str, pixels: Any, record: Any) -> Any:
        """Return the record as a store would."""
        return {**record, "pixels_sha256": hashlib.sha256(image.encode()).hexdigest()}

    def record(self, image: str) -> None:
        """Know nothing."""


def decoded(path: Path, options: DecodeOptions) -> DecodedImage:
    """Return an image that is its record."""
    number = int(path.name.split("-")[1])
    record = {**RECORD, **{name: number % (1009 + at) / 1009 for at, name in enumerate(OWN)}}
    record |= {
        name: RECORD[name] + number % 997 for name in ("crop_y", "crop_x", "crop_rows", "crop_columns")
    }
    record |= {
        name: RECORD[name] + number % 991 for name in ("mask_y", "mask_x", "mask_rows", "mask_columns")
    }
    return DecodedImage(None, record, ())  # type: ignore[arg-type]


def sources(folder: Path, images: int) -> list[Source]:
    """Return the sources of a table of so many rows."""
    found = []
    for number in range(1, images + 1):
        name = f"normal/{number // 4:012d}/left/CC/IM-{number:04d}-0002-0001.dcm"
        row = ImageRow(number, name, Conditions("CC", "L", 60, 2, False, False), f"{number // 4:012d}")
        found.append(Source(row, f"{number:016x}", f"p{number // 4:012x}", "train", folder / name))
    return found


def main() -> None:
    """Measure one size and print it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=20_000)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--backend", default="loky")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "images.zarr").mkdir()
        store, workers = Store(Path(folder) / "images.zarr"), Workers(arguments.jobs, arguments.backend)
        cut, table = CutOptions(), sources(Path(folder), arguments.images)
        how = Decoding(store, DecodeOptions(), cut, decoded)
        ingest(table[:100], how, {}, workers)  # imports and processes
        gc.collect()
        tracemalloc.start()
        taken = ingest(table, how, {}, workers)
        gc.collect()
        left, peak = tracemalloc.get_traced_memory()
    assert all(source.status == "ok" for source in taken)
    print(
        json.dumps(
            {
                "images": arguments.images,
                "backend": arguments.backend,
                "kept_bytes_per_image": round(left / arguments.images),
                "peak_bytes_per_image": round(peak / arguments.images),
            }
        )
    )


if __name__ == "__main__":
    main()
