"""Names in what somebody else sends lead nowhere: nothing outside the folder is read, written or deleted."""

import csv
import json
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nlbs.errors import ConfigError, DatasetError, ShardError
from nlbs.preprocess.images.store import ImageStore
from nlbs.preprocess.to_dicom import _of_pictures
from nlbs.shards import open_shards
from nlbs.shards.format.layout import read_shard_set_json
from nlbs.shards.format.tar import write_tar
from nlbs.shards.reading.cache import Cache
from tests.conftest import some
from tests.reliability.faulty_disk import tree
from tests.reliability.received import (
    SET,
    change_description,
    change_manifest,
    commands,
    is_refused,
    with_words,
)

BAD = (
    "../foreign",
    "../../foreign",
    "/etc/passwd",
    "a/../../foreign",
    "..",
    ".",
    "",
    "a\0b",
    "a\nb",
    "C:\\x",
    "~",
    "a" * 300,
)


@pytest.fixture
def place(tiny_root: Path, tmp_path: Path) -> Path:
    """A folder with a dataset root in it, ``shards``, and foreign files around and above its shard set."""
    shutil.copytree(tiny_root, tmp_path / "shards")
    for folder in (tmp_path, tmp_path / "shards", tmp_path / "shards" / SET):
        (folder / "foreign").write_text("not yours")
    return tmp_path


def foreign(place: Path) -> dict[str, bytes]:
    """Gives what is not of the shard sets nor of the store."""
    ours = ("shards/r", "shards/images.zarr", "shards/.lock", "shards/sources.csv", "shards/images.csv")
    return {str(name): data for name, data in tree(place).items() if not str(name).startswith(ours)}


CHANGES: dict[str, Callable[[dict[str, Any]], object]] = {
    "manifest": lambda info: info["manifest"].update(name="../foreign"),
    "manifest by an absolute path": lambda info: info["manifest"].update(name="/etc/passwd"),
    "shard": lambda info: info["shards"][0].update(name="../../foreign"),
    "shard in a folder": lambda info: info["shards"][0].update(name="x/00000.tar"),
    "two shards of one name": lambda info: info["shards"][1].update(name=info["shards"][0]["name"]),
    "dataset_id": lambda info: info.update(dataset_id="../../../../tmp/x"),
    "content_id": lambda info: info.update(content_id="../x"),
    "sha256 of the manifest": lambda info: info["manifest"].update(sha256="../../x"),
    "earlier description": lambda info: info.update(history=[{"name": "../foreign"}]),
    "container": lambda info: info["parameters"].update(container="../x"),
}  # fmt: skip


def test_a_description_with_a_name_that_leads_out_is_refused(place: Path) -> None:
    lines: list[tuple[object, ...]] = []
    for number, change in enumerate(CHANGES.values()):
        folder = place / "shards" / f"r64-s{number}"
        shutil.copytree(place / "shards" / SET, folder)
        change_description(folder, change)
        with pytest.raises(ShardError, match=r"shard_set\.json"):
            read_shard_set_json(folder)
        lines += [
            ("info", "--shards", folder),
            ("verify", "--shards", folder),
            ("convert", "--shards", folder, "--to", "zarr", "--out", place / "out"),
        ]
    before = foreign(place)
    for line, done in some(zip(lines, commands(lines), strict=True)):
        assert is_refused(done), (line, done)
    assert foreign(place) == before


def test_a_set_that_is_being_overwritten_deletes_no_foreign_file(place: Path) -> None:
    """A ``parts/replaced.json`` that was put there: a plain reshard deleted what it names."""
    folder = place / "shards" / SET
    info = json.loads((folder / "shard_set.json").read_text(encoding="utf-8"))
    before = foreign(place)
    for names in (
        {"manifest": {**info["manifest"], "name": "../../foreign"}},
        {"history": [{"name": "../foreign", "manifest": {"name": "../../foreign"}}]},
        {"shards": [{**info["shards"][0], "name": "../../foreign"}]},
        {"manifest": {**info["manifest"], "name": "foreign"}},
    ):
        for other in (SET, "r64-s32"):  # one that is there, one that is to come
            parts = place / "shards" / other / "parts"
            parts.mkdir(parents=True, exist_ok=True)
            (parts / "replaced.json").write_text(json.dumps({**info, **names}), encoding="utf-8")
    root = place / "shards"
    lines = [
        ("reshard", "--shards", root, "--resolution", "64", "--stride", "64", "--overwrite", "--jobs", "1"),
        ("reshard", "--shards", root, "--resolution", "64", "--stride", "32", "--jobs", "1"),
        ("convert", "--shards", root / SET, "--to", "tar", "--out", root / "r64-s32"),
    ]
    done = commands(lines)
    assert all(each.code == 0 or is_refused(each) for each in some(done)), done
    assert foreign(place) == before
    assert (root / SET / "foreign").is_file()


