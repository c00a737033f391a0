"""What a file system does not implement is let pass; what means that data may be lost is an error with a name."""

import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest

from nlbs import system_calls
from nlbs.errors import NlbsError
from nlbs.files import atomic_file, atomic_folder, make_folder, write_json
from nlbs.local_store import LocalStore
from nlbs.shards.reading.cache import Cache
from nlbs.system_calls import link_new, read_at, replace
from tests.conftest import some

FOLDER = ["EINVAL", "ENOTSUP", "EOPNOTSUPP", "ENOSYS", "EBADF", "EPERM", "EACCES"]
LOST = ["ENOSPC", "EDQUOT", "EIO", "EROFS"]


def refusing(code: str) -> Callable[..., None]:
    number = getattr(errno, code)

    def function(*arguments: object, **options: object) -> None:
        raise OSError(number, os.strerror(number))

    return function


def refuse_fsync(monkeypatch: pytest.MonkeyPatch, code: str, of_folders: bool) -> None:
    plain, refuse = os.fsync, refusing(code)

    def fsync(file: int) -> None:
        (refuse if stat.S_ISDIR(os.fstat(file).st_mode) == of_folders else plain)(file)

    monkeypatch.setattr(os, "fsync", fsync)


@pytest.mark.parametrize("code", FOLDER)
def test_a_folder_that_cannot_be_synced_is_let_pass(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str
) -> None:
    refuse_fsync(monkeypatch, code, of_folders=True)
    write_json(tmp_path / "a", {})
    with atomic_folder(tmp_path / "b") as folder:
        (folder / "file").touch()
    assert {path.name for path in tmp_path.iterdir()} == {"a", "b"}


@pytest.mark.parametrize("of_folders", [True, False])
@pytest.mark.parametrize("code", LOST)
def test_a_disk_that_fails_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str, of_folders: bool
) -> None:
    refuse_fsync(monkeypatch, code, of_folders)
    with pytest.raises(OSError, match=r".") as error:
        write_json(tmp_path / "a", {})
    assert error.value.errno == getattr(errno, code)


def test_a_full_disk_names_the_file(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No space left") as error, atomic_file(tmp_path / "a"):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))  # as a write to an open file does
    assert error.value.filename == str(tmp_path / "a")


@pytest.mark.parametrize("code", ["EBADF", "EPERM"])
def test_a_file_that_cannot_be_synced_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str
) -> None:
    refuse_fsync(monkeypatch, code, of_folders=False)
    with pytest.raises(OSError, match=os.strerror(getattr(errno, code))):
        write_json(tmp_path / "a", {})


@pytest.mark.parametrize("code", ["EPERM", "ENOTSUP", "ENOSYS", "EINVAL"])
def test_permissions_that_cannot_be_set_are_let_pass_and_told_where_others_can_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], code: str
) -> None:
    monkeypatch.setattr(os, "fchmod", refusing(code))
    monkeypatch.setattr(system_calls, "_told", set())
    with atomic_file(tmp_path / "a", "w", 0o600, encoding="utf-8") as file:
        file.write("x")
    assert capsys.readouterr().err == ""  # it was made so
    plain = os.open
    monkeypatch.setattr(os, "open", lambda path, flags, mode=0o777: plain(path, flags, 0o644))  # as vfat
    for name in "bc":
        with atomic_file(tmp_path / name, "w", 0o600, encoding="utf-8") as file:
            file.write("x")
    assert capsys.readouterr().err.count("others on this machine may read") == 1


def test_a_name_that_is_taken_is_taken_over_where_rename_refuses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "old").write_text("old")
    (tmp_path / "new").write_text("new")
    monkeypatch.setattr(os, "replace", refusing("EEXIST"))
    replace(tmp_path / "new", tmp_path / "old")
    assert (tmp_path / "old").read_text() == "new"


