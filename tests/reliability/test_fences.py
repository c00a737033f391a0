"""One job, threads, and looks at headers before anything is decoded have the limits of workers: time, memory, files.

What could take the machine down runs in a process of its own, with limits of its own."""

import os
import shutil
import socket
import struct
import subprocess
import time
import zlib
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import FileMetaDataset
from pydicom.uid import DeflatedExplicitVRLittleEndian, DigitalMammographyXRayImageStorageForPresentation

from nlbs.preprocess.formats.elements import scanned
from nlbs.preprocess.formats.image_errors import ImageError, MissingFileError, UnsupportedImageError
from nlbs.preprocess.formats.image_file import read_image
from nlbs.preprocess.formats.signatures import EMPTY
from nlbs.preprocess.formats.source_file import opened
from nlbs.preprocess.root.found_files import side_of_file
from nlbs.preprocess.root.preflight import MISSING, syntax_of
from tests.forks import forked
from tests.preprocess.roots import read_csv, run

LIMIT_BYTES = 4 << 30


def limited(code: str, *arguments: object) -> "subprocess.CompletedProcess[str]":
    """Runs Python in a process that cannot take all memory."""
    bounds = f"import resource; resource.setrlimit(resource.RLIMIT_AS, ({LIMIT_BYTES}, {LIMIT_BYTES}))\n"
    return forked(bounds + code, arguments)


def deflated(path: Path, body: bytes, before: int = 0) -> Path:
    """Writes a DICOM file whose elements are deflated, with so many bytes before its Transfer Syntax UID."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = DigitalMammographyXRayImageStorageForPresentation
    meta.MediaStorageSOPInstanceUID = pydicom.uid.generate_uid()
    meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    dataset = pydicom.Dataset()
    dataset.file_meta = meta
    dataset.PatientID = "x"
    pydicom.dcmwrite(path, dataset, enforce_file_format=True)
    whole = path.read_bytes()
    end = 144 + struct.unpack_from("<I", whole, 140)[0]
    # Tags out of order are read all the same.
    spare = struct.pack("<HH2sHI", 0x0002, 0x0001, b"OB", 0, before) + bytes(before) if before else b""
    length = struct.pack("<I", struct.unpack_from("<I", whole, 140)[0] + len(spare))
    deflate = zlib.compressobj(1, zlib.DEFLATED, -15)
    path.write_bytes(whole[:140] + length + spare + whole[144:end] + deflate.compress(body) + deflate.flush())
    return path


def element(group: int, number: int, vr: bytes, value: bytes) -> bytes:
    return struct.pack("<HH2sH", group, number, vr, len(value)) + value


def many_elements(count: int) -> bytes:
    """Gives so many empty elements, each of another tag: small when packed, a hundredfold as objects."""
    at = np.arange(count)
    found = np.zeros(count, [("group", "<u2"), ("number", "<u2"), ("vr", "S2"), ("length", "<u2")])
    found["group"], found["number"], found["vr"] = 9 + 2 * (at // 60_000), 0x1000 + at % 60_000, b"LO"
    return found.tobytes()


def tiff_of_pages(pages: int, strips: int) -> bytes:
    """Gives a TIFF whose pages all have the same list of strips, as long as the file."""
    head, entries = struct.pack("<2sHI", b"II", 42, 8), 8
    size = 2 + 12 * entries + 4
    lists = 8 + pages * size
    data = [head]
    for page in range(pages):
        rows = ((256, 4, 1, 64), (257, 4, 1, 64), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1))
        rows += ((273, 4, strips, lists), (278, 4, 1, 1), (279, 4, strips, lists))
        data.append(struct.pack("<H", entries) + b"".join(struct.pack("<HHII", *row) for row in rows))
        data.append(struct.pack("<I", 8 + (page + 1) * size if page + 1 < pages else 0))
    return b"".join([*data, struct.pack("<I", 1) * strips])


@pytest.mark.parametrize("workers", [("--jobs", "1"), ("--jobs", "2", "--backend", "threading")])
def test_poison_costs_its_own_file_where_no_pool_of_workers_was_asked_for(
    workers: tuple[str, ...], tiny: Path, tmp_path: Path
) -> None:
    images = tmp_path / "images"
    shutil.copytree(tiny, images)
    paths = [images / row["File Path"].replace("\\", "/") for row in read_csv(images / "meta.csv")]
    deflated(paths[0], many_elements(12_000_000))
    paths[1].write_bytes(tiff_of_pages(40, 2_000_000))
    paths[2].unlink()
    os.mkfifo(paths[2])
    done = limited(
        "from nlbs.preprocess.cli import main; main()",
        *("build-shards", "--csv", images / "meta.csv", "--out", tmp_path / "s"),
        *("--resolution", "64", "--stride", "64", "--file-timeout", "4", *workers),
    )
    assert done.returncode == 0, done.stderr
    rows = read_csv(tmp_path / "s" / "images.csv")
    assert rows[0]["status"] in ("timeout", "out_of_memory")
    assert [row["status"] for row in rows[1:3]] == ["unsupported", "missing_file"]  # 40 pages, none chosen
    assert {row["status"] for row in rows[3:]} == {"ok"}


def test_looks_at_headers_open_regular_files_alone_and_do_not_wait(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket"))
        begun = time.monotonic()
        for path in (*(tmp_path / name for name in ("pipe", "folder", "socket", "none")), Path("/dev/zero")):
            assert side_of_file(path) is None
            assert syntax_of(path) == MISSING
            with pytest.raises(MissingFileError):
                read_image(path)
        assert time.monotonic() - begun < 5


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="this system has no /proc")
def test_a_file_of_the_kernel_that_says_it_has_no_bytes_gives_none() -> None:
    with opened(Path("/proc/self/status")) as file:
        assert file.read() == b""
        assert file.read(8) == b""
    assert syntax_of(Path("/proc/self/status")) == EMPTY


@pytest.mark.parametrize("before", [0, 5000])
def test_a_deflated_bomb_is_looked_at_in_little_memory_and_refused_when_decoded(
    tmp_path: Path, before: int
) -> None:
    bomb = element(0x0020, 0x0060, b"CS", b"L ") + bytes(400_000_000)
    path = deflated(tmp_path / "bomb.dcm", bomb, before)
    code = """
