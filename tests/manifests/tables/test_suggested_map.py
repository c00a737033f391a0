"""A table of no known form is offered the options that read it, and they do."""

import shlex
from pathlib import Path

import pytest

from nlbs.errors import DatasetError
from nlbs.manifests.tables.dialects import parse_columns
from nlbs.manifests.tables.suggested_map import suggested_map
from nlbs.manifests.tables.table import TableOptions, read_table


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


def test_a_column_that_is_not_there_is_mended_by_the_whole_line(tmp_path: Path) -> None:
    (tmp_path / "meta.csv").write_text("path,pid,view,side\na/1.dcm,7,CC,L\n")
    with pytest.raises(DatasetError, match=r"header: --map path=path,patient=pid,view=view,laterality=side$"):
        read_table(
            tmp_path / "meta.csv",
            options=TableOptions(columns={"path": "path", "view": "view", "patient": "patient_id"}),
        )
