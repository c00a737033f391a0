"""Images with equal pixels: found by their checksums, a leak where they stand in two splits."""

import re
import shutil
from pathlib import Path

import pytest

from nlbs.preprocess.root.checks import StoredPixels, find_duplicates, leak_message
from tests.conftest import CUT, run_command
from tests.preprocess.roots import files_of, preprocess, read_csv, run, write_csv
from tests.preprocess.test_build import digests

A, B, C = "aa" * 32, "bb" * 32, "cc" * 32


def test_images_of_equal_checksums_are_grouped_and_others_are_not() -> None:
    images = [
        StoredPixels("3", A, "p1", "train"),
        StoredPixels("1", B, "p1", "train"),
        StoredPixels("2", A, "p1", "train"),
        StoredPixels("4", A, "p1", "train"),
        StoredPixels("5", "", "p2", "val"),
        StoredPixels("6", "", "p3", "val"),
    ]
    (found,) = find_duplicates(iter(images))
    assert [image.image for image in found.images] == ["2", "3", "4"]
    assert found.pixels_sha256 == A
    assert not found.across_patients
    assert not found.is_leak
    assert leak_message([found]) is None


def test_leaks_come_first_then_groups_across_patients() -> None:
    images = [
        *(StoredPixels("1", A, "p1", "train"), StoredPixels("2", A, "p1", "train")),
        *(StoredPixels("3", B, "p1", "train"), StoredPixels("4", B, "p2", "train")),
        *(StoredPixels("5", C, "p1", "train"), StoredPixels("6", C, "p3", "test")),
    ]
    found = find_duplicates(images)
    assert [duplicate.pixels_sha256 for duplicate in found] == [C, B, A]
    assert [duplicate.is_leak for duplicate in found] == [True, False, False]
    assert [duplicate.across_patients for duplicate in found] == [True, True, False]
    assert "5 of patient p1 in train and 6 of patient p3 in test" in (leak_message(found) or "")


@pytest.mark.parametrize("cut", [(), ("--resolution", "96", "--stride", "48")])
def test_no_patient_of_a_root_moves_to_another_split(
    phantom: Path, dataset_root: Path, tmp_path: Path, cut: tuple[str, ...]
) -> None:
    root = tmp_path / "shards"
    shutil.copytree(dataset_root, root)
    build = ("preprocess", "build-shards", "--csv", phantom / "meta.csv", "--out", root)
    moving = ("--split", "0/0/100")
    refused = run_command(*build, *moving, *(cut or CUT))
    assert refused.returncode == 1
    assert "would move to another split" in refused.stderr
    assert "--split-seed" in refused.stderr
    kept, found = digests(dataset_root), digests(root)
    assert {name: value for name, value in found.items() if name != ".lock"} == {
        name: value for name, value in kept.items() if name != ".lock"
    }
    assert run_command(*build, *moving, *(cut or CUT), "--overwrite").returncode == 0
    assert {row["split"] for row in read_csv(root / "images.csv")} == {"test"}


OTHER_CUT = ("--resolution", "96", "--stride", "48", "--jobs", "1")


@pytest.fixture
def built(phantom: Path, tmp_path: Path) -> Path:
    """A folder with a phantom that a test may change and a dataset root built from it, which keeps a column."""
    shutil.copytree(phantom, tmp_path / "images")
    rows = [
        {**row, "density": "ABCD"[number % 4]} for number, row in enumerate(read_csv(phantom / "meta.csv"))
    ]
    table = write_csv(tmp_path / "images" / "meta.csv", rows)
    preprocess("build-shards", "--csv", table, "--out", tmp_path / "shards", "--keep", "density", *CUT)
    return tmp_path


def otherwise(rows: list[dict[str, str]], change: str) -> list[dict[str, str]]:
    """Gives the rows of a table with one change."""
    if change == "condition":
        rows[3]["Cancer"] = "0" if rows[3]["Cancer"] == "1" else "1"
    if change == "fewer images":
        del rows[5]
    return rows


