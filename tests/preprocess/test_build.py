"""build-shards, end to end, as a user calls it and as other software reads what it leaves.

Also covers: preprocess/root/tables.py.
"""

import csv
import hashlib
import io
import json
import os
import shutil
import tarfile
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pydicom
import pytest
import webdataset
import zarr

from nlbs.shards import open_shards
from tests.conftest import CUT, run_command, some


def read_csv(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def digests(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_the_card_of_a_set_names_the_dataset_of_its_table(dataset_root: Path) -> None:
    folder = dataset_root / "r64-s64"
    assert "# Table in NLBS form: " in (folder / "README.md").read_text(encoding="utf-8")
    assert json.loads((folder / "croissant.json").read_text(encoding="utf-8"))["name"] == "Table in NLBS form"


def test_every_row_of_the_csv_has_a_row_in_images_csv_with_the_same_conditions(
    phantom: Path, dataset_root: Path
) -> None:
    table, images = read_csv(phantom / "meta.csv"), read_csv(dataset_root / "images.csv")
    assert len(images) == len(table) == 16
    for given, found in zip(table, images, strict=True):
        assert found["status"] == "ok"
        assert (found["view"], found["laterality"]) == (given["View Position"], given["Image Laterality"])
        assert (found["age_years"], found["cancer"]) == (given["Age"], given["Cancer"])
        assert found["false_positive"] == given["False Positive"]


def test_webdataset_reads_the_shards_as_they_are(dataset_root: Path) -> None:
    shards = open_shards(dataset_root)
    urls = [str(shards.folder / shard["name"]) for shard in shards.info["shards"]]
    samples = list(webdataset.WebDataset(urls, shardshuffle=False).decode())
    assert len(samples) == len(shards)
    known = shards.manifest.to_pylist()
    ours = shards.read(shards.rows())
    for row, (sample, manifest_row) in enumerate(zip(samples, known, strict=True)):
        np.testing.assert_array_equal(sample["npy"], ours[row])
        assert sample["__key__"] == f"{manifest_row['image']}_{manifest_row['y']:05d}_{manifest_row['x']:05d}"
        for name, value in some(sample["json"].items()):
            expected = manifest_row[name]
            assert value == (pytest.approx(expected, abs=1e-6) if name == "foreground" else expected)


def test_patches_are_the_pixels_of_the_store_at_their_place(dataset_root: Path) -> None:
    shards = open_shards(dataset_root)
    store = zarr.open_group(dataset_root / "images.zarr", mode="r")
    pixels = shards.read(shards.rows())
    for row, patch in some(enumerate(shards.manifest.to_pylist())):
        array = store[patch["image"]]
        y, x = patch["y"] - array.attrs["crop_y"], patch["x"] - array.attrs["crop_x"]
        window = array[y : y + 64, x : x + 64]
        expected = np.zeros((64, 64), np.uint8)
        expected[: window.shape[0], : window.shape[1]] = window
        np.testing.assert_array_equal(pixels[row], expected)


def test_the_store_shows_what_the_dicom_shows_through_its_own_window(
    phantom: Path, dataset_root: Path
) -> None:
    sources = {row["image"]: row["path"] for row in read_csv(dataset_root / "sources.csv")}
    store = zarr.open_group(dataset_root / "images.zarr", mode="r")
    for image, path in some(sources.items()):
        dataset = pydicom.dcmread(phantom / path)
        stored = dataset.pixel_array
        shown = pydicom.pixels.apply_voi_lut(stored, dataset) / 4095  # 12 bits, the window's output range
        shown[(stored >= 0) & (stored <= 30)] = 0  # the padding range of the phantom's header
        crop = store[image][...]
        top, left = store[image].attrs["crop_y"], store[image].attrs["crop_x"]
        expected = np.rint(shown * 255)[top : top + crop.shape[0], left : left + crop.shape[1]]
        inside = crop > 0  # what lies outside the margin of the breast is air in the store
        assert inside.mean() > 0.5
        assert np.abs(expected - crop)[inside].max() <= 1


def test_pandas_and_pyarrow_read_the_manifest_with_null_for_unknown(
    phantom: Path, dataset_root: Path
) -> None:
    shards = open_shards(dataset_root)
    with pa.OSFile(str(shards.folder / "manifest.arrow")) as file:
        frame = pa.ipc.open_file(file).read_all().to_pandas()
    ages = {row["image"]: row["age_years"] for row in read_csv(dataset_root / "images.csv")}
    assert "" in ages.values()  # the phantom has a patient of unknown age
    for image, age in zip(frame["image"], frame["age_years"], strict=True):
        assert pd.isna(age) if ages[image] == "" else age == int(ages[image])
    assert set(frame["view"].cat.categories[:2]) == {"CC", "MLO"}


def test_a_patient_stands_in_one_split_and_every_split_has_one(dataset_root: Path) -> None:
    splits = pd.DataFrame(read_csv(dataset_root / "images.csv")).groupby("patient")["split"].agg(set)
    assert all(len(found) == 1 for found in splits)
    assert {next(iter(found)) for found in splits} == {"train", "val", "test"}


def test_the_bytes_do_not_depend_on_the_number_of_jobs_or_the_order_of_the_csv(
    phantom: Path, dataset_root: Path, tmp_path: Path
) -> None:
    lines = (phantom / "meta.csv").read_text(encoding="utf-8").splitlines()
    shuffled = tmp_path / "shuffled.csv"
    shuffled.write_text("\n".join([lines[0], *reversed(lines[1:])]) + "\n", encoding="utf-8")
    done = run_command(
        *("preprocess", "build-shards", "--csv", shuffled, "--images", phantom, "--out", tmp_path / "shards"),
        *(*CUT[:4], "--jobs", "3"),
    )
    assert done.returncode == 0, done.stderr
    assert digests(tmp_path / "shards" / "r64-s64") == digests(dataset_root / "r64-s64")


def test_a_second_run_has_nothing_to_do(phantom: Path, dataset_root: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in dataset_root.rglob("*.tar")}
    done = run_command(
        "preprocess", "build-shards", "--csv", phantom / "meta.csv", "--out", dataset_root, *CUT
    )
    assert done.returncode == 0, done.stderr
    assert "0 decoded now" in done.stdout
    assert {path: path.stat().st_mtime_ns for path in dataset_root.rglob("*.tar")} == before


def test_an_interrupted_build_is_finished_to_the_same_bytes(
    phantom: Path, dataset_root: Path, tmp_path: Path
) -> None:
    """What a kill can leave: images missing, shards without the set's last file, half-written names."""
    root = tmp_path / "shards"
    shutil.copytree(dataset_root, root)
    done = root / "r64-s64"
    expected = digests(done)
    (done / "shard_set.json").unlink()
    (done / "00001.tar").unlink()
    (done / ".00001.tar.1.partial").write_bytes(b"half")
    (root / "images.csv").unlink()
    shutil.rmtree(next(path for path in (root / "images.zarr").iterdir() if path.is_dir()))
    again = run_command("preprocess", "build-shards", "--csv", phantom / "meta.csv", "--out", root, *CUT)
    assert again.returncode == 0, again.stderr
    assert "1 decoded now" in again.stdout
    assert digests(done) == expected


def test_foreign_files_in_the_output_folder_survive(phantom: Path, tmp_path: Path) -> None:
    root = tmp_path / "shards"
    (root / "r64-s64").mkdir(parents=True)
    foreign = [root / "reader.py", root / "notes.csv", root / "r64-s64" / "README.txt", root / "00000.tar"]
    for path in foreign:
        path.write_text("mine")
    for _ in range(2):
        done = run_command(
            *("preprocess", "build-shards", "--csv", phantom / "meta.csv", "--out", root, *CUT, "--overwrite")
        )
        assert done.returncode == 0, done.stderr
    assert all(path.read_text() == "mine" for path in foreign)


def test_a_bad_file_costs_that_file_only_and_its_row_says_why(phantom: Path, tmp_path: Path) -> None:
    images = tmp_path / "images"
    shutil.copytree(phantom, images)
    rows = read_csv(images / "meta.csv")
    paths = [images / row["File Path"].replace("\\", "/") for row in rows]
    paths[0].write_text("I am a text file called .dcm")
    paths[1].write_bytes(paths[1].read_bytes()[:20_000])
    paths[2].unlink()
    secret = tmp_path / "secret.dcm"
    shutil.copy(paths[3], secret)
    paths[3].unlink()
    paths[3].symlink_to(secret)
    extra = [
        {**rows[4], "File Path": "../secret.dcm"},
        {**rows[4], "File Path": str(secret)},
        {**rows[5]},  # a second time
        {**rows[6], "File Path": ""},
    ]
    with (images / "meta.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows + extra)
    done = run_command(
        *("preprocess", "build-shards", "--csv", images / "meta.csv", "--out", tmp_path / "s", *CUT),
        *("--patient-per-image",),
    )
    assert done.returncode == 0, done.stderr
    found = read_csv(tmp_path / "s" / "images.csv")
    assert [row["status"] for row in found[:4]] == ["not_dicom", "truncated", "missing_file", "unsafe_path"]
    assert [row["status"] for row in found[4:16]] == ["ok"] * 12
    assert [row["status"] for row in found[16:]] == ["unsafe_path", "unsafe_path", "duplicate", "bad_row"]
    assert all(row["reason"] for row in found if row["status"] != "ok")
    assert len(open_shards(tmp_path / "s").info["shards"]) == 12
    assert "8 skipped" in done.stdout


def test_values_that_nobody_knows_stay_unknown_and_those_of_the_header_are_taken(
    phantom: Path, tmp_path: Path
) -> None:
    rows = read_csv(phantom / "meta.csv")[:2]
    rows[0] |= {
        "View Position": "sideways",
        "Image Laterality": "",
        "Age": "-3",
        "Cancer": "maybe",
        "False Positive": "",
    }
    rows[1] |= {"View Position": "ML"}
    with (tmp_path / "meta.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    done = run_command(
        *("preprocess", "build-shards", "--csv", tmp_path / "meta.csv", "--images", phantom),
        *("--out", tmp_path / "s", *CUT),
    )
    assert done.returncode == 0, done.stderr
    first, second = read_csv(tmp_path / "s" / "images.csv")
    names = ("view", "laterality", "age_years", "age_bin", "cancer", "false_positive")
    header = pydicom.dcmread(phantom / rows[0]["File Path"].replace("\\", "/"), stop_before_pixels=True)
    stated = [header.ViewPosition, header.ImageLaterality, str(int(header.PatientAge[:3]))]
    assert [first[name] for name in names[:3]] == stated
    assert [first[name] for name in names[4:]] == ["", ""]  # no header says so, so nobody knows
    assert first["from_header"] == "view laterality age_years"
    assert "view is taken from the DICOM header: its cell cannot be read" in first["reason"]
    assert "cancer is kept as unknown" in first["reason"]
    assert second["view"] == "ML"
    assert second["from_header"] == ""
    assert "header    gave view of 1 image" in done.stdout
    assert "cancer is kept as unknown: its cell cannot be read: row 1" in done.stdout
    assert "disagree  table and DICOM header of 1 image:" in done.stdout
    shards = open_shards(tmp_path / "s")
    codes = shards.conditions()
    assert set(codes["cancer"]) == {-1, 0}
    views = shards.manifest["view"].to_pylist()
    assert set(views) == {"ML", header.ViewPosition}
    assert all(code == -1 for code, view in zip(codes["view"], views, strict=True) if view == "ML")
    assert "sideways" in (tmp_path / "s" / "sources.csv").read_text(encoding="utf-8")
    assert "sideways" not in (tmp_path / "s" / "images.csv").read_text(encoding="utf-8")


def test_nothing_in_a_shard_set_names_a_patient_or_a_path(phantom: Path, dataset_root: Path) -> None:
    patients = {row["File Path"].split("\\")[1] for row in read_csv(phantom / "meta.csv")}
    shared = [path for path in (dataset_root / "r64-s64").rglob("*") if path.is_file()]
    shared += [dataset_root / "images.csv", *(dataset_root / "images.zarr").rglob("zarr.json")]
    for path in some(shared):
        data = path.read_bytes()
        for secret in (*patients, "IM-0", str(phantom), "PHANTOM"):
            assert secret.encode() not in data, f"{secret} in {path}"
    assert (dataset_root / "sources.csv").stat().st_mode & 0o777 == 0o600


def test_the_prepared_form_needs_to_be_told_the_patient(phantom: Path, tmp_path: Path) -> None:
    rows = read_csv(phantom / "meta.csv")[:4]
    with (tmp_path / "prepared.csv").open("w", encoding="utf-8") as file:
        file.write("out_path,view,laterality,age_bin,cancer,false_positive,who\n")
        for row in rows:
            path = row["File Path"].replace("\\", "/")
            file.write(f"{path},{row['View Position']},{row['Image Laterality']},2,0,0,one\n")
    command = (
        "preprocess",
        "build-shards",
        "--csv",
        tmp_path / "prepared.csv",
        "--images",
        phantom,
        "--out",
        tmp_path / "s",
    )
    refused = run_command(*command, *CUT)
    assert refused.returncode == 1
    assert "--patient-column" in refused.stderr
    done = run_command(*command, *CUT, "--patient-column", "who")
    assert done.returncode == 0, done.stderr
    shards = open_shards(tmp_path / "s")
    assert set(shards.conditions()["age_bin"]) == {2}
    assert set(shards.manifest["age_years"].to_pylist()) == {None}
    assert shards.info["counts"]["patients"] == 1


def test_uint16_keeps_more_than_eight_bits(phantom: Path, tmp_path: Path) -> None:
    done = run_command(
        *("preprocess", "build-shards", "--csv", phantom / "meta.csv", "--out", tmp_path / "s", *CUT),
        *("--dtype", "uint16"),
    )
    assert done.returncode == 0, done.stderr
    shards = open_shards(tmp_path / "s")
    pixels = shards.read(shards.rows()[:20])
    assert pixels.dtype == np.uint16
    assert len(np.unique(pixels)) > 300
    with tarfile.open(shards.folder / "00000.tar") as tar:
        member = next(name for name in tar.getnames() if name.endswith(".npy"))
        file = tar.extractfile(member)
        assert file is not None
        assert np.load(io.BytesIO(file.read())).dtype == np.dtype("<u2")


def test_another_recipe_or_another_set_of_images_is_not_mixed_in_silently(
    phantom: Path, dataset_root: Path, tmp_path: Path
) -> None:
    root = tmp_path / "shards"
    shutil.copytree(dataset_root, root)
    build = ("preprocess", "build-shards", "--csv", phantom / "meta.csv", "--out", root, *CUT)
    recipe = run_command(*build, "--dtype", "uint16")
    assert recipe.returncode == 1
    assert "dtype was 'uint8', now 'uint16'" in recipe.stderr
    other = run_command(*build, "--min-foreground", "0.9")
    assert other.returncode == 1
    assert "--overwrite" in other.stderr
    kept = json.loads((root / "r64-s64" / "shard_set.json").read_text())["counts"]["patches"]
    overwritten = run_command(*build, "--min-foreground", "0.9", "--overwrite")
    assert overwritten.returncode == 0, overwritten.stderr
    shards = open_shards(root)
    assert len(shards) < kept
    assert min(shards.manifest["foreground"].to_pylist()) >= 0.9


def test_a_build_that_goes_wrong_stops_and_says_why(phantom: Path, tmp_path: Path) -> None:
    images = tmp_path / "images"
    shutil.copytree(phantom, images)
    for path in sorted(images.rglob("*.dcm"))[:6]:
        path.write_text("no image")
    build = ("preprocess", "build-shards", "--csv", images / "meta.csv", "--out", tmp_path / "s", *CUT)
    stopped = run_command(*build, "--max-failures", "2")
    assert stopped.returncode == 1
    assert "--max-failures" in stopped.stderr
    statuses = [row["status"] for row in read_csv(tmp_path / "s" / "images.csv")]
    assert statuses.count("not_dicom") == 3
    assert "not_reached" in statuses
    share = run_command(*build, "--max-failures", "10%")  # of 16 images
    assert share.returncode == 1
    allowed = run_command(*build)
    assert allowed.returncode == 0, allowed.stderr
    assert "6 not_dicom" in allowed.stdout


def test_a_second_build_in_the_same_folder_is_refused_and_told_who_holds_it(
    phantom: Path, tmp_path: Path
) -> None:
    from nlbs.files import only_one

    with only_one(tmp_path / "s", "nlbs-preprocess"):
        done = run_command(
            "preprocess", "build-shards", "--csv", phantom / "meta.csv", "--out", tmp_path / "s", *CUT
        )
    assert done.returncode == 1
    assert f"process {os.getpid()} on" in done.stderr
    after = run_command(
        "preprocess", "build-shards", "--csv", phantom / "meta.csv", "--out", tmp_path / "s", *CUT
    )
    assert after.returncode == 0, after.stderr
