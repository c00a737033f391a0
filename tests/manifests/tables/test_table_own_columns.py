"""A table of one's own: --map says which column is what, --keep what is taken along and what never is.

Also covers: manifests/tables/kept.py.
"""

from pathlib import Path

import pytest

from nlbs.errors import ConfigError, DatasetError
from nlbs.manifests.tables.dialects import parse_columns
from nlbs.manifests.tables.table import Table, TableOptions, problems_by_row, read_table

MINE = "file,pid,View Position,Side,Age,Label,scanner,comment\n" + "".join(
    f"{n}.dcm,{n % 3},CC,L,{50 + n},{n % 2},{'GE' if n % 2 else 'Hologic'},seen {n}\n" for n in range(6)
)
MAP = ("view=View Position,laterality=Side,age=Age,cancer=Label,path=file,patient=pid",)


def read(folder: Path, content: str, keep: str = "", columns: tuple[str, ...] = MAP, **options: str) -> Table:
    (folder / "mine.csv").write_text(content, encoding="utf-8")
    kept = tuple(keep.split(",")) if keep else ()
    return read_table(
        folder / "mine.csv", options=TableOptions(columns=parse_columns(columns), keep=kept, **options)
    )


@pytest.mark.parametrize("columns", [MAP, tuple(MAP[0].split(","))])
def test_columns_of_ones_own_are_what_they_are_said_to_be(tmp_path: Path, columns: tuple[str, ...]) -> None:
    row = read(tmp_path, MINE, columns=columns).rows[1]
    assert (row.path, row.patient) == ("1.dcm", "1")
    said = row.conditions
    assert (said.view, said.laterality, said.age_years, said.age_bin, said.cancer) == ("CC", "L", 51, 1, True)
    assert said.false_positive is None


def test_a_column_whose_name_has_a_comma_is_one_column() -> None:
    assert parse_columns(["view=View, Position,laterality=Side"]) == {
        "view": "View, Position",
        "laterality": "Side",
    }


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ("veiw=View", "there is no condition 'veiw' \\(did you mean 'view'\\?\\)"),
        ("view", "expected condition=column"),
        ("view=", "expected condition=column"),
        ("view=A,view=B", "names view twice"),
    ],
)
def test_a_map_that_says_nothing_clear_is_refused(said: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_columns([said])


def test_a_map_without_a_path_is_refused_unless_a_dataset_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"add path=COLUMN"):
        read(tmp_path, MINE, columns=("view=Side",))
    nlbs = (
        "File Path,Image Laterality,View Position,Age,Cancer,False Positive,Other\na/1/x.dcm,L,CC,66,0,0,1\n"
    )
    (row,) = read(tmp_path, nlbs, columns=("cancer=Other",), dataset="nlbs").rows
    assert (row.conditions.cancer, row.conditions.age_years, row.patient) == (True, 66, "1")


def test_a_mapped_column_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"no column 'Sides' \(is it 'Side'\?\)"):
        read(tmp_path, MINE, columns=("path=file", "laterality=Sides"))


def test_a_path_may_be_made_of_several_columns(tmp_path: Path) -> None:
    assert read(tmp_path, MINE, columns=("path={pid}/{file}",)).rows[4].path == "1/4.dcm"


def test_columns_are_kept_under_their_own_name(tmp_path: Path) -> None:
    rows = read(tmp_path, MINE, keep="SCANNER").rows
    assert [dict(row.kept) for row in rows[:2]] == [{"scanner": "Hologic"}, {"scanner": "GE"}]


def test_a_mapped_extra_is_read_as_what_it_is(tmp_path: Path) -> None:
    content = MINE.replace("scanner", "acr").replace("Hologic", "DENSITY C").replace("GE", "2")
    rows = read(tmp_path, content, keep="density", columns=(*MAP, "density=acr")).rows
    assert [row.kept["density"] for row in rows[:2]] == ["C", "B"]


