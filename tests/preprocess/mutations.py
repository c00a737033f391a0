"""Damaged copies of small image files, and what may come out of them.

By hand, in processes that may die: ``python -m tests.preprocess.mutations --seed 1 --count 2000``.
"""

import argparse
import io
import json
import os
import resource
import struct
import subprocess
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import imagecodecs
import numpy as np
import pydicom
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    JPEGBaseline8Bit,
    JPEGLSLossless,
)

from nlbs.errors import ImageError
from nlbs.preprocess.formats import syntaxes
from nlbs.preprocess.formats.image_file import read_image
from nlbs.preprocess.images.display import display_pixels, display_table
from tests.preprocess.dicom_files import ENCODERS, LOSSLESS_SYNTAXES, PICTURE, make_dicom, rename_syntax

EIGHT = (PICTURE >> 4).astype(np.uint8)
SLOWEST_S = 10.0
MEMORY_BYTES = 3 << 30


@dataclass(frozen=True)
class Base:
    """A whole file."""

    name: str
    data: bytes
    expected: np.ndarray
    boundaries: tuple[int, ...]  #: where elements, items or chunks begin
    pixels_at: int  #: where the last of them, with the pixels, begins


def bases(folder: Path) -> list[Base]:
    """Makes the whole files, each 61 x 47 pixels."""
    made = [
        _dicom(folder, syntax.keyword, make_dicom(folder, PICTURE, syntax, **_rich()), PICTURE)
        for syntax in LOSSLESS_SYNTAXES
    ]
    baseline = make_dicom(folder, EIGHT, JPEGBaseline8Bit, 8)
    made.append(_dicom(folder, "baseline", baseline, read_image(baseline).stored))
    for name, frame, uid in (
        ("htj2k", imagecodecs.htj2k_encode(PICTURE), syntaxes.HTJ2K_LOSSLESS),
        ("jpegxl", imagecodecs.jpegxl_encode(PICTURE, lossless=True), syntaxes.JPEG_XL_LOSSLESS),
    ):
        before = ENCODERS[JPEGLSLossless]
        ENCODERS[JPEGLSLossless] = lambda *_, frame=frame: bytes(frame)
        try:
            made.append(_dicom(folder, name, make_dicom(folder, PICTURE, JPEGLSLossless), PICTURE, uid))
        finally:
            ENCODERS[JPEGLSLossless] = before
    png = bytes(imagecodecs.png_encode(PICTURE))
    buffer = io.BytesIO()
    Image.fromarray(PICTURE).save(buffer, format="TIFF", compression="tiff_lzw")
    tiff = buffer.getvalue()
    pgm = b"P5\n47 61\n4095\n" + PICTURE.astype(">u2").tobytes()
    for name, data in (("png", png), ("tiff", tiff), ("pgm", pgm)):
        made.append(
            Base(name, data, PICTURE, tuple(range(0, min(400, len(data)), 4)), min(60, len(data) // 2))
        )
    return made


def _rich() -> dict[str, object]:
    item, group = Dataset(), Dataset()
    item.add_new("LUTDescriptor", "US", [4096, 0, 12])
    item.add_new("LUTData", "US", list(range(4096)))
    group.PixelValueTransformationSequence = Sequence([Dataset()])
    group.PixelValueTransformationSequence[0].RescaleSlope = 1
    group.PixelValueTransformationSequence[0].RescaleIntercept = 0
    return {
        "VOILUTSequence": Sequence([item]),
        "SharedFunctionalGroupsSequence": Sequence([group]),
        "WindowCenter": [2000, 2100],
        "WindowWidth": [900, 800],
        "PixelPaddingValue": 0,
        "NumberOfFrames": 1,
    }


def _dicom(folder: Path, name: str, path: Path, expected: np.ndarray, uid: str | None = None) -> Base:
    if uid is not None:
        rename_syntax(path, uid)
    data = path.read_bytes()
    if name == DeflatedExplicitVRLittleEndian.keyword:
        return Base(name, data, expected, tuple(range(132, 400, 4)), 400)
    big = name == ExplicitVRBigEndian.keyword
    head = b"\x7f\xe0\0\x10" if big else b"\xe0\x7f\x10\0"
    pixels_at = data.rindex(head)
    with path.open("rb") as file:
        dataset = pydicom.dcmread(file)
        items = [dataset.get_item(tag) for tag in dataset.keys()]  # noqa: SIM118
        items += [dataset.file_meta.get_item(tag) for tag in dataset.file_meta.keys()]  # noqa: SIM118
    tells = {item.value_tell - 8 for item in items if getattr(item, "value_tell", None)}
    places = tuple(sorted({tell for tell in tells if 132 <= tell <= pixels_at} | {pixels_at, pixels_at + 12}))
    return Base(name, data, expected, places, pixels_at)


# --- Damage -------------------------------------------------------------------------------------------

Damage = Callable[[Base, np.random.Generator], bytes]


def _place(base: Base, generator: np.random.Generator) -> int:
    return int(generator.choice(base.boundaries))


def flip_header(base: Base, generator: np.random.Generator) -> bytes:
    data = bytearray(base.data)
    for place in generator.integers(min(132, base.pixels_at - 1), base.pixels_at, 1 + generator.integers(4)):
        data[place] ^= 1 << generator.integers(8)
    return bytes(data)


def flip_pixels(base: Base, generator: np.random.Generator) -> bytes:
    data = bytearray(base.data)
    for place in generator.integers(base.pixels_at, len(data), 1 + generator.integers(4)):
        data[place] = generator.integers(256)
    return bytes(data)


def cut_at_element(base: Base, generator: np.random.Generator) -> bytes:
    return base.data[: _place(base, generator)]


def cut_pixels(base: Base, generator: np.random.Generator) -> bytes:
    return base.data[: int(generator.integers(base.pixels_at, len(base.data)))]


def change_length(base: Base, generator: np.random.Generator) -> bytes:
    data, place = bytearray(base.data), _place(base, generator) + int(generator.choice([4, 6, 8]))
    value = int(
        generator.choice([0, 1, 2, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFE, 0xFFFFFFFF, generator.integers(1 << 16)])
    )
    if place + 4 <= len(data):
        kind = "<I" if generator.random() < 0.7 else "<H"
        struct.pack_into(kind, data, place, value & (0xFFFFFFFF if kind == "<I" else 0xFFFF))
    return bytes(data)


def swap_tags(base: Base, generator: np.random.Generator) -> bytes:
    data, one, other = bytearray(base.data), _place(base, generator), _place(base, generator)
    data[one : one + 4], data[other : other + 4] = data[other : other + 4], data[one : one + 4]
    return bytes(data)


def duplicate(base: Base, generator: np.random.Generator) -> bytes:
    begin, end = sorted((_place(base, generator), _place(base, generator)))
    return base.data[:end] + base.data[begin:end] * int(generator.integers(1, 4)) + base.data[end:]


def drop(base: Base, generator: np.random.Generator) -> bytes:
    begin, end = sorted((_place(base, generator), _place(base, generator)))
    return base.data[:begin] + base.data[end:]


def nest(base: Base, generator: np.random.Generator) -> bytes:
    depth, place = int(generator.choice([3, 50, 400, 2000])), _place(base, generator)
    open_ = struct.pack("<HH2sHI", 0x0008, 0x1140, b"SQ", 0, 0xFFFFFFFF) + struct.pack(
        "<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF
    )
    close = struct.pack("<HHI", 0xFFFE, 0xE00D, 0) + struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
    closed = int(generator.choice([0, depth]))
    return base.data[:place] + open_ * depth + close * closed + base.data[place:]


def insert(base: Base, generator: np.random.Generator) -> bytes:
    place = int(generator.integers(base.pixels_at, len(base.data)))
    return base.data[:place] + generator.bytes(int(generator.integers(1, 40))) + base.data[place:]


def delete(base: Base, generator: np.random.Generator) -> bytes:
    place = int(generator.integers(base.pixels_at, len(base.data)))
    return base.data[:place] + base.data[place + int(generator.integers(1, 40)) :]


def append(base: Base, generator: np.random.Generator) -> bytes:
    return base.data + generator.bytes(int(generator.integers(1, 200)))


def restate(base: Base, generator: np.random.Generator) -> bytes:
    """Another number in one of the elements that pixels are read by."""
    data = bytearray(base.data)
    big = base.name == ExplicitVRBigEndian.keyword
    element = int(generator.choice([0x0002, 0x0010, 0x0011, 0x0100, 0x0101, 0x0102, 0x0103]))
    place = data.find(struct.pack(">HH" if big else "<HH", 0x0028, element))
    if place < 0:
        return flip_header(base, generator)
    value = int(generator.choice([0, 1, 3, 7, 8, 11, 13, 15, 16, 24, 46, 48, 60, 62, 122, 65535]))
    struct.pack_into(">H" if big else "<H", data, place + 8, value)
    return bytes(data)


DAMAGES: tuple[Damage, ...] = (
    flip_header,
    flip_pixels,
    cut_at_element,
    cut_pixels,
    change_length,
    swap_tags,
    duplicate,
    drop,
    nest,
    insert,
    delete,
    append,
    restate,
)
#: What a file can still say after these: whatever is decoded is the whole image, or has a remark.
TELLING = (cut_at_element, cut_pixels, append, nest)


# --- What comes out -----------------------------------------------------------------------------------


def outcome(base: Base, damage: Damage, data: bytes, path: Path) -> tuple[str, str]:
    """Gives what becomes of a damaged file, and a complaint: empty where nothing is wrong with that."""
    path.write_bytes(data)
    begun = time.monotonic()
    try:
        image = read_image(path)
        first, last = int(image.stored.min()), int(image.stored.max())
        breast = image.stored[::4, ::4].astype(np.float64)
        display_pixels(image.stored, display_table(image.header, first, last, breast, "uint8"))
    except ImageError as error:
        text = str(error)
        private = "PLANTED" in text or str(path.parent) in text
        return error.status, "a message repeats text of the file" if private else ""
    finally:
        if time.monotonic() - begun > SLOWEST_S:
            print(f"{base.name} {damage.__name__} took {time.monotonic() - begun:.1f} s", file=sys.stderr)
    header = image.header
    if image.stored.shape != (header.rows, header.columns) or image.stored.dtype.kind not in "iu":
        return "ok", "the pixels are not as the header says"
    if np.array_equal(image.stored, base.expected):
        return "ok", ""
    if damage in TELLING and not image.notes:
        return "ok, other pixels", "other pixels without a remark"
    if image.notes:
        return "ok, other pixels, remarked", ""
    return "ok, other pixels", _against_pydicom(path, image.stored, header.transfer_syntax)


def _against_pydicom(path: Path, stored: np.ndarray, syntax: str) -> str:
    """Complains where pydicom reads the same header and decodes the pixels otherwise."""
    known = syntaxes.SYNTAXES.get(syntax)
    if known is None or known.coding not in ("cells", "rle"):
        return ""  # of a damaged codestream each decoder makes what it can
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            dataset = pydicom.dcmread(path)
            if dataset.HighBit != dataset.BitsStored - 1 or dataset.get("NumberOfFrames", 1) != 1:
                return ""
            theirs = pydicom.pixels.pixel_array(dataset, raw=True).astype(np.int64)
        except Exception:
            return ""
        bits, signed = int(dataset.BitsStored), int(dataset.PixelRepresentation)
    if theirs.shape != stored.shape:
        return f"pydicom has {theirs.shape}"
    # Only the bits stored: pydicom leaves the others as they are.
    theirs = theirs & ((1 << bits) - 1)
    theirs = np.where(theirs >> (bits - 1), theirs - (1 << bits), theirs) if signed else theirs
    return "" if np.array_equal(theirs, stored) else "pydicom has other pixels"


def cases(seed: int, folder: Path) -> Iterator[tuple[Base, Damage, bytes]]:
    """Gives damaged files without end: every damage of every base in turn."""
    files = bases(folder)
    turn = 0
    while True:
        base, damage = files[turn % len(files)], DAMAGES[turn // len(files) % len(DAMAGES)]
        generator = np.random.default_rng((seed, turn))
        yield base, damage, damage(base, generator)
        turn += 1


def run(seed: int, begin: int, end: int) -> None:
    """Tries the cases from ``begin`` to ``end``; prints a line before and a line after each."""
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY_BYTES, hard))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for turn, (base, damage, data) in enumerate(cases(seed, folder)):
            if turn >= end:
                return
            if turn < begin:
                continue
            print(json.dumps({"turn": turn, "base": base.name, "damage": damage.__name__}), flush=True)
            (folder / "damaged").mkdir(exist_ok=True)
            status, complaint = outcome(base, damage, data, folder / "damaged" / "image.dcm")
            print(json.dumps({"turn": turn, "status": status, "complaint": complaint}), flush=True)


def guarded(seed: int, count: int) -> tuple[Counter[str], list[str]]:
    """Gives how often each outcome was, and every complaint, crash and hang in words."""
    counts: Counter[str] = Counter()
    complaints: list[str] = []
    begin = 0
    while begin < count:
        command = [sys.executable, "-m", __spec__.name if __spec__ else "tests.preprocess.mutations"]
        command += ["--seed", str(seed), "--count", str(count), "--begin", str(begin), "--worker"]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, check=False, timeout=60 + count, env=environment
            )
            output, died = done.stdout, "" if done.returncode == 0 else f"died: {done.stderr[-800:]}"
            died = died or ("slow: " + done.stderr if " took " in done.stderr else "")
        except subprocess.TimeoutExpired as error:
            output, died = (error.stdout or b"").decode(), "hung"
        begun: dict[str, object] = {}
        for line in output.splitlines():
            record = json.loads(line)
            if "status" in record:
                counts[record["status"]] += 1
                if record["complaint"]:
                    complaints.append(f"{begun}: {record['complaint']}")
            else:
                begun = record
        if died:
            complaints.append(f"{begun}: {died}")
        if not begun:
            break
        begin = int(str(begun["turn"])) + 1
    return counts, complaints


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--count", type=int, default=400)
    parser.add_argument("--begin", type=int, default=0)
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        run(options.seed, options.begin, options.count)
        sys.exit(0)
    found, wrong = guarded(options.seed, options.count)
    for status_, number in found.most_common():
        print(f"{number:6} {status_}")
    print("\n".join(wrong) or "no crash, no hang, nothing but image errors, no other pixels unremarked")
    sys.exit(bool(wrong))
