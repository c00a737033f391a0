"""Files of a root, a run or a checkpoint that are pipes, too wide or too deep: refused soon, in a sentence."""

import errno
import json
import os
import shutil
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import click
import filelock
import pytest

from nlbs.command import entry_point
from nlbs.errors import ConfigError, DatasetError
from nlbs.files import only_one
from nlbs.folder_lock import LOCK
from nlbs.preprocess.to_dicom import _picture, write_captures
from nlbs.shards import open_shards
from nlbs.shards.format.where import select
from nlbs.system_calls import open_regular, read_at
from tests.conftest import some
from tests.reliability.received import SET, change_manifest, commands, is_refused, with_value


@pytest.fixture
def root(tiny_root: Path, tmp_path: Path) -> Path:
    shutil.copytree(tiny_root, tmp_path / "shards")
    return tmp_path / "shards"


def a_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def a_device(path: Path) -> None:
    path.unlink()
    path.symlink_to("/dev/zero")


def a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize("damage", [a_pipe, a_device, a_folder])
def test_a_manifest_that_is_no_file_is_not_waited_for(root: Path, damage: Callable[[Path], None]) -> None:
    damage(root / SET / "manifest.arrow")
    for done in some(commands([[command, "--shards", root / SET] for command in ("info", "verify")])):
        assert is_refused(done), done.said


@pytest.mark.parametrize("damage", [a_pipe, a_device, a_folder])
@pytest.mark.parametrize("name", ["images.csv", "sources.csv"])
def test_a_table_of_a_root_that_is_no_file_is_not_waited_for(
    tiny: Path, root: Path, name: str, damage: Callable[[Path], None]
) -> None:
    damage(root / name)
    add = ["append", "--csv", tiny / "meta.csv", "--out", root, "--jobs", 1]
    for done in some(commands([add])):
        assert is_refused(done), done.said


def test_a_table_of_a_root_with_a_million_columns_is_refused(root: Path) -> None:
    text = (root / "images.csv").read_text(encoding="utf-8")
    header, rest = text.split("\n", 1)
    (root / "images.csv").write_text(header + ",x" * 1_000_000 + "\n" + rest, encoding="utf-8")
    cut = ["reshard", "--shards", root, "--resolution", 32, "--stride", 32, "--jobs", 1]
    page = ["report", "--shards", root / SET, "--out", root / "report.html"]
    for done in some(commands([cut, page])):
        assert is_refused(done), done.said
        assert "columns" in done.said


def test_a_table_of_a_root_without_a_header_is_refused(root: Path) -> None:
    (root / "images.csv").write_bytes(b"")
    (done,) = commands([["reshard", "--shards", root, "--resolution", 32, "--stride", 32, "--jobs", 1]])
    assert is_refused(done), done.said
    assert "empty" in done.said


def test_a_table_none_of_whose_rows_can_be_used_is_a_sentence(tmp_path: Path) -> None:
    header = "File Path,Image Laterality,View Position,Age,Cancer,False Positive"
    for number, row in enumerate(["a/x.dcm,L", "p/x.dcm,Q,Q,Q,Q,Q", ",,,,,", "p/x.dcm,L,CC,60,0,0,1,2"]):
        table = tmp_path / f"{number}.csv"
        table.write_text(f"{header}\n{row}\n{row}\n", encoding="utf-8")
        out = tmp_path / f"out-{number}"
        (done,) = commands([["build-shards", "--csv", table, "--out", out, "--jobs", 1]])
        assert is_refused(done), done.said


def test_a_patch_that_is_not_compressed_has_all_of_its_bytes(root: Path) -> None:
    change_manifest(root / SET, with_value("nbytes", 0))
    for done in some(commands([[command, "--shards", root / SET] for command in ("info", "verify")])):
        assert is_refused(done), done.said


def test_a_shard_whose_place_a_folder_takes_is_named(root: Path) -> None:
    a_folder(root / SET / "00000.tar")
    (done,) = commands([["verify", "--shards", root / SET, "--repair", "--jobs", 1]])
    assert is_refused(done), done.said
    assert "00000.tar)" in done.said


def test_only_a_regular_file_is_opened(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x")
    file = open_regular(tmp_path / "file")
    assert os.read(file, 2) == b"x"
    os.close(file)
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path, Path("/dev/zero"), tmp_path / "missing"):
        with pytest.raises(OSError):
            open_regular(path)


@pytest.mark.parametrize(
    "where",
    ["age_years == " + "-" * 1900 + "1", "-" * 1500 + "1 == age_years", "-" * 1900 + "1"],
)
def test_a_filter_that_is_nested_deep_is_refused_in_few_words(tiny_root: Path, where: str) -> None:
    with open_shards(tiny_root / SET) as shards, pytest.raises(ConfigError) as caught:
        select(shards.manifest, where)
    assert len(str(caught.value)) < 600