@pytest.mark.parametrize("cut", [CUT, OTHER_CUT], ids=["same cut", "other cut"])
@pytest.mark.parametrize(
    ("change", "options", "says"),
    [
        (
            "condition",
            ("--keep", "density"),
            "1 row says otherwise about images that .* holds .row 4: cancer.*--overwrite",
        ),
        ("fewer images", ("--keep", "density"), "does not name 1 image that .* was cut from: .*--overwrite"),
        ("column", (), "keeps density of its table, this one none: pass --keep density, or pass --overwrite"),
    ],
)
def test_what_shard_sets_were_cut_from_does_not_change_under_them_whatever_the_cut(
    built: Path, change: str, options: tuple[str, ...], says: str, cut: tuple[str, ...]
) -> None:
    root, table = built / "shards", built / "images" / "meta.csv"
    write_csv(table, otherwise(read_csv(table), change))
    kept = files_of(root)
    refused = run("build-shards", "--csv", table, "--out", root, *options, *cut)
    assert refused.returncode == 1
    assert re.search(says, refused.stderr), refused.stderr
    assert files_of(root) == kept
    preprocess("verify", "--shards", root)
    preprocess("build-shards", "--csv", table, "--out", root, *options, *cut, "--overwrite")
    assert files_of(root) != kept


def test_an_unchanged_table_is_cut_otherwise_beside_the_sets_that_are_there(built: Path) -> None:
    root, table = built / "shards", built / "images" / "meta.csv"
    kept = files_of(root)
    preprocess("build-shards", "--csv", table, "--out", root, "--keep", "density", *OTHER_CUT)
    assert {name: digest for name, digest in files_of(root).items() if name in kept} == kept
    assert (root / "r96-s48" / "shard_set.json").is_file()


def test_an_image_that_was_mended_is_not_slipped_under_the_other_sets(phantom: Path, tmp_path: Path) -> None:
    shutil.copytree(phantom, tmp_path / "images")
    table, root = tmp_path / "images" / "meta.csv", tmp_path / "shards"
    file = tmp_path / "images" / read_csv(table)[2]["File Path"].replace("\\", "/")
    whole = file.read_bytes()
    file.write_bytes(whole[:2000])
    preprocess("build-shards", "--csv", table, "--out", root, *CUT)
    file.write_bytes(whole)
    kept = (root / "images.csv").read_bytes()
    refused = run("build-shards", "--csv", table, "--out", root, *OTHER_CUT)
    assert "1 can be used now that could not before, and 0 no more" in refused.stderr
    assert (root / "images.csv").read_bytes() == kept
    preprocess("build-shards", "--csv", table, "--out", root, *OTHER_CUT, "--part", "1/1")
    merged = run("merge", "--shards", root, "--jobs", "1")
    assert "1 can be used now that could not before, and 0 no more" in merged.stderr
    assert (root / "images.csv").read_bytes() == kept
    preprocess("build-shards", "--csv", table, "--out", root, *OTHER_CUT, "--overwrite")


def test_a_grown_root_is_not_begun_again_by_another_cut(built: Path) -> None:
    root, table = built / "shards", built / "images" / "meta.csv"
    rows = read_csv(table)
    write_csv(table, rows[:12])
    preprocess("build-shards", "--csv", table, "--out", root, "--keep", "density", *CUT, "--overwrite")
    write_csv(table, rows)
    more = run("build-shards", "--csv", table, "--out", root, "--keep", "density", *OTHER_CUT)
    assert "4 images that" in more.stderr
    assert "nlbs-preprocess append" in more.stderr
    preprocess("append", "--csv", table, "--out", root, "--keep", "density", "--jobs", "1")
    again = run("build-shards", "--csv", table, "--out", root, "--keep", "density", *OTHER_CUT)
    assert "has grown by append" in again.stderr