def test_a_missing_hard_link_is_said_and_a_taken_name_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a").touch()
    (tmp_path / "b").touch()
    with pytest.raises(FileExistsError):
        link_new(tmp_path / "a", tmp_path / "b")
    for code in ("EPERM", "ENOTSUP", "ENOSYS", "EMLINK"):
        monkeypatch.setattr(os, "link", refusing(code))
        assert not link_new(tmp_path / "a", tmp_path / "c")
    monkeypatch.setattr(os, "link", refusing("ENOSPC"))
    with pytest.raises(OSError, match="No space"):
        link_new(tmp_path / "a", tmp_path / "c")
    monkeypatch.delattr(os, "link")
    assert not link_new(tmp_path / "a", tmp_path / "c")


def test_bytes_are_read_from_a_place_without_preadv(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "preadv")
    data = bytes(range(100))
    (tmp_path / "a").write_bytes(data)
    file = os.open(tmp_path / "a", os.O_RDONLY)
    first, second = bytearray(10), bytearray(20)
    assert read_at(file, [memoryview(first), memoryview(second)], 5) == 30
    assert bytes(first + second) == data[5:35]
    assert read_at(file, [memoryview(first), memoryview(second)], 95) == 5
    assert read_at(file, [memoryview(first)], 100) == 0
    os.close(file)


def test_a_piece_of_the_cache_is_found_where_times_cannot_be_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "utime", refusing("EPERM"))
    cache = Cache(tmp_path, 1000)
    cache.put("a", b"12345")
    assert cache.find("a", 5) == tmp_path / "a"


def test_a_manifest_is_read_where_files_cannot_be_mapped(
    dataset_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from nlbs.shards import open_shards

    with open_shards(dataset_root / "r64-s64") as shards:
        mapped = shards.manifest
        expected = shards.read(shards.rows())
    monkeypatch.setattr(pa, "memory_map", refusing("ENODEV"))
    with open_shards(dataset_root / "r64-s64") as shards:
        assert shards.manifest.equals(mapped)
        assert (shards.read(shards.rows()) == expected).all()


def test_a_checkpoint_is_read_where_files_cannot_be_mapped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from nlbs.models import checkpoint, registry
    from tests.generate.conftest import make_checkpoint

    path = make_checkpoint(tmp_path / "a.safetensors")
    expected = registry.load_checkpoint(path).state_dict()
    values = checkpoint.read_metadata(path)

    def safe_open(*arguments: object, **options: object) -> None:
        raise OSError("No such device (os error 19)")  # what safetensors says where mmap gives ENODEV

    monkeypatch.setattr(checkpoint, "safe_open", safe_open)
    assert checkpoint.read_metadata(path) == values
    found = registry.load_checkpoint(path).state_dict()
    assert all((found[name] == tensor).all() for name, tensor in some(expected.items()))


def test_a_folder_in_an_image_of_a_container_is_withdrawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a" / "c").mkdir(parents=True)
    (tmp_path / "a" / "zarr.json").touch()
    monkeypatch.setattr(os, "rename", refusing("EXDEV"))  # overlayfs, of a folder in a lower layer
    LocalStore().withdraw(tmp_path / "a")
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_does_not_say_its_size_is_not_taken_for_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import shutil
    from collections import namedtuple

    from nlbs.generate.folder import is_finished

    usage = namedtuple("usage", "total used free")
    record = {"recipe": "plain", "request": "a", "patches": 1, "resolution": 8, "format": "png"}
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(0, 0, 0))
    make_folder(tmp_path / "a")
    make_folder(tmp_path / "b")
    assert not is_finished(tmp_path / "a", record, False)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(1000, 1000, 0))
    with pytest.raises(NlbsError, match="left: draw fewer"):
        is_finished(tmp_path / "b", record, False)


def test_lines_of_text_end_alike_on_every_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "linesep", "\r\n")  # io asks for it where no newline is given
    with atomic_file(tmp_path / "a", "w", encoding="utf-8") as file:
        file.write("a\nb\n")
    assert (tmp_path / "a").read_bytes() == b"a\nb\n"
