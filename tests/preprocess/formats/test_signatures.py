"""What lies there instead of an image: files as the programs of their formats write them, each told for what it is."""

import bz2
import gzip
import io
import json
import lzma
import plistlib
import sqlite3
import struct
import tarfile
import zipfile
from pathlib import Path

import imagecodecs
import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.filewriter import write_dataset

from nlbs.preprocess.formats.image_errors import ImageError, MissingFileError, NotDicomError
from nlbs.preprocess.formats.image_file import read_image
from nlbs.preprocess.formats.signatures import FOREIGN_BYTES, foreign
from nlbs.preprocess.root.preflight import preflight, preflight_lines
from tests.conftest import run_command
from tests.preprocess.dicom_files import PICTURE, PLANTED, make_dicom, public_file

GREY = (PICTURE >> 4).astype(np.uint8)


def by_pillow(kind: str) -> bytes:
    file = io.BytesIO()
    Image.fromarray(GREY).save(file, kind)
    return file.getvalue()


def bare(implicit: bool, little: bool, meta: bool = False) -> bytes:
    """Gives a data set as PACS exports leave it: without preamble and "DICM"."""
    dataset = Dataset()
    dataset.SpecificCharacterSet, dataset.Modality, dataset.PatientName = "ISO_IR 100", "MG", PLANTED
    dataset.SOPClassUID = "1.2.840.10008.5.1.4.1.1.1.2"
    file = pydicom.filebase.DicomBytesIO()
    file.is_implicit_VR, file.is_little_endian = implicit, little
    write_dataset(file, dataset)
    head = pydicom.dataset.FileMetaDataset()
    head.TransferSyntaxUID, head.MediaStorageSOPClassUID = "1.2.840.10008.1.2.1", dataset.SOPClassUID
    head.MediaStorageSOPInstanceUID = "1.2.3"
    start = pydicom.filebase.DicomBytesIO()
    start.is_implicit_VR, start.is_little_endian = False, True
    pydicom.filewriter.write_file_meta_info(start, head)
    return (start.getvalue() if meta else b"") + file.getvalue()


def packed(kind: str) -> bytes:
    file = io.BytesIO()
    if kind == "zip":
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr("x.dcm", b"x")
    else:
        with tarfile.open(fileobj=file, mode="w", format=getattr(tarfile, f"{kind}_FORMAT")) as archive:
            archive.addfile(tarfile.TarInfo("x.dcm"), io.BytesIO())
    return file.getvalue()


def numpy_file() -> bytes:
    file = io.BytesIO()
    np.save(file, GREY)
    return file.getvalue()


def database(folder: Path) -> bytes:
    connection = sqlite3.connect(folder / "x.db")
    connection.execute("create table t (a)")
    connection.commit()
    connection.close()
    return (folder / "x.db").read_bytes()


LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 12345\n"
#: What it is -> its bytes, a word of its name, a word of the way out.
FOREIGN = {
    "empty": (b"", "empty file", "download it again"),
    "zeros": (bytes(5000), "file of zeros", "download it again"),
    "many zeros": (bytes(3 << 20), "file of zeros", "download it again"),
    "hole": (bytes(1 << 20) + b"pixels" * 99, "hole of zeros", "download it again"),
    "LFS": (LFS, "Git LFS pointer", "git lfs pull"),
    "annex": (b"/annex/objects/MD5E-s12--0123.dcm\n", "git-annex pointer", "git annex get"),
    "annex link": (b"../.git/annex/objects/xx/yy/MD5E-s1--0/MD5E-s1--0.dcm", "git-annex pointer", "datalad get"),
    "DVC": (b"outs:\n- md5: 0123456789\n  size: 3\n  path: x.dcm\n", "DVC pointer", "dvc pull"),
    "page": (b"<!DOCTYPE html><html>log in</html>", "web page", "log in"),
    "page with BOM": ("\ufeff\n\n<HTML><head>".encode(), "web page", "log in"),
    "page in UTF-16": ("<html><body>log in".encode("utf-16"), "web page", "log in"),
    "page after a comment": (b"<!-- a\nb --><html lang='en'>", "web page", "log in"),
    "XHTML": (b"<?xml version='1.0'?><!DOCTYPE html PUBLIC '-'><html xmlns='x'>", "web page", "log in"),
    "S3 error": (b"<?xml version='1.0'?>\n<Error><Code>AccessDenied</Code></Error>", "XML", "download it again"),
    "JSON": (json.dumps({"message": "Unauthorized"}).encode(), "JSON", "download it again"),
    "text": (b"File Path,Age\n" * 40, "a text", "path in the table"),
    "Latin-1": ("M\xe4rz, \xfcbrig\n".encode("latin-1") * 9, "a text", "path in the table"),
    "JPEG": (by_pillow("JPEG"), "JPEG image", "convert it"),
    "JPEG lossless": (bytes(imagecodecs.jpeg8_encode(PICTURE, lossless=True, bitspersample=12)), "JPEG", "convert"),
    "JPEG 2000": (by_pillow("JPEG2000"), "JPEG 2000 image", "convert it"),
    "J2K": (bytes(imagecodecs.jpeg2k_encode(GREY, codecformat="j2k")), "JPEG 2000 codestream", "no header"),
    "JPEG-LS": (bytes(imagecodecs.jpegls_encode(GREY)), "JPEG-LS codestream", "no header"),
    "JPEG XL": (bytes(imagecodecs.jpegxl_encode(GREY)), "JPEG XL", "convert"),
    "GIF": (by_pillow("GIF"), "GIF", "convert"),
    "BMP": (by_pillow("BMP"), "BMP", "convert"),
    "WebP": (by_pillow("WEBP"), "WebP", "convert"),
    "gzip": (gzip.compress(b"x"), "gzip", "gunzip"),
    "bzip2": (bz2.compress(b"x"), "bzip2", "bunzip2"),
    "xz": (lzma.compress(b"x"), "xz", "unxz"),
    "zstd": (bytes(imagecodecs.zstd_encode(b"x" * 99)), "Zstandard", "unzstd"),
    "zip": (packed("zip"), "zip", "unpack"),
    "tar": (packed("USTAR"), "tar", "tar xf"),
    "GNU tar": (packed("GNU"), "tar", "tar xf"),
    "7z": (b"7z\xbc\xaf\x27\x1c\0\4" + bytes(24), "7z", "7z x"),
    "rar": (b"Rar!\x1a\x07\1\0" + bytes(24), "rar", "unrar"),
    "PDF": (b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n", "PDF", "path in the table"),
    "NIfTI": (struct.pack("<i", 348) + bytes(340) + b"n+1\0" + bytes(99), "NIfTI", "convert"),
    "NIfTI, big": (struct.pack(">i", 348) + bytes(340) + b"ni1\0" + bytes(99), "NIfTI", "convert"),
    "NRRD": (b"NRRD0004\ntype: short\n", "NRRD", "convert"),
    "HDF5": (b"\x89HDF\r\n\x1a\n" + bytes(99), "HDF5", "convert"),
    "NumPy": (numpy_file(), "NumPy", "convert"),
    "pickle": (b"\x80\4\x95\x0c\0\0\0\0\0\0\0", "pickled", "not opened"),
    "AppleDouble": (struct.pack(">II", 0x00051607, 0x00020000) + b"Mac OS X        " + bytes(99), "AppleDouble", "._"),
    "DS_Store": (b"\0\0\0\1Bud1" + bytes(99), "DS_Store", "out of the table"),
    "shortcut": (struct.pack("<I", 0x4C) + bytes.fromhex("0114020000000000c000000000000046"), "shortcut", "points"),
    "web shortcut": (b"[InternetShortcut]\r\nURL=https://x\r\n", "shortcut", "points"),
    "binary plist": (plistlib.dumps({"a": 1}, fmt=plistlib.FMT_BINARY), "not known here", "PS3.10 7.1"),
    "PPM": (b"P6\n2 2\n255\n" + bytes(12), "colour image", "convert"),
    **{
        f"bare {'implicit' if implicit else 'explicit'} {'little' if little else 'big'}": (
            bare(implicit, little), "without preamble", "dcmconv",
        )
        for implicit, little in ((True, True), (False, True), (False, False))
    },
    "bare with group 2": (bare(False, True, meta=True), "without preamble", "dcmconv"),
    "cut at DICM": (b"DICM" + bytes(99), "damaged beginning", "download it again"),
    "multipart answer": (
        b"--b1\r\nContent-Type: application/dicom\r\n\r\n" + bytes(128) + b"DICM\2\0\0\0UL",
        *("answer of a server", "DICOMweb"),
    ),
    "HTTP answer": (b"HTTP/1.1 200 OK\r\n\r\n" + bytes(128) + b"DICM", "answer of a server", "DICOMweb"),
    "moved DICOM": (b"\n" + bytes(128) + b"DICM\2\0\0\0UL\4\0" + bytes(99), "other bytes before it", "before it away"),
    "noise": (bytes(np.random.default_rng(0).integers(1, 255, 5000, np.uint8)), "not known here", "PS3.10 7.1"),
}  # fmt: skip


@pytest.mark.parametrize("name", FOREIGN)
def test_each_is_told_for_what_it_is_with_the_way_out(name: str, tmp_path: Path) -> None:
    data, what, way_out = FOREIGN[name]
    path = tmp_path / "x.dcm"
    path.write_bytes(data)
    with pytest.raises(NotDicomError, match="not a DICOM file") as caught:
        read_image(path)
    said, after = str(caught.value).split(", but ")[1].split(": ", 1)
    assert what in said
    assert way_out in after
    assert PLANTED not in str(caught.value)
    assert len(str(caught.value)) < 300


def test_a_database_is_told_too(tmp_path: Path) -> None:
    data = database(tmp_path)
    assert foreign(data[:FOREIGN_BYTES], len(data)).name == "a SQLite database"


def test_no_image_that_is_read_is_taken_for_something_else(tmp_path: Path) -> None:
    for kind in ("PNG", "TIFF", "PPM"):  # of a grey image PPM is PGM
        (tmp_path / "x").write_bytes(by_pillow(kind))
        assert np.array_equal(read_image(tmp_path / "x").stored, GREY)
    path = make_dicom(tmp_path, PICTURE)
    for preamble in (b"II*\0", b"%PDF-1.4", b"GIF89a", b"PK\3\4", b"<html>"):  # PS3.10 7.1 leaves it free
        data = path.read_bytes()
        (tmp_path / "x").write_bytes(preamble + data[len(preamble) :])
        assert np.array_equal(read_image(tmp_path / "x").stored, PICTURE)


def test_any_bytes_are_told_without_an_error() -> None:
    random = np.random.default_rng(1)
    for size in (*range(1, 40), 255, 260, 346, 350, 4096):
        for start in (b"", b"\xff\xfe", b"RIFF", b"BM", b"\2\0", b"\x08\0", b"<", b"\xef\xbb\xbf"):
            data = start + bytes(random.integers(0, 256, size, np.uint8))
            assert foreign(data[:FOREIGN_BYTES], len(data)).sentence


@pytest.mark.parametrize(
    ("ending", "word"),
    [(".part", "did not end"), (".crdownload", "did not end"), (".gz", "unpack it"), (".zip", "unpack it")],
)
def test_an_unfinished_or_packed_neighbour_of_a_missing_file_is_named(
    ending: str, word: str, tmp_path: Path
) -> None:
    with pytest.raises(MissingFileError, match=r"^there is no such file$"):
        read_image(tmp_path / "x.dcm")
    (tmp_path / f"x.dcm{ending}").write_bytes(b"x")
    with pytest.raises(MissingFileError, match=word) as caught:
        read_image(tmp_path / "x.dcm")
    assert ending in str(caught.value)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("dicomdirtests/DICOMDIR", "a DICOMDIR, which lists the files"),
        ("test-SR.dcm", "SR Storage"),
        ("rtplan.dcm", "RT Plan Storage"),
        ("reportsi.dcm", "SR Storage"),
    ],
)
def test_a_dicom_file_that_is_no_image_says_what_it_is(name: str, words: str) -> None:
    with pytest.raises(ImageError, match=words) as caught:
        read_image(public_file(name))
    assert caught.value.status == "no_pixels"