@pytest.mark.parametrize(
    ("column", "cells", "why"),
    [
        ("pid", None, "names patients, exams or files"),
        ("file", None, "names patients, exams or files"),
        ("comment", None, "no two images have the same value"),
        ("note", ["1.2.840.113619.2.5.1"] * 6, "DICOM UIDs"),
        ("note", ["2014-01-02"] * 6, "dates"),
        ("note", ["20140102"] * 6, "dates"),
        ("note", ["109430185503"] * 6, "ids"),
        ("note", ["d8125545210c08e1b1793a5af6458ee2"] * 6, "ids"),
        ("note", ["a/b/c.dcm"] * 6, "paths of files"),
        ("Birth Date", ["x"] * 6, "by its name"),
        ("Patient Name", ["x"] * 6, "by its name"),
        ("StudyInstanceUID", ["x"] * 6, "by its name"),
    ],
)
def test_what_identifies_is_never_kept(
    tmp_path: Path, column: str, cells: list[str] | None, why: str
) -> None:
    content = MINE
    if cells is not None:
        lines = MINE.splitlines()
        content = "\n".join(
            [f"{lines[0]},{column}", *(f"{a},{b}" for a, b in zip(lines[1:], cells, strict=True))]
        )
    with pytest.raises(DatasetError, match=why) as caught:
        read(tmp_path, content, keep=column)
    assert not any(
        cell in str(caught.value) for cell in cells or [] if len(cell) > 1
    )  # not even in the message


def test_a_name_that_is_mapped_or_taken_for_findings_is_looked_at_all_the_same(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="no two images have the same value"):
        read(tmp_path, MINE, keep="findings", columns=(*MAP, "findings=comment"))
    with pytest.raises(DatasetError, match="no two images have the same value"):
        read(tmp_path, MINE.replace("comment", "Findings"), keep="findings")


def test_a_column_of_more_than_a_thousand_values_is_not_kept(tmp_path: Path) -> None:
    rows = "".join(f"{n}.dcm,1,CC,L,50,0,v{n % 1001},\n" for n in range(2002))
    with pytest.raises(DatasetError, match="more than 1000 different values"):
        read(tmp_path, MINE.splitlines()[0] + "\n" + rows, keep="scanner")


def test_a_column_that_is_not_there_is_answered_with_those_that_are(tmp_path: Path) -> None:
    with pytest.raises(
        DatasetError, match=r"nothing to keep as 'density'; known of this dataset: none; its columns"
    ):
        read(tmp_path, MINE, keep="density")


def test_a_kept_column_does_not_take_the_name_of_one_of_ours(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="a column of that name is there already"):
        read(tmp_path, MINE.replace("scanner", "split"), keep="split")


def test_a_kept_value_is_short_and_of_one_line(tmp_path: Path) -> None:
    content = MINE.replace("Hologic", f'"a\n\tb\x07{"x" * 100}"')
    value = read(tmp_path, content, keep="scanner").rows[0].kept["scanner"]
    assert value is not None
    assert value.startswith("a b xxx")
    assert len(value) == 64


def test_all_problems_of_a_table_are_told_at_once_with_their_rows(tmp_path: Path) -> None:
    head = "File Path,Image Laterality,View Position,Age,Cancer,False Positive\n"
    content = head + "".join(
        f"a/1/{n}.dcm,{cells}\n"
        for n, cells in enumerate(
            [
                "L,CC,50,1,1",
                "L,CC,-1,0,0",
                "L,CC,150,0,0",
                "B,CC,50,0,0",
                "L,CC,50",
                "L,CC,50,1,1",
                "L,CC,50,0,0",
            ]
        )
    )
    table = read(tmp_path, content, columns=())
    assert problems_by_row(table.rows) == [
        "age_years is kept as unknown: its cell cannot be read: rows 2 and 3",
        "cancer and false positive are both yes: rows 1 and 6",
        "laterality is kept as unknown: its cell cannot be read: row 4",
        "the row has 4 cells, the header has 6: row 5",
    ]
