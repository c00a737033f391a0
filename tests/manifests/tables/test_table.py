"""A dataset's CSV, however it was saved, and whatever is wrong with it.

Also covers: manifests/tables/rows.py.
"""

import csv
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nlbs.errors import DatasetError
from nlbs.manifests.conditions import Conditions
from nlbs.manifests.tables.table import ImageRow, read_table

HEADER = "File Path,Image Laterality,View Position,Age,Cancer,False Positive\n"
ROW = "abnormal\\109430185503\\left\\CC\\IM-0019-0002-0001.dcm,L,CC,66,0,0\n"
#: What the paper's own example row means.
READ = ImageRow(
    1,
    "abnormal/109430185503/left/CC/IM-0019-0002-0001.dcm",
    Conditions("CC", "L", 66, 3, False, False),
    "109430185503",
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "meta.csv"


def rows_of(path: Path, content: str | bytes) -> tuple[ImageRow, ...]:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_table(path).rows


# What is read.


def test_the_example_of_the_dataset_is_read(path: Path) -> None:
    path.write_text(HEADER + ROW)
    table = read_table(path)
    assert table.dialect.name == "NLBS"
    assert table.rows == (READ,)


def test_the_guides_form_gives_the_same_rows(path: Path) -> None:
    content = "File Path,View,Laterality,Age,Cancer,False Positive\n" + ROW.replace(",L,CC,", ",CC,L,")
    assert rows_of(path, content) == (READ,)


def test_the_prepared_form_has_bins_and_no_ages_and_no_patients(path: Path) -> None:
    content = (
        "out_path,view,laterality,age_bin,cancer,false_positive,bbox,windowing\n"
        'prepared/p1/a.png,MLO,right,2,True,,"[0, 0, 9, 9]",auto\n'
    )
    (row,) = rows_of(path, content)
    assert row == ImageRow(1, "prepared/p1/a.png", Conditions("MLO", "R", None, 2, True, None), None)


@pytest.mark.parametrize(
    ("how", "content"),
    [
        ("byte order mark", "\ufeff" + HEADER + ROW),
        ("semicolons", (HEADER + ROW).replace(",", ";")),
        ("tabs", (HEADER + ROW).replace(",", "\t")),
        ("Windows line ends", (HEADER + ROW).replace("\n", "\r\n")),
        ("old Macintosh line ends", (HEADER + ROW).replace("\n", "\r")),
        ("no last line end", (HEADER + ROW).rstrip("\n")),
        ("blank lines", f"\n\r\n{HEADER}\n{ROW}\n\n"),
        ("blank lines and semicolons", f"\n\r\n{HEADER}\n{ROW}\n\n".replace(",", ";")),
        ("blank cells", f"{HEADER}{ROW},,,,,\n , ,\t, , ,\xa0\n"),
        ("everything quoted", "".join(f'"{line}"\n' for line in (HEADER + ROW).replace(",", '","').splitlines())),
        ("spaces after commas", (HEADER + ROW).replace(",", ", ")),
        ("spaces before quotes", (HEADER + ROW).replace(",", '", "').replace("\n", '"\n')
         .replace("File Path", '"File Path').replace("abnormal", '"abnormal')),
        ("forward slashes", (HEADER + ROW).replace("\\", "/")),
        ("a line end in a quoted cell", HEADER + '"' + ROW.replace(",L", '\n",L')),
        ("other spellings", HEADER + ROW.replace("L,CC,66,0,0", "Left,cc,066Y,No,False")),
    ],
)  # fmt: skip
def test_however_a_table_was_saved_it_reads_the_same(path: Path, how: str, content: str) -> None:
    assert rows_of(path, content) == (READ,)


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_a_table_in_latin_1_keeps_its_accents(path: Path, mark: bytes) -> None:
    content = mark + (HEADER + ROW).replace("109430185503", "José").encode("latin-1")
    (row,) = rows_of(path, content)
    assert row.patient == "José"
    assert row.path == "abnormal/José/left/CC/IM-0019-0002-0001.dcm"


def test_spaces_inside_a_path_are_part_of_it(path: Path) -> None:
    (row,) = rows_of(path, HEADER + "  set  one/p 1/image  (2).dcm ,L,CC,66,0,0\n")
    assert row.path == "set  one/p 1/image  (2).dcm"


def test_rows_are_counted_from_one_without_blank_lines(path: Path) -> None:
    rows = rows_of(path, HEADER + "a/1/x.dcm,L,CC,50,0,0\n\n\nb/2/y.dcm,R,MLO,50,0,0\n")
    assert [(row.row, row.path) for row in rows] == [(1, "a/1/x.dcm"), (2, "b/2/y.dcm")]


@given(
    cells=st.lists(
        st.tuples(
            st.text(st.characters(codec="utf-8", exclude_characters="\r\n\\\0", exclude_categories=["Cc"]), min_size=1)
            .map(str.strip)
            .filter(bool),
            st.sampled_from([("L", "L"), ("right", "R"), ("", None)]),
            st.sampled_from([("CC", "CC"), ("ml", "ML"), ("n/a", None)]),
            st.sampled_from([("66", 66), ("000Y", None), ("", None)]),
            st.sampled_from([("1", True), ("no", False), ("", None)]),
        ),
        min_size=1,
        max_size=8,
    ),
    delimiter=st.sampled_from([",", ";", "\t"]),
)  # fmt: skip
def test_what_a_csv_writer_writes_is_read_back(
    tmp_path_factory: pytest.TempPathFactory, cells: list, delimiter: str  # type: ignore[type-arg]
) -> None:  # fmt: skip
    path = tmp_path_factory.getbasetemp() / "written.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, delimiter=delimiter)
        writer.writerow(HEADER.strip().split(","))
        for name, side, view, age, cancer in cells:
            writer.writerow([f"a/{name}", side[0], view[0], age[0], cancer[0], ""])
    rows = read_table(path).rows
    assert [row.path for row in rows] == [f"a/{name}" for name, *_ in cells]
    for row, (_, side, view, age, cancer) in zip(rows, cells, strict=True):
        bin_ = None if age[1] is None else 3
        assert row.conditions == Conditions(view[1], side[1], age[1], bin_, cancer[1], None)
        assert row.problem is None
        assert row.notes == ()


# What stays unknown, and what is said of it.


def test_a_cell_that_cannot_be_read_is_unknown_and_named_without_its_text(path: Path) -> None:
    (row,) = rows_of(path, HEADER + "a/1/x.dcm,B,CC,Ms. Smith,2,0\n")
    assert row.conditions == Conditions("CC", None, None, None, None, False)
    assert row.notes == tuple(
        f"{name} is kept as unknown: its cell cannot be read"
        for name in ("laterality", "age_years", "cancer")
    )
    assert not any("Smith" in note for note in row.notes)  # notes go to images.csv, which anyone may see
    assert any("'Ms. Smith'" in detail for detail in row.details)
    assert row.problem is None


def test_a_cell_of_a_megabyte_is_unknown_and_its_text_is_cut(path: Path) -> None:
    (row,) = rows_of(path, HEADER + f"a/1/x.dcm,L,{'x' * 1_000_000},66,0,0\n")
    assert row.conditions.view is None
    assert sum(map(len, row.details)) <= 200
    for long in ("x/" * 500_000, "x" + " " * 999_998 + "x"):
        (row,) = rows_of(path, HEADER + f"{long}x.dcm,L,CC,66,0,0\n")
        assert (
            row.problem == "the cell with the path of the image has 1000005 characters, a path at most 4096"
        )
        assert row.path == ""


def test_cancer_and_false_positive_at_once_are_kept_and_noted(path: Path) -> None:
    (row,) = rows_of(path, HEADER + "a/1/x.dcm,L,CC,66,1,1\n")
    assert (row.conditions.cancer, row.conditions.false_positive) == (True, True)
    assert row.notes == ("cancer and false positive are both yes",)


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("a/1/x.dcm,L,CC\n", "the row has 3 cells, the header has 6"),
        ("a/1/x.dcm,L,CC,66,0,0,0\n", "the row has 7 cells, the header has 6"),
        (" ,L,CC,66,0,0\n", "the cell with the path of the image is empty"),
    ],
)
def test_a_row_that_cannot_be_used_says_why_and_the_others_are_read(
    path: Path, line: str, problem: str
) -> None:
    bad, good = rows_of(path, HEADER + line + ROW)
    assert bad.problem == problem
    assert bad.conditions == Conditions()
    assert good.problem is None
    assert good.conditions == READ.conditions


