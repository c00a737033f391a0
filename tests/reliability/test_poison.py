"""Poisoned rows beside good ones, end to end: each is named, and the good ones are as if it had not been there."""

import csv
import os
import re
import shutil
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.uid import ExplicitVRLittleEndian, JPEG2000Lossless

from nlbs.manifests.conditions import Conditions
from nlbs.manifests.tables.table import ImageRow
from nlbs.preprocess.images.decode import DecodedImage, DecodeOptions, decode_image
from nlbs.preprocess.images.store import ImageStore
from nlbs.preprocess.root.decoding import decode_into_store, known_source
from nlbs.preprocess.root.sources import Source, UnsafePathError, safe_path
from tests.preprocess.dicom_files import make_dicom
from tests.reliability.conftest import nlbs
from tests.reliability.faulty_disk import tree

NOISE = np.random.default_rng(0).integers(0, 4096, (64, 48)).astype(np.uint16)


def of_header(**elements: object) -> Callable[[Path], None]:
    """Gives a maker of a file whose header says something else than its pixels."""

    def make(path: Path) -> None:
        folder = path.with_suffix(".d")
        folder.mkdir()
        shutil.move(make_dicom(folder, NOISE, **elements), path)
        folder.rmdir()

    return make


def cut_short(path: Path) -> None:
    of_header()(path)
    path.write_bytes(path.read_bytes()[:-1000])


def nested(path: Path) -> None:
    of_header()(path)
    data = path.read_bytes()
    place = data.index(struct.pack("<HH2s", 0x0010, 0x0010, b"PN"))
    sequence = struct.pack("<HH2sHI", 0x0008, 0x1140, b"SQ", 0, 0xFFFFFFFF) + struct.pack(
        "<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF
    )
    ends = struct.pack("<HHI", 0xFFFE, 0xE00D, 0) + struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
    path.write_bytes(data[:place] + sequence * 3000 + ends * 3000 + data[place:])


def damaged_codestream(path: Path) -> None:
    folder = path.with_suffix(".d")
    folder.mkdir()
    data = bytearray(make_dicom(folder, NOISE, JPEG2000Lossless).read_bytes())
    shutil.rmtree(folder)
    start = data.index(b"\xff\x52")  # COD, how it is coded: other levels and sizes than the stream has
    data[start + 4 : start + 14] = b"\xff" * 10
    path.write_bytes(data)


def larger_codestream(path: Path) -> None:
    folder = path.with_suffix(".d")
    folder.mkdir()
    data = bytearray(make_dicom(folder, NOISE, JPEG2000Lossless).read_bytes())
    shutil.rmtree(folder)
    start = data.index(b"\xff\x51")
    data[start + 6 : start + 14] = struct.pack(">II", 60_000, 60_000)
    path.write_bytes(data)


#: Name -> what makes it, and the status that its row gets.
POISON: dict[str, tuple[Callable[[Path], object], str]] = {
    "cut-short": (cut_short, "truncated"),
    "text": (lambda path: path.write_text("no image\n" * 99), "not_dicom"),
    "empty": (lambda path: path.touch(), "not_dicom"),
    "folder": (lambda path: path.mkdir(), "missing_file"),
    "pipe": (os.mkfifo, "missing_file"),
    "device": (lambda path: path.symlink_to("/dev/zero"), "unsafe_path"),
    "outside": (lambda path: path.symlink_to("/etc/passwd"), "unsafe_path"),
    "nowhere": (lambda path: None, "missing_file"),
    "nested": (nested, "bad_header"),
    "no-rows": (of_header(Rows=0), "bad_header"),
    "enormous": (of_header(Rows=65535, Columns=65535), "bad_header"),
    "24-bits": (of_header(BitsAllocated=24), "bad_header"),
    "17-bits": (of_header(BitsStored=17), "bad_header"),
    "frames": (of_header(NumberOfFrames=50), "unsupported"),
    "more-rows": (of_header(Rows=6000, Columns=6000), "truncated"),
    "codestream": (damaged_codestream, "decode_failed"),
    "bomb": (larger_codestream, "decode_failed"),
    "air": (lambda path: of_header()(path) or blacken(path), "no_breast"),
}
#: Cells in the place of a path.
UNSAFE = (
    "../../etc/passwd",
    "/etc/passwd",
    "~/x.dcm",
    "C:\\x.dcm",
    "\\\\server\\x.dcm",
    "a/../../x.dcm",
)


def blacken(path: Path) -> None:
    dataset = pydicom.dcmread(path)
    dataset.PixelData = bytes(len(dataset.PixelData))
    dataset.save_as(path)


