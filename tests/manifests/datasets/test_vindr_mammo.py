"""The tables of VinDr-Mammo, of breasts and of findings."""

from pathlib import Path

from tests.manifests.datasets.tables import BREASTS, FINDINGS, known, read


def test_vindr_mammo_breast_level(tmp_path: Path) -> None:
    table = read(tmp_path, BREASTS, keep="density,birads,dataset_split")
    assert table.dialect.key == "vindr-mammo"
    first, second = table.rows
    assert first.path == "images/b8d273e8601f348d3664778dae0e7e0b/d8125545210c08e1b1793a5af6458ee2.dicom"
    assert first.patient == "b8d273e8601f348d3664778dae0e7e0b"
    assert known(first) == ("CC", "L", None, None, None)  # BI-RADS 2 is no proof of no cancer
    assert known(second) == ("MLO", "R", None, None, None)  # and BI-RADS 5 none of cancer
    assert first.kept == {"density": "C", "birads": "2", "dataset_split": "train"}
    assert (first.split, second.split) == ("train", "test")


def test_vindr_mammo_findings_become_one_row_per_image(tmp_path: Path) -> None:
    table = read(tmp_path, FINDINGS, keep="findings,birads")
    first, second = table.rows
    assert (first.row, second.row) == (1, 2)
    assert first.kept == {"findings": "No Finding", "birads": "2"}
    assert second.kept == {"findings": "Mass|Skin Thickening|Suspicious Calcification", "birads": "5"}
    assert table.notes == ("3 rows tell of 2 images: rows of one image are taken together",)
