"""Tables as spreadsheets of the world save them give the same rows; what is no table is told for what it is."""

import gzip
import io
import json
import zipfile
from pathlib import Path

import pandas as pd
import pytest

from nlbs.errors import DatasetError
from nlbs.manifests.conditions import Conditions
from nlbs.manifests.tables.sheet import open_sheet
from nlbs.manifests.tables.table import TableOptions, read_table

NAMES = ("File Path", "Image Laterality", "View Position", "Age", "Cancer", "False Positive")
ROWS = [(f"normal/p{number}/x.dcm", "L", "CC", "60", "0", "1") for number in range(3)]
READ = [(path, Conditions("CC", "L", 60, 2, False, True)) for path, *_ in ROWS]
HEADER = ",".join(NAMES) + "\n"


def text(separator: str, end: str = "\n", behind: str = "", names: tuple[str, ...] = NAMES) -> str:
    """Gives the table with a separator, a line end, and something behind each row of data."""
    rows = [separator.join(names), *(separator.join(row) + behind for row in ROWS)]
    return "".join(f"{row}{end}" for row in rows)


@pytest.mark.parametrize(
    "content",
    [
        "sep=;\n" + text(";"),
        "\ufeffsep=;\r\n" + text(";", "\r\n"),
        '"sep=;"\n' + text(";"),
        "SEP=,\n" + text(","),
        "sep=\t\n" + text("\t"),
        "sep=|\r" + text("|", "\r"),
        text(","), text(";"), text("\t"), text("|"),
        text(",", "\r\n"), text(";", "\r"),
        text(",", behind=","), text(";", behind=";;;"),
        text(",", behind=",,", names=(*NAMES, "", "")),
        text(",", names=(*NAMES, "", "")),
        text(",", behind=",remark,", names=(*NAMES, "", "")),
        text(";") + ";;;;;\n" * 3000,
        "Screening data, all centres, 2021\n\n" + text(";"),
        "NLBS export;;;;;\nof 2021;;;;;\n" + text(";"),
        text(";", names=(NAMES[0], *NAMES[1:], )).replace("60;0;1", "60,0;0,0;1,0"),
        text("\t").replace("60\t0\t1", "60,50\t0,0\t1,00"),
        text(",").replace("60,0,1", '"60,0","0,0","1,0"'),
        "".join('"' + line.replace('"', '""') + '"\n' for line in text(",").splitlines()),
        "".join('"' + line + '"\r\n' for line in text(";").splitlines()),
        text(",").replace("normal", "nor\0mal"),
        text(",") + "\0" * 9,
        text(";").replace("normal/p0/x.dcm", '"normal/p0/x.dcm"').replace("Age", '"Age"'),
        pd.DataFrame(ROWS, columns=NAMES).to_csv(),  # with its index
        # As R writes it: row names without a header.
        HEADER + "".join(f'"{number}","' + '","'.join(row) + '"\n' for number, row in enumerate(ROWS, 1)),
    ],
)  # fmt: skip
def test_however_a_spreadsheet_saved_it_the_rows_are_the_same(tmp_path: Path, content: str) -> None:
    table = tmp_path / "meta.csv"
    table.write_bytes(content.encode())
    rows = read_table(table).rows
    assert [(row.path, row.conditions) for row in rows] == READ
    assert [(row.row, row.problem, row.notes) for row in rows] == [(n, None, ()) for n in (1, 2, 3)]


def test_a_packed_table_is_unpacked(tmp_path: Path) -> None:
    table = tmp_path / "meta.csv.gz"
    whole = text(",").encode()
    table.write_bytes(gzip.compress(whole[:50]) + gzip.compress(whole[50:]))
    assert [row.path for row in read_table(table).rows] == [path for path, *_ in ROWS]
    table.write_bytes(gzip.compress(whole)[:-20])
    with pytest.raises(DatasetError, match="gzip file that ends too early"):
        read_table(table)
    table.write_bytes(gzip.compress(whole)[:30] + b"\xff" * 30)
    with pytest.raises(DatasetError, match="gzip"):
        read_table(table)


