"""Files whose paths the table spells otherwise: taken where one can be meant, else the nearest is named.

Also covers: preprocess/root/folders.py, preprocess/root/sources.py.
"""

import os
import unicodedata
from pathlib import Path

import pytest

from nlbs.manifests.people.pseudonyms import Pseudonyms
from nlbs.manifests.tables.table import Table, TableOptions, read_table
from nlbs.preprocess.root.found_files import found_files
from nlbs.preprocess.root.sources import Source, locate_sources

HEADER = "File Path,Image Laterality,View Position,Age,Cancer,False Positive\n"


def at(folder: Path, name: str | bytes) -> Path:
    """Gives a path, of bytes too that are not UTF-8."""
    return folder / os.fsdecode(name)


def table_of(folder: Path, paths: list[str], files: list[str | bytes], images: str = "") -> Table:
    """Gives the table of some paths beside empty files, with its files found."""
    for name in files:
        path = at(folder, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    table = folder / "meta.csv"
    table.write_text(HEADER + "".join(f'"{path}",L,CC,60,0,0\n' for path in paths), encoding="utf-8")
    options = TableOptions()
    return found_files(read_table(table, options=options, images=folder / images), folder / images)


def located(table: Table, root: Path) -> list[Source]:
    return locate_sources(table.rows, root, Pseudonyms(b"k" * 32), (0.8, 0.1, 0.1), 0, True)


NFD = unicodedata.normalize("NFD", "normal/José/x.dcm")


@pytest.mark.parametrize(
    ("path", "file"),
    [
        ("normal/José/x.dcm", NFD), (NFD, "normal/José/x.dcm"),
        ("Normal/P1/im-1.dcm", "normal/p1/IM-1.DCM"),
        ("normal\\p1 \\x.dcm", "normal/p1/x.dcm"),
        ("normal/p 1/x.dcm", "normal/p  1/x.dcm"),
        ("normal/p%201/x%20%C3%A9.dcm", "normal/p 1/x é.dcm"),
        ("normal/p1/x.dcm", "normal/p1/x"), ("normal/p1/x", "normal/p1/x.dcm"),
        ("normal/p1/x.dcm", "normal/p1/x.dicom"), ("normal/p1/x.dcm", "normal/p1/x.dcm.dcm"),
        ("normal/p1/x.TIFF", "normal/p1/x.tif"),
        ("'normal/p1/x.dcm'", "normal/p1/x.dcm"),
        ("normal/P1–copy/x.dcm", "normal/P1-copy/x.dcm"),
        ("normal/10006.0/462822612.0.dcm", "normal/10006/462822612.dcm"),
        ("normal/José/x.dcm", b"normal/Jos\xe9/x.dcm"),
        ("normal/JosÃ©/x.dcm", "normal/José/x.dcm"),  # UTF-8 that a program took for Windows-1252
        ("normal/José/x.dcm", "normal/JosÃ©/x.dcm"),
        ("normal/José/x.dcm", "normal/Jos├⌐/x.dcm"),  # unpacked from a zip without the flag of UTF-8
        ("normal/José/x.dcm", "normal/JosΘ/x.dcm"),
    ],
)  # fmt: skip
def test_another_spelling_of_one_file_is_that_file(tmp_path: Path, path: str, file: str | bytes) -> None:
    table = table_of(tmp_path, [path, "normal/p9/y.dcm"], [file, "normal/p9/y.dcm"])
    first, second = located(table, tmp_path)
    assert first.path == at(tmp_path, file)
    assert second.row.file is None  # what is there as it stands stays so
    assert any("1 image is spelt otherwise in the table than on disk" in note for note in table.notes)
    assert first.row.path == path.replace("\\", "/")  # of which its id is made
    assert any("the file is" in detail for detail in first.row.details)


@pytest.mark.parametrize(
    ("path", "files"),
    [
        ("Normal/p1/x.dcm", ["normal/p1/x.dcm", "NORMAL/p1/x.dcm"]),
        ("normal/p1/X.dcm", ["normal/p1/x", "normal/p1/x.dcm"]),
        ("normal/p1/x.dcm", ["normal/p1/x.png"]),
        ("normal/p1/x.dcm", ["normal/p2/x.dcm"]),
        ("normal/p1/left/CC/x.dcm", ["normal/p2/left/CC/x.dcm"]),
        ("normal/p1/x.dcm", ["a/normal/p1/x.dcm", "b/normal/p1/x.dcm"]),
        ("normal/1/x.dcm", ["normal/10/x.dcm"]),
        ("p1/x.dcm", ["x.dcm"]),
    ],
)
def test_where_none_or_several_may_be_meant_none_is_taken(
    tmp_path: Path, path: str, files: list[str]
) -> None:
    table = table_of(tmp_path, [path], files)  # type: ignore[arg-type]
    assert table.rows[0].file is None
    assert table.notes


def test_a_file_that_another_row_names_is_not_given_to_a_second(tmp_path: Path) -> None:
    table = table_of(tmp_path, ["normal/p1/x.dcm", "normal/p1/X.DCM"], ["normal/p1/x.dcm"])
    assert [row.file for row in table.rows] == [None, None]
    assert table.rows[1].nearest == "normal/p1/x.dcm"


def test_two_spellings_of_one_file_are_one_image(tmp_path: Path) -> None:
    table = table_of(tmp_path, ["normal/p1/X.dcm", "normal/P1/x.dcm"], ["normal/p1/x.DCM"])
    assert [source.status for source in located(table, tmp_path)] == ["ok", "duplicate"]


@pytest.mark.parametrize(
    ("start", "images", "patients"),
    [
        ("", "", ["p1", "p2"]),  # the folder of the images is one too high
        ("NLBS/", "NLBS", ["normal", "normal"]),  # one too low: as the path has it
        ("D:\\data\\NLBS\\", "NLBS", ["p1", "p2"]),  # of another machine
        ("\\\\server\\share\\", "NLBS", ["p1", "p2"]),
        ("/mnt/x/", "NLBS", ["p1", "p2"]),
        ("file:///mnt/x/", "NLBS", ["p1", "p2"]),
    ],
)
def test_a_start_that_all_paths_have_too_many_or_too_few_is_mended(
    tmp_path: Path, start: str, images: str, patients: list[str]
) -> None:
    names = ["normal/p1/x.dcm", "normal/p2/x.dcm"]
    table = table_of(tmp_path, [start + name for name in names], [f"NLBS/{name}" for name in names], images)
    sources = located(table, tmp_path / images)
    assert [source.path for source in sources] == [tmp_path / "NLBS" / name for name in names]
    assert [source.row.patient for source in sources] == patients
    assert not any(name in note for note in table.notes for name in ("p1", "normal", "server"))


def test_the_nearest_name_is_told_to_the_owner_only(tmp_path: Path) -> None:
    table = table_of(
        tmp_path,
        ["normal/p1/IM-0002.dcm", "normal/smith/x.dcm", "q/r/s.dcm"],
        ["normal/p1/IM-0001.dcm", "normal/smyth/x.dcm"],
    )
    assert [row.nearest for row in table.rows] == ["normal/p1/IM-0001.dcm", "normal/smyth/x.dcm", None]
    (note,) = table.notes
    assert note.startswith(f"3 of 3 files are not below {tmp_path}")
    assert "2 have nearly the name" in note
    assert "smyth" not in note


def test_where_nothing_is_there_the_option_is_named(tmp_path: Path) -> None:
    table = table_of(tmp_path, ["normal/p1/x.dcm"], ["q/y.png"])
    assert "--images" in table.notes[0]


@pytest.mark.parametrize(
    "path",
    [
        "p" * 300 + "/x.dcm",
        "a/" * 1900 + "x.dcm",
        "é" * 1500,
        "x/../../y.dcm",
        "~/x.dcm",
        "%00/x.dcm",
        "x.dcm/y",
    ],
)
def test_a_path_that_cannot_be_costs_its_row(tmp_path: Path, path: str) -> None:
    table = table_of(tmp_path, [path, "normal/p1/x.dcm"], ["normal/p1/x.dcm", "x.dcm"])
    bad, good = located(table, tmp_path)
    assert good.path == tmp_path / "normal/p1/x.dcm"
    assert bad.row.file is None


def test_only_the_folders_on_the_way_are_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = [f"normal/p{number}/x.dcm" for number in range(50)]
    listed: list[str] = []
    scandir = os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: (listed.append(str(path)), scandir(path))[1])
    table = table_of(tmp_path, [*files[:-1], "normal/p49/X.DCM"], files)  # type: ignore[list-item]
    assert table.rows[-1].file == files[-1]
    assert len(listed) == 3
    listed.clear()
    assert table_of(tmp_path, files, files).notes == ()  # type: ignore[arg-type]
    assert listed == []


