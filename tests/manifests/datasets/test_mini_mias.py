"""The table of mini-MIAS."""

from pathlib import Path

from tests.manifests.datasets.tables import MIAS, known, read


def test_mini_mias_is_read_line_by_line_with_sides_and_pairs_from_the_number(tmp_path: Path) -> None:
    table = read(tmp_path, MIAS, keep="findings,BG")
    assert table.dialect.key == "mini-mias"
    assert [(row.path, *known(row)[:2], row.conditions.cancer, row.patient) for row in table.rows] == [
        ("mdb001.pgm", "MLO", "R", False, "pair 1"),
        ("mdb002.pgm", "MLO", "L", False, "pair 1"),
        ("mdb003.pgm", "MLO", "R", False, "pair 2"),
        ("mdb005.pgm", "MLO", "R", True, "pair 3"),  # a benign and a malignant finding
        ("mdb216.pgm", "MLO", "L", True, "pair 108"),
    ]
    assert table.rows[3].kept == {"findings": "CIRC|SPIC", "BG": "F"}
