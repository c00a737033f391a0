"""The cache of remote files: never over its limit, the least recently used go first, a full disk is no error."""

import os
from pathlib import Path

import pytest

from nlbs.errors import ConfigError
from nlbs.shards.reading.cache import Cache, default_bytes, default_folder


def bytes_in(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def test_what_is_put_is_found_by_name_and_size(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache", 100)
    assert cache.find("a/1", 5) is None
    cache.put("a/1", b"12345")
    found = cache.find("a/1", 5)
    assert found is not None
    assert found.read_bytes() == b"12345"
    assert cache.find("a/1", 6) is None  # cut short, or of something else
    assert (tmp_path / "cache").stat().st_mode & 0o777 == 0o700
    cache.discard("a/1")
    assert cache.find("a/1", 5) is None


def test_it_never_holds_more_than_its_limit(tmp_path: Path) -> None:
    caches = [Cache(tmp_path, 100), Cache(tmp_path, 100)]  # as two processes have it
    for number in range(60):
        caches[number % 2].put(f"{number}", bytes(7))
        assert bytes_in(tmp_path) <= 100 + 7
    assert bytes_in(tmp_path) > 50


def test_the_least_recently_used_goes_first(tmp_path: Path) -> None:
    first = Cache(tmp_path, 30)
    for age, name in enumerate(["new", "middle", "old"]):
        path = first.put(name, bytes(10))
        assert path is not None
        os.utime(path, (1e9 - age, 1e9 - age))
    again = Cache(tmp_path, 30)
    assert again.find("old", 10) is not None  # and is thereby the newest
    again.put("another", bytes(10))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["another", "new", "old"]


def test_a_limit_of_zero_keeps_nothing(tmp_path: Path) -> None:
    assert Cache(tmp_path, 0).put("a", b"1") is None
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_process_left_half_written_goes_after_a_while(tmp_path: Path) -> None:
    left, at_work = tmp_path / ".a.1.2.partial", tmp_path / ".b.3.4.partial"
    left.write_bytes(b"1")
    at_work.write_bytes(b"1")
    os.utime(left, (1e9, 1e9))
    Cache(tmp_path, 100).put("a", b"1")
    assert sorted(path.name for path in tmp_path.iterdir()) == [".b.3.4.partial", "a"]


def test_a_full_disk_is_said_and_costs_no_more_than_the_piece(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.warns(UserWarning, match="takes no more"):
        assert Cache(tmp_path, 100).put("a", b"1") is None
    assert list(tmp_path.iterdir()) == []


def test_folder_and_limit_come_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NLBS_CACHE_DIR", "NLBS_CACHE_GB"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_folder() == tmp_path / "nlbs-cvae"
    assert default_bytes() == 20_000_000_000
    monkeypatch.setenv("NLBS_CACHE_DIR", "/somewhere")
    monkeypatch.setenv("NLBS_CACHE_GB", "0.5")
    assert default_folder() == Path("/somewhere")
    assert default_bytes() == 500_000_000
    for wrong in ("much", "-1", "nan"):
        monkeypatch.setenv("NLBS_CACHE_GB", wrong)
        with pytest.raises(ConfigError, match="NLBS_CACHE_GB"):
            default_bytes()