# Who the patient is.


def patient_of(path: Path, image: str, **how: str | int) -> str | None:
    path.write_text(
        HEADER.replace("Age", "Age,Patient ID,患者番号,備考") + f"{image},L,CC,66,  P 7 ,K2,x,0,0\n",
        encoding="utf-8",
    )
    return read_table(path, **how).rows[0].patient  # type: ignore[arg-type]


def test_the_patient_is_the_second_folder_unless_told_otherwise(path: Path) -> None:
    image = "abnormal/1094/left/CC/x.dcm"
    assert patient_of(path, image) == "1094"
    assert patient_of(path, f"./{image}") == "1094"
    assert patient_of(path, image, patient_part=1) == "abnormal"
    assert patient_of(path, image, patient_part=5) is None  # the file is no folder
    assert patient_of(path, image, patient_column="patient_id") == "P 7"
    assert patient_of(path, image, patient_column="患者番号") == "K2"


@pytest.mark.parametrize(
    "image", ["x.dcm", "a/x.dcm", "1094/left/CC/x.dcm", "1094/Right/x.dcm", "1094/CC/x.dcm"]
)
def test_where_the_path_names_no_patient_none_is_made_up(path: Path, image: str) -> None:
    """A side taken for a patient would put the two breasts of one woman into train and test."""
    assert patient_of(path, image) is None


