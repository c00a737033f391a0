"""Damage of an opened set: found when it is opened, or when the patch is read; the shard is named."""

import json
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nlbs.errors import ShardError
from nlbs.shards import ShardSet, open_shards
from nlbs.shards.reading.reader import Reader
from tests.conftest import some
from tests.shards.conftest import make_shard_set
from tests.shards.reading.test_shard_set import KINDS


def rewrite(path: Path, place: int, change: Callable[[int], int] = lambda byte: byte ^ 1) -> None:
    """Changes one byte of a file."""
    data = bytearray(path.read_bytes())
    data[place] = change(data[place])
    path.write_bytes(data)


def place_of(shards: ShardSet, row: int) -> tuple[Path, int]:
    """Gives the file and the offset of the pixels of a row, as the manifest says."""
    at = shards.manifest.slice(row, 1).to_pylist()[0]
    return shards.folder / at["shard"], at["offset"]


@pytest.mark.parametrize(("container", "compression"), KINDS)
def test_damage_is_found_in_every_container(tmp_path: Path, container: str, compression: str) -> None:
    make_shard_set(tmp_path / "set", container=container, compression=compression)
    shards = open_shards(tmp_path)
    path, offset = place_of(shards, 5)
    file = path / "c" / "0" / "0" / "0" if container == "zarr" else path
    data = file.read_bytes()
    rewrite(file, offset + 20)
    with pytest.raises(ShardError, match=rf"patch 5 in {path} is damaged: its checksum does not match"):
        shards.read([4, 5])
    file.write_bytes(data[: offset + 20])
    with pytest.raises(ShardError, match="the file ends after 20 of its"):
        shards.read([5])
    with pytest.raises(ShardError, match=f"{file} has {offset + 20} bytes instead of {len(data)}"):
        open_shards(tmp_path)
    shards.close()
    file.unlink()
    with pytest.raises(ShardError, match="the file is gone"):  # and not air, as zarr takes it
        shards.read([5])
    with pytest.raises(ShardError, match=f"{file} is missing"):
        open_shards(tmp_path)


@pytest.mark.parametrize(("container", "compression"), [("tar", "png"), ("zarr", "zstd")])
@pytest.mark.parametrize("change", [{"resolution": 8}, {"resolution": 32}, {"dtype": "uint16"}])
def test_compressed_patches_of_another_size_than_the_set_says_are_refused(
    tmp_path: Path, container: str, compression: str, change: dict[str, Any]
) -> None:
    make_shard_set(tmp_path / "set", container=container, compression=compression)
    path = tmp_path / "set" / "shard_set.json"
    info = json.loads(path.read_text())
    info["parameters"] |= change
    path.write_text(json.dumps(info))
    with pytest.raises(ShardError, match=r"patch 2 in .* is damaged: "):
        open_shards(tmp_path).read([2])


def test_a_compression_that_this_release_does_not_know_is_refused(shard_folder: Path) -> None:
    path = shard_folder / "shard_set.json"
    path.write_text(path.read_text().replace('"compression": "none"', '"compression": "jxl"'))
    with pytest.raises(ShardError, match="tar shards of compression jxl, which this release does not read"):
        open_shards(shard_folder)


def test_a_flipped_bit_in_a_patch_is_found_when_it_is_read(shard_folder: Path) -> None:
    path, offset = place_of(open_shards(shard_folder), 5)
    rewrite(path, offset + 100)
    shards = open_shards(shard_folder)
    with pytest.raises(
        ShardError,
        match=rf"patch 5 in {path} is damaged: its checksum does not match; copy {path.parent} again",
    ):
        shards.read([4, 5, 6])
    assert shards.read([4, 6]).shape == (2, 16, 16)


def test_damage_is_found_among_many_patches_and_nothing_is_written_afterwards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_shard_set(tmp_path / "set", patches=200, resolution=8)
    shards = open_shards(tmp_path)
    path, offset = place_of(shards, 0)
    rewrite(path, offset)
    running = []
    fill = Reader._fill

    def slow_fill(self: Reader, out: Any, wanted: Any, places: Any) -> None:
        running.append(1)
        if 0 not in places:
            threading.Event().wait(0.02)
        fill(self, out, wanted, places)
        running.pop()

    monkeypatch.setattr(Reader, "_fill", slow_fill)
    with pytest.raises(ShardError, match="patch 0"):
        shards.read(shards.rows())
    assert len(running) == 1  # the one that failed


