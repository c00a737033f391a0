"""What is copied from the memory map: the same bytes, in any order, and never what a file does not have any more."""

import copy
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nlbs.errors import ShardError
from nlbs.shards import ShardSet, open_shards
from nlbs.shards.format.container import pixels_file
from nlbs.shards.reading import local_shards, mapped_shards
from nlbs.shards.reading.mapped_shards import can_be_mapped, file_system_of
from tests.shards.conftest import make_shard_set


@pytest.fixture(autouse=True)
def any_file_system(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tests may run on any disk."""
    monkeypatch.setattr(local_shards, "can_be_mapped", lambda folder, sizes: True)


def counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Gives a list that gets an entry for every read of a file."""
    calls: list[int] = []
    preadv = os.preadv

    def read(file: int, buffers: Any, offset: int) -> int:
        calls.append(offset)
        return preadv(file, buffers, offset)

    monkeypatch.setattr(os, "preadv", read)
    return calls


@pytest.mark.parametrize("container", ["tar", "zarr"])
@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
@pytest.mark.parametrize("verify", ["first", "off"])
def test_what_was_read_before_is_read_from_no_file_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, container: str, dtype: str, verify: str
) -> None:
    pixels = make_shard_set(tmp_path, patches=30, dtype=dtype, container=container)
    shards = open_shards(tmp_path, verify=verify)
    shards.read(shards.rows())
    calls = counted(monkeypatch)
    rows = np.random.default_rng(0).integers(0, 30, 50)
    copied = shards.read(rows)
    assert copied.dtype == np.dtype(dtype)
    assert copied.flags.writeable
    np.testing.assert_array_equal(copied, pixels[rows])
    out = np.empty_like(copied)
    assert shards.read(rows, out=out) is out
    np.testing.assert_array_equal(out, pixels[rows])
    assert shards.read([]).shape == (0, 16, 16)
    assert not calls


def test_a_batch_with_a_new_patch_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = make_shard_set(tmp_path)
    shards = open_shards(tmp_path)
    shards.read(np.arange(11))
    calls = counted(monkeypatch)
    np.testing.assert_array_equal(shards.read([0, 11]), pixels[[0, 11]])
    assert len(calls) == 2


@pytest.mark.parametrize(("container", "compression"), [("tar", "png"), ("zarr", "zstd")])
def test_compressed_patches_and_those_always_checked_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, container: str, compression: str
) -> None:
    pixels = make_shard_set(tmp_path / "packed", container=container, compression=compression)
    make_shard_set(tmp_path / "plain", container=container)
    for shards in (open_shards(tmp_path / "packed"), open_shards(tmp_path / "plain", verify="always")):
        shards.read(shards.rows())
        calls = counted(monkeypatch)
        np.testing.assert_array_equal(shards.read(shards.rows()), pixels)
        assert calls


def cut(shards: ShardSet, number: int) -> None:
    """Cuts a shard off behind its first byte."""
    os.truncate(pixels_file(shards.folder, shards.info["shards"][number]["name"]), 1)  # type: ignore[arg-type]


@pytest.mark.parametrize("container", ["tar", "zarr"])
def test_a_shard_that_is_cut_off_while_it_is_mapped_is_an_error(tmp_path: Path, container: str) -> None:
    pixels = make_shard_set(tmp_path, container=container)  # 4 patches in each of 3 shards
    shards = open_shards(tmp_path)
    shards.read(shards.rows())
    np.testing.assert_array_equal(shards.read(shards.rows()), pixels)
    cut(shards, 1)
    with pytest.raises(
        ShardError, match=r"patch \d in .* is damaged: the file ends after \d+ of its 256 bytes"
    ):
        shards.read(shards.rows())
    np.testing.assert_array_equal(shards.read([0, 11]), pixels[[0, 11]])


