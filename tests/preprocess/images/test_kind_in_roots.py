"""Kinds of images in a dataset root: left out, counted, kept and named by every command."""

import csv
import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import run_command, some
from tests.preprocess.dicom_files import make_dicom
from tests.preprocess.images.test_kind import viewed
from tests.preprocess.mask_images import breast_image

CUT = ("--resolution", "64", "--stride", "64", "--jobs", "1")


IMAGES = {
    "plain": {},
    "raw": {"PresentationIntentType": "FOR PROCESSING"},
    "mag": {"ViewCodeSequence": viewed("399163009"), "EstimatedRadiographicMagnificationFactor": "1.8"},
    "us": {"Modality": "US"},
    "text": {},
}


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    rows = ["File Path,Image Laterality,View Position,Age,Cancer,False Positive\n"]
    for number, (name, elements) in enumerate(IMAGES.items()):
        folder = tmp_path / "n" / f"p{number}"
        folder.mkdir(parents=True)
        stored = breast_image(number, "L", "CC").astype(np.uint16)
        make_dicom(folder, stored, **{"Modality": "MG", "ImagerPixelSpacing": [0.3, 0.3], **elements})
        view = "SCC" if name == "text" else "CC"
        rows.append(f"n/p{number}/image.dcm,L,{view},60,0,0\n")
    (tmp_path / "meta.csv").write_text("".join(rows), encoding="utf-8")
    return tmp_path


def build(folder: Path, *more: str, command: str = "build-shards") -> str:
    cut = CUT if command == "build-shards" else ("--jobs", "1")
    done = run_command(
        "preprocess", command, "--csv", folder / "meta.csv", "--out", folder / "s", *cut, *more
    )
    assert done.returncode == 0, done.stderr
    return str(done.stdout)


def table(folder: Path) -> list[dict[str, str]]:
    with (folder / "s" / "images.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_a_build_leaves_other_kinds_out_and_counts_them_as_no_failures(mixed: Path) -> None:
    said = build(mixed, "--max-failures", "0")
    assert "skipped   4 other_kind" in said
    assert "Kinds       1 for_processing, 1 magnified, 1 other_modality, 1 spot, 1 standard" in said
    rows = table(mixed)
    assert [(row["status"], row["kind"]) for row in rows] == [
        ("ok", "standard"),
        ("other_kind", "for_processing"),
        ("other_kind", "magnified"),
        ("other_kind", "other_modality"),
        ("other_kind", "spot"),
    ]
    assert rows[4]["view"] == "CC"
    assert "by its table this is a spot compression view" in rows[4]["reason"]
    assert not (mixed / "s" / "images.zarr" / rows[1]["image"]).exists()
    bytes_of_one = (mixed / "s" / "r64-s64" / "00000.tar").read_bytes()

    said = build(mixed, "--kinds", "all", "--overwrite")
    rows = table(mixed)
    assert {row["status"] for row in rows} == {"ok"}
    assert "4 decoded now" in said
    assert float(rows[2]["spacing_mm"]) == pytest.approx(0.3 / 1.8)
    assert "this is a raw image for processing" in rows[1]["reason"]

    # Back again nothing is decoded, and the bytes are those of before.
    said = build(mixed, "--overwrite")
    assert "0 decoded now" in said
    assert [row["kind"] for row in table(mixed)] == [row["kind"] for row in rows]
    assert (mixed / "s" / "r64-s64" / "00000.tar").read_bytes() == bytes_of_one


def test_append_parts_info_and_report_know_the_kinds(mixed: Path) -> None:
    build(mixed)
    said = build(mixed, "--kinds", "standard,magnified", command="append")
    assert "1 added" in said
    rows = table(mixed)
    assert rows[-1]["kind"] == "magnified"
    assert rows[-1]["generation"] == "2"
    info = run_command("preprocess", "info", "--shards", mixed / "s").stdout
    assert "Kinds           1 magnified, 1 standard; left out 1 for_processing" in info
    done = run_command("preprocess", "report", "--shards", mixed / "s", "--out", mixed / "r.html")
    assert done.returncode == 0, done.stderr
    page = (mixed / "r.html").read_text(encoding="utf-8")
    assert "Kinds of image" in page
    assert "a magnification view" in page
    assert run_command("preprocess", "verify", "--shards", mixed / "s").returncode == 0

    for part in ("1/2", "2/2"):
        command = (
            "build-shards",
            "--csv",
            mixed / "meta.csv",
            "--out",
            mixed / "parts",
            *CUT,
            "--part",
            part,
        )
        assert run_command("preprocess", *command).returncode == 0
    merged = run_command("preprocess", "merge", "--shards", mixed / "parts", "--jobs", "1")
    assert merged.returncode == 0, merged.stderr
    assert "Kinds       1 for_processing, 1 magnified, 1 other_modality, 1 spot, 1 standard" in merged.stdout
    (mixed / "parts" / "r64-s64" / "00000.tar").unlink()
    run_command("preprocess", "verify", "--shards", mixed / "parts", "--repair", "--jobs", "1")
    assert run_command("preprocess", "verify", "--shards", mixed / "parts").returncode == 0


def test_a_root_of_an_earlier_release_keeps_its_images(mixed: Path) -> None:
    """Its store does not say kinds, its table has no such column: all stays as it is, of unknown kind."""
    from nlbs.preprocess.images.store import ImageStore

    (mixed / "meta.csv").write_text(
        (mixed / "meta.csv").read_text(encoding="utf-8").replace("SCC", "CC"), encoding="utf-8"
    )
    build(mixed, "--kinds", "all")
    store = ImageStore(mixed / "s" / "images.zarr")
    rows = table(mixed)
    for row in some(rows):
        record, pixels = store.record(row["image"]), store.pixels(row["image"])
        assert record is not None
        shutil.rmtree(store.path / row["image"])
        store.put(row["image"], pixels, {key: value for key, value in record.items() if key != "header_kind"})
    columns = [name for name in rows[0] if name != "kind"]
    with (mixed / "s" / "images.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    before = (mixed / "s" / "r64-s64" / "shard_set.json").read_bytes()
    assert run_command("preprocess", "verify", "--shards", mixed / "s").returncode == 0
    assert "Kinds" not in run_command("preprocess", "info", "--shards", mixed / "s").stdout
    said = build(mixed)
    assert "5 usable, 0 decoded now" in said
    assert {row["kind"] for row in table(mixed)} == {"unknown"}
    assert (mixed / "s" / "r64-s64" / "shard_set.json").read_bytes() == before


def test_where_all_images_are_of_another_kind_the_error_says_how_to_take_them(tmp_path: Path) -> None:
    folder = tmp_path / "n" / "p"
    folder.mkdir(parents=True)
    make_dicom(folder, breast_image(1, "L", "CC").astype(np.uint16), PresentationIntentType="FOR PROCESSING")
    head = "File Path,Image Laterality,View Position,Age,Cancer,False Positive\n"
    (tmp_path / "meta.csv").write_text(head + "n/p/image.dcm,L,CC,60,0,0\n", encoding="utf-8")
    done = run_command(
        "preprocess", "build-shards", "--csv", tmp_path / "meta.csv", "--out", tmp_path / "s", *CUT
    )
    assert done.returncode == 1
    assert "1 other_kind" in done.stderr
    assert "--kinds standard,for_processing or --kinds all takes it" in done.stderr
