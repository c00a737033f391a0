"""images.csv and sources.csv of a dataset root: what came of every row, without and with what identifies."""

import csv
import re
from collections.abc import Iterable, Sequence
from typing import Any

from nlbs.errors import DatasetError
from nlbs.files import atomic_file
from nlbs.manifests.conditions import Conditions
from nlbs.paths import AnyPath
from nlbs.preprocess.outcome import Outcome
from nlbs.preprocess.shard_plan import LabelledImage
from nlbs.shards.layout import IMAGES_CSV, SOURCES_CSV

_CONDITIONS = ("view", "laterality", "age_years", "age_bin", "cancer", "false_positive")
_RECORD = (
    "source_rows",
    "source_columns",
    "crop_y",
    "crop_x",
    "crop_rows",
    "crop_columns",
    "mask_fraction",
    "voi",
    "inverted",
    "bits_stored",
    "transfer_syntax",
    "decoder",
)
_IMAGE_COLUMNS = (
    "row",
    "image",
    "status",
    "reason",
    *_CONDITIONS,
    "patient",
    "split",
    "spacing_mm",
    *_RECORD,
)
_SOURCE_COLUMNS = ("row", "image", "path", "patient", "detail", "stamp")


def write_images_csv(root: AnyPath, outcomes: Sequence[Outcome]) -> None:
    """Writes one row per row of the input CSV: id, status, reason, conditions, split, geometry.

    An empty cell is *unknown*. Nothing in it identifies a patient.
    """
    _write(root / IMAGES_CSV, _IMAGE_COLUMNS, (_image_row(outcome) for outcome in outcomes), 0o644)


def write_sources_csv(root: AnyPath, outcomes: Sequence[Outcome]) -> None:
    """Writes what leads from an image id back to its file and patient, readable by the owner only."""
    rows = (
        {
            "row": outcome.source.row.row,
            "image": outcome.source.image,
            "path": outcome.source.row.path,
            "patient": outcome.source.row.patient,
            "detail": outcome.detail,
            "stamp": outcome.stamp,
        }
        for outcome in outcomes
    )
    _write(root / SOURCES_CSV, _SOURCE_COLUMNS, rows, 0o600)


def read_stamps(root: AnyPath) -> dict[str, str]:
    """Gives image id -> stamp of its source file, from the last run; empty where there was none.

    Raises:
        DatasetError: sources.csv is there and cannot be read.
    """
    path = root / SOURCES_CSV
    try:
        with path.open(encoding="utf-8", newline="") as file:
            return {
                row["image"]: row["stamp"] for row in csv.DictReader(file) if row["image"] and row["stamp"]
            }
    except FileNotFoundError:
        return {}
    except (OSError, KeyError, csv.Error, UnicodeDecodeError) as error:
        raise DatasetError(
            f"cannot read {path} ({error}): remove it, and every file is looked at again"
        ) from None


def read_labelled_images(root: AnyPath) -> list[LabelledImage]:
    """Gives what images.csv of a dataset root says about each usable image.

    Raises:
        DatasetError: the file is missing or damaged.
    """
    path = root / IMAGES_CSV
    try:
        with path.open(encoding="utf-8", newline="") as file:
            return [_labelled(row) for row in csv.DictReader(file) if row["status"] == "ok"]
    except FileNotFoundError:
        raise DatasetError(
            f"{root} is no dataset root (no {IMAGES_CSV}): make one with nlbs-preprocess build-shards --out {root}"
        ) from None
    except (OSError, KeyError, ValueError, csv.Error) as error:
        raise DatasetError(
            f"cannot read {path} ({error}): run build-shards again, which writes it anew"
        ) from None


def _labelled(row: dict[str, str]) -> LabelledImage:
    def number(name: str) -> int | None:
        return int(row[name]) if row[name] else None

    def flag(name: str) -> bool | None:
        return bool(int(row[name])) if row[name] else None

    conditions = Conditions(
        view=row["view"] or None,
        laterality=row["laterality"] or None,
        age_years=number("age_years"),
        age_bin=number("age_bin"),
        cancer=flag("cancer"),
        false_positive=flag("false_positive"),
    )
    return LabelledImage(row["image"], conditions, row["patient"], row["split"])


def _image_row(outcome: Outcome) -> dict[str, Any]:
    row: dict[str, Any] = {
        "row": outcome.source.row.row,
        "image": outcome.source.image,
        "status": outcome.status,
        "reason": outcome.reason,
        "patient": outcome.source.patient,
        "split": outcome.source.split,
    }
    for name in _CONDITIONS:
        value = getattr(outcome.source.row.conditions, name)
        row[name] = int(value) if isinstance(value, bool) else value
    if outcome.record is not None:
        row |= {name: outcome.record[name] for name in _RECORD}
        row["inverted"] = int(outcome.record["inverted"])
        spacing = outcome.record["spacing_mm"]
        row["spacing_mm"] = spacing[0] if spacing else None
    return row


def _write(path: AnyPath, columns: Sequence[str], rows: Iterable[dict[str, Any]], permissions: int) -> None:
    with atomic_file(path, "w", permissions, encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        for row in rows:
            writer.writerow({name: _harmless(row.get(name)) for name in columns})


def _harmless(value: Any) -> Any:
    """Gives a cell that no spreadsheet takes for a formula."""
    return f"'{value}" if isinstance(value, str) and re.match(r"[=+\-@\t\r]", value) else value
