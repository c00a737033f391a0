"""Headers are recognised in every form, and a wrong one is told what to change."""

import shlex
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nlbs.errors import DatasetError
from nlbs.manifests.tables.dialects import WITH_HEADER, parse_columns, recognise, simplified, suggested_map
from nlbs.manifests.tables.table import TableOptions, read_table

NLBS = "File Path,Image Laterality,View Position,Age,Cancer,False Positive"
GUIDE = "File Path,View,Laterality,Age,Cancer,False Positive"
PREPARED = "out_path,view,laterality,age_bin,cancer,false_positive"


@pytest.mark.parametrize(
    ("header", "name"), [(NLBS, "NLBS"), (GUIDE, "NLBS as in the guide"), (PREPARED, "prepared")]
)
def test_each_form_is_recognised_and_every_column_found(header: str, name: str) -> None:
    columns = header.split(",")
    dialect, positions = recognise(columns, "meta.csv")
    assert dialect.name == name
    assert positions == {column: place for place, column in enumerate(columns)}


@pytest.mark.parametrize(
    "header",
    [
        "FILE PATH,IMAGE LATERALITY,VIEW POSITION,AGE,CANCER,FALSE POSITIVE",
        "file_path,image_laterality,view_position,age,cancer,false_positive",
        "FilePath,ImageLaterality,ViewPosition,Age,Cancer,FalsePositive",
        "File-Path,Image.Laterality, View Position ,Age ,Cancer,False  Positive",
    ],
)
def test_case_spaces_and_underscores_of_a_header_do_not_matter(header: str) -> None:
    dialect, positions = recognise(header.split(","), "meta.csv")
    assert dialect.name == "NLBS"
    assert positions["View Position"] == 2


@given(extra=st.lists(st.sampled_from(["bbox", "windowing", "Site", ""]), max_size=4), data=st.data())
def test_columns_stand_in_any_order_among_others(extra: list[str], data: st.DataObject) -> None:
    header = data.draw(st.permutations(PREPARED.split(",") + extra))
    dialect, positions = recognise(header, "meta.csv")
    assert dialect.name == "prepared"
    assert all(header[place] == column for column, place in positions.items())


def test_of_two_columns_of_one_name_the_first_counts() -> None:
    _, positions = recognise([*PREPARED.split(","), "Cancer"], "meta.csv")
    assert positions["cancer"] == 4


def test_a_missing_column_is_named_with_the_near_one_and_what_to_do() -> None:
    with pytest.raises(DatasetError) as caught:
        recognise(NLBS.replace("Cancer", "Cancr").split(","), "meta.csv")
    message = str(caught.value)
    assert message.startswith("meta.csv: the header has no column 'Cancer' (is it 'Cancr'?)")
    assert "File Path, Image Laterality, View Position, Age, Cancer, False Positive" in message
    assert "rename the columns, and leave the cells of what is not known empty" in message


def test_a_header_of_another_world_is_compared_with_the_nearest_form() -> None:
    with pytest.raises(DatasetError, match=r"no column .*'ID1'.*it reads 'Age, b'"):
        recognise(["Age", "b"], "meta.csv")
    with pytest.raises(DatasetError, match=r"no column 'false_positive'; .* of the prepared form"):
        recognise(PREPARED.split(",")[:-1], "meta.csv")


def test_a_first_line_without_any_known_column_is_not_repeated_because_it_may_be_a_patients_row() -> None:
    with pytest.raises(DatasetError, match=r"none of the 3 cells .* is the header missing\?") as caught:
        recognise(["normal/Doe/1.dcm", "L", "66"], "meta.csv")
    assert "Doe" not in str(caught.value)


def test_a_header_of_a_million_characters_does_not_fill_the_screen() -> None:
    with pytest.raises(DatasetError) as caught:
        recognise(["x" * 1_000_000], "meta.csv")
    assert len(str(caught.value)) < 1000


def test_names_in_other_scripts_stay_apart() -> None:
    assert simplified("患者番号") != simplified("備考")
    assert simplified("Größe_mm") == simplified("GRÖSSE MM")


def test_no_table_fits_two_forms() -> None:
    for dialect in WITH_HEADER:
        assert recognise(dialect.columns, "meta.csv")[0] is dialect


@pytest.mark.parametrize(
    ("header", "row"),
    [
        ("image_path,patient_id,laterality,view,age (years),cancer", "a/1.dcm,7,L,CC,66,1"),
        ("Dateiname;Patientennummer;Seite;Ansicht;Alter;Krebs", "a/1.dcm;7;L;CC;66;1"),
        (
            "FILE NAME\tSubject ID\tBreast Side\tProjection\tAge at exam\tMalignant",
            "a/1.dcm\t7\tleft\tcc\t066Y\tyes",
        ),
        (
            "Export of 2021, all centres\n\nDatei;Patient ID;Seite;Projektion;Alter;Krebs",
            "a/1.dcm;7;L;CC;66;1",
        ),
        ("Fichier;Patient n°;Côté;Incidence;Age;Cancer?", "a/1.dcm;7;L;CC;66;1"),
    ],
)
def test_the_options_offered_read_the_table(tmp_path: Path, header: str, row: str) -> None:
    table = tmp_path / "meta.csv"
    table.write_text(f"{header}\n{row}\n", encoding="utf-8")
    with pytest.raises(DatasetError) as caught:
        read_table(table)
    words = shlex.split(str(caught.value).split("Made of its own header: ")[1])
    assert words[0] == "--map"
    (read,) = read_table(table, options=TableOptions(columns=parse_columns([words[1]]))).rows
    conditions = read.conditions
    assert (read.path, read.patient) == ("a/1.dcm", "7")
    assert (conditions.laterality, conditions.view, conditions.age_years, conditions.cancer) == (
        "L",
        "CC",
        66,
        True,
    )


@pytest.mark.parametrize(
    "header",
    [["normal/Doe/1.dcm", "L", "66"], ["abnormal/1/x.dcm", "left", "CC", "66", "cancer"], ["a", "b"], []],
)
def test_of_a_patients_row_nothing_is_offered(header: list[str]) -> None:
    assert suggested_map(header) is None


def test_a_column_that_would_break_the_line_is_left_out_and_a_path_is_asked_for() -> None:
    said = suggested_map(["View, path=x", "view {a}", "pa\nth", "Side", "View; rm -rf ~", "Age"])
    assert said == "--map path=COLUMN,laterality=Side,age_years=Age"
    assert shlex.split(str(suggested_map(["it's side (L'R)", "Side ($HOME)", "Age"])))[1:] == [
        "path=COLUMN,laterality=Side ($HOME),age_years=Age"
    ]


def test_a_suggestion_has_a_column_whose_name_is_misspelt_and_no_column_that_only_sounds_alike() -> None:
    said = suggested_map(["File Path", "View Position", "Cancr", "Review", "Age"])
    assert shlex.split(str(said))[1:] == ["path=File Path,view=View Position,age_years=Age,cancer=Cancr"]


def test_a_column_that_is_not_there_is_mended_by_the_whole_line(tmp_path: Path) -> None:
    (tmp_path / "meta.csv").write_text("path,pid,view,side\na/1.dcm,7,CC,L\n")
    with pytest.raises(DatasetError, match=r"header: --map path=path,patient=pid,view=view,laterality=side$"):
        read_table(
            tmp_path / "meta.csv",
            options=TableOptions(columns={"path": "path", "view": "view", "patient": "patient_id"}),
        )