@pytest.mark.parametrize("cell", ["", "  ", "removed", "nan", "unknown"])
def test_an_empty_patient_is_unknown_and_not_one_person(path: Path, cell: str) -> None:
    path.write_text(HEADER.replace("Age", "Age,Patient") + f"a/1/x.dcm,L,CC,66,{cell},0,0\n")
    assert read_table(path, patient_column="Patient").rows[0].patient is None


def test_a_patient_column_that_is_not_there_is_named_with_those_that_are(path: Path) -> None:
    path.write_text(HEADER + ROW)
    with pytest.raises(
        DatasetError, match=r"has no column 'Patient' for --patient-column; it has File Path, Image"
    ):
        read_table(path, patient_column="Patient")


# What is no table.


def error_of(path: Path, content: bytes | None = None) -> str:
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DatasetError) as caught:
        read_table(path)
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 1500
    assert str(path) in message
    return message


def test_a_missing_csv_is_said_to_be_missing(path: Path) -> None:
    assert error_of(path) == f"there is no CSV at {path}: check --csv"


def test_a_folder_is_said_to_be_one(tmp_path: Path) -> None:
    assert "is a folder: --csv takes the dataset's table" in error_of(tmp_path)


def test_a_path_through_a_file_is_no_crash(path: Path) -> None:
    path.touch()
    assert "Not a directory" in error_of(path / "meta.csv")


@pytest.mark.parametrize("content", [b"", b"\n\n", b"\xef\xbb\xbf", b" , ,\r\n"])
def test_an_empty_csv_is_said_to_be_empty(path: Path, content: bytes) -> None:
    assert error_of(path, content) == f"{path} is empty: expected a header and one row per image"


@pytest.mark.parametrize("rest", ["", "\n\n", ",,,,,\n"])
def test_a_header_alone_is_said_to_have_no_rows(path: Path, rest: str) -> None:
    assert "has a header and no rows" in error_of(path, (HEADER + rest).encode())


