"""Every public dataset's table, written as its makers write it, becomes rows of conditions."""

from pathlib import Path
from typing import Any

import pytest

from nlbs.errors import ConfigError, DatasetError
from nlbs.manifests.conditions import Conditions
from nlbs.manifests.tables.dialect import EXTRA_PARSERS
from nlbs.manifests.tables.dialects import DIALECTS
from nlbs.manifests.tables.table import ImageRow, Table, TableOptions, read_table

CONDITIONS = ("view", "laterality", "age_years", "cancer", "false_positive")


def read(folder: Path, *contents: str, keep: str = "", **options: Any) -> Table:
    """Writes tables into a folder and reads them together."""
    paths = []
    for number, content in enumerate(contents):
        paths.append(folder / f"table{number}.csv")
        paths[-1].write_bytes(content.encode())
    return read_table(paths, options=TableOptions(keep=tuple(keep.split(",")) if keep else (), **options))


def known(row: ImageRow) -> tuple[Any, ...]:
    """Gives view, side, age, cancer and false positive."""
    return tuple(getattr(row.conditions, name) for name in CONDITIONS)


# NLBS without separators.

DAMAGED = "abnormal\\109430185503\\left\\CC\\IM-0019-0002-0001.dcmLCC6600\n"


@pytest.mark.parametrize(
    "header", ["", "File PathImage LateralityView PositionAgeCancerFalse Positive\n", "\ufeff"]
)
def test_nlbs_without_separators_is_read_line_by_line(tmp_path: Path, header: str) -> None:
    table = read(
        tmp_path, header + DAMAGED + DAMAGED.replace("left", "right").replace("dcmLCC6600", "dcmRMLO10")
    )
    assert table.dialect.key == "nlbs-damaged"
    first, second = table.rows
    path = "abnormal/109430185503/left/CC/IM-0019-0002-0001.dcm"
    assert first == ImageRow(1, path, Conditions("CC", "L", 66, 3, False, False), "109430185503")
    assert known(second) == ("MLO", "R", None, True, False)


def test_a_line_without_separators_that_does_not_fit_is_a_bad_row(tmp_path: Path) -> None:
    _, bad = read(tmp_path, DAMAGED + DAMAGED.replace("6600", "600")).rows
    assert bad.problem == "the row has 1 cells, the header has 6"


# VinDr-Mammo.

BREASTS = (
    "study_id,series_id,image_id,laterality,view_position,height,width,breast_birads,breast_density,split\n"
    "b8d273e8601f348d3664778dae0e7e0b,b36517b9cbbcfd286a7ae04f643af97a,d8125545210c08e1b1793a5af6458ee2,L,CC,3518,2800,"
    "BI-RADS 2,DENSITY C,training\n"
    "8269f5971eaca3e5d3772d1796e6bd7a,d931832a0815df082c085b6e09d20aac,dd9ce3288c0773e006a294188aadba8e,R,MLO,3518,2800,"
    "BI-RADS 5,DENSITY D,test\n"
)
FINDINGS = BREASTS.splitlines()[0] + ",finding_categories,finding_birads,xmin,ymin,xmax,ymax\n" + (
    BREASTS.splitlines()[1] + ",['No Finding'],,,,,\n"
    + BREASTS.splitlines()[2] + ""","['Mass', 'Skin Thickening']",BI-RADS 5,1.0,2.0,3.0,4.0\n"""
    + BREASTS.splitlines()[2] + ",['Suspicious Calcification'],BI-RADS 4,5.0,6.0,7.0,8.0\n"
)  # fmt: skip


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


# RSNA Screening.

RSNA = (
    "site_id,patient_id,image_id,laterality,view,age,cancer,biopsy,invasive,BIRADS,implant,density,machine_id,"
    "difficult_negative_case\n"
    "2,10006,462822612,L,CC,61.0,0,0,0,,0,,29,False\n"
    "2,10006,1459541791,L,MLO,61.0,0,0,0,,0,,29,False\n"
    "1,10025,562340703,L,AT,,1,1,1,0.0,0,B,49,True\n"
)


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


