"""How many files of preprocess/ one image passes from its row to its patches: python benchmarks/trip.py.

One image of a phantom is built in this process while every call is looked at. Counted are the files that run at all,
and those on the image's way: with a function that is handed the image, or gives it back, as a row, a record, an id or
what was decoded of it; then those that are handed its pixels alone.
"""

import argparse
import contextlib
import csv
import io
import json
import os
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np

import nlbs.preprocess
from nlbs.preprocess.cli import cli
from nlbs.preprocess.phantom.screening_set import write_phantom
from nlbs.preprocess.workers import Workers

_FOLDER = Path(nlbs.preprocess.__path__[0])
_FORMS = (
    "ImageRow",
    "Source",
    "KeptRecord",
    "StoredPixels",
    "SourceImage",
    "DecodedImage",
    "LabelledImage",
    "Patch",
)
_FEWEST_PIXELS = 1000  # of an array that is an image or a part of one


@dataclass
class Trip:
    """The files of preprocess/ that were seen, as paths below it."""

    run: set[str] = field(default_factory=set)  #: all
    image: set[str] = field(default_factory=set)  #: with a function that is handed the image
    pixels: set[str] = field(default_factory=set)  #: with one that is handed pixels
    _ids: set[str] = field(default_factory=set)

    def look(self, frame: FrameType, event: str, result: Any) -> None:
        """Take a call or a return, as ``sys.setprofile`` gives it."""
        code = frame.f_code
        path = Path(code.co_filename)
        if event not in ("call", "return") or code.co_name == "<module>" or not path.is_relative_to(_FOLDER):
            return
        name = path.relative_to(_FOLDER).as_posix()
        count = code.co_argcount + code.co_kwonlyargcount
        given = [frame.f_locals.get(argument) for argument in code.co_varnames[:count]]
        self.run.add(name)
        for value in given if event == "call" else [result]:
            if type(value).__name__ == "Source":
                self._ids |= {value.image} - {""}
            if self._is_image(value):
                self.image.add(name)
            if isinstance(value, np.ndarray) and value.ndim == 2 and value.size > _FEWEST_PIXELS:
                self.pixels.add(name)

    def _is_image(self, value: Any, depth: int = 0) -> bool:
        if isinstance(value, list | tuple) and value and depth < 2:
            return self._is_image(value[0], depth + 1)
        if isinstance(value, dict):
            image = value.get("image")
            return "crop_rows" in value or (isinstance(image, str) and image in self._ids)
        return type(value).__name__.lstrip("_") in _FORMS or (isinstance(value, str) and value in self._ids)


@contextlib.contextmanager
def _in_this_process() -> Iterator[None]:
    fenced = Workers.run_fenced
    Workers.run_fenced = Workers.run  # type: ignore[method-assign]
    try:
        yield
    finally:
        Workers.run_fenced = fenced  # type: ignore[method-assign]


def trip_of(table: Path, out: Path, *options: str) -> Trip:
    """Return the trip of the images of a table into a dataset root."""
    trip = Trip()
    command = ["build-shards", "--csv", str(table), "--out", str(out), "--jobs", "1", *options]
    before = sys.getprofile()
    with _in_this_process(), contextlib.redirect_stdout(io.StringIO()):
        sys.setprofile(trip.look)
        try:
            cli.main(command, standalone_mode=False)
        finally:
            sys.setprofile(before)
    return trip


def first_row_of(table: Path) -> Path:
    """Keep the first row of a table alone, in the same place."""
    with table.open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))[:2]
    with table.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(rows)
    return table


def main() -> None:
    """Build one image and print the counts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--names", action="store_true", help="the files on the image's way, too")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["NLBS_KEY_FILE"] = str(folder / "key")
        table = write_phantom(folder / "phantom", patients=1, seed=0, rows=1024, columns=800).meta
        for out in ("first", "second"):  # the first run imports, and what runs then is no trip
            trip = trip_of(first_row_of(table), folder / out, "--stride", "256", "--trust-patients")
    ways = {"run": trip.run, "image": trip.image, "image or pixels": trip.image | trip.pixels}
    print(json.dumps({way: sorted(files) if arguments.names else len(files) for way, files in ways.items()}))


if __name__ == "__main__":
    main()