def test_every_kind_of_poison_is_named_and_the_good_images_and_shards_keep_their_bytes(
    tiny: Path, tiny_root: Path, tmp_path: Path
) -> None:
    images = tmp_path / "images"
    shutil.copytree(tiny, images)
    with (images / "meta.csv").open(newline="") as file:
        header, *good = list(csv.reader(file))
    folder = Path(good[0][0].replace("\\", "/")).parent  # of a patient there is, so that nobody's split moves
    bad = []
    for name, (make, status) in POISON.items():
        make(images / folder / name)
        bad.append((str(folder / name), status))
    bad += [(path, "unsafe_path") for path in UNSAFE]
    bad += [(good[0][0], "duplicate"), ("", "bad_row"), ("x" * 5000, "bad_row")]
    header.append("Patient")
    for row in good:
        row.append(row[0].split("\\")[1])
    rows = [[path, *good[0][1:]] for path, _ in bad]
    mixed = [row for pair in zip(good, rows, strict=False) for row in pair] + rows[len(good) :]
    with (images / "meta.csv").open("w", newline="") as file:
        csv.writer(file).writerows([header, *mixed])
    build = (
        "build-shards",
        "--csv",
        images / "meta.csv",
        "--resolution",
        "64",
        "--stride",
        "64",
        "--patient-column",
        "patient",
    )
    codes, said = nlbs((*build, "--out", tmp_path / "s", "--jobs", "2", "--max-failures", "99%"))
    assert codes == [0], said
    with (tmp_path / "s" / "images.csv").open(newline="") as file:
        found = list(csv.DictReader(file))
    status = {
        row[0]: state["status"] for row, state in zip(mixed, found, strict=True) if row[0] != good[0][0]
    }
    assert {path: status[path] for path, _ in bad[:-3]} == dict(bad[:-3])
    assert sorted(state["status"] for state in found if state["status"] in ("duplicate", "bad_row")) == [
        "bad_row",
        "bad_row",
        "duplicate",
    ]
    assert all(state["reason"] for state in found if state["status"] != "ok")
    whole = {name: data for name, data in tree(tiny_root).items() if "/" in name}
    assert {name: data for name, data in tree(tmp_path / "s").items() if "/" in name} == whole
    assert not re.search(r"passwd|cut-short|\.dcm", said)


def source_of(path: Path) -> Source:
    return Source(ImageRow(1, path.name, Conditions(), "p"), "0" * 16, "p0", "train", path)


def test_a_file_that_is_written_to_while_it_is_read_is_named_and_not_stored(
    tiny: Path, tmp_path: Path
) -> None:
    first, second, *_ = sorted(tiny.rglob("*.dcm"))
    path, options = tmp_path / "image.dcm", DecodeOptions()
    shutil.copy(first, path)
    store = ImageStore.open(tmp_path / "images.zarr", options.recipe())

    def replacing(file: Path, given: DecodeOptions) -> DecodedImage:
        image = decode_image(file, given)
        shutil.copy(second, file)
        return image

    def removing(file: Path, given: DecodeOptions) -> DecodedImage:
        image = decode_image(file, given)
        file.unlink()
        return image

    for decode in (replacing, removing):
        outcome = decode_into_store(source_of(path), store, options, decode)
        assert outcome.status == "file_changed"
        assert outcome.is_failure
        assert store.record("0" * 16) is None
        assert known_source(source_of(path), store, {}, options.kinds) is None  # the next run decodes it
    assert decode_into_store(source_of(path), store, options, decode_image).status == "missing_file"


def test_a_disk_that_fails_to_read_is_not_taken_for_a_bad_header(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make_dicom(tmp_path, NOISE, ExplicitVRLittleEndian)

    def fail(*_: object, **__: object) -> None:
        raise OSError(5, "Input/output error", "/secret/name")

    monkeypatch.setattr(pydicom, "dcmread", fail)
    store = ImageStore.open(tmp_path / "images.zarr", {})
    outcome = decode_into_store(source_of(path), store, DecodeOptions(), decode_image)
    assert (outcome.status, outcome.reason) == ("missing_file", "the file cannot be read: Input/output error")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_folder_without_permission_costs_its_files_only(
    tiny: Path, tiny_root: Path, tmp_path: Path
) -> None:
    images = tmp_path / "images"
    shutil.copytree(tiny, images)
    closed = next(path for path in images.iterdir() if path.is_dir())
    closed.chmod(0)
    try:
        codes, said = nlbs(
            ("build-shards", "--csv", images / "meta.csv", "--out", tmp_path / "s", "--jobs", "1")
        )
    finally:
        closed.chmod(0o755)
    assert codes in ([0], [1]), said
    assert "Traceback" not in said


@pytest.mark.parametrize(
    "text",
    [
        *UNSAFE,
        *(
            "a\0.dcm",
            "..",
            "a/../..",
            "//x",
            "~root/x",
            "c:x",
            "loop/x.dcm",
            "out/x.dcm",
            "out",
            "/proc/self/environ",
        ),
    ],
)
def test_a_path_that_leads_out_of_the_folder_is_refused_before_anything_is_opened(
    text: str, tmp_path: Path
) -> None:
    root = tmp_path / "images"
    root.mkdir()
    (root / "out").symlink_to(tmp_path)
    (root / "loop").symlink_to(root / "out")
    with pytest.raises(UnsafePathError) as caught:
        safe_path(root, text.replace("\\", "/"))
    assert "passwd" not in str(caught.value)


@pytest.mark.parametrize(
    "text", ["file:///etc/passwd", "http://x/y.dcm", "a/./b//c.dcm", "a/../b.dcm", "-rf", "$HOME/x"]
)
def test_a_path_that_only_looks_odd_stays_in_the_folder(text: str, tmp_path: Path) -> None:
    assert safe_path(tmp_path, text).is_relative_to(tmp_path)