# CBIS-DDSM.

_MASS = (
    "patient_id,breast_density,left or right breast,image view,abnormality id,abnormality type,mass shape,mass margins,"
    "assessment,pathology,subtlety,image file path,cropped image file path,ROI mask file path\n"
)
_CALC = _MASS.replace("breast_density", "breast density").replace(
    "mass shape,mass margins", "calc type,calc distribution"
)


def cbis_row(
    kind: str, patient: str, side: str, view: str, number: int, pathology: str, density: int = 3
) -> str:
    """Gives a row of CBIS-DDSM: the cells of crop and mask end in a newline, as the real ones do."""
    name, uid = (
        f"{kind}_{patient}_{side}_{view}",
        "1.3.6.1.4.1.9590.100.1.2.342386194811267636608694132590482924515",
    )
    what = kind[:4].lower().replace("mass", "mass").replace("calc", "calcification")
    return (
        f"{patient},{density},{side},{view},{number},{what},IRREGULAR,SPICULATED,{3 + number},{pathology},4,"
        f'{name}/{uid}/{uid}/000000.dcm,"{name}_1/{uid}/{uid}/000001.dcm\n","{name}_1/{uid}/{uid}/000000.dcm\n"\n'
    )


MASS_TRAIN = _MASS + (
    cbis_row("Mass-Training", "P_00001", "LEFT", "CC", 1, "BENIGN")
    + cbis_row("Mass-Training", "P_00001", "LEFT", "CC", 2, "MALIGNANT")
    + cbis_row("Mass-Training", "P_00004", "RIGHT", "MLO", 1, "BENIGN_WITHOUT_CALLBACK", density=0)
)
MASS_TEST = _MASS + cbis_row("Mass-Test", "P_00016", "LEFT", "CC", 1, "BENIGN")
CALC_TRAIN = _CALC + cbis_row("Calc-Training", "P_00005", "RIGHT", "CC", 1, "MALIGNANT")
CALC_TEST = _CALC + cbis_row("Calc-Test", "P_00001", "LEFT", "MLO", 1, "BENIGN")


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
        _MASS + 'P_00001,3,LEFT,CC,1,mass,OVAL,ILL,4,BENIGN,4,"Mass-Test_P_00001_LEFT_CC/1/2/0.dcm\n",c,r\n'
    )
    (row,) = read(tmp_path, content).rows
    assert row.path == "Mass-Test_P_00001_LEFT_CC/1/2/0.dcm"


# CMMD.

CMMD = (
    "ID1,LeftRight,Age,number,abnormality,classification,subtype\n"
    "D1-0001,R,44,2,calcification,Benign,\nD1-0002,L,40,2,both,Benign,\nD2-0001,L,46,4,mass,Malignant,Luminal B\n"
)


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


# EMBED.

