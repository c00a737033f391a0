"""The four tables of CBIS-DDSM."""

from pathlib import Path

from tests.manifests.datasets.tables import (
    BREASTS,
    CALC_TEST,
    CALC_TRAIN,
    FINDINGS,
    MASS,
    MASS_TEST,
    MASS_TRAIN,
    known,
    read,
)


def test_the_four_tables_of_cbis_ddsm_become_one_row_per_image(tmp_path: Path) -> None:
    table = read(
        tmp_path, MASS_TRAIN, MASS_TEST, CALC_TRAIN, CALC_TEST, keep="density,birads,findings,dataset_split"
    )
    assert table.dialect.key == "cbis-ddsm"
    assert [row.row for row in table.rows] == [1, 3, 4, 5, 6]  # counted on from table to table
    assert [known(row)[:2] for row in table.rows[:2]] == [("CC", "L"), ("MLO", "R")]
    assert [row.conditions.cancer for row in table.rows] == [True, False, False, True, False]
    assert {row.conditions.false_positive for row in table.rows} == {None}
    assert [row.patient for row in table.rows] == ["P_00001", "P_00004", "P_00016", "P_00005", "P_00001"]
    assert table.rows[0].path.startswith("Mass-Training_P_00001_LEFT_CC/1.3.6.1.")
    assert table.rows[0].path.endswith("/000000.dcm")
    first, second = table.rows[0].kept, table.rows[1].kept
    assert first == {"density": "C", "birads": "5", "findings": "mass", "dataset_split": "train"}
    assert second["density"] is None  # 0 is no density
    assert table.rows[3].kept["findings"] == "calcification"
    assert table.rows[3].kept["density"] == "C"  # under a name with a space
    assert "1 patient stands in both train and test of the dataset's own split" in table.notes


def test_a_column_that_one_of_the_tables_lacks_is_unknown_there(tmp_path: Path) -> None:
    for tables in ((MASS_TRAIN, CALC_TRAIN), (CALC_TRAIN, MASS_TRAIN)):
        table = read(tmp_path, *tables, keep="Mass Shape")
        shapes = {row.patient: dict(row.kept) for row in table.rows}
        assert shapes["P_00001"] == {"mass shape": "IRREGULAR"}
        assert shapes["P_00005"] == {"mass shape": None}
    assert {row.kept["findings"] for row in read(tmp_path, BREASTS, FINDINGS, keep="findings").rows} == {
        "No Finding",
        "Mass|Skin Thickening|Suspicious Calcification",
    }


def test_the_newline_within_the_image_path_is_no_part_of_it(tmp_path: Path) -> None:
    content = (
        MASS + 'P_00001,3,LEFT,CC,1,mass,OVAL,ILL,4,BENIGN,4,"Mass-Test_P_00001_LEFT_CC/1/2/0.dcm\n",c,r\n'
    )
    (row,) = read(tmp_path, content).rows
    assert row.path == "Mass-Test_P_00001_LEFT_CC/1/2/0.dcm"