def test_a_title_is_counted_and_not_repeated(tmp_path: Path) -> None:
    table = tmp_path / "meta.csv"
    table.write_text("Table of Dr. Smith\n" + text(";"))
    assert read_table(table).notes == ("the table has 1 lines above its header, which are left out",)


def test_cells_that_do_not_fit_are_still_a_bad_row(tmp_path: Path) -> None:
    table = tmp_path / "meta.csv"
    table.write_text(HEADER + "a/1/x.dcm,L,CC,66,0,0,more\nb/2/x.dcm,L,CC,66,0,0,\n")
    assert [row.problem for row in read_table(table).rows] == ["the row has 7 cells, the header has 6", None]


def test_of_two_columns_of_one_name_it_is_said_that_the_first_counts(tmp_path: Path) -> None:
    table = tmp_path / "meta.csv"
    table.write_text(HEADER.strip() + ",cancer,Site,Site\na/1/x.dcm,L,CC,66,0,0,1,x,y\n")
    read = read_table(table)
    assert read.rows[0].conditions.cancer is False
    assert read.notes == ("2 columns are called 'Cancer': the first counts",)


def test_a_thousand_with_a_comma_is_no_decimal(tmp_path: Path) -> None:
    table = tmp_path / "meta.csv"
    table.write_text(text(";").replace("60", "1,234"))
    assert {row.conditions.age_years for row in read_table(table).rows} == {None}


def test_a_mapped_header_is_found_below_a_title_too(tmp_path: Path) -> None:
    table = tmp_path / "meta.csv"
    table.write_text("Export;of;2021\nDatei;Seite\nx/1.dcm;L\n")
    options = TableOptions(columns={"path": "Datei", "laterality": "Seite"})
    (row,) = read_table(table, options=options).rows
    assert (row.path, row.conditions.laterality) == ("x/1.dcm", "L")


def other(kind: str) -> bytes:
    """Gives a file of another kind that has the name of a CSV."""
    data = io.BytesIO()
    frame = pd.DataFrame(ROWS, columns=NAMES)
    if kind == "xlsx":
        with zipfile.ZipFile(data, "w") as file:  # the parts that a workbook begins with
            file.writestr("[Content_Types].xml", "<Types/>")
    elif kind == "ods":
        with zipfile.ZipFile(data, "w") as file:
            file.writestr("mimetype", "application/vnd.oasis.opendocument.spreadsheet")
    elif kind == "parquet":
        frame.to_parquet(data)
    elif kind == "records":
        return frame.to_json(orient="records").encode()
    elif kind == "lines":
        return frame.to_json(orient="records", lines=True).encode()
    elif kind == "json":
        return json.dumps({"rows": []}).encode()
    elif kind == "html":
        return b"<!DOCTYPE html>\n" + frame.to_html().encode()
    elif kind == "xls":
        return b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600)
    return data.getvalue()


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("xlsx", r"an Excel workbook \(.xlsx\): .* save the sheet as CSV"),
        ("ods", r"an OpenDocument spreadsheet \(.ods\): .* save the sheet as CSV"),
        ("xls", r"an Excel workbook \(.xls\): .* save the sheet as CSV"),
        ("parquet", "a Parquet file: save it as CSV"),
        ("records", "JSON: save it as CSV"),
        ("lines", "JSON: save it as CSV"),
        ("json", "JSON: save it as CSV"),
        ("html", "a web page"),
    ],
)
def test_a_file_of_another_kind_is_told_for_what_it_is(tmp_path: Path, kind: str, said: str) -> None:
    table = tmp_path / "meta.csv"
    table.write_bytes(other(kind))
    with pytest.raises(DatasetError, match=said):
        read_table(table)


def test_a_pointer_of_git_lfs_is_told(tmp_path: Path) -> None:
    table = tmp_path / "meta.csv"
    table.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 3\n")
    with pytest.raises(DatasetError, match="git lfs pull"):
        read_table(table)


def test_without_a_known_header_the_first_row_is_one(tmp_path: Path) -> None:
    table = tmp_path / "meta.csv"
    table.write_text("a;b;c\n1;2;3\n")
    sheet = open_sheet(table)
    assert (sheet.header, list(sheet.records)) == (("a", "b", "c"), [(1, ["1", "2", "3"])])
