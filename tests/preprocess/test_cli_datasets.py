"""Datasets end to end: their tables and files as they are downloaded, in; images.csv and a shard set, out.

Also covers: preprocess/root/found_files.py.
"""

import csv
import io
import json
import os
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pydicom import Dataset

from nlbs.preprocess.cli import main
from nlbs.shards import open_shards
from tests.manifests.datasets.tables import CALC_TRAIN, CMMD, INBREAST, MASS_TEST, MASS_TRAIN, cbis_row
from tests.preprocess.dicom_files import make_dicom

CUT = ("--resolution", "32", "--stride", "32", "--jobs", "1")


def breast(seed: int, side: str = "L") -> np.ndarray:
    """Gives uint16 pixels (160, 120): a half ellipse of tissue with noise at the edge of its side."""
    y, x = np.mgrid[:160, :120]
    inside = ((y - 80) / 60) ** 2 + (x / 80) ** 2 < 1
    noise = np.random.default_rng(seed).normal(0, 60, inside.shape)
    pixels = np.where(inside, np.clip(1800 + noise, 0, 4095), 0).astype(np.uint16)
    return pixels if side == "L" else np.ascontiguousarray(pixels[:, ::-1])


def put(path: Path, seed: int, side: str = "L", **elements: Any) -> None:
    """Writes a small mammogram to a path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    make_dicom(path.parent, breast(seed, side), **elements).rename(path)


def run(*options: object) -> tuple[int, str]:
    """Runs nlbs-preprocess in this process, which is quicker; gives its exit code and what it said."""
    said = io.StringIO()
    with redirect_stdout(said), redirect_stderr(said), pytest.raises(SystemExit) as ended:
        main([str(option) for option in options])
    return int(ended.value.code or 0), said.getvalue()


def build(folder: Path, *options: object, code: int = 0) -> tuple[str, list[dict[str, str]]]:
    """Runs build-shards into folder/shards; gives what it said and the rows of images.csv."""
    found, said = run("build-shards", "--out", folder / "shards", *CUT, *options)
    assert found == code, said
    path = folder / "shards" / "images.csv"
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    rows = list(csv.DictReader(text.splitlines()))
    return said, rows


def view_code(code: str) -> list[Dataset]:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator = code, "SCT"
    return [item]


# CMMD: a row per breast, files by folder and header.


@pytest.fixture
def cmmd(tmp_path: Path) -> Path:
    """Three patients in the folders of the archive; the first has both breasts imaged, and one in the table."""
    (tmp_path / "clinical.csv").write_text(CMMD)
    seed = 0
    for patient, sides in (("D1-0001", "RL"), ("D1-0002", "L"), ("D2-0001", "L")):
        for side in sides:
            for view in ("399162004", "399368009"):
                seed += 1
                folder = tmp_path / "CMMD" / patient / "07-18-2010-NA-NA-79377" / "1.000000-NA-70244"
                put(
                    folder / f"1-{seed}.dcm", seed, side,
                    ImageLaterality=side, ViewCodeSequence=view_code(view), PatientAge="046Y",
                )  # fmt: skip
    return tmp_path


def test_cmmd_becomes_a_row_per_image_with_the_view_of_its_header(cmmd: Path) -> None:
    said, rows = build(
        cmmd, "--csv", cmmd / "clinical.csv", "--images", cmmd / "CMMD", "--keep", "findings,subtype"
    )
    assert "CMMD form" in said
    shown = [(row["row"], row["view"], row["laterality"], row["cancer"], row["age_years"]) for row in rows]
    assert shown == [
        ("1", "CC", "R", "0", "44"), ("1", "MLO", "R", "0", "44"),
        ("2", "CC", "L", "0", "40"), ("2", "MLO", "L", "0", "40"),
        ("3", "CC", "L", "1", "46"), ("3", "MLO", "L", "1", "46"),
    ]  # fmt: skip
    assert {row["from_header"] for row in rows} == {"view"}
    assert {row["status"] for row in rows} == {"ok"}
    assert len({row["patient"] for row in rows}) == 3
    assert [row["findings"] for row in rows[::2]] == ["calcification", "both", "mass"]
    # 44 and 40 in the table, 46 in every header: two years apart and more is remarked.
    assert ["age_years is" in row["reason"] for row in rows[::2]] == [True, True, False]
    with open_shards(cmmd / "shards") as shards:
        assert set(shards.manifest["subtype"].to_pylist()) == {None, "Luminal B"}
        assert shards.info["code_books"]["findings"] == ["both", "calcification", "mass"]


def test_a_breast_without_images_and_images_without_a_side_are_named(cmmd: Path) -> None:
    with (cmmd / "clinical.csv").open("a") as file:
        file.write("D1-0001,L,44,2,mass,Benign,\nD1-0003,R,50,2,mass,Benign,\nD1-0002,R,40,2,mass,Benign,\n")
    put(cmmd / "CMMD" / "D2-0001" / "2-1.dcm", 99)
    _, rows = build(cmmd, "--csv", cmmd / "clinical.csv", "--images", cmmd / "CMMD")
    assert [row["row"] for row in rows] == ["1", "1", "2", "2", "3", "3", "3", "4", "4", "5", "6"]
    bad = {row["row"]: row["reason"] for row in rows if row["status"] == "bad_row"}
    assert bad["3"] == "1 file in the folder of this patient states no side: nothing tells its row"
    assert bad["5"].startswith("there is no folder of this patient")
    assert bad["6"] == "no image of this side is in the folder of this patient"


def test_a_file_name_that_is_not_utf_8_and_a_patient_in_another_case_end_no_build(cmmd: Path) -> None:
    first = next((cmmd / "CMMD" / "D1-0001").rglob("*.dcm"))
    first.rename(first.parent / os.fsdecode(b"imag\xe9.dcm"))
    (cmmd / "CMMD" / "D2-0001").rename(cmmd / "CMMD" / "d2-0001")
    _, rows = build(cmmd, "--csv", cmmd / "clinical.csv", "--images", cmmd / "CMMD")
    assert {row["status"] for row in rows} == {"ok"}
    assert len(rows) == 6
    sources = (cmmd / "shards" / "sources.csv").read_text(encoding="utf-8")
    assert r"imag\udce9.dcm" in sources


def test_a_table_that_excel_wrote_builds_and_files_that_are_not_there_are_explained(tmp_path: Path) -> None:
    header = "File Path;Image Laterality;View Position;Age;Cancer;False Positive\r\n"
    names = [f"normal/P{number} – copy/x.dcm" for number in range(3)]
    for seed, name in enumerate(names):
        put(tmp_path / name, seed)
    text = "sep=;\r\n" + header + "".join(f"{name};L;CC;60,0;0,0;1,0;\r\n" for name in names)
    (tmp_path / "meta.csv").write_bytes(
        (text + "normal/P1 – copy/y.dcm;L;CC;60,0;0,0;0,0;\r\n").encode("cp1252")
    )
    said, rows = build(tmp_path, "--csv", tmp_path / "meta.csv")
    assert "read as Windows-1252" in said
    assert [(row["status"], row["age_years"], row["cancer"], row["false_positive"]) for row in rows[:3]] == [
        ("ok", "60", "0", "1")
    ] * 3
    assert rows[3]["status"] == "missing_file"
    assert (
        rows[3]["reason"]
        == "there is no such file; one of nearly that name is there, which sources.csv names"
    )
    assert "nearly that name: 'normal/P1 – copy/x.dcm'" in (tmp_path / "shards/sources.csv").read_text(
        encoding="utf-8"
    )
    places = ("--csv", tmp_path / "meta.csv", "--images", tmp_path / "shards", "--out", tmp_path / "other")
    code, said = run("build-shards", *places, *CUT)
    assert code == 1
    assert "4 of 4 files are not below" in said
    assert "was read as Windows-1252" in said


# CBIS-DDSM: several tables, a row per lesion, files where the archive's own program puts them.


@pytest.fixture
def cbis(tmp_path: Path) -> Path:
    """Four images of three patients, under names that are not those of the table, as NBIA's program saves them."""
    for number, content in enumerate((MASS_TRAIN, MASS_TEST, CALC_TRAIN)):
        (tmp_path / f"{number}.csv").write_text(content)
    names = (
        ("Mass-Training_P_00001_LEFT_CC", "L"),
        ("Mass-Training_P_00004_RIGHT_MLO", "R"),
        ("Mass-Test_P_00016_LEFT_CC", "L"),
        ("Calc-Training_P_00005_RIGHT_CC", "R"),
    )
    for seed, (name, side) in enumerate(names):
        folder = (
            tmp_path / "CBIS-DDSM" / name / "07-20-2016-DDSM-74994" / "1.000000-full mammogram images-24515"
        )
        put(folder / "1-1.dcm", seed, side)
        put(
            tmp_path / "CBIS-DDSM" / f"{name}_1" / "07-20-2016-DDSM-1" / "1.0-ROI" / "1-1.dcm",
            seed + 50,
            side,
        )
    return tmp_path


