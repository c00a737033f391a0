"""The table of INbreast."""

from pathlib import Path

from tests.manifests.datasets.tables import INBREAST, known, read


def test_inbreast_leaves_out_its_totals_and_takes_no_removed_for_a_patient(tmp_path: Path) -> None:
    table = read(tmp_path, INBREAST, keep="density,birads,findings")
    assert table.dialect.key == "inbreast"
    assert [known(row) for row in table.rows] == [
        ("CC", "R", None, None, None),
        ("MLO", "L", None, None, None),
        ("CC", "L", None, True, None),  # BI-RADS 6 is proven by biopsy
    ]
    assert [(row.path, row.patient) for row in table.rows[:1]] == [("22678622", None)]
    assert [dict(row.kept) for row in table.rows] == [
        {"density": "D", "birads": "1", "findings": None},
        {"density": None, "birads": "4A", "findings": "Mass|Micros"},
        {"density": "B", "birads": "6", "findings": "Mass"},
    ]
