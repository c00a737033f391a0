"""One contract for the file system and for an object store: what is true of the one is true of the other.

Also covers: local_store.py, remote_store.py.
"""

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from nlbs.errors import ConfigError, NlbsError
from nlbs.files import atomic_file, atomic_folder, make_folder, only_one, remove_partials, write_json
from nlbs.paths import AnyPath, as_path
from nlbs.stores import in_file_system, store_of
from tests.conftest import Bucket

FILES = {"a/b/c.dcm": b"123456", "a/d.dcm": b"12", "e.csv": b"", ".hidden/f": b"1", "a/.g": b"1"}


@pytest.fixture(params=["local", "remote"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[AnyPath]:
    """A folder that is not there yet, in each kind of store."""
    if request.param == "remote":
        yield as_path(request.getfixturevalue("bucket").url("folder"))
    else:
        yield tmp_path / "folder"


@pytest.fixture
def filled(folder: AnyPath) -> AnyPath:
    for name, data in FILES.items():
        with atomic_file(folder / name) as file:
            file.write(data)
    return folder


def test_a_file_appears_whole_or_stays_as_it_was(folder: AnyPath) -> None:
    with atomic_file(folder / "x", "w", encoding="utf-8") as file:
        file.write("ä\n")
        assert not (folder / "x").exists()
    with pytest.raises(ZeroDivisionError), atomic_file(folder / "x") as file:
        raise ZeroDivisionError
    assert (folder / "x").read_bytes() == "ä\n".encode()
    assert store_of(folder).sizes(folder) == {"x": 3}


def test_a_folder_appears_whole_or_not_at_all(folder: AnyPath) -> None:
    with atomic_folder(folder / "image") as local:
        (local / "c").mkdir()
        (local / "c" / "0").write_bytes(b"pixels")
        (local / "zarr.json").write_bytes(b"{}")
    with pytest.raises(ZeroDivisionError), atomic_folder(folder / "other") as local:
        (local / "zarr.json").write_bytes(b"{}")
        raise ZeroDivisionError
    assert store_of(folder).sizes(folder) == {"image/c/0": 6, "image/zarr.json": 2}


def test_a_file_is_read_only_as_far_as_it_may_be(filled: AnyPath) -> None:
    store, path = store_of(filled), filled / "a" / "b" / "c.dcm"
    assert store.read(path, 6) == b"123456"
    with pytest.raises(ValueError, match="6 bytes, at most 5"):
        store.read(path, 5)
    with pytest.raises(OSError, match="nothing"):
        store.read(filled / "nothing", 5)
    with store.open(path, "rb") as file:
        assert file.read() == b"123456"
    with store.open(path, encoding="ascii") as text:
        assert text.read() == "123456"
    with pytest.raises(OSError, match="nothing"):
        store.open(filled / "nothing")


def test_a_file_is_at_hand_as_a_local_one(filled: AnyPath) -> None:
    store, path = store_of(filled), filled / "a" / "b" / "c.dcm"
    with store.local_file(path) as local:
        assert local.read_bytes() == b"123456"
    with store.local_file(path, most_bytes=3, first_bytes=3) as local:
        assert local.read_bytes()[:3] == b"123"


def test_a_stamp_changes_with_the_content(folder: AnyPath) -> None:
    write_json(folder / "x", 1)
    before = store_of(folder).stamp(folder / "x")
    assert re.fullmatch(r"2:\w+", before)
    assert store_of(folder).stamp(folder / "x") == before
    write_json(folder / "x", 2)
    assert store_of(folder).stamp(folder / "x") != before
    with pytest.raises(FileNotFoundError):
        store_of(folder).stamp(folder / "y")


def test_every_file_is_listed_with_its_folder(filled: AnyPath) -> None:
    store = store_of(filled)
    assert store.sizes(filled) == {name: len(data) for name, data in FILES.items()}
    walked = {at: (sorted(folders), sorted(files)) for at, folders, files in store.walk(filled)}
    assert walked == {
        "": ([".hidden", "a"], ["e.csv"]),
        ".hidden": ([], ["f"]),
        "a": (["b"], [".g", "d.dcm"]),
        "a/b": ([], ["c.dcm"]),
    }
    names_in = store.lister(filled)
    assert names_in("a") == ({"b"}, {".g", "d.dcm"})
    assert names_in("nothing") == (set(), set())


def test_a_walk_leaves_out_the_folders_that_are_taken_from_it(filled: AnyPath) -> None:
    seen = []
    for at, folders, _ in store_of(filled).walk(filled):
        folders[:] = [name for name in folders if name != "a"]
        seen.append(at)
    assert seen == ["", ".hidden"]


def test_names_without_a_file_are_told(filled: AnyPath) -> None:
    store = store_of(filled)
    names = ["a/d.dcm", "a", "./a/b/c.dcm", "nothing", "a//d.dcm"]
    assert store.missing(filled, names) == [1, 3]
    assert store.missing(filled, names[:1] * 100) == []
    assert store.missing(filled, []) == []
    assert store.count(filled, ["a/d.dcm", "a", "nothing"]) == 2


@pytest.mark.parametrize("text", ["a/d.dcm", "a/../a/d.dcm", "./a//d.dcm"])
def test_a_path_inside_a_folder_is_taken(filled: AnyPath, text: str) -> None:
    assert store_of(filled).inside(filled, text) == filled / "a" / "d.dcm"


@pytest.mark.parametrize("text", ["../x", "/etc/passwd", "a/../../x"])
def test_a_path_out_of_a_folder_is_none(filled: AnyPath, text: str) -> None:
    assert store_of(filled).inside(filled, text) is None


def test_a_file_or_a_whole_folder_is_removed_and_nothing_beside_it(filled: AnyPath) -> None:
    store = store_of(filled)
    for path in (filled / "nothing", filled / "a" / "d.dcm", filled / ".hidden"):
        store.remove(path)
    assert set(store.sizes(filled)) == {"a/b/c.dcm", "a/.g", "e.csv"}
    for path in (filled / "nothing", filled / "a"):
        store.withdraw(path)
    assert set(store.sizes(filled)) == {"e.csv"}


def test_a_file_takes_another_name(filled: AnyPath) -> None:
    store_of(filled).move(filled / "a" / "d.dcm", filled / "a" / "x")
    assert set(store_of(filled).sizes(filled / "a")) == {"b/c.dcm", "x", ".g"}
    assert (filled / "a" / "x").read_bytes() == b"12"


def test_folders_that_are_there_or_not_are_made_and_cleared(folder: AnyPath) -> None:
    for _ in range(2):
        make_folder(folder / "new", 0o700)
        remove_partials(folder)
    assert store_of(folder).sizes(folder) == {}
    (folder / "new").rmdir()
    assert not (folder / "new").exists()


def test_a_folder_is_worked_in_by_one_alone(folder: AnyPath) -> None:
    taken = re.escape(f"a build is at work in {folder} already")
    with only_one(folder, "a build"), pytest.raises(NlbsError, match=taken), only_one(folder, "a build"):
        pass
    with only_one(folder, "a build"):
        pass


def test_what_is_done_in_parallel_comes_in_order(folder: AnyPath) -> None:
    assert store_of(folder).in_parallel(lambda number: number**2, range(100)) == [n**2 for n in range(100)]


def test_notes_are_of_this_machine(folder: AnyPath) -> None:
    assert isinstance(store_of(folder).scratch_folder(folder, "notes"), Path)


def test_who_needs_a_file_system_says_so_once(folder: AnyPath, tmp_path: Path) -> None:
    if folder == tmp_path / "folder":
        assert in_file_system(folder, "parts need", "copy it") == folder
    else:
        with pytest.raises(
            ConfigError, match=r"parts need a file system .* s3://\S+ is in an object .* copy it"
        ):
            in_file_system(folder, "parts need", "copy it")


def test_an_object_that_is_too_large_is_not_copied(bucket: Bucket) -> None:
    bucket.put("x", b"123")
    path = as_path(bucket.url("x"))
    copy = store_of(path).local_file(path, most_bytes=2)
    with pytest.raises(ValueError, match="3 bytes, expected at most 2"), copy:
        pass


def test_several_may_lock_a_folder_of_a_file_system_alone(bucket: Bucket, tmp_path: Path) -> None:
    with only_one(tmp_path, "a part", shared=True), only_one(tmp_path, "a part", shared=True):
        pass
    shared = only_one(as_path(bucket.url("x")), "a part", shared=True)
    with pytest.raises(NlbsError, match="for one process alone"), shared:
        pass


def test_a_pipe_is_no_regular_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ValueError, match="no regular file"):
        store_of(tmp_path).read(tmp_path / "pipe", 5)
    with pytest.raises(OSError, match="no regular file"):
        store_of(tmp_path).open(tmp_path / "pipe")
    assert store_of(tmp_path).missing(tmp_path, ["pipe"]) == [0]