EMBED_FILES = (
    ",anon_dicom_path,empi_anon,acc_anon,study_date_anon,StudyDescription,FinalImageType,ImageLateralityFinal,"
    "ViewPosition,spot_mag\n"
    "0,/mnt/NAS2/mammo/anon_dicom/cohort_1/111/1.2/1.2.3/a.dcm,111,1001,2014-01-02,MG Screening,2D,L,MLO,\n"
    "1,/mnt/NAS2/mammo/anon_dicom/cohort_1/111/1.2/1.2.3/b.dcm,111,1001,2014-01-02,MG Screening,2D,R,CC,\n"
    "2,/mnt/NAS2/mammo/anon_dicom/cohort_1/222/1.2/1.2.3/c.dcm,222,2001,2015-01-02,MG Screening,2D,L,CC,\n"
    "3,/mnt/NAS2/mammo/anon_dicom/cohort_1/333/1.2/1.2.3/d.dcm,333,3001,2015-01-02,MG Diagnostic,2D,R,ML,1\n"
    "4,/mnt/NAS2/mammo/anon_dicom/cohort_1/444/1.2/1.2.3/e.dcm,444,4001,2015-01-02,MG Screening,2D,R,FB,\n"
)
EMBED_CLINICAL = (
    ",empi_anon,acc_anon,study_date_anon,desc,tissueden,asses,side,path_severity,age_at_study\n"
    "0,111,1001,2014-01-02 00:00:00,MG Screening Bilateral,2.0,A,L,,56.93\n"  # recalled on the left,
    "1,111,1002,2014-01-20 00:00:00,MG Diagnostic Left,2.0,B,L,,56.98\n"  # and found benign
    "2,111,1001,2014-01-02 00:00:00,MG Screening Bilateral,2.0,N,R,,56.93\n"
    "3,222,2001,2015-01-02 00:00:00,MG Screening Bilateral,5.0,A,B,,93.1\n"  # both breasts
    "4,222,2002,2015-01-20 00:00:00,MG Diagnostic Left,5.0,M,L,1.0,93.2\n"
    "5,333,3001,2015-01-02 00:00:00,MG Diagnostic Right,4.0,S,R,4.0,45.0\n"  # two findings of one breast
    "6,333,3001,2015-01-02 00:00:00,MG Diagnostic Right,4.0,M,R,0.0,45.0\n"
)


@pytest.mark.parametrize("turned", [False, True])
def test_embed_joins_its_two_tables_by_exam_and_side(tmp_path: Path, turned: bool) -> None:
    tables = (EMBED_CLINICAL, EMBED_FILES) if turned else (EMBED_FILES, EMBED_CLINICAL)
    table = read(tmp_path, *tables, keep="density,birads,FinalImageType")
    assert table.dialect.key == "embed"
    rows = table.rows
    assert [row.row for row in rows] == [1, 2, 3, 4, 5]
    assert rows[0].path == "cohort_1/111/1.2/1.2.3/a.dcm"
    assert [row.patient for row in rows] == ["111", "111", "222", "333", "444"]
    assert [known(row) for row in rows] == [
        ("MLO", "L", 56, None, True),  # read A, then benign
        ("CC", "R", 56, None, False),  # read negative
        ("CC", "L", 90, None, False),  # read A, then cancer; the screen itself has no pathology
        ("ML", "R", 45, True, None),  # one of two findings is cancer; no screening exam
        ("FB", "R", None, None, None),  # nothing in the clinical table
    ]
    assert rows[0].kept == {"density": "B", "birads": "0", "FinalImageType": "2D"}
    assert rows[2].kept["density"] is None  # 5: a male breast
    assert rows[3].kept == {"density": "D", "birads": "5", "FinalImageType": "2D"}


def test_one_table_of_embed_alone_is_asked_for_the_other(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="give its clinical table as a second --csv"):
        read(tmp_path, EMBED_FILES)
    with pytest.raises(DatasetError, match="is the clinical table of EMBED, which names no images"):
        read(tmp_path, EMBED_CLINICAL)


# INbreast.

INBREAST = (
    "Patient ID;Patient age;Laterality;View;Acquisition date;File Name;ACR;Bi-Rads;Mass ;Micros;Distortion;Asymmetry\n"
    "removed;removed;R;CC;201001;22678622;4;1;;;;\n"
    "removed;removed;L;MLO;201001;22678646;     ;4a;X;X;;\n"
    "removed;removed;L;CC;201001;22678694;2;6;X;;;\n"
    ";;;;;;;;108;301;6;13\n"
    ";;;;;;;Total;116;308;;\n"
)


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


# NIH ChestX-ray14.

CHEST = (
    "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,"
    "OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y],\n"
    "00000001_000.png,Cardiomegaly,0,1,57,M,PA,2682,2749,0.14300000000000002,0.14300000000000002,\n"
    "00000001_001.png,Emphysema|Cardiomegaly,1,1,058Y,M,AP,2894,2729,0.143,0.143,\n"
    "00000002_000.png,No Finding,0,2,412,M,PA,2500,2048,0.171,0.171,\n"
)


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
    assert table.rows[0].conditions.code("view") == -1


