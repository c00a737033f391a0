"""Every byte of a shard set is checked, and what is lost is named."""

import hashlib
from pathlib import Path

import google_crc32c
import pytest

from nlbs.shards import open_shards
from nlbs.shards.format.verify import Damage, crc32c_of, damages, sha256_of
from tests.conftest import some
from tests.shards.conftest import make_shard_set


def flip(path: Path, place: int) -> None:
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)


def test_an_intact_set_has_no_damage(shard_folder: Path) -> None:
    assert list(damages(shard_folder)) == []


def test_checksums_of_files_are_those_of_the_standards(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(bytes(32))
    assert crc32c_of(tmp_path / "a") == 0x8A9136AA  # RFC 3720 B.4
    (tmp_path / "b").write_bytes(b"abc" * 700_000)  # longer than what is read at once
    assert sha256_of(tmp_path / "b") == hashlib.sha256(b"abc" * 700_000).hexdigest()
    assert crc32c_of(tmp_path / "b") == google_crc32c.value(b"abc" * 700_000)


@pytest.mark.parametrize("place", [0, 300, 512 + 128, -1])
def test_a_flipped_bit_anywhere_in_a_shard_is_found(shard_folder: Path, place: int) -> None:
    flip(shard_folder / "00002.tar", place)
    (damage,) = damages(shard_folder)
    assert damage.name == "00002.tar"
    assert damage.what.startswith("is not what was written: ")


def test_the_patches_that_are_lost_are_named_by_their_rows(shard_folder: Path) -> None:
    manifest = open_shards(shard_folder).manifest.to_pylist()
    for row in (5, 6):
        flip(shard_folder / manifest[row]["shard"], manifest[row]["offset"] + 7)
    assert list(damages(shard_folder)) == [
        Damage("00001.tar", "is not what was written: 2 of 4 patches are damaged (rows 5, 6 of the manifest)")
    ]


def test_a_changed_header_loses_no_patch(shard_folder: Path) -> None:
    flip(shard_folder / "00000.tar", 100)
    (damage,) = damages(shard_folder)
    assert "every patch is intact" in damage.what


def test_missing_and_shortened_files_are_all_named(shard_folder: Path) -> None:
    (shard_folder / "00000.tar").unlink()
    path = shard_folder / "00002.tar"
    size = path.stat().st_size
    path.write_bytes(path.read_bytes()[:-1])
    assert list(damages(shard_folder)) == [
        Damage("00000.tar", "is missing"),
        Damage("00002.tar", f"has {size - 1} bytes instead of {size}"),
    ]


def test_a_manifest_that_is_missing_changed_or_another_sets_is_named(tmp_path: Path) -> None:
    make_shard_set(tmp_path / "a")
    make_shard_set(tmp_path / "b", seed=1, dataset_id="f" * 32)
    path = tmp_path / "a" / "manifest.arrow"
    data = path.read_bytes()
    path.write_bytes(data[:-100] + bytes([data[-100] ^ 1]) + data[-99:])
    (damage,) = damages(tmp_path / "a")
    assert damage.name == "manifest.arrow"
    path.write_bytes((tmp_path / "b" / "manifest.arrow").read_bytes())
    (damage,) = damages(tmp_path / "a")
    assert "belongs to another shard set" in damage.what
    path.unlink()
    assert list(damages(tmp_path / "a")) == [Damage("manifest.arrow", "is missing")]


@pytest.mark.parametrize(("container", "compression"), [("tar", "png"), ("zarr", "none"), ("zarr", "zstd")])
def test_every_kind_of_shard_is_checked_to_the_last_byte(
    tmp_path: Path, container: str, compression: str
) -> None:
    make_shard_set(tmp_path / "set", container=container, compression=compression)
    assert list(damages(tmp_path / "set")) == []
    at = open_shards(tmp_path).manifest.slice(5, 1).to_pylist()[0]
    path = tmp_path / "set" / at["shard"]
    file = path / "c" / "0" / "0" / "0" if container == "zarr" else path
    flip(file, at["offset"] + at["nbytes"] // 2)
    assert list(damages(tmp_path / "set")) == [
        Damage(at["shard"], "is not what was written: 1 of 4 patches is damaged (row 5 of the manifest)")
    ]
    flip(file, at["offset"] + at["nbytes"] // 2)
    flip(file, -1)
    (damage,) = damages(tmp_path / "set")
    assert "every patch is intact" in damage.what
    file.unlink()
    assert list(damages(tmp_path / "set")) == [Damage(at["shard"], "is missing")]


def test_a_description_of_an_array_that_is_changed_or_missing_is_named(tmp_path: Path) -> None:
    make_shard_set(tmp_path / "set", container="zarr")
    flip(tmp_path / "set" / "00001.zarr" / "zarr.json", 30)
    (tmp_path / "set" / "00002.zarr" / "zarr.json").unlink()
    assert list(damages(tmp_path / "set")) == [
        Damage("00001.zarr/zarr.json", "is not what was written; every patch can be read"),
        Damage("00002.zarr/zarr.json", "is missing"),
    ]


def test_a_flipped_bit_anywhere_in_shard_set_json_is_found_before_anything_in_it_is_believed(
    shard_folder: Path,
) -> None:
    path = shard_folder / "shard_set.json"
    whole = path.read_bytes()
    for place in some(range(len(whole))):
        flip(path, place)
        (damage,) = damages(shard_folder)
        assert damage.name == "shard_set.json"
        path.write_bytes(whole)


def test_a_shard_set_json_that_cannot_be_read_is_named(shard_folder: Path) -> None:
    (shard_folder / "shard_set.json").write_text("{")
    (damage,) = damages(shard_folder)
    assert damage.name == "shard_set.json"
    assert "cannot read" in damage.what
