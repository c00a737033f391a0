"""Files that may hold an image: regular ones alone are opened, each is told apart by its first bytes."""

import os
import socket
import time
from pathlib import Path

import numpy as np
import pydicom
import pytest

from nlbs.preprocess.formats.image_errors import (
    MissingFileError,
)
from nlbs.preprocess.formats.image_file import read_image
from nlbs.preprocess.formats.source_file import kind_of
from tests.preprocess.dicom_files import (
    PICTURE,
    PLANTED,
    make_dicom,
)
from tests.preprocess.plain_files import written


def test_only_regular_files_are_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo.dcm")
    (tmp_path / "folder.dcm").mkdir()
    (tmp_path / "loop.dcm").symlink_to(tmp_path / "loop.dcm")
    odd = [
        tmp_path / name
        for name in ("fifo.dcm", "folder.dcm", "missing.dcm", "loop.dcm", "nul\0.dcm", "x" * 300)
    ]
    for path in (*odd, Path("/dev/zero"), tmp_path / "folder.dcm" / "inside" / "no.dcm"):
        started = time.monotonic()
        with pytest.raises(MissingFileError):
            read_image(path)
        assert time.monotonic() - started < 10  # it would wait for ever


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_permission_says_so(tmp_path: Path) -> None:
    path = make_dicom(tmp_path, PICTURE)
    path.chmod(0)
    with pytest.raises(MissingFileError, match="no permission"):
        read_image(path)


def test_a_file_that_may_not_be_opened_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make_dicom(tmp_path, PICTURE)

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied", PLANTED)

    monkeypatch.setattr(pydicom, "dcmread", refuse)
    with pytest.raises(MissingFileError, match=r"^no permission to read the file$"):
        read_image(path)


def test_the_kind_is_told_by_content_and_a_dicom_file_goes_first(tmp_path: Path) -> None:
    dicom = make_dicom(tmp_path, PICTURE)
    data = bytearray(dicom.read_bytes())
    data[:4] = b"II*\0"  # PS3.10 7.1 allows a preamble that is the head of a TIFF
    assert np.array_equal(read_image(written(tmp_path, bytes(data), "image.tif")).stored, PICTURE)
    for start in (b"", b"P6\n", b"P5x", b"GIF89a", b"\xff\xd8\xff", b"II+"):
        assert kind_of(start) is None


def test_what_is_no_regular_file_is_refused_before_it_is_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "folder").mkdir()
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket"))
        for path in (*(tmp_path / name for name in ("fifo", "folder", "loop", "socket")), Path("/dev/zero")):
            with pytest.raises(MissingFileError):
                read_image(path)
