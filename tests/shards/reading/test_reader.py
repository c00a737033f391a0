"""How patches are read: checked as often as asked, neighbours in one go, and damage replaced only on request."""

import copy
import hashlib
import os
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nlbs.errors import ConfigError, ShardError
from nlbs.shards import ShardSet, open_shards
from nlbs.shards.format import condition_columns
from nlbs.shards.reading import local_shards, reader
from tests.shards.conftest import make_shard_set

RAW = ["tar", "zarr"]


def damage(shards: ShardSet, *rows: int) -> None:
    """Flips a bit of the first byte of some patches."""
    for row in rows:
        at = shards.manifest.slice(row, 1).to_pylist()[0]
        path = shards.folder / at["shard"]
        path = path / "c/0/0/0" if path.is_dir() else path
        with path.open("r+b") as file:
            file.seek(at["offset"])
            byte = file.read(1)[0]
            file.seek(at["offset"])
            file.write(bytes([byte ^ 1]))


@pytest.mark.parametrize("container", RAW)
@pytest.mark.parametrize("verify", ["first", "always"])
def test_a_flipped_bit_raises_at_first_touch(tmp_path: Path, container: str, verify: str) -> None:
    make_shard_set(tmp_path, container=container)
    shards = open_shards(tmp_path, verify=verify)
    damage(shards, 5)
    for _ in range(2):  # what was found damaged does not count as checked
        with pytest.raises(ShardError, match=r"patch 5 in .* is damaged: its checksum does not match"):
            shards.read([4, 5, 6])


@pytest.mark.parametrize("container", RAW)
def test_with_off_a_flipped_bit_goes_unseen(tmp_path: Path, container: str) -> None:
    pixels = make_shard_set(tmp_path, container=container)
    shards = open_shards(tmp_path, verify="off")
    damage(shards, 5)
    pixels[5, 0, 0] ^= 1
    np.testing.assert_array_equal(shards.read(shards.rows()), pixels)


@pytest.mark.parametrize("container", RAW)
def test_only_always_finds_what_is_damaged_after_the_first_touch(tmp_path: Path, container: str) -> None:
    pixels = make_shard_set(tmp_path, container=container)
    first, always = (open_shards(tmp_path, verify=verify) for verify in ("first", "always"))
    for shards in (first, always):
        np.testing.assert_array_equal(shards.read(shards.rows()), pixels)
    damage(first, 11)
    assert first.read([11])[0, 0, 0] == pixels[11, 0, 0] ^ 1
    for shards in (always, copy.copy(always)):  # a copy is opened with the same options
        with pytest.raises(ShardError, match=r"patch 11 .* checksum"):
            shards.read([11])


@pytest.mark.parametrize("option", ["verify", "on_damage"])
def test_an_unknown_policy_is_refused(tmp_path: Path, option: str) -> None:
    make_shard_set(tmp_path)
    with pytest.raises(ConfigError, match=f"{option} is 'never': expected one of '"):
        open_shards(tmp_path, **{option: "never"})  # type: ignore[arg-type]


# Replacement.


def stand_in(shards: ShardSet, row: int, bad: Sequence[int]) -> int:
    """Gives what is to stand in for a row, from the manifest as Python values and the rule in shards/README.md."""

    def kind(patch: dict[str, Any]) -> tuple[Any, ...]:
        view = patch["view"] if patch["view"] in ("CC", "MLO") else None
        others = ("split", "laterality", "age_bin", "cancer", "false_positive")
        return view, *(patch[name] for name in others)

    patches = shards.manifest.to_pylist()
    alike = [number for number, patch in enumerate(patches) if kind(patch) == kind(patches[row])]
    attempt = 1
    while True:
        digest = hashlib.sha256(f"{shards.dataset_id} {row} {attempt}".encode()).digest()
        chosen = alike[int.from_bytes(digest[:8], "little") % len(alike)]
        if chosen != row and chosen not in bad:
            return chosen
        attempt += 1


@pytest.mark.parametrize(
    ("container", "compression"), [("tar", "none"), ("tar", "png"), ("zarr", "none"), ("zarr", "zstd")]
)
def test_a_damaged_patch_is_replaced_by_one_of_its_split_and_conditions(
    tmp_path: Path, container: str, compression: str
) -> None:
    # Few kinds, so that each has several patches; "ML" and unknown are the same code.
    columns = {
        "view": ["CC", None, "ML"] * 20, "laterality": ["L"] * 60, "age_bin": [0] * 60, "cancer": [0, 1] * 30,
        "split": ["train"] * 30 + ["val"] * 30, "false_positive": [None] * 60,
    }  # fmt: skip
    pixels = make_shard_set(
        tmp_path, patches=60, columns=columns, container=container, compression=compression
    )
    shards = open_shards(tmp_path, on_damage="replace")
    bad = [3, 7, 13, 31, 37]
    bad.append(stand_in(shards, 3, bad))  # so that a second attempt is needed
    damage(shards, *bad)
    expected = {row: stand_in(shards, row, bad) for row in bad}
    source = np.arange(60)
    source[bad] = list(expected.values())
    assert shards.replaced == {}
    with pytest.warns(UserWarning, match=r"patch \d+ in .* is damaged: .*; patch \d+ stands in for it"):
        np.testing.assert_array_equal(shards.read(shards.rows()), pixels[source])
    assert shards.replaced == expected
    order = np.random.default_rng(0).permutation(60)  # in any order, with any neighbours
    np.testing.assert_array_equal(shards.read(order), pixels[source[order]])
    assert len(shards.replaced) == len(bad)