def tables(folder: Path, count: int = 3) -> list[object]:
    return [option for number in range(count) for option in ("--csv", folder / f"{number}.csv")]


def test_cbis_ddsm_becomes_a_row_per_image_whatever_its_files_are_called(cbis: Path) -> None:
    said, rows = build(cbis, *tables(cbis), "--keep", "density,birads,dataset_split")
    assert [(row["row"], row["view"], row["laterality"], row["cancer"]) for row in rows] == [
        ("1", "CC", "L", "1"), ("3", "MLO", "R", "0"), ("4", "CC", "L", "0"), ("5", "CC", "R", "1"),
    ]  # fmt: skip
    assert {row["status"] for row in rows} == {"ok"}
    assert [row["density"] for row in rows] == ["C", "", "C", "C"]
    assert [row["dataset_split"] for row in rows] == ["train", "train", "test", "train"]
    assert "5 rows tell of 4 images" in said
    sources = (cbis / "shards" / "sources.csv").read_text()
    assert "CBIS-DDSM/Mass-Training_P_00001_LEFT_CC/07-20-2016-DDSM-74994/" in sources


def test_cbis_ddsm_is_found_where_each_series_has_a_folder_of_its_uid(tmp_path: Path) -> None:
    """As tcia_utils saves series; the folder of the case is in the table alone."""
    (tmp_path / "mass.csv").write_text(MASS_TEST)
    uid = "1.3.6.1.4.1.9590.100.1.2.342386194811267636608694132590482924515"
    put(tmp_path / uid / "1-1.dcm", 1, "L")
    _, rows = build(tmp_path, "--csv", tmp_path / "mass.csv")
    assert [(row["status"], row["cancer"]) for row in rows] == [("ok", "0")]