@pytest.mark.parametrize(
    ("path", "file"),
    [
        ("normal/10006/4628.dcm", "normal/10006/4628.png"),  # pictures made of the files
        ("normal/10006/4628.dcm", "train_png/10006/4628.png"),
        ("normal/10006/4628.dcm", "10006_4628.png"),
        ("normal/10006/left/CC/4628.dcm", "4628.dcm"),
    ],
)
def test_a_file_of_another_layout_is_named_and_not_taken(tmp_path: Path, path: str, file: str) -> None:
    table = table_of(tmp_path, [path], [file, "q/9999.png"])
    assert (table.rows[0].file, table.rows[0].nearest) == (None, file)


def test_a_name_that_several_files_have_is_no_neighbour(tmp_path: Path) -> None:
    table = table_of(tmp_path, ["normal/10006/x.dcm"], ["a/x.png", "b/x.png"])
    assert table.rows[0].nearest is None


def test_an_image_that_two_rows_give_to_two_patients_says_so(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("path,pid\nx/1.dcm,7\nx/2.dcm,7\nx/1.dcm,P7\nx/2.dcm,7\n")
    table = read_table(tmp_path / "a.csv", options=TableOptions(columns={"path": "path", "patient": "pid"}))
    assert ["another patient" in source.reason for source in located(table, tmp_path)] == [
        *(False, False, True, False)
    ]