def test_a_patch_that_no_other_can_stand_in_for_is_an_error(tmp_path: Path) -> None:
    make_shard_set(tmp_path, columns={"split": ["test", *["train"] * 11]})
    shards = open_shards(tmp_path, on_damage="replace")
    damage(shards, 0)
    with pytest.raises(ShardError, match=r"patch 0 .* and no patch of its split and conditions can stand in"):
        shards.read([0])


def test_what_may_be_replaced_is_limited(tmp_path: Path) -> None:
    alike = {
        name: [value] * 400
        for name, value in {
            "view": "CC", "laterality": "L", "age_bin": 0, "cancer": 0, "split": "train", "false_positive": 0
        }.items()
    }  # fmt: skip
    make_shard_set(tmp_path, patches=400, resolution=2, columns=alike)
    shards = open_shards(tmp_path, on_damage="replace")
    damage(shards, *range(101))
    with pytest.warns(UserWarning, match="stands in"):
        shards.read(np.arange(100))
    shards.read(np.arange(100))  # the same ones again do not count
    assert len(shards.replaced) == 100
    with pytest.raises(ShardError, match=r"patch 100 .*, and so are 100 others, which is as many as may be"):
        shards.read([100])


# What is asked of the operating system.


@pytest.mark.parametrize(("container", "reads"), [("tar", 3), ("zarr", 3)])
def test_neighbours_are_read_in_one_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, container: str, reads: int
) -> None:
    pixels = make_shard_set(tmp_path, patches=12, shards=3, container=container)
    shards = open_shards(tmp_path)
    calls = []
    preadv = os.preadv

    def counted(file: int, buffers: Any, offset: int) -> int:
        calls.append(offset)
        return preadv(file, buffers, offset)

    monkeypatch.setattr(os, "preadv", counted)
    rows = np.array([8, 3, 2, 1, 0, 4, 5, 6, 7, 11, 10, 9])
    np.testing.assert_array_equal(shards.read(rows), pixels[rows])
    assert len(calls) == reads  # one per shard
    np.testing.assert_array_equal(shards.read([2, 2, 0]), pixels[[2, 2, 0]])  # a repeat, and a hole


@pytest.mark.parametrize("most", [1, 100, 300])
def test_a_read_that_gives_less_than_asked_is_continued(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    pixels = make_shard_set(tmp_path, resolution=8)
    shards = open_shards(tmp_path)
    preadv = os.preadv

    def short(file: int, buffers: Any, offset: int) -> int:
        return preadv(file, [buffers[0][:most]], offset)

    monkeypatch.setattr(os, "preadv", short)
    np.testing.assert_array_equal(shards.read(shards.rows()), pixels)


# Opening.


def test_opening_touches_no_row_of_a_large_manifest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = make_shard_set(tmp_path)
    hashed = threading.Event()

    def refuse(*_: object) -> None:
        raise AssertionError("a whole column was asked for")

    def slow(path: Path) -> str:
        hashed.wait(240)
        return hashlib.sha256(path.read_bytes()).hexdigest()

    monkeypatch.setattr(local_shards, "_AT_ONCE_BYTES", 0)
    monkeypatch.setattr(local_shards, "sha256_of", slow)
    with monkeypatch.context() as patched:
        for module, name in (
            (reader, "one_array"),
            (reader, "Marks"),
            (condition_columns, "condition_codes"),
        ):
            patched.setattr(module, name, refuse)
        patched.setattr(np, "zeros", refuse)
        shards = open_shards(tmp_path)
        assert len(shards) == 12
    np.testing.assert_array_equal(shards.read([3]), pixels[[3]])  # while its bytes are still summed
    hashed.set()


def test_the_columns_that_say_where_patches_lie_are_not_copied(tmp_path: Path) -> None:
    make_shard_set(tmp_path)
    shards = open_shards(tmp_path)
    assert not any(column.flags.owndata for column in shards._reader._places)


def test_a_large_damaged_manifest_is_found_while_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_shard_set(tmp_path)
    path = tmp_path / "manifest.arrow"
    data = bytearray(path.read_bytes())
    at = data.index(np.float32([1.0, 0.25, 0.5, 1.0]).tobytes())  # the column "foreground"
    data[at] ^= 1
    path.write_bytes(data)
    with pytest.raises(ShardError, match=r"manifest .* is damaged"):
        open_shards(tmp_path)
    monkeypatch.setattr(local_shards, "_AT_ONCE_BYTES", 0)
    shards = open_shards(tmp_path)
    assert shards._manifest_check is not None
    shards._manifest_check.wait()
    with pytest.raises(ShardError, match=r"manifest .* is damaged"):
        shards.read([0])
    with pytest.raises(ShardError, match=r"manifest .* is damaged"):
        open_shards(tmp_path, verify="always")
