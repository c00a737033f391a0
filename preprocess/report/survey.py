"""What images.csv of a dataset root says as a whole, gathered in one pass that holds little of each row."""

import csv
import re
from collections import Counter
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from nlbs.errors import DatasetError
from nlbs.paths import AnyPath
from nlbs.preprocess.report.outliers import DAMAGE, INTENSITY
from nlbs.preprocess.root.checks import Duplicate, StoredPixels, find_duplicates
from nlbs.preprocess.root.tables import open_own_table
from nlbs.shards.format.layout import IMAGES_CSV
from nlbs.text import printable

FIGURES = (
    *("mask_fraction", "mask_raggedness", "mask_components", "mask_borders", "mask_rows", "mask_columns"),
    *INTENSITY,
    *DAMAGE,
)
_TEXTS = ("image", "patient", "split", "mask_flags", "pixels_sha256")
_COUNTED = ("from_header", "decoder", "transfer_syntax", "voi", "mask_method")

_ROWS_AT_ONCE = 50_000
_MOST_KINDS = 1000  #: of remarks; a million rows have a few dozen
_WORD_CHARS = 300  #: of a text that is counted or listed


@dataclass
class Survey:
    """What images.csv says."""

    rows: int = 0
    statuses: Counter[str] = field(default_factory=Counter)  #: status -> rows, "ok" included
    skipped: list[dict[str, str]] = field(default_factory=list)  #: the first rows without an image
    remarked: int = 0  #: usable images with a remark
    remarks: Counter[str] = field(default_factory=Counter)  #: remark, numbers left out -> usable images
    examples: dict[str, str] = field(default_factory=dict)  #: remark -> one image that has it
    counted: dict[str, Counter[str]] = field(default_factory=dict)  #: column -> value -> usable images
    kinds: dict[str, Counter[str]] = field(default_factory=dict)  #: kind -> "used", "left out" -> images
    raw_pixels: int = 0  #: of all stored crops together
    images: pd.DataFrame = field(default_factory=pd.DataFrame)  #: a row per usable image: texts and figures

    def figures(self) -> dict[str, npt.NDArray[np.float64]]:
        """Return each figure that images.csv has, (images,) float64, NaN where unknown."""
        return {
            name: self.images[name].to_numpy(np.float64) for name in FIGURES if name in self.images.columns
        }

    def duplicates(self) -> list[Duplicate] | None:
        """Return the images with equal pixels; None where images.csv does not say, written by an older release."""
        if not {"pixels_sha256", "patient", "split"} <= set(self.images.columns):
            return None
        doubled = self.images[self.images["pixels_sha256"].duplicated(keep=False)]
        columns = ("image", "pixels_sha256", "patient", "split")
        rows = zip(*(doubled[name].astype(str) for name in columns), strict=True)
        return find_duplicates(StoredPixels(*row) for row in rows)


def survey(root: AnyPath, most_skipped: int = 200) -> Survey:
    """Read images.csv of a dataset root, some rows at a time; columns are found by name, most may be missing.

    Args:
        root: the dataset root.
        most_skipped: rows without an image that are kept one by one.

    Raises:
        DatasetError: the file is missing or damaged.
    """
    found, frames = Survey(), []
    path = root / IMAGES_CSV
    try:
        with open_own_table(path) as file:
            chunks = pd.read_csv(file, dtype=str, keep_default_na=False, chunksize=_ROWS_AT_ONCE)
            for chunk in chunks:
                frames.append(_take(found, chunk, most_skipped))
    except FileNotFoundError:
        raise DatasetError(f"there is no {path}: name a dataset root that build-shards made") from None
    except (OSError, KeyError, ValueError, OverflowError, csv.Error, pd.errors.ParserError) as error:
        what = printable(" ".join(str(error).split()), 300)
        raise DatasetError(f"cannot read {path} ({what}): build-shards writes it anew") from None
    if frames:
        found.images = pd.concat(frames, ignore_index=True)
    return found


def _take(found: Survey, chunk: pd.DataFrame, most_skipped: int) -> pd.DataFrame:
    """Add some rows to a survey; return the usable ones, with the columns that are kept of each."""
    found.rows += len(chunk)
    found.statuses.update({_short(status): count for status, count in _counts(chunk["status"]).items()})
    usable = chunk["status"] == "ok"
    listed = chunk[~usable].head(most_skipped - len(found.skipped))
    names = [name for name in ("row", "image", "status", "reason") if name in chunk.columns]
    found.skipped += [
        {str(name): _short(text) for name, text in row.items()} for row in listed[names].to_dict("records")
    ]
    images = chunk[usable]
    _take_kinds(found, chunk, usable)
    _take_remarks(found, images)
    for name in set(_COUNTED) & set(chunk.columns):
        counts = {_short(value): count for value, count in _counts(images[name]).items() if value}
        found.counted.setdefault(name, Counter()).update(counts)
    if {"crop_rows", "crop_columns"} <= set(chunk.columns):
        sides = (pd.to_numeric(images[name], errors="coerce") for name in ("crop_rows", "crop_columns"))
        height, width = sides
        found.raw_pixels += int((height * width).sum())
    kept = {name: images[name] for name in _TEXTS if name in chunk.columns}
    for name in FIGURES:
        if name in chunk.columns:
            kept[name] = pd.to_numeric(images[name], errors="coerce").astype(np.float32)
    for name in ("patient", "split", "mask_flags"):
        if name in kept:
            kept[name] = kept[name].astype("category")
    return pd.DataFrame(kept)


def _take_kinds(found: Survey, chunk: pd.DataFrame, usable: "pd.Series[Any]") -> None:
    if "kind" not in chunk.columns:  # of an earlier release
        return
    for what, column in (("used", chunk["kind"][usable]), ("left out", chunk["kind"][~usable])):
        for kind, count in _counts(column).items():
            if kind or what == "used":
                found.kinds.setdefault(_short(kind or "unknown"), Counter())[what] += count


def _take_remarks(found: Survey, images: pd.DataFrame) -> None:
    if "reason" not in images.columns:
        return
    remarked = images[images["reason"] != ""]
    found.remarked += len(remarked)
    firsts = remarked.drop_duplicates("reason").set_index("reason")["image"]
    for reason, count in _counts(remarked["reason"]).items():
        for part in reason.split("; "):
            kind = _short(re.sub(r"\d+(\.\d+)?", "N", part))
            if kind in found.remarks or len(found.remarks) < _MOST_KINDS:
                found.remarks[kind] += count
                found.examples.setdefault(kind, str(firsts[reason]))


def _counts(column: "pd.Series[Any]") -> dict[str, int]:
    counts: dict[Hashable, int] = column.value_counts().to_dict()
    return {str(value): int(count) for value, count in counts.items()}


def _short(text: Any) -> str:
    words = str(text)
    return words if len(words) <= _WORD_CHARS else f"{words[:_WORD_CHARS]}... ({len(words):,} characters)"
