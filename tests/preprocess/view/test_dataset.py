"""What is looked at: images, patches and remarks, and how they follow what is on disk."""

import csv
import shutil
from pathlib import Path

import numpy as np
import pytest

from nlbs.errors import ShardError
from nlbs.paths import as_path
from nlbs.preprocess.view.dataset import Dataset, MissingError
from nlbs.shards import open_shards
from tests.conftest import Bucket, some
from tests.shards.conftest import make_shard_set


def test_an_image_has_the_rows_that_the_manifest_gives_it(dataset_root: Path) -> None:
    snapshot = Dataset(dataset_root).now()
    images = open_shards(dataset_root).manifest["image"].to_pylist()
    for name in some(sorted(set(images))):
        expected = [row for row, image in enumerate(images) if image == name]
        assert snapshot.rows_of(name).tolist() == expected
    assert snapshot.rows_of("no-such-image").tolist() == []
    rows = np.array([5, 0, 1, 5])
    assert snapshot.images_of(rows) == list(dict.fromkeys([images[5], images[0], images[1]]))


def test_it_stays_open_until_something_changes(tmp_path: Path) -> None:
    make_shard_set(tmp_path / "set", patches=12)
    dataset = Dataset(tmp_path / "set")
    first = dataset.now()
    assert dataset.now() is first
    assert dataset.last is first
    make_shard_set(tmp_path / "set", patches=20, dataset_id="f" * 32)
    assert len(dataset.now().opened()) == 20


def test_what_is_unusual_is_told_of_each_image(dataset_root: Path, tmp_path: Path) -> None:
    root = tmp_path / "root"
    shutil.copytree(dataset_root, root)
    with (root / "images.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    rows[3]["mask_flags"], rows[5]["breast_median"] = "ragged small", "0.999"
    with (root / "images.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    remarks = Dataset(root).now().remarks
    assert remarks[rows[3]["image"]].startswith("mask: ragged small")
    assert "breast_median" in remarks[rows[5]["image"]]
    assert Dataset(root).now().sections["attention"]


def test_where_there_is_nothing_it_says_what_to_name(tmp_path: Path) -> None:
    with pytest.raises(ShardError, match="there is no folder"):
        Dataset(tmp_path / "nowhere")
    for name in ("one", "two"):
        make_shard_set(tmp_path / "root" / name)
    with pytest.raises(ShardError, match="name one of them"):
        Dataset(tmp_path / "root")


def test_a_set_without_its_images_has_no_pictures_of_them(tmp_path: Path) -> None:
    make_shard_set(tmp_path / "set")
    snapshot = Dataset(tmp_path / "set").now()
    assert snapshot.images == [f"{number:016x}" for number in range(3)]
    assert snapshot.sections == {"left_out": [], "attention": []}
    with pytest.raises(MissingError):
        snapshot.image_png(snapshot.images[0], 100)


def test_a_set_in_an_object_store_is_looked_at_like_any_other(bucket: Bucket, tmp_path: Path) -> None:
    make_shard_set(tmp_path / "root" / "set")
    bucket.put_folder("root", tmp_path / "root")
    there, here = (Dataset(as_path(at)).now() for at in (bucket.url("root"), str(tmp_path / "root" / "set")))
    assert there.patch_png(3, 64) == here.patch_png(3, 64)
    assert there.images == here.images
