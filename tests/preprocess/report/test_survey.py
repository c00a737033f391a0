"""What images.csv says as a whole, read some rows at a time."""

import csv
from pathlib import Path

import numpy as np
import pytest

from nlbs.errors import DatasetError
from nlbs.preprocess.report import survey as module
from nlbs.preprocess.report.survey import survey

ROWS = [
    {"image": "a", "status": "ok", "reason": "", "patient": "p1", "split": "train", "mask_fraction": "0.5"},
    {"image": "b", "status": "ok", "reason": "age 170 is above 120; odd", "patient": "p1", "split": "train"},
    {"image": "", "status": "bad_row", "reason": "no path"},
    {"image": "c", "status": "ok", "reason": "age 180 is above 120", "patient": "p2", "split": "val"},
    {"image": "d", "status": "truncated", "reason": "x" * 5000},
]
EQUAL = {"a": "aa" * 32, "b": "bb" * 32, "c": "aa" * 32}


def write(root: Path, rows: list[dict[str, str]]) -> None:
    names = list(dict.fromkeys(name for row in rows for name in row))
    with (root / "images.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, names, restval="")
        writer.writeheader()
        writer.writerows(rows)


@pytest.mark.parametrize("at_once", [1, 2, 1000])
def test_the_pieces_that_it_is_read_in_make_no_difference(
    at_once: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_ROWS_AT_ONCE", at_once)
    write(tmp_path, [{**row, "pixels_sha256": EQUAL.get(row["image"], "")} for row in ROWS])
    found = survey(tmp_path)
    assert (found.rows, dict(found.statuses)) == (5, {"ok": 3, "bad_row": 1, "truncated": 1})
    assert dict(found.remarks) == {"age N is above N": 2, "odd": 1}
    assert found.examples["age N is above N"] == "b"
    assert found.remarked == 2
    assert [row["status"] for row in found.skipped] == ["bad_row", "truncated"]
    assert len(found.skipped[1]["reason"]) < 400
    np.testing.assert_array_equal(found.figures()["mask_fraction"], [0.5, np.nan, np.nan])
    (duplicate,) = found.duplicates() or ()
    assert [image.image for image in duplicate.images] == ["a", "c"]
    assert duplicate.is_leak


def test_missing_columns_are_left_out_and_only_some_skipped_rows_are_kept(tmp_path: Path) -> None:
    write(tmp_path, ROWS)
    found = survey(tmp_path, most_skipped=1)
    assert len(found.skipped) == 1
    assert found.duplicates() is None
    assert "breast_median" not in found.figures()


def test_a_table_that_is_missing_or_no_table_of_ours_is_named(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"there is no .*images\.csv"):
        survey(tmp_path)
    (tmp_path / "images.csv").write_text("a,b\n1,2\n")
    with pytest.raises(DatasetError, match="cannot read"):
        survey(tmp_path)
