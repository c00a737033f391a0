"""The table of NIH ChestX-ray14."""

from pathlib import Path

from tests.manifests.datasets.tables import CHEST, known, read


def test_chestxray14_keeps_its_views_and_knows_no_side_and_no_cancer(tmp_path: Path) -> None:
    table = read(tmp_path, CHEST, keep="findings,Patient Gender")
    assert table.dialect.key == "chestxray14"
    assert [known(row) for row in table.rows] == [
        ("PA", None, 57, None, None),
        ("AP", None, 58, None, None),
        ("PA", None, None, None, None),  # 412 years: a mistake that the real table has
    ]
    assert table.rows[2].notes == ("age_years is kept as unknown: its cell cannot be read",)
    assert [row.patient for row in table.rows] == ["1", "1", "2"]
    assert table.rows[1].kept == {"findings": "Cardiomegaly|Emphysema", "Patient Gender": "M"}
