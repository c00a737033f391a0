"""The table of RSNA Screening."""

from pathlib import Path

from tests.manifests.datasets.tables import RSNA, known, read


def test_rsna_keeps_blank_ages_and_other_views_as_they_are(tmp_path: Path) -> None:
    table = read(tmp_path, RSNA, keep="density,birads,machine_id,site_id")
    assert table.dialect.key == "rsna"
    assert [known(row) for row in table.rows] == [
        ("CC", "L", 61, False, None),
        ("MLO", "L", 61, False, None),
        ("AT", "L", None, True, None),
    ]
    assert [row.path for row in table.rows[:2]] == ["10006/462822612.dcm", "10006/1459541791.dcm"]
    assert table.rows[2].patient == "10025"
    assert table.rows[0].kept == {"density": None, "birads": None, "machine_id": "29", "site_id": "2"}
    assert table.rows[2].kept == {"density": "B", "birads": "0", "machine_id": "49", "site_id": "1"}