def test_preflight_counts_them_and_a_build_names_them(tmp_path: Path) -> None:
    rows = ["File Path,Image Laterality,View Position,Age,Cancer,False Positive\n"]
    for number, name in enumerate(("empty", "LFS", "LFS", "page", "gzip", "noise")):
        (tmp_path / "n" / f"p{number}").mkdir(parents=True)
        (tmp_path / "n" / f"p{number}" / "x.dcm").write_bytes(FOREIGN[name][0])
        rows.append(f"n/p{number}/x.dcm,L,CC,60,0,0\n")
    (tmp_path / "meta.csv").write_text("".join(rows), encoding="utf-8")
    found = preflight(sorted(tmp_path.glob("n/*/x.dcm")))
    assert {one.name: one.files for one in found.found} == {
        "no image: a Git LFS pointer": 2,
        "no image: an empty file (0 bytes)": 1,
        "no image: a web page (HTML)": 1,
        "no image: an archive (gzip)": 1,
        "no image": 1,
    }
    assert found.undecodable == ()  # each has its own words later on
    assert "git lfs pull" in "\n".join(preflight_lines(found))
    done = run_command("preprocess", "preflight", "--csv", tmp_path / "meta.csv")
    assert done.returncode == 0, done.stderr
    assert "git lfs pull" in done.stdout


def test_the_longest_name_that_is_missing_is_only_missing(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match="there is no such file"):
        read_image(tmp_path / ("x" * 255))