@pytest.mark.parametrize("change", ["missing", "shortened", "longer", "a folder"])
def test_a_shard_that_is_missing_or_of_another_size_is_found_on_opening(
    shard_folder: Path, change: str
) -> None:
    path = shard_folder / "00001.tar"
    size, restore = path.stat().st_size, f"copy {shard_folder} again from where it came"
    if change == "shortened":
        path.write_bytes(path.read_bytes()[:-512])
        expected = f"{path} has {size - 512} bytes instead of {size}; {restore}"
    elif change == "longer":
        path.write_bytes(path.read_bytes() + b"\0")
        expected = f"{path} has {size + 1} bytes instead of {size}; {restore}"
    else:
        path.unlink()
        if change == "a folder":
            path.mkdir()
        expected = f"{path} is missing; {restore}"
    with pytest.raises(ShardError, match=expected):
        open_shards(shard_folder)


def test_a_shard_that_vanishes_or_shrinks_after_opening_is_named(shard_folder: Path) -> None:
    shards = open_shards(shard_folder)
    path = shard_folder / "00000.tar"
    data = path.read_bytes()
    path.unlink()
    with pytest.raises(
        ShardError, match=rf"patch 0 in {path} is damaged: the file is gone; copy {path.parent} again"
    ):
        shards.read([0])
    path.write_bytes(data[:700])
    with pytest.raises(ShardError, match=r"the file ends after 60 of its 256 bytes"):
        shards.read([0])  # its pixels begin after a tar header and an npy header, 512 + 128 bytes


def test_a_disk_that_fails_is_not_taken_for_a_damaged_shard(
    shard_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> int:
        raise OSError(5, "Input/output error")

    shards = open_shards(shard_folder)
    monkeypatch.setattr(os, "preadv", fail)
    with pytest.raises(ShardError, match=r"cannot read patch 3 in .*00000\.tar: Input/output error$"):
        shards.read([3])


def test_a_flipped_bit_anywhere_in_the_manifest_is_found_on_opening(shard_folder: Path) -> None:
    path = shard_folder / "manifest.arrow"
    data = path.read_bytes()
    for place in some(range(0, len(data), 97)):
        for bit in (1, 128):
            rewrite(path, place, lambda byte, bit=bit: byte ^ bit)  # type: ignore[misc]
            with pytest.raises(ShardError, match=r"manifest\.arrow"):
                open_shards(shard_folder)
            path.write_bytes(data)
    open_shards(shard_folder)


def test_the_manifest_of_another_set_is_refused_even_with_as_many_rows(tmp_path: Path) -> None:
    make_shard_set(tmp_path / "a")
    make_shard_set(tmp_path / "b", seed=1, dataset_id="f" * 32)
    (tmp_path / "a" / "manifest.arrow").write_bytes((tmp_path / "b" / "manifest.arrow").read_bytes())
    with pytest.raises(
        ShardError, match=f"belongs to another shard set .*'{'f' * 32}'.*expected '0123456789abcdef"
    ):
        open_shards(tmp_path / "a")


def test_patches_of_another_size_than_the_set_says_are_refused(shard_folder: Path) -> None:
    path = shard_folder / "shard_set.json"
    info = json.loads(path.read_text())
    info["parameters"]["resolution"] = 32
    path.write_text(json.dumps(info))
    with pytest.raises(ShardError, match=r"a patch has 256 bytes, expected 1024"):
        open_shards(shard_folder).read([2])


def test_a_set_of_another_version_or_without_manifest_does_not_open(shard_folder: Path) -> None:
    path = shard_folder / "shard_set.json"
    text = path.read_text()
    path.write_text(text.replace('"format_version": 1', '"format_version": 3'))
    with pytest.raises(ShardError, match="format version 3, this nlbs-cvae reads version 1 or 2"):
        open_shards(shard_folder)
    path.write_text(text)
    (shard_folder / "manifest.arrow").unlink()
    with pytest.raises(ShardError, match=rf"cannot read the manifest {shard_folder}/manifest\.arrow"):
        open_shards(shard_folder)
