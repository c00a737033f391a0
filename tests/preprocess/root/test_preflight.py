"""What is said of a tree of files before any is decoded."""

from pathlib import Path

import numpy as np
import pytest
from pydicom.uid import UID, ExplicitVRLittleEndian, JPEG2000Lossless, JPEGLosslessSV1

from nlbs.errors import DatasetError
from nlbs.preprocess.formats import codecs
from nlbs.preprocess.root import preflight
from nlbs.preprocess.root.preflight import preflight_lines, require_decoders
from tests.conftest import run_command
from tests.preprocess.dicom_files import PICTURE, make_dicom, rename_syntax
from tests.preprocess.mask_images import breast_image

HEADER = "File Path,Image Laterality,View Position,Age,Cancer,False Positive\n"
VIDEO = UID("1.2.840.10008.1.2.4.102")


def named(folder: Path, name: str, syntax: UID, pixels: np.ndarray = PICTURE) -> Path:
    """Writes a file; one whose syntax no encoder writes is only called so."""
    if syntax in (ExplicitVRLittleEndian, JPEG2000Lossless, JPEGLosslessSV1):
        path = make_dicom(folder, pixels, syntax)
    else:
        path = rename_syntax(make_dicom(folder, pixels), syntax)
    return path.rename(folder / name)


def test_every_kind_of_file_is_counted_and_has_its_decoder(tmp_path: Path) -> None:
    (tmp_path / "d.dcm").write_bytes(b"P5 1 1 255 \0")
    (tmp_path / "e.dcm").write_bytes(b"nothing" * 30)
    paths = [
        named(tmp_path, "a.dcm", JPEG2000Lossless),
        named(tmp_path, "b.dcm", JPEG2000Lossless),
        named(tmp_path, "c.dcm", VIDEO),
        tmp_path / "d.dcm",
        tmp_path / "e.dcm",
        tmp_path / "none.dcm",
        named(tmp_path, "f.dcm", UID("1.2.3.4.5")),
        named(tmp_path, "g.dcm", ExplicitVRLittleEndian),
    ]
    result = preflight.preflight(paths)
    assert {one.name: (one.files, one.decoder) for one in result.found} == {
        "JPEG 2000 Lossless": (2, "imagecodecs"),
        "MPEG-4 AVC/H.264 Level 4.1": (1, None),
        "PGM": (1, "numpy"),
        "no image": (1, None),
        "missing": (1, None),
        "unknown transfer syntax": (1, None),
        "Explicit VR Little Endian": (1, "numpy"),
    }
    assert {one.name for one in result.undecodable} == {
        "MPEG-4 AVC/H.264 Level 4.1",
        "unknown transfer syntax",
    }
    assert result.found[0].files == 2
    text = "\n".join(preflight_lines(result))
    assert "a video, expected a single image" in text
    assert str(tmp_path) not in text


def test_many_files_are_sampled_over_the_whole_list(tmp_path: Path) -> None:
    first = named(tmp_path, "a.dcm", JPEG2000Lossless)
    last = named(tmp_path, "b.dcm", ExplicitVRLittleEndian)
    result = preflight.preflight([first] * 150 + [last] * 50, most_files=20)
    assert {one.name: one.files for one in result.found} == {
        "JPEG 2000 Lossless": 15,
        "Explicit VR Little Endian": 5,
    }
    assert (result.looked_at, result.files) == (20, 200)
    assert "A sample of 20 of 200 files" in preflight_lines(result)[-1]
    assert preflight.preflight([]).found == ()


def test_no_pixel_is_read(tmp_path: Path) -> None:
    path = named(tmp_path, "a.dcm", JPEG2000Lossless)
    path.write_bytes(path.read_bytes()[:400])
    assert preflight.preflight([path]).found[0].name == "JPEG 2000 Lossless"


def test_a_build_is_warned_of_some_files_and_stopped_where_none_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    good, bad = named(tmp_path, "a.dcm", ExplicitVRLittleEndian), named(tmp_path, "b.dcm", JPEGLosslessSV1)
    assert require_decoders([good, bad], "auto") is None
    assert require_decoders([tmp_path / "none.dcm"], "auto") is None  # has its own status, and its own words
    monkeypatch.setattr(codecs, "_installed", lambda module: False)
    warning = require_decoders([good, bad], "pylibjpeg")
    assert warning is not None
    assert "1 of the 2 files" in warning
    assert "JPEG Lossless SV1: --decoder pylibjpeg has none, --decoder auto has" in warning
    with pytest.raises(DatasetError, match="none of the files can be decoded"):
        require_decoders([bad], "pylibjpeg")
    monkeypatch.setattr(codecs, "CODECS", {})
    with pytest.raises(DatasetError, match="install imagecodecs, or pylibjpeg"):
        require_decoders([bad, tmp_path / "none.dcm"], "auto")


def test_the_command_prints_a_table_and_the_build_goes_on(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b"
    folder.mkdir(parents=True)
    named(folder, "good.dcm", ExplicitVRLittleEndian, breast_image(1, "L", "CC").astype(np.uint16))
    named(folder, "video.dcm", VIDEO)
    table = tmp_path / "meta.csv"
    table.write_text(HEADER + "a\\b\\good.dcm,L,CC,66,0,0\na\\b\\video.dcm,L,MLO,66,0,0\n", encoding="utf-8")
    done = run_command("preprocess", "preflight", "--csv", table)
    assert done.returncode == 0, done.stderr
    lines = [line.split() for line in done.stdout.splitlines()]
    assert ["Explicit", "VR", "Little", "Endian", "1", "numpy"] in lines
    assert any(line[:1] == ["MPEG-4"] and "none:" in line for line in lines)
    build = ["build-shards", "--csv", table, "--out", tmp_path / "out", "--jobs", "1", "--resolution", "64"]
    done = run_command("preprocess", *build)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("Warning: 1 of the 2 files looked at have no decoder here") == 1
    table.write_text(HEADER + "a\\b\\video.dcm,L,MLO,66,0,0\n", encoding="utf-8")
    done = run_command(
        "preprocess", "build-shards", "--csv", table, "--out", tmp_path / "other", "--jobs", "1"
    )
    assert done.returncode == 1
    assert "none of the files can be decoded" in done.stderr
    assert "Traceback" not in done.stderr
