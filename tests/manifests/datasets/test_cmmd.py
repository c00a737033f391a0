"""The table of CMMD."""

from pathlib import Path

from tests.manifests.datasets.tables import CMMD, known, read


def test_cmmd_has_a_row_per_breast_and_no_view(tmp_path: Path) -> None:
    table = read(tmp_path, CMMD, keep="findings,subtype")
    assert table.dialect.key == "cmmd"
    assert [(row.path, row.patient) for row in table.rows] == [
        (p, p) for p in ("D1-0001", "D1-0002", "D2-0001")
    ]
    assert [known(row) for row in table.rows] == [
        (None, "R", 44, False, None),
        (None, "L", 40, False, None),
        (None, "L", 46, True, None),
    ]