def test_a_shard_that_is_cut_off_is_seen_where_no_file_is_kept_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nlbs.shards.reading.local_shards._OPEN_FILES", 1)
    pixels = make_shard_set(tmp_path)
    shards = open_shards(tmp_path)
    shards.read(shards.rows())
    np.testing.assert_array_equal(shards.read(shards.rows()), pixels)
    cut(shards, 2)
    with pytest.raises(ShardError, match="the file ends after"):
        shards.read([11])


def test_a_closed_set_maps_what_then_stands_there(tmp_path: Path) -> None:
    make_shard_set(tmp_path / "set")
    new = make_shard_set(tmp_path / "new", seed=1)
    shards = open_shards(tmp_path / "set", verify="off")
    for _ in range(2):
        shards.read(shards.rows())
    for file in (tmp_path / "new").glob("*.tar"):
        file.rename(tmp_path / "set" / file.name)
    shards.close()
    np.testing.assert_array_equal(shards.read(shards.rows()), new)


def test_a_copy_and_a_fork_read_the_same(tmp_path: Path) -> None:
    pixels = make_shard_set(tmp_path)
    shards = open_shards(tmp_path)
    for _ in range(2):
        shards.read(shards.rows())
    np.testing.assert_array_equal(copy.copy(shards).read([3, 1]), pixels[[3, 1]])
    child = os.fork()
    if child == 0:
        os._exit(int(not np.array_equal(shards.read(shards.rows()), pixels)))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@pytest.mark.parametrize("failure", ["no addresses", "no map"])
def test_where_nothing_can_be_mapped_files_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failure: str
) -> None:
    class NoMap:
        def mmap(self, *_: object) -> int:
            return 2**64 - 1  # MAP_FAILED

    def refuse(*_: object, **__: object) -> None:
        raise OSError

    pixels = make_shard_set(tmp_path)
    shards = open_shards(tmp_path)
    if failure == "no map":
        monkeypatch.setattr(mapped_shards, "_libc", NoMap)
    else:
        monkeypatch.setattr(mapped_shards.mmap, "mmap", refuse)
    for _ in range(2):
        np.testing.assert_array_equal(shards.read(shards.rows()), pixels)


MOUNTS = """\
21 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
30 21 0:40 / /data rw,relatime - nfs4 server:/data rw
31 30 8:2 / /data/local\\040disk rw master:2 propagate_from:1 - xfs /dev/sdb rw
32 21 0:41 / /over rw - ext4 /dev/sdc rw
33 21 0:42 / /over rw - fuse.sshfs host:/over rw
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/home/set", "ext4"),
        ("/data/set", "nfs4"),
        ("/database", "ext4"),
        ("/data/local disk/set", "xfs"),
        ("/over/set", "fuse.sshfs"),
    ],
)
def test_the_file_system_is_that_of_the_nearest_mount(tmp_path: Path, path: str, kind: str) -> None:
    mounts = tmp_path / "mountinfo"
    mounts.write_text(MOUNTS)
    assert file_system_of(Path(path), mounts) == kind
    assert file_system_of(Path(path), tmp_path / "missing") is None


def test_network_folders_and_sets_larger_than_memory_are_not_mapped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mapped_shards.sys, "platform", "linux")
    monkeypatch.setattr(mapped_shards, "file_system_of", lambda folder: "ext4")
    assert can_be_mapped(Path("/set"), [1 << 20] * 10)
    assert not can_be_mapped(Path("/set"), [1 << 50])
    monkeypatch.setattr(mapped_shards, "file_system_of", lambda folder: "nfs4")
    assert not can_be_mapped(Path("/set"), [1 << 20] * 10)


def test_no_patch_at_all_is_read_and_copied_from_the_map_alike(tmp_path: Path) -> None:
    make_shard_set(tmp_path)
    with open_shards(tmp_path) as shards:
        shards.read(shards.rows())  # the map is used from here on
        edge = shards.resolution
        out = np.empty((0, edge, edge), np.uint8)
        assert shards.read([], out=out).shape == shards.read([]).shape == (0, edge, edge)
