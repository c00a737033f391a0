"""Images with equal pixels: found by their checksums, a leak where they stand in two splits."""

import shutil
from pathlib import Path

import pytest

from nlbs.preprocess.root.checks import StoredPixels, find_duplicates, leak_message
from tests.conftest import CUT, run_command
from tests.preprocess.test_build import digests, read_csv

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
    build = ("preprocess", "build-shards", "--csv", phantom / "meta.csv", "--out", root, "--jobs", "1")
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