# mini-MIAS.

MIAS = """        INFORMATION ABOUT THE MINI-MIAS DATABASE

1st column: MIAS database reference number.
2nd column: Character of background tissue:

mdb001 G CIRC B 535 425 197
mdb002 G CIRC B 522 280 69
mdb003 D NORM
mdb005 F CIRC B 477 133 30
mdb005 F SPIC M 500 168 26
mdb216 D CALC M *NOTE 3*
"""


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


# All of them.

TABLES = {
    "nlbs": "File Path,Image Laterality,View Position,Age,Cancer,False Positive\na/1/x.dcm,L,CC,66,0,0\n",
    "nlbs-guide": "File Path,View,Laterality,Age,Cancer,False Positive\na/1/x.dcm,CC,L,66,0,0\n",
    "nlbs-damaged": DAMAGED,
    "prepared": "out_path,view,laterality,age_bin,cancer,false_positive\na.png,CC,L,3,0,0\n",
    "vindr-mammo": BREASTS,
    "rsna": RSNA,
    "cbis-ddsm": MASS_TRAIN,
    "cmmd": CMMD,
    "inbreast": INBREAST,
    "chestxray14": CHEST,
    "mini-mias": MIAS,
}


def test_every_dataset_has_a_table_here() -> None:
    assert {*TABLES, "embed"} == {dialect.key for dialect in DIALECTS}
    assert all(set(dialect.extras) <= set(EXTRA_PARSERS) for dialect in DIALECTS)


@pytest.mark.parametrize("key", TABLES)
def test_a_dataset_that_is_named_is_read_as_the_one_that_is_recognised(tmp_path: Path, key: str) -> None:
    recognised, named = read(tmp_path, TABLES[key]), read(tmp_path, TABLES[key], dataset=key)
    assert recognised == named
    assert recognised.dialect.key == key


@pytest.mark.parametrize(
    "key", [key for key in TABLES if key not in ("nlbs-damaged", "mini-mias", "chestxray14")]
)
def test_however_a_dataset_was_saved_it_reads_the_same(tmp_path: Path, key: str) -> None:
    """Byte order mark, Windows line ends, header in capitals."""
    header, rest = TABLES[key].split("\n", 1)
    saved = "\ufeff" + header.upper() + "\r\n" + rest
    assert read(tmp_path, saved) == read(tmp_path, TABLES[key])


def test_a_dataset_that_is_named_and_does_not_fit_says_what_it_lacks(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"no column 'image file path'.*A table of the CBIS-DDSM form"):
        read(tmp_path, RSNA, dataset="cbis-ddsm")


def test_a_dataset_that_does_not_exist_is_named_with_the_near_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="did you mean 'inbreast'"):
        read(tmp_path, RSNA, dataset="in-breast")


def test_a_table_that_fits_two_datasets_asks_which(tmp_path: Path) -> None:
    both = "out_path,view,laterality,age_bin,cancer,false_positive,ID1,LeftRight,Age,classification\n"
    with pytest.raises(DatasetError, match=r"--dataset \(prepared, cmmd\)"):
        read(tmp_path, both + "a.png,CC,L,3,0,0,D1-0001,L,44,Benign\n")
    assert (
        read(tmp_path, both + "a.png,CC,L,3,0,0,D1-0001,L,44,Benign\n", dataset="cmmd").rows[0].path
        == "D1-0001"
    )


def test_tables_of_two_datasets_are_not_mixed(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"table1\.csv"):
        read(tmp_path, RSNA, BREASTS)


def test_a_million_rows_take_no_more_than_their_share(tmp_path: Path) -> None:
    """Lesions of one image far apart, and work that grows with the rows alone: 40,000 rows in seconds."""
    rows = "".join(
        cbis_row("Mass-Training", f"P_{n % 20_000:05d}", "LEFT", "CC", 1, "BENIGN") for n in range(40_000)
    )
    assert len(read(tmp_path, _MASS + rows).rows) == 20_000
