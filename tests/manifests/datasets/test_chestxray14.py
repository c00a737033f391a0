"""The table of NIH ChestX-ray14."""

import csv
import os
from collections import Counter
from pathlib import Path

import pytest

from nlbs.manifests.datasets.chestxray14 import LABELS
from nlbs.manifests.tables.table import TableOptions, read_table
from tests.manifests.datasets.tables import CHEST, known, read


def test_chestxray14_keeps_its_projections_and_knows_no_view_no_side_and_no_cancer(tmp_path: Path) -> None:
    table = read(tmp_path, CHEST, keep="findings,projection,Patient Gender")
    assert (table.dialect.key, table.dialect.foreground) == ("chestxray14", "body")
    assert [known(row) for row in table.rows] == [
        (None, None, 57, None, None),
        (None, None, 58, None, None),
        (None, None, None, None, None),  # 412 years: a mistake that the real table has
    ]
    assert table.rows[2].notes == ("age_years is kept as unknown: its cell cannot be read",)
    assert [row.patient for row in table.rows] == ["1", "1", "2"]
    assert table.rows[1].kept == {
        "findings": "Cardiomegaly|Emphysema",
        "projection": "AP",
        "Patient Gender": "M",
    }


def test_the_real_table_has_fourteen_labels_and_its_patients() -> None:
    """Data_Entry_2017_v2020.csv lies in the wheel of torchxrayvision, of which nothing else is needed."""
    path = os.environ.get("NLBS_CHESTXRAY14_TABLE")
    if path is None:
        pytest.skip("NLBS_CHESTXRAY14_TABLE does not name the table of ChestX-ray14")
    rows = read_table(Path(path), options=TableOptions(keep=("findings", "projection"))).rows
    found = Counter(label for row in rows for label in str(row.kept["findings"]).split("|"))
    assert (len(rows), len({row.patient for row in rows})) == (112_120, 30_805)
    assert set(found) == {*LABELS, "No Finding"}
    with Path(path).open(encoding="utf-8", newline="") as file:
        cells = list(csv.reader(file))[1:]
    assert found == Counter(label for row in cells for label in row[1].split("|"))
    assert Counter(row.kept["projection"] for row in rows) == Counter(row[6] for row in cells)
    ages = [int(row[4]) for row in cells]
    assert [row.conditions.age_years for row in rows] == [
        None if age > 120 or age == 0 else min(age, 90) for age in ages
    ]
