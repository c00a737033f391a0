"""A trip through preprocess/ is short: one image passes few files from its row to its patches."""

import shutil
from pathlib import Path

from benchmarks.trip import first_row_of, trip_of

from tests.conftest import CUT


def test_one_image_passes_at_most_18_files_from_its_row_to_its_patches(phantom: Path, tmp_path: Path) -> None:
    shutil.copytree(phantom, tmp_path / "images")
    table = first_row_of(tmp_path / "images" / "meta.csv")
    trip = trip_of(table, tmp_path / "shards", *CUT[:-2], "--trust-patients")
    assert (tmp_path / "shards" / "r64-s64" / "shard_set.json").is_file()
    # The walk sees both ends of the way.
    assert {"root/sources.py", "images/decode.py", "sets/cut.py"} <= trip.image
    assert len(trip.image) <= 18, sorted(trip.image)
    assert trip.image <= trip.run