@pytest.mark.parametrize("column", ["image", "patient"])
@pytest.mark.parametrize("name", BAD)
def test_a_manifest_with_an_id_that_leads_out_is_refused(place: Path, column: str, name: str) -> None:
    folder = place / "shards" / SET
    change_manifest(folder, with_words(column, lambda words: [name, *words[1:]]))
    with pytest.raises(ShardError, match=r"manifest .* is damaged: it names the"):
        open_shards(folder)


def test_no_member_of_a_tar_leads_out(tmp_path: Path) -> None:
    import numpy as np

    pixels = np.zeros((4, 4), np.uint8)
    for name in BAD:
        with (tmp_path / "x.tar").open("wb") as file, pytest.raises(ShardError, match="is no key"):
            write_tar(file, [(f"{name}_00000_00000" if name else "", pixels, {})])
    with (tmp_path / "x.tar").open("wb") as file:
        write_tar(file, [("abc_00000_-0001", pixels, {})])
    with tarfile.open(tmp_path / "x.tar") as tar:
        assert tar.getnames() == ["abc_00000_-0001.npy", "abc_00000_-0001.json"]


def test_images_csv_with_what_is_no_id_is_refused_before_anything_is_read_by_it(place: Path) -> None:
    root = place / "shards"
    shutil.rmtree(root / SET)
    with (root / "images.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    first = min(path.name for path in (root / "images.zarr").iterdir() if path.is_dir())
    shutil.copytree(root / "images.zarr" / first, place / "elsewhere")
    lines = []
    for column in ("image", "patient", "split", "generation", "row", "pixels_sha256", "view"):
        other = root / column
        shutil.copytree(root / "images.zarr", other / "images.zarr")
        with (other / "images.csv").open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows([{**rows[0], column: "../../../elsewhere"}, *rows[1:]])
        cut = ("--resolution", "64", "--stride", "64", "--jobs", "1")
        lines += [
            ("reshard", "--shards", other, *cut),
            ("reshard", "--shards", other, *cut, "--container", "zarr"),
        ]
    before = tree(place / "elsewhere")
    for line, done in some(zip(lines, commands(lines), strict=True)):
        assert is_refused(done), (line, done)
        assert "images.csv" in done.said
    assert tree(place / "elsewhere") == before


@pytest.mark.parametrize("name", BAD)
def test_the_store_and_the_cache_take_no_name_that_leads_out(tmp_path: Path, name: str) -> None:
    import numpy as np

    store = ImageStore(tmp_path / "images.zarr")
    pixels = np.zeros((4, 4), np.uint8)
    for call in (store.record, store.pixels, lambda image: store.put(image, pixels, {})):
        with pytest.raises(DatasetError, match="no such name"):
            call(name)
    cache = Cache(tmp_path / "cache", 1000)
    for use in (lambda: cache.find(name, 1), lambda: cache.put(name, b"1"), lambda: cache.discard(name)):
        with pytest.raises(ConfigError, match="no such name"):
            use()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["../../foreign.png", "/etc/hostname", "synthetic-0.png/../../x", "x.dcm"])
def test_a_picture_in_a_received_table_is_one_beside_it(tmp_path: Path, name: str) -> None:
    (tmp_path / "samples.csv").write_text(f"file,index\n{name},0\n", encoding="utf-8")
    with pytest.raises(DatasetError, match="names a picture"):
        list(_of_pictures(tmp_path, {"resolution": 8}))
