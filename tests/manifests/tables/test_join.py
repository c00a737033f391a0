"""Two tables of one dataset: ids in another spelling are the same, and what does not match is counted and said."""

from pathlib import Path

import pytest

from nlbs.errors import DatasetError
from nlbs.manifests.tables.table import Table, TableOptions, read_table

IMAGES = "anon_dicom_path,empi_anon,acc_anon,ImageLateralityFinal,ViewPosition,FinalImageType,spot_mag\n"
CLINICAL = "empi_anon,acc_anon,study_date_anon,desc,tissueden,asses,side,path_severity,age_at_study\n"


def read(folder: Path, asked: list[str], known: list[str], sides: tuple[str, str] = ("L", "L")) -> Table:
    """Reads images of some exams beside a clinical table of some; each exam has a cancer at 55 years."""
    images = "".join(
        f'/mnt/x/cohort_1/{number}/x.dcm,{number},"{acc}",{sides[0]},CC,2D,\n'
        for number, acc in enumerate(asked)
    )
    clinical = "".join(
        f'{number},"{acc}",2015-01-01,MG Screen Bilat,2,A,{sides[1]},0,55\n'
        for number, acc in enumerate(known)
    )
    (folder / "images.csv").write_text(IMAGES + images)
    (folder / "clinical.csv").write_text(CLINICAL + clinical)
    return read_table([folder / "images.csv", folder / "clinical.csv"])


@pytest.mark.parametrize(
    ("asked", "known"),
    [
        ("8000.0", "8000"),  # pandas, of a column with a gap
        ("8000", "8000.0"),
        (" 8000 ", "8000"),
        ("008000", "8000"),
        ("8,0E+03", "8000"),
        ("8.0e+03", "8000"),
        ("8000,0", "8000"),
        ("'8000", "8000"),
        ("\uff18\uff10\uff10\uff10", "8000"),
        ("8000\u200b", "8000"),
        ("acc-8000a", "ACC-8000A"),
        ("acc\u20138000", "ACC-8000"),
        ("5434840480042340.0", "5434840480042340"),  # beyond what a float can tell apart
    ],
)
def test_ids_that_software_wrote_otherwise_are_the_same(tmp_path: Path, asked: str, known: str) -> None:
    table = read(tmp_path, [asked, "77"], [known, "77"])
    assert [(row.conditions.cancer, row.conditions.age_years) for row in table.rows] == [(True, 55)] * 2
    assert not any("exam" in note for note in table.notes)


def test_an_id_that_may_be_two_is_neither(tmp_path: Path) -> None:
    table = read(tmp_path, ["8000.0", "0009"], ["8000", "08000", "0009", "9"])
    assert [row.conditions.cancer for row in table.rows] == [None, True]
    assert any(
        "1 of 2 exams of the images are in the clinical table (compared by acc_anon)" in n
        for n in table.notes
    )


def test_a_join_that_finds_nothing_stops_and_shows_no_id(tmp_path: Path) -> None:
    with pytest.raises(DatasetError) as caught:
        read(tmp_path, ["A1234", "A1235"], ["555123", "555124", "555125"])
    message = str(caught.value)
    assert "none of the 2 exams of the images is among the 3" in message
    assert "acc_anon" in message
    assert "'A9999'" in message
    assert "'999999'" in message
    assert "1234" not in message
    assert "555" not in message


def test_an_empty_id_is_joined_with_nobody(tmp_path: Path) -> None:
    table = read(tmp_path, ["", "nan", "7"], ["", "nan", "7"])
    assert [row.conditions.cancer for row in table.rows] == [None, None, True]
    assert any("2 rows have no acc_anon" in note for note in table.notes)


def test_exams_without_findings_of_the_side_are_unknown_and_said(tmp_path: Path) -> None:
    table = read(tmp_path, ["7", "8"], ["7", "8"], sides=("L", "R"))
    assert [row.conditions.cancer for row in table.rows] == [None, None]
    assert any("none of the images has the same ImageLateralityFinal" in note for note in table.notes)


@pytest.mark.parametrize(
    ("asked", "known"),
    [(["5.01E+15"], ["5010000000000000", "5010000000000007"]), (["1", "2"], ["5.4E+15", "1"])],
)
def test_exams_that_have_lost_digits_are_joined_with_nobody(
    tmp_path: Path, asked: list[str], known: list[str]
) -> None:
    with pytest.raises(DatasetError, match="only the first digits are left"):
        read(tmp_path, asked, known)


def test_a_second_table_that_lacks_a_column_is_told_so(tmp_path: Path) -> None:
    (tmp_path / "images.csv").write_text(IMAGES + "cohort_1/1/x.dcm,1,8,L,CC,2D,\n")
    (tmp_path / "clinical.csv").write_text(
        CLINICAL.replace("path_severity", "severity") + "1,8,2015-01-01,x,2,A,L,0,55\n"
    )
    with pytest.raises(DatasetError, match=r"clinical\.csv: the header has no column 'path_severity'"):
        read_table([tmp_path / "images.csv", tmp_path / "clinical.csv"])


def test_no_options_are_offered_that_would_lose_the_second_table(tmp_path: Path) -> None:
    clinical = CLINICAL + "1,8,2015-01-01,MG Screen,2,A,L,0,55\n"
    (tmp_path / "clinical.csv").write_text(clinical)
    paths = [tmp_path / "images.csv", tmp_path / "clinical.csv"]
    paths[0].write_text(IMAGES.replace("acc_anon", "accession") + "cohort_1/1/x.dcm,1,8,L,CC,2D,\n")
    with pytest.raises(DatasetError) as caught:
        read_table(paths)
    assert "--map path" not in str(caught.value)
    paths[0].write_text(IMAGES.replace("empi_anon", "empi") + "cohort_1/1/x.dcm,1,8,L,CC,2D,\n")
    with pytest.raises(DatasetError, match=r"--dataset embed --map patient=empi$"):
        read_table(paths)
    (row,) = read_table(paths, options=TableOptions(dataset="embed", columns={"patient": "empi"})).rows
    assert (row.patient, row.conditions.cancer) == ("1", True)