def test_what_is_kept_stands_in_the_manifest_behind_its_own_columns_and_in_every_cut(cbis: Path) -> None:
    build(cbis, *tables(cbis), "--keep", "density,birads")
    with open_shards(cbis / "shards") as shards:
        table, info, bare_id = shards.manifest, shards.info, shards.dataset_id
        assert table.column_names[-3:] == ["split", "density", "birads"]
        assert table.schema.field("birads").type == pa.dictionary(pa.int32(), pa.string())
        assert info["code_books"]["birads"] == ["4", "5"]
        by_image = {row["image"]: row["density"] for row in table.to_pylist()}
        assert sorted(map(str, by_image.values())) == ["C", "C", "C", "None"]
    code, said = run(
        *("reshard", "--shards", cbis / "shards", "--resolution", 16, "--stride", 16, "--jobs", 1)
    )
    assert code == 0, said
    with open_shards(cbis / "shards" / "r16-s16") as shards:
        assert json.loads((shards.folder / "shard_set.json").read_text())["code_books"]["birads"] == [
            "4",
            "5",
        ]
    said, _ = build(cbis, *tables(cbis), "--keep", "density", code=1)
    assert "pass --overwrite" in said  # what is kept is part of what a set is
    build(cbis, *tables(cbis), "--keep", "density", "--overwrite")
    with open_shards(cbis / "shards" / "r32-s32") as shards:
        assert shards.dataset_id != bare_id
        assert shards.manifest.column_names[-1] == "density"


def test_the_datasets_own_split_is_taken_if_it_divides_no_patient(cbis: Path) -> None:
    _, rows = build(cbis, *tables(cbis), "--split", "dataset")
    assert [row["split"] for row in rows] == ["train", "train", "test", "train"]


def test_a_patient_in_both_train_and_test_is_reported_and_stops_the_datasets_own_split(cbis: Path) -> None:
    with (cbis / "1.csv").open("a") as file:
        file.write(cbis_row("Mass-Test", "P_00001", "LEFT", "CC", 1, "BENIGN"))
    put(cbis / "CBIS-DDSM" / "Mass-Test_P_00001_LEFT_CC" / "1" / "2" / "1-1.dcm", 7)
    said, _ = build(cbis, *tables(cbis), "--split", "dataset", code=1)
    assert "1 patient stands in two splits of the dataset, for example in rows 5" in said
    said, rows = build(cbis, *tables(cbis))
    assert "1 patient stands in both train and test of the dataset's own split" in said
    assert rows[0]["split"] == rows[3]["split"]


def test_a_row_that_fits_two_files_is_not_guessed(cbis: Path) -> None:
    put(cbis / "CBIS-DDSM" / "Mass-Test_P_00016_LEFT_CC" / "other" / "1" / "1-1.dcm", 8)
    _, rows = build(cbis, *tables(cbis))
    assert rows[2]["status"] == "bad_row"
    assert rows[2]["reason"].startswith("2 files below the folder of the images fit this row")


# INbreast: files by the beginning of their names, patients by the second part of them.


