"""Dataset roots of images that are no mammograms: which foreground they get, told where, and never mixed."""

import json
from pathlib import Path

import data_store
import numpy as np
import pytest
from PIL import Image

from nlbs.shards import open_shards
from tests.conftest import run_command
from tests.preprocess.dicom_files import make_dicom
from tests.preprocess.roots import build, files_of, preprocess, read_csv, run, write_csv

EMRI = Path(data_store.__file__).parent / "data" / "emri_small.dcm"
MAP = ("--map", "path=file,patient=patient", "--split", "100/0/0")
ROWS, COLUMNS = np.mgrid[:96, :80]
DISK = np.where(np.hypot(ROWS - 48, COLUMNS - 40) < 30, 2000 + 8 * ROWS, 50).astype(np.uint16)


def written(folder: Path, name: str, **elements: object) -> None:
    make_dicom(folder, DISK, **elements).rename(folder / name)


def table(folder: Path, *names: str) -> Path:
    rows = [{"file": name, "patient": f"p{number}"} for number, name in enumerate(names)]
    return write_csv(folder / "meta.csv", rows)


@pytest.mark.parametrize(
    ("elements", "foreground"),
    [
        ({"Modality": "MR"}, "body"),
        ({"Modality": "DX", "BodyPartExamined": "CHEST", "ViewPosition": "PA"}, "body"),
        ({"Modality": "CR", "BodyPartExamined": "BREAST"}, "breast"),
        ({"Modality": "CR", "ViewPosition": "MLO"}, "breast"),
        ({"Modality": "MG"}, "breast"),
        ({}, "breast"),
    ],
    ids=str,
)
def test_headers_say_which_foreground_a_table_of_ones_own_has(
    elements: dict[str, object], foreground: str, tmp_path: Path
) -> None:
    written(tmp_path, "a.dcm", **elements)
    build(table(tmp_path, "a.dcm"), tmp_path, tmp_path / "out", *MAP)
    (row,) = read_csv(tmp_path / "out" / "images.csv")
    assert row["mask_method"].startswith("background-peak" if foreground == "breast" else foreground)
    stored = json.loads((tmp_path / "out" / "images.zarr" / "zarr.json").read_text())["attributes"]
    with open_shards(tmp_path / "out") as shards:
        assert shards.parameters.get("foreground") == stored.get("foreground")
        assert stored.get("foreground", "breast") == foreground
    assert f"% {foreground}" in preprocess("info", "--shards", tmp_path / "out")


def test_a_root_has_one_foreground(tmp_path: Path) -> None:
    written(tmp_path, "a.dcm", Modality="MR")
    out = tmp_path / "out"
    build(table(tmp_path, "a.dcm"), tmp_path, out, *MAP)
    before = files_of(out)
    (tmp_path / "more").mkdir()
    written(tmp_path / "more", "b.dcm", Modality="MG")
    more = ("--csv", table(tmp_path / "more", "b.dcm"), "--out", out, "--jobs", "1", *MAP)
    refused = run("append", *more)
    assert refused.returncode == 1
    assert "images that were cut by the foreground body, those of this table have breast" in refused.stderr
    assert files_of(out) == before
    assert "1 added" in preprocess("append", *more, "--foreground", "body")
    again = ("reshard", "--shards", out, "--resolution", "32", "--stride", "32", "--jobs", "1")
    preprocess(*again)
    with open_shards(out / "r32-s32") as shards:
        assert shards.parameters["foreground"] == "body"
    assert "every byte" in preprocess("verify", "--shards", out)


def test_several_foregrounds_in_one_table_ask_for_one(tmp_path: Path) -> None:
    written(tmp_path, "a.dcm", Modality="MR")
    written(tmp_path, "b.dcm", Modality="SM")
    csv = table(tmp_path, "a.dcm", "b.dcm")
    arguments = ("--csv", csv, "--out", tmp_path / "out", "--jobs", "1", *MAP)
    refused = run("build-shards", *arguments)
    assert "several foregrounds (body, tissue)" in refused.stderr
    assert "2 usable" in preprocess(
        "build-shards", *arguments, "--foreground", "none", "--resolution", "32", "--stride", "32"
    )


def test_a_table_with_a_row_per_frame_makes_each_an_image_of_its_own(tmp_path: Path) -> None:
    if not EMRI.is_file():
        pytest.skip("this pydicom-data has no emri_small.dcm")
    cells = ["1", "2", "10", "11", "x", "2.0"]
    rows = [{"file": EMRI.name, "frame": cell, "patient": "p"} for cell in cells]
    csv, out = write_csv(tmp_path / "meta.csv", rows), tmp_path / "out"
    said = preprocess(
        *("build-shards", "--csv", csv, "--images", EMRI.parent, "--out", out, "--jobs", "1", *MAP),
        *("--map", "frame=frame", "--resolution", "32", "--stride", "32"),
    )
    assert "3 usable" in said
    images = read_csv(out / "images.csv")
    assert [row["status"] for row in images] == ["ok", "ok", "ok", "unsupported", "bad_row", "duplicate"]
    assert len({row["image"] for row in images[:3]}) == len({row["pixels_sha256"] for row in images[:3]}) == 3
    assert {row["patient"] for row in images if row["patient"]} == {images[0]["patient"]}
    assert images[5]["image"] == images[1]["image"]
    assert [row["detail"] for row in read_csv(out / "sources.csv")][:2] == ["frame 1", "frame 2"]


def test_a_file_of_frames_says_how_each_becomes_an_image(tmp_path: Path) -> None:
    if not EMRI.is_file():
        pytest.skip("this pydicom-data has no emri_small.dcm")
    csv = write_csv(tmp_path / "meta.csv", [{"file": EMRI.name, "patient": "p"}])
    done = run_command(
        "preprocess", "build-shards", "--csv", csv, "--images", EMRI.parent, "--out", tmp_path / "out",
        "--jobs", "1", *MAP,
    )  # fmt: skip
    assert "a table with a row per frame and --map frame=COLUMN takes several" in done.stderr


def test_pictures_of_which_nothing_says_a_modality_are_breasts(tmp_path: Path) -> None:
    Image.fromarray((DISK >> 4).astype(np.uint8)).save(tmp_path / "a.png")
    build(table(tmp_path, "a.png"), tmp_path, tmp_path / "out", *MAP)
    (row,) = read_csv(tmp_path / "out" / "images.csv")
    assert (row["status"], row["mask_method"].split(" ")[0]) == ("ok", "background-peak")


def test_pictures_in_colour_are_tissue_where_nothing_says_otherwise(tmp_path: Path) -> None:
    slide = np.full((96, 80, 3), 240, np.uint8)
    slide[DISK > 50] = (150, 90, 160)
    slide[..., 1] -= (slide[..., 1] < 240) * (ROWS // 4).astype(np.uint8)
    Image.fromarray(slide).save(tmp_path / "a.png")
    build(table(tmp_path, "a.png"), tmp_path, tmp_path / "out", *MAP, "--channels", "rgb")
    (row,) = read_csv(tmp_path / "out" / "images.csv")
    assert (row["status"], row["mask_method"]) == ("ok", "tissue 1")
