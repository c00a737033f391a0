"""A shard set in an object store: the same pixels as on disk, by ranges, through a cache that is checked."""

import copy
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from nlbs.errors import ShardError
from nlbs.remote import RemotePath
from nlbs.shards import open_shards
from nlbs.shards.reading import remote_shards
from tests.conftest import Bucket
from tests.shards.conftest import make_shard_set

Requests = list[tuple[str, int, int]]


@pytest.fixture
def pixels(bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> npt.NDArray[np.uint16]:
    """A shard set at "root/set": 60 patches of 16x16 uint16 in 3 shards, blocks of 2 kB."""
    made = make_shard_set(tmp_path / "set", patches=60, dtype="uint16")
    bucket.put_folder("root/set", tmp_path / "set")
    monkeypatch.setattr(remote_shards, "BLOCK_BYTES", 2048)
    return made


@pytest.fixture
def requests(monkeypatch: pytest.MonkeyPatch) -> Requests:
    """The ranges that were asked of shards."""
    seen: Requests = []
    read_range = RemotePath.read_range

    def read(path: RemotePath, start: int, end: int) -> bytes:
        if path.name.endswith(".tar"):
            seen.append((path.name, start, end))
        return read_range(path, start, end)

    monkeypatch.setattr(RemotePath, "read_range", read)
    return seen


def cached(tmp_path: Path) -> list[Path]:
    return sorted(path for path in (tmp_path / "cache").rglob("*") if path.is_file())


@pytest.mark.parametrize("cache_gb", [None, 0, 1e-5])
def test_the_pixels_are_those_that_were_written(
    bucket: Bucket, pixels: npt.NDArray[np.uint16], tmp_path: Path, cache_gb: float | None
) -> None:
    with open_shards(bucket.url("root"), cache_gb=cache_gb) as shards:
        assert str(shards.folder) == bucket.url("root/set")
        np.testing.assert_array_equal(shards.read(shards.rows()), pixels)
        rows = [59, 0, 0, 31, 7]
        np.testing.assert_array_equal(shards.read(rows), pixels[rows])
        np.testing.assert_array_equal(copy.deepcopy(shards).read(rows), pixels[rows])  # as when pickled
    size = sum(path.stat().st_size for path in cached(tmp_path))
    assert size == 0 if cache_gb == 0 else size > 2000
    if cache_gb:
        assert size <= cache_gb * 1e9


def test_what_is_cached_is_not_asked_for_again(
    bucket: Bucket, pixels: npt.NDArray[np.uint16], requests: Requests
) -> None:
    shards = open_shards(bucket.url("root"))
    shards.read(shards.rows())
    total = sum(shard["bytes"] for shard in shards.info["shards"])
    assert sum(end - start for _, start, end in requests) <= total
    assert len(requests) < total / 2048 / 2  # neighbouring blocks come together
    requests.clear()
    again = open_shards(bucket.url("root"))
    np.testing.assert_array_equal(again.read(again.rows()), pixels)
    assert requests == []


def test_a_damaged_piece_of_the_cache_is_fetched_anew(
    bucket: Bucket, pixels: npt.NDArray[np.uint16], requests: Requests, tmp_path: Path
) -> None:
    shards = open_shards(bucket.url("root"))
    shards.read(shards.rows())
    for piece in cached(tmp_path):
        data = bytearray(piece.read_bytes())
        data[len(data) // 2] ^= 1
        piece.write_bytes(data)
    requests.clear()
    again = open_shards(bucket.url("root"))  # whose manifest was damaged too
    np.testing.assert_array_equal(again.read(again.rows()), pixels)
    assert requests


def test_a_damaged_object_is_an_error_and_never_pixels(
    bucket: Bucket, pixels: npt.NDArray[np.uint16]
) -> None:
    shards = open_shards(bucket.url("root"))
    data = bytearray(bucket.get("root/set/00001.tar"))
    data[int(shards.manifest["offset"][25].as_py()) + 5] ^= 1
    bucket.put("root/set/00001.tar", bytes(data))
    np.testing.assert_array_equal(shards.read([24, 26]), pixels[[24, 26]])
    with pytest.raises(ShardError, match=r"patch 25 in s3://.* its checksum does not match"):
        shards.read([25])


def test_an_object_that_is_gone_or_short_is_named(
    bucket: Bucket, pixels: npt.NDArray[np.uint16], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shards = open_shards(bucket.url("root/set"))
    bucket.put("root/set/00001.tar", bucket.get("root/set/00001.tar")[:700])
    bucket.client.delete_object(Bucket=bucket.name, Key="root/set/00002.tar")
    with pytest.raises(ShardError, match="the file ends after"):
        shards.read([39])
    with pytest.raises(ShardError, match="the file is gone"):
        shards.read([59])
    with pytest.raises(ShardError, match=r"00001\.tar has 700 bytes instead of"):
        open_shards(bucket.url("root/set"))
    bucket.put_folder("root/set", tmp_path / "set")
    monkeypatch.setenv("NLBS_CACHE_DIR", str(tmp_path / "another"))
    bucket.put("root/set/manifest.arrow", b"another")
    with pytest.raises(ShardError, match=r"manifest s3://\S+ is damaged"):
        open_shards(bucket.url("root/set"), cache_gb=0)
    bucket.client.delete_object(Bucket=bucket.name, Key="root/set/manifest.arrow")
    with pytest.raises(ShardError, match=r"manifest s3://\S+ is missing"):
        open_shards(bucket.url("root/set"), cache_gb=0)


def test_a_folder_without_a_shard_set_is_explained(bucket: Bucket) -> None:
    with pytest.raises(ShardError, match=r"there is no folder s3://"):
        open_shards(bucket.url("root"))
