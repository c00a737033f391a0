"""A table is read in the encoding in which it was written; the names of files decide where several may be meant.

Also covers: manifests/tables/named_files.py.
"""

from pathlib import Path

import pytest

from nlbs.errors import DatasetError
from nlbs.manifests.tables.table import read_table
from nlbs.manifests.tables.table_file import decoded

HEADER = "File Path,Image Laterality,View Position,Age,Cancer,False Positive\n"

#: How spreadsheets of the world save the name of a file: what Python's codec of that name writes.
SAVED = [
    ("cp1252", "normal/P1 – copy/x.dcm"),
    ("latin-1", "normal/José/x.dcm"),
    ("gb18030", "normal/病人1/x.dcm"),
    ("mac_roman", "normal/José/x.dcm"),
    ("cp850", "normal/José/x.dcm"),
    ("cp437", "normal/José/x.dcm"),
    ("cp1250", "normal/Łódź/x.dcm"),
    ("cp1251", "normal/Мария/x.dcm"),
    ("cp1253", "normal/Αθήνα/x.dcm"),
    ("cp1254", "normal/Işık/x.dcm"),
    ("big5", "normal/病人/x.dcm"),
    ("cp932", "normal/患者番号/x.dcm"),
    ("cp949", "normal/환자/x.dcm"),
    ("utf-8", "normal/José/x.dcm"),
    ("utf-8-sig", "normal/José/x.dcm"),
    ("utf-16", "normal/病人/x.dcm"),
    ("utf-16-le", "normal/P1 – copy/x.dcm"),
    ("utf-16-be", "normal/José/x.dcm"),
    ("utf-32", "normal/病人/x.dcm"),
]


def put(folder: Path, name: str) -> None:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).touch()


@pytest.mark.parametrize(("encoding", "name"), SAVED)
def test_the_encoding_is_the_one_under_which_the_files_are_there(
    tmp_path: Path, encoding: str, name: str
) -> None:
    put(tmp_path, name)
    table = tmp_path / "meta.csv"
    table.write_bytes((HEADER + f"{name},L,CC,60,0,0\nnormal/p/x.dcm,R,CC,50,0,0\n").encode(encoding))
    read = read_table(table, images=tmp_path)
    assert [row.path for row in read.rows] == [name, "normal/p/x.dcm"]
    assert bool(read.notes) == (not encoding.startswith("utf-8"))


@pytest.mark.parametrize(("encoding", "name"), SAVED)
def test_a_path_of_another_machine_is_judged_by_the_names_in_it(
    tmp_path: Path, encoding: str, name: str
) -> None:
    put(tmp_path, f"here/{name}")
    table = tmp_path / "meta.csv"
    table.write_bytes((HEADER + f"D:\\data\\{name},L,CC,60,0,0\n".replace("/", "\\")).encode(encoding))
    (row,) = read_table(table, images=tmp_path).rows
    assert row.path == f"D:/data/{name}"


def test_one_stray_byte_does_not_change_the_letters_of_the_rest_and_is_named(tmp_path: Path) -> None:
    rows = [f"normal/é{number}/x.dcm" for number in range(3)]
    text = HEADER.strip() + ",Comment\n" + "".join(f"{name},L,CC,60,0,0,ok\n" for name in rows)
    table = tmp_path / "meta.csv"
    table.write_bytes(text.encode().replace(b",ok\n", b",caf\xe9\n", 1))
    for images in (None, tmp_path):
        read = read_table(table, images=images)
        assert [row.path for row in read.rows] == rows
        (note,) = read.notes
        assert "UTF-8 but for 1 byte (line 2, byte 0xE9)" in note
        assert "café" not in note


@pytest.mark.parametrize(
    ("data", "text", "note"),
    [
        ("a;Größe;Übung;naïve – “x”\n".encode("cp1252"), "a;Größe;Übung;naïve – “x”\n", "read as Windows-1252"),
        ("编号,诊断\n1,良性\n2,恶性\n".encode("gb18030"), "编号,诊断\n1,良性\n2,恶性\n", "read as GB18030"),
        ("a;Größe\rb;é\r".encode("mac_roman"), "a;Größe\rb;é\r", "read as Mac Roman"),
        (b"a,b\n1,\x81\x8d\n", "a,b\n1,\x81\x8d\n", "line 2, byte 0x81"),
        (b"name,b\n" * 9 + b"1,2\0\0\0\n", "name,b\n" * 9 + "1,2\n", "has 3 NUL bytes, the first in line 10"),
    ],
)  # fmt: skip
def test_without_files_the_likeliest_is_taken_and_said(data: bytes, text: str, note: str) -> None:
    found, (said,) = decoded(data, "meta.csv")
    assert found == text
    assert note in said


def test_what_is_utf_8_needs_no_note() -> None:
    assert decoded("\ufeffa,病,é\n".encode(), "meta.csv") == ("a,病,é\n", [])


@pytest.mark.parametrize("data", [bytes(300), b"\x01\x02\x03\x04" * 99, b"\x7fELF\x02\x01\x01\0\0\0\0"])
def test_what_is_no_text_is_refused(data: bytes) -> None:
    with pytest.raises(DatasetError, match=r"meta\.csv is no text"):
        decoded(data, "meta.csv")