import sys, pathlib
from nlbs.preprocess.root.found_files import side_of_file
from nlbs.preprocess.formats.image_file import read_image
from nlbs.preprocess.formats.image_errors import ImageError
def most_kb():  # not ru_maxrss, in which the process that started this one counts as well
    return int(open("/proc/self/status", encoding="ascii").read().split("VmHWM:")[1].split()[0])
path, before = pathlib.Path(sys.argv[1]), most_kb()
side_of_file(path)
try:
    read_image(path)
except ImageError as error:
    print(error)
print(most_kb() - before)
"""
    done = limited(code, path)
    assert done.returncode == 0, done.stderr
    said, grown_kb = done.stdout.splitlines()
    assert "unpack to more than" in said
    assert int(grown_kb) < 150_000


@pytest.mark.parametrize("side", ["L", "R"])
def test_the_side_of_a_deflated_file_is_found_as_pydicom_finds_it(tmp_path: Path, side: str) -> None:
    values = element(0x0008, 0x0060, b"CS", b"MG") + element(0x0020, 0x0062, b"CS", f"{side} ".encode())
    path = deflated(tmp_path / "one.dcm", values + element(0x0028, 0x0010, b"US", b"\1\0"))
    assert pydicom.dcmread(path).ImageLaterality == side
    assert scanned(path, ["ImageLaterality"]).ImageLaterality == side
    assert scanned(path).file_meta.TransferSyntaxUID == DeflatedExplicitVRLittleEndian
    assert side_of_file(path) == side


def test_pages_that_share_one_list_take_no_memory_each(tmp_path: Path) -> None:
    path = tmp_path / "pages.tif"
    path.write_bytes(tiff_of_pages(40, 2_000_000))
    import tracemalloc

    tracemalloc.start()
    with pytest.raises(ImageError):
        read_image(path, frame=1)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 5 * path.stat().st_size


def test_a_file_with_holes_is_not_taken_into_memory(tmp_path: Path) -> None:
    for name, start in (("a.tif", b"II*\0"), ("a.png", b"\x89PNG\r\n\x1a\n")):
        with (tmp_path / name).open("wb") as file:
            file.write(start)
            file.truncate(20 << 30)
        with pytest.raises(UnsupportedImageError, match="expected at most"):
            read_image(tmp_path / name)


@pytest.mark.parametrize("value", ["nan", "inf", "-inf", "0", "-1", "1e999", "x"])
def test_a_time_that_is_no_time_is_refused(tiny: Path, tmp_path: Path, value: str) -> None:
    done = run(
        *("build-shards", "--csv", tiny / "meta.csv", "--out", tmp_path / "s", "--file-timeout", value)
    )
    assert done.returncode == 2
    assert "--file-timeout" in done.stderr
    assert not (tmp_path / "s").exists()


@pytest.mark.parametrize("option", ["--spacing-mm", "--min-foreground"])
def test_a_number_that_is_not_finite_is_refused(tiny: Path, tmp_path: Path, option: str) -> None:
    done = run("build-shards", "--csv", tiny / "meta.csv", "--out", tmp_path / "s", option, "nan")
    assert done.returncode == 2
    assert "not a finite number" in done.stderr