def test_inbreast_finds_its_files_and_patients_by_name(tmp_path: Path) -> None:
    (tmp_path / "INbreast.csv").write_text(INBREAST)
    for seed, name in enumerate(("22678622_61b13c59bcba149e_MG_R_CC", "22678646_61b13c59bcba149e_MG_L_ML",
                                 "22678694_b231a8c8cf4c8fe0_MG_L_CC")):  # fmt: skip
        put(tmp_path / "AllDICOMs" / f"{name}_ANON.dcm", seed, "R" if "_R_" in name else "L")
    (tmp_path / "AllXML").mkdir()
    (tmp_path / "AllXML" / "22678622_x.xml").write_text("<plist/>")
    _, rows = build(tmp_path, "--csv", tmp_path / "INbreast.csv", "--keep", "birads")
    assert [row["status"] for row in rows] == ["ok"] * 3
    assert rows[0]["patient"] == rows[1]["patient"] != rows[2]["patient"]
    assert [row["birads"] for row in rows] == ["1", "4A", "6"]


# Where table and header disagree.


@pytest.fixture
def disagreeing(tmp_path: Path) -> Path:
    """Four images in the NLBS form; the headers of rows 2 and 3 state another view, and another side."""
    lines = ["File Path,Image Laterality,View Position,Age,Cancer,False Positive"]
    for number, (side, view) in enumerate((("L", "CC"), ("L", "MLO"), ("R", "CC"), ("L", "CC"))):
        put(
            tmp_path / "a" / str(number) / "x.dcm", number, "L",
            ImageLaterality=side, ViewPosition=view, PatientAge="051Y",
        )  # fmt: skip
        lines.append(f"a\\{number}\\x.dcm,L,CC,{50 if number else ''},0,0")
    (tmp_path / "meta.csv").write_text("\n".join(lines))
    return tmp_path


@pytest.mark.parametrize(
    ("policy", "views", "sides", "statuses"),
    [
        ("csv", ["CC", "CC", "CC", "CC"], ["L", "L", "L", "L"], ["ok"] * 4),
        ("tag", ["CC", "MLO", "CC", "CC"], ["L", "L", "R", "L"], ["ok"] * 4),
        (
            "drop",
            ["CC", "CC", "CC", "CC"],
            ["L", "L", "L", "L"],
            ["ok", "disagreement", "disagreement", "ok"],
        ),
    ],
)
def test_table_or_header_counts_or_neither(
    disagreeing: Path, policy: str, views: list[str], sides: list[str], statuses: list[str]
) -> None:
    said, rows = build(disagreeing, "--csv", disagreeing / "meta.csv", "--disagree", policy)
    assert [row["view"] for row in rows] == views
    assert [row["laterality"] for row in rows] == sides
    assert [row["status"] for row in rows] == statuses
    assert rows[0]["age_years"] == "51"
    assert rows[0]["from_header"] == "age_years"
    assert "disagree  table and DICOM header of 2 images" in said
    assert all("DICOM header" in row["reason"] for row in rows[1:3])
    with open_shards(disagreeing / "shards") as shards:
        assert shards.info["counts"]["images"] == statuses.count("ok")


def test_a_build_that_is_to_end_at_a_disagreement_names_the_rows_and_keeps_what_it_decoded(
    disagreeing: Path,
) -> None:
    said, rows = build(disagreeing, "--csv", disagreeing / "meta.csv", "--disagree", "error", code=1)
    assert "different things of 2 images (rows 2 and 3), for example row 2: view is CC in the table" in said
    assert len(rows) == 4
    assert not (disagreeing / "shards" / "r32-s32" / "shard_set.json").exists()
    said, _ = build(disagreeing, "--csv", disagreeing / "meta.csv")
    assert "0 decoded now" in said


def test_columns_of_ones_own_make_a_shard_set(disagreeing: Path) -> None:
    (disagreeing / "mine.csv").write_text(
        "file;pid;site\n" + "".join(f"a/{n}/x.dcm;{n // 2};{'=x' if n % 2 else 'y'}\n" for n in range(4))
    )
    _, rows = build(
        disagreeing,
        "--csv",
        disagreeing / "mine.csv",
        "--map",
        "path=file",
        "--map",
        "patient=pid",
        "--keep",
        "site",
    )
    assert [row["view"] for row in rows] == ["CC", "MLO", "CC", "CC"]  # all from the headers
    assert {row["from_header"] for row in rows} == {"view laterality age_years"}
    assert {row["site"] for row in rows} == {"y", "'=x"}  # no formula for a spreadsheet
    with open_shards(disagreeing / "shards") as shards:
        assert set(shards.manifest["site"].to_pylist()) == {"y", "=x"}


def test_a_wrong_word_in_map_is_an_error_with_a_suggestion(disagreeing: Path) -> None:
    said, _ = build(disagreeing, "--csv", disagreeing / "meta.csv", "--map", "cancr=Cancer", code=1)
    assert "there is no condition 'cancr' (did you mean 'cancer'?)" in said
