"""How a shard set is found, and what is said where it is not."""

import json
from pathlib import Path
from typing import Any

import pytest

from nlbs.errors import ShardError
from nlbs.shards.format.layout import find_shard_set, read_shard_set_json, shard_sets_in
from tests.conftest import some


def complete(folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / "shard_set.json").write_text("{}")
    return folder


def change(folder: Path, **values: Any) -> None:
    """Writes other values into shard_set.json; a value of ... takes the key away."""
    info = json.loads((folder / "shard_set.json").read_text()) | values
    kept = {key: value for key, value in info.items() if value is not ...}
    (folder / "shard_set.json").write_text(json.dumps(kept))


def test_a_shard_set_is_found_by_its_own_name_and_by_its_root(tmp_path: Path) -> None:
    folder = complete(tmp_path / "r256-s512")
    assert find_shard_set(folder) == folder
    assert find_shard_set(tmp_path) == folder


def test_folders_without_shard_set_json_are_no_shard_sets(tmp_path: Path) -> None:
    folder = complete(tmp_path / "r256-s512")
    for other in ("r512-s256/parts", "images.zarr", "holiday"):
        (tmp_path / other).mkdir(parents=True)
    (tmp_path / "r512-s256" / "00000.tar").touch()
    (tmp_path / "notes.txt").write_text("shard_set.json")
    assert shard_sets_in(tmp_path) == [folder]
    assert find_shard_set(tmp_path) == folder


def test_several_sets_in_a_root_are_listed_and_none_is_taken(tmp_path: Path) -> None:
    folders = [complete(tmp_path / name) for name in ("r512-s256", "r128-s1024", "r256-s512")]
    with pytest.raises(ShardError, match="holds 3 shard sets; name one of them") as caught:
        find_shard_set(tmp_path)
    assert all(str(folder) in str(caught.value) for folder in some(folders))


def test_a_missing_folder_is_told_how_to_be_made(tmp_path: Path) -> None:
    with pytest.raises(
        ShardError, match=f"there is no folder {tmp_path / 'shrads'}; make one with: nlbs-preprocess"
    ):
        find_shard_set(tmp_path / "shrads")
    assert shard_sets_in(tmp_path / "shrads") == []


def test_what_lies_near_a_wrong_folder_is_named(tmp_path: Path) -> None:
    root, folder = tmp_path / "data" / "shards", complete(tmp_path / "data" / "shards" / "r256-s512")
    (root / "images.csv").write_text("row")
    (root / "images.zarr").mkdir()
    for asked, meant in (
        (root.parent, root),  # a folder too high
        (root / "r512-s256", root),  # another cut
        (root / "images.zarr", root),
    ):
        with pytest.raises(ShardError, match=f"name {meant} in its place$"):
            find_shard_set(asked)
    (root / "images.csv").unlink()  # the set alone
    with pytest.raises(ShardError, match=f"name {folder} in its place$"):
        find_shard_set(root / "r256-s521")


def test_nobody_is_told_to_build_into_a_folder_of_other_things(tmp_path: Path) -> None:
    (tmp_path / "photo.png").touch()
    with pytest.raises(ShardError, match=r"check the path, or make one with: .* --out shards/$"):
        find_shard_set(tmp_path)
    (tmp_path / "photo.png").unlink()
    with pytest.raises(ShardError, match=rf"--out {tmp_path}$"):
        find_shard_set(tmp_path)


def test_a_file_in_the_place_of_a_folder_is_said_to_be_one(tmp_path: Path) -> None:
    path = complete(tmp_path / "r256-s512") / "shard_set.json"
    with pytest.raises(ShardError, match=f"{path} is a file: name the folder"):
        find_shard_set(path)


def test_a_folder_of_other_things_is_no_shard_set(tmp_path: Path) -> None:
    (tmp_path / "photo.png").touch()
    with pytest.raises(
        ShardError, match=rf"{tmp_path} holds no shard set \(no shard_set.json\): check the path"
    ):
        find_shard_set(tmp_path)


@pytest.mark.parametrize("there", ["images.zarr", "r256-s512/parts"])
@pytest.mark.parametrize("asked", [".", "r256-s512"])
def test_an_unfinished_build_is_told_to_run_again(tmp_path: Path, there: str, asked: str) -> None:
    (tmp_path / "images.zarr").mkdir()
    (tmp_path / "r256-s512" / "parts").mkdir(parents=True)
    with pytest.raises(ShardError, match="unfinished build: run the same nlbs-preprocess command again"):
        find_shard_set(tmp_path / asked)


@pytest.mark.parametrize("version", [3, 0, None, "1"])
def test_another_format_version_is_named_beside_ours(shard_folder: Path, version: object) -> None:
    change(shard_folder, format_version=version)
    with pytest.raises(ShardError, match=rf"has format version {version!r}, this nlbs-cvae reads version 1"):
        read_shard_set_json(shard_folder)


@pytest.mark.parametrize("text", ["[]", "3", "{}", '{"format": "webdataset", "format_version": 1}'])
def test_the_shard_set_json_of_another_software_is_refused(shard_folder: Path, text: str) -> None:
    (shard_folder / "shard_set.json").write_text(text)
    with pytest.raises(ShardError, match="does not describe a shard set"):
        read_shard_set_json(shard_folder)


@pytest.mark.parametrize("data", [b"", b"{", b'{"format": ', b"\xff\xfe\x00"])
def test_a_garbled_shard_set_json_is_told_how_to_be_made_again(shard_folder: Path, data: bytes) -> None:
    (shard_folder / "shard_set.json").write_bytes(data)
    (shard_folder.parent / "images.zarr").mkdir()
    with pytest.raises(
        ShardError, match=rf"cannot read {shard_folder}/shard_set.json .*delete {shard_folder} and run"
    ):
        read_shard_set_json(shard_folder)


@pytest.mark.parametrize("key", ["dataset_id", "parameters", "manifest", "shards", "counts", "code_books"])
def test_a_key_that_is_lacking_is_named(shard_folder: Path, key: str) -> None:
    change(shard_folder, **{key: ...})
    with pytest.raises(ShardError, match=f"it lacks {key}; copy"):
        read_shard_set_json(shard_folder)


def test_nobody_is_told_to_delete_a_set_that_cannot_be_cut_again(shard_folder: Path) -> None:
    (shard_folder / "shard_set.json").write_text("{")
    with pytest.raises(ShardError, match=rf"copy {shard_folder} again from where it came") as caught:
        read_shard_set_json(shard_folder)
    assert "; delete" not in str(caught.value)