def test_a_wrong_column_is_named_with_the_near_one(path: Path) -> None:
    message = error_of(path, (HEADER.replace("View Position", "View Postion") + ROW).encode())
    assert "no column 'View Position' (is it 'View Postion'?)" in message


@pytest.mark.parametrize("content", [b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", bytes(128) + b"DICM"])
def test_a_binary_file_is_said_to_be_no_text(path: Path, content: bytes) -> None:
    assert "is no text: --csv takes a comma-separated table in UTF-8" in error_of(path, content)


def test_bytes_of_no_text_at_all_are_refused_in_one_line(path: Path) -> None:
    assert "the header has no column" in error_of(path, bytes(range(128, 256)) * 40)


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (HEADER + ROW + '"a/1/x.dcm,L,CC,66,0,0\n' + ROW * 3, 3),
        (HEADER + ROW + '"a/1/x.dcm,L,CC,66,0,0\n' + ROW + '"b/1/y.dcm",L,CC,66,0,0\n', 3),
        ('"' + HEADER + ROW, 1),
    ],
)
def test_a_quote_that_is_never_closed_does_not_swallow_the_rows_after_it(
    path: Path, content: str, line: int
) -> None:
    message = error_of(path, content.encode())
    assert f"the row that begins in line {line} cannot be read" in message
    assert "close every quote" in message


def test_a_cell_beyond_all_measure_is_named_by_its_line(path: Path) -> None:
    message = error_of(path, (HEADER + ROW + "x" * 2_000_000 + ",L,CC,66,0,0\n").encode())
    assert "line 3 cannot be read (field larger than field limit" in message


# What programs leave in cells and rows.


@pytest.mark.parametrize(
    "cell", ["'60", '"=""60"""', "\u201860\u2019", "\uff16\uff10", "\u200b60", "60\u00a0"]
)
def test_what_a_spreadsheet_adds_to_a_cell_is_left_out(path: Path, cell: str) -> None:
    (row,) = rows_of(path, HEADER + ROW.replace("66", cell))
    assert (row.conditions.age_years, row.notes) == (60, ())


def test_a_side_in_the_cell_of_the_view_is_held_against_that_of_the_side(path: Path) -> None:
    rows = rows_of(
        path, HEADER + "".join(ROW.replace("L,CC", cells) for cells in ("L,LMLO", ",RCC", "L,R-CC"))
    )
    assert [(row.conditions.laterality, row.conditions.view) for row in rows] == [
        *(("L", "MLO"), ("R", "CC"), (None, "CC"))
    ]
    assert [len(row.notes) for row in rows] == [0, 0, 1]
    assert "the other side" in rows[2].notes[0]


@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_the_header_of_a_table_put_behind_another_is_no_row(path: Path, mark: str) -> None:
    path.write_text(HEADER + ROW + mark + HEADER + ROW.replace("0019", "0020"), encoding="utf-8")
    table = read_table(path)
    assert [(row.row, row.problem) for row in table.rows] == [(1, None), (3, None)]
    assert table.notes == ("the table has its header again (row 2 of it), which is left out",)


def test_a_table_of_other_columns_put_behind_another_is_refused(path: Path) -> None:
    other = "File Path,Image Laterality,View Position,Age,False Positive,Cancer\n"
    with pytest.raises(DatasetError, match="row 2 is a header whose columns stand in another order"):
        rows_of(path, HEADER + ROW + other + ROW)


def test_a_table_of_an_unknown_separator_is_told_so(path: Path) -> None:
    with pytest.raises(DatasetError, match="none of the separators comma, semicolon, tab and bar"):
        rows_of(path, (HEADER + ROW).replace(",", "^"))


def test_a_path_that_begins_at_a_server_names_no_patient_by_it(path: Path) -> None:
    (row,) = rows_of(path, HEADER + "\\\\server\\1000\\left\\CC\\x.dcm,L,CC,66,0,0\n")
    assert row.patient == "1000"