def test_bytes_are_read_where_a_file_system_lacks_preadv(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no(*_: object) -> None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    monkeypatch.setattr(os, "preadv", no, raising=False)
    (tmp_path / "file").write_bytes(bytes(range(100)))
    first, second = bytearray(10), bytearray(20)
    with (tmp_path / "file").open("rb") as file:
        assert read_at(file.fileno(), [memoryview(first), memoryview(second)], 50) == 30
    assert first + second == bytes(range(50, 80))


# --- what the machine says ------------------------------------------------------------------------------------


def said(error: BaseException, capsys: pytest.CaptureFixture[str]) -> str:
    @click.command()
    def command() -> None:
        raise error

    with pytest.raises(SystemExit) as caught:
        entry_point(command)([])
    assert caught.value.code == 1
    return capsys.readouterr().err


@pytest.mark.parametrize(
    "name",
    [
        "ESTALE",
        "ENOLCK",
        "ETIMEDOUT",
        "EINVAL",
        "ENOSYS",
        "EOPNOTSUPP",
        "EXDEV",
        "ENXIO",
        "ENODEV",
        "EBUSY",
        "ENAMETOOLONG",
        "ENOTDIR",
        "EISDIR",
        "EMFILE",
        "ENFILE",
        "ENOMEM",
        "EPERM",
        "EACCES",
        "EROFS",
        "ENOSPC",
        "EDQUOT",
        "EIO",
        "ELOOP",
        "EFBIG",
    ],
)
def test_what_a_file_system_answers_is_one_sentence_that_names_the_file(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    number = getattr(errno, name)
    text = said(OSError(number, os.strerror(number), "temporary", None, "shards/00000.tar"), capsys)
    assert text.startswith(f"Error: {os.strerror(number)} (shards/00000.tar). ")
    assert text.count("\n") == 1


def test_memory_that_is_not_there_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    assert "memory" in said(MemoryError(), capsys)


# --- file systems ---------------------------------------------------------------------------------------------


def test_images_are_added_where_no_mode_can_be_set(tiny: Path, root: Path, tmp_path: Path) -> None:
    """CIFS and FUSE answer EPERM to chmod of a file and of a folder."""
    table = (tiny / "meta.csv").read_text(encoding="utf-8").splitlines()
    first = tmp_path / "first.csv"
    first.write_text("\n".join(table[:5]) + "\n", encoding="utf-8")
    site = tmp_path / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(
        "import errno, os\n"
        "def no(*a, **k): raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))\n"
        "os.chmod = os.fchmod = no\n",
        encoding="utf-8",
    )
    before = os.environ.get("PYTHONPATH")
    out = tmp_path / "added"
    build = [
        "build-shards",
        "--csv",
        first,
        "--images",
        tiny,
        "--out",
        out,
        "--resolution",
        64,
        "--stride",
        64,
    ]
    add = ["append", "--csv", tiny / "meta.csv", "--out", out, "--jobs", 1]
    os.environ["PYTHONPATH"] = os.pathsep.join([str(site), *filter(None, [before])])
    try:
        built, added = commands([[*build, "--jobs", 1], add])
    finally:
        os.environ.pop("PYTHONPATH")
        if before is not None:
            os.environ["PYTHONPATH"] = before
    assert built.code == 0, built.said
    assert added.code == 0, added.said


def test_a_file_system_that_calls_every_lock_taken_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some CIFS servers say EACCES to every lock: no other holder of a shared one is there to be waited for."""
    import time

    import nlbs.folder_lock

    def refused(lock: filelock.BaseFileLock, *_: object, **__: object) -> None:
        if isinstance(lock, filelock.SoftFileLock):
            return acquire(lock, blocking=False)
        raise filelock.Timeout(lock.lock_file)

    acquire = filelock.BaseFileLock.acquire
    monkeypatch.setattr(filelock.BaseFileLock, "acquire", refused)
    monkeypatch.setattr(nlbs.folder_lock, "_refuses_every_lock", lambda _: True)
    begun = time.monotonic()
    with only_one(tmp_path, "nlbs-preprocess", shared=True):
        assert not (tmp_path / LOCK).exists()
    assert time.monotonic() - begun < 10


# --- folders of nlbs-generate --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"\xff\xfe",
        b'file,index\n"' + b"a" * 200_000 + b'",0\n',
        b"file" + b",x" * 20_000 + b"\n",
        b'file\n"',
    ],
)
def test_a_table_of_pictures_that_cannot_be_read_is_a_sentence(tmp_path: Path, text: bytes) -> None:
    pytest.importorskip("highdicom")
    record = {"synthetic": True, "patches": 10**12, "seed": 0}
    record |= dict.fromkeys(("software", "request", "model", "sampler", "conditions", "recipe"), "x")
    (tmp_path / "samples.json").write_text(json.dumps(record), encoding="utf-8")
    (tmp_path / "samples.csv").write_bytes(text)
    with pytest.raises(DatasetError, match="samples"):
        write_captures(tmp_path, tmp_path / "out")


def a_huge_picture(path: Path) -> None:
    """A PNG file whose header says 2^31 - 1 pixels both ways (ISO/IEC 15948, 11.2.2)."""
    header = struct.pack(">IIBBBBB", 2**31 - 1, 2**31 - 1, 8, 0, 0, 0, 0)
    chunk = b"IHDR" + header
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk))
    )


@pytest.mark.parametrize("damage", [a_pipe, a_device, a_folder, a_huge_picture])
def test_a_picture_that_is_none_is_a_sentence(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    path = tmp_path / "synthetic-000000.png"
    path.write_bytes(b"")
    damage(path)
    with pytest.raises(DatasetError, match="synthetic-000000"):
        _picture(path)
