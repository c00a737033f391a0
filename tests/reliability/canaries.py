"""DICOM files and tables in which all that can be is a canary, and the search for canaries in files."""

import base64
import csv
import re
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pydicom
import zarr
from PIL import Image
from pydicom.datadict import DicomDictionary
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

#: In every canary of letters; 9 of them, so that no noise of pixels has them by chance.
LETTERS = "ZQXJKVWYH"
#: Before four digits that count, in canaries that must be digits: dates, UIDs, serials.
DIGITS = "7391"

_TEXT = ("AE", "CS", "LO", "LT", "PN", "SH", "ST", "UC", "UR", "UT")
_BYTES = ("OB", "OD", "OF", "OL", "OV", "OW", "UN")
#: What decoding needs to be true; the test breaks these one at a time.
STRUCTURAL = (
    *("Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "SamplesPerPixel"),
    *(
        "NumberOfFrames",
        "PhotometricInterpretation",
        "PixelData",
        "SpecificCharacterSet",
        "PresentationLUTShape",
    ),
    *(
        "PixelPaddingValue",
        "PixelPaddingRangeLimit",
        "RescaleSlope",
        "RescaleIntercept",
        "ModalityLUTSequence",
    ),
    *(
        "WindowCenter",
        "WindowWidth",
        "VOILUTSequence",
        "VOILUTFunction",
        "PixelSpacing",
        "ImagerPixelSpacing",
    ),
)
#: The other ways to hold pixels: a file has one of them.
_OTHER_PIXELS = ("FloatPixelData", "DoubleFloatPixelData", "PixelDataProviderURL")


def letters(number: int) -> str:
    """Gives a canary of letters: 14 characters, as short as the shortest text elements."""
    return f"{LETTERS}{number:05d}"


def digits(number: int) -> str:
    """Gives a canary of 8 digits, as a date is."""
    return f"{DIGITS}{number:04d}"


def value_of(vr: str, number: int) -> object:
    """Gives a canary for an element; None where its kind can hold none."""
    if vr == "PN":
        return f"{letters(number)}^A=漢{LETTERS}^字=ひ{LETTERS}"
    if vr in _TEXT:
        return letters(number)
    if vr in _BYTES:
        return (letters(number) + digits(number % 10_000) + "  ").encode()
    if vr == "UI":
        return f"1.2.{digits(number % 10_000)}"
    if vr in ("DA", "DS", "IS"):
        return digits(number % 10_000)
    return {"DT": f"{digits(number % 10_000)}120000", "TM": digits(number % 10_000)[:6]}.get(vr)


def plant(source: Path, target: Path) -> int:
    """Writes a DICOM file again with a canary in every element there is; gives how many were planted."""
    dataset = pydicom.dcmread(source)
    needed = {pydicom.datadict.tag_for_keyword(keyword) for keyword in (*STRUCTURAL, *_OTHER_PIXELS)}
    planted = 0
    for tag, (vr, *_) in sorted(DicomDictionary.items()):
        if tag >> 16 in (0, 2) or tag >> 16 == 0xFFFE or tag in needed:
            continue
        kind = vr.split(" or ")[-1]
        value: object = Sequence([_item(planted)]) if kind == "SQ" else value_of(kind, planted)
        if value is not None:
            dataset.add_new(tag, kind, value)
            planted += 1
    dataset.SpecificCharacterSet = "ISO_IR 192"
    for group in (0x0009, 0x0019, 0x7FE3):
        block = dataset.private_block(group, letters(planted), create=True)
        block.add_new(1, "LO", letters(planted + 1))
        block.add_new(2, "OB", letters(planted + 2).encode() + b" " * 2)
        block.add_new(3, "SQ", Sequence([_item(planted + 3)]))
    for group in (0x5000, 0x6000):  # a curve and an overlay
        dataset.add_new((group, 0x0022), "LO", letters(planted + 4))
        dataset.add_new((group, 0x3000), "OW", letters(planted + 5).encode() + b" " * 2)
    dataset.add_new((0x6000, 0x4000), "LT", letters(planted + 6))
    meta = dataset.file_meta
    meta.MediaStorageSOPInstanceUID = value_of("UI", planted + 7)
    meta.SourceApplicationEntityTitle = letters(planted + 8)
    meta.ImplementationVersionName = letters(planted + 9)
    meta.PrivateInformationCreatorUID = value_of("UI", planted + 10)
    meta.PrivateInformation = letters(planted + 11).encode()
    dataset.preamble = (letters(planted + 12).encode() * 10)[:128]
    dataset.add_new(0xFFFCFFFC, "OB", letters(planted + 13).encode())
    target.parent.mkdir(parents=True, exist_ok=True)
    dataset.save_as(target, enforce_file_format=True)
    with target.open("ab") as file:
        file.write(b"\0" * 2 + letters(planted + 14).encode())
    return planted + 15


def break_element(source: Path, target: Path, keyword: str) -> None:
    """Writes a DICOM file again with a canary of text where an element of numbers belongs."""
    target.parent.mkdir(parents=True, exist_ok=True)
    dataset = pydicom.dcmread(source)
    if keyword == "TransferSyntaxUID":
        data = source.read_bytes()
        uid = str(dataset.file_meta.TransferSyntaxUID).encode()
        target.write_bytes(data.replace(uid, letters(1).encode().ljust(len(uid), b".")[: len(uid)]))
        return
    dataset.add_new(keyword, "LO", letters(77))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about the very value
        dataset.save_as(target, enforce_file_format=True)


def _item(number: int, depth: int = 2) -> Dataset:
    item = Dataset()
    item.PatientName, item.StudyDate = value_of("PN", number), value_of("DA", number)
    item.CodeMeaning, item.DeviceSerialNumber, item.UID = (
        letters(number),
        letters(number),
        value_of("UI", number),
    )
    if depth:
        item.ContentSequence = Sequence([_item(number, depth - 1)])
    return item


def needles() -> dict[str, bytes]:
    """Gives how a canary of letters may look in a file, by the name of the encoding."""
    found: dict[str, bytes] = {}
    for case, word in {"": LETTERS, "lower case ": LETTERS.lower(), "backwards ": LETTERS[::-1]}.items():
        plain = word.encode()
        found |= {
            f"{case}UTF-8 or Latin-1": plain,
            f"{case}UTF-16LE": word.encode("utf-16-le"),
            f"{case}UTF-16BE": word.encode("utf-16-be"),
            f"{case}hexadecimal": plain.hex().encode(),
            f"{case}HEXADECIMAL": plain.hex().upper().encode(),
        }
        for shift in range(
            3
        ):  # of the three ways in which the word may lie in base64, what does not depend on its
            code = base64.b64encode(b"\0" * shift + plain)  # neighbours
            found[f"{case}base64 at {shift}"] = code[-(-shift * 8 // 6) : (shift + len(plain)) * 8 // 6]
    return found


def found_in(data: bytes, planted_digits: set[bytes]) -> set[str]:
    """Gives the encodings in which some bytes hold a canary."""
    found = {name for name, needle in needles().items() if needle in data}
    wide = (data, data[::2], data[1::2])  # UTF-16 of digits is every second byte
    if any(match in planted_digits for part in wide for match in re.findall(rb"7391\d{4}", part)):
        found.add("digits")
    return found


def contents(path: Path) -> Iterator[tuple[str, bytes]]:
    """Gives the bytes of a file, and of what is packed in it: text chunks of PNG, strings of Arrow."""
    data = path.read_bytes()
    yield "bytes", data
    if path.suffix == ".png":
        with Image.open(path) as picture:
            yield "text chunks", repr(getattr(picture, "text", {})).encode()
            yield "other chunks", repr(picture.info).encode()
            yield "picture", np.asarray(picture).tobytes()
    if path.suffix == ".arrow":
        with pa.OSFile(str(path)) as file:
            table = pa.ipc.open_file(file).read_all()
            yield "cells", repr((table.to_pydict(), table.schema.metadata)).encode()
    if path.parts[-3:-1] == ("c", "0"):
        yield "chunk", np.asarray(zarr.open_array(path.parents[2], mode="r")[...]).tobytes()


def write_table(path: Path, header: list[str], rows: list[list[str]]) -> None:
    """Writes a CSV."""
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([header, *rows])
