"""DICOM files made in code, and the public ones of pydicom and pydicom-data."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import data_store
import imagecodecs
import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    JPEG2000,
    UID,
    DeflatedExplicitVRLittleEndian,
    DigitalMammographyXRayImageStorageForPresentation,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)

#: A name that no message may repeat.
PLANTED = "PLANTED^NAME"

#: Those whose pixels come back as they were, that pixels are made in here.
LOSSLESS_SYNTAXES = (
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    ExplicitVRBigEndian,
    DeflatedExplicitVRLittleEndian,
    RLELossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEG2000Lossless,
)

NATIVE = (
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    ExplicitVRBigEndian,
    DeflatedExplicitVRLittleEndian,
)
#: Encoders of one frame, none of them ours: (pixels, bits stored) -> codestream.
ENCODERS: dict[UID, Callable[[np.ndarray, int], bytes]] = {
    JPEGLosslessSV1: lambda x, bits: imagecodecs.jpeg8_encode(
        x, lossless=True, predictor=1, bitspersample=bits
    ),
    JPEGLossless: lambda x, bits: imagecodecs.jpeg8_encode(x, lossless=True, predictor=6, bitspersample=bits),
    JPEGLSLossless: lambda x, _: imagecodecs.jpegls_encode(x),
    JPEGLSNearLossless: lambda x, _: imagecodecs.jpegls_encode(x, level=2),
    JPEG2000Lossless: lambda x, bits: imagecodecs.jpeg2k_encode(
        x, level=0, codecformat="j2k", reversible=True, bitspersample=bits
    ),
    JPEG2000: lambda x, bits: imagecodecs.jpeg2k_encode(
        x, level=45, codecformat="j2k", reversible=False, bitspersample=bits
    ),
    JPEGBaseline8Bit: lambda x, _: imagecodecs.jpeg8_encode(x, level=92),
    JPEGExtended12Bit: lambda x, bits: imagecodecs.jpeg8_encode(x, level=92, bitspersample=bits),
}


def _picture() -> np.ndarray:
    y, x = np.mgrid[:61, :47]
    values = 900 + 40 * y + 12 * x + 600 * (x > 20) + np.random.default_rng(0).normal(0, 8, (61, 47))
    values[:5, :4], values[-4:, -4:] = 0, 4095
    return np.clip(np.rint(values), 0, 4095).astype(np.uint16)


#: uint16, (61, 47), 12 bits: smooth with an edge and some noise, as codecs meet it; odd sizes.
PICTURE = _picture()
PICTURE.flags.writeable = False


def public_file(name: str) -> Path:
    """Gives a file of pydicom or of pydicom-data; never downloads, as pydicom's own function would."""
    for folder in (
        Path(pydicom.__file__).parent / "data" / "test_files",
        Path(data_store.__file__).parent / "data",
    ):
        if (folder / name).is_file():
            return folder / name
    raise FileNotFoundError(name)


def make_dicom(
    folder: Path, pixels: np.ndarray, syntax: UID = ExplicitVRLittleEndian, bits: int = 12, **elements: Any
) -> Path:
    """Writes a grey DICOM file into a folder; ``elements`` are set last, None removes one. Gives its path."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID = DigitalMammographyXRayImageStorageForPresentation
    dataset.SOPInstanceUID = "1.2.3.4"
    dataset.PatientName, dataset.PatientID = PLANTED, PLANTED
    dataset.Rows, dataset.Columns, dataset.SamplesPerPixel = *pixels.shape, 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored = 8 * pixels.dtype.itemsize, bits
    dataset.HighBit, dataset.PixelRepresentation = bits - 1, int(pixels.dtype.kind == "i")
    _set_pixels(dataset, pixels, syntax, bits)
    for keyword, value in elements.items():
        if value is None:
            del dataset[keyword]
        else:
            setattr(dataset, keyword, value)
    path = folder / "image.dcm"
    dataset.save_as(path, enforce_file_format=True)
    return path


def rename_syntax(path: Path, uid: str) -> Path:
    """Writes another Transfer Syntax UID into a file, also one that pydicom does not know. Gives its path."""
    data = path.read_bytes()
    old, new = str(pydicom.dcmread(path).file_meta.TransferSyntaxUID).encode(), uid.encode()
    old, new = (value + b"\0" * (len(value) % 2) for value in (old, new))
    head = b"\x02\0\x10\0UI"
    element = head + len(old).to_bytes(2, "little") + old
    assert data.count(element) == 1
    length = int.from_bytes(data[140:144], "little") + len(new) - len(old)  # of the group (PS3.10 7.1)
    data = data[:140] + length.to_bytes(4, "little") + data[144:]
    path.write_bytes(data.replace(element, head + len(new).to_bytes(2, "little") + new))
    return path


def _set_pixels(dataset: Dataset, pixels: np.ndarray, syntax: UID, bits: int) -> None:
    dataset.PixelData = pixels.astype(pixels.dtype.newbyteorder("<")).tobytes()
    dataset["PixelData"].VR = "OW"
    if syntax == RLELossless:
        dataset.compress(syntax, encoding_plugin="pydicom", generate_instance_uid=False)
    elif syntax in ENCODERS:
        # All but JPEG 2000 know no sign: their values are the bits stored (PS3.5 8.2).
        signless = pixels if syntax in (JPEG2000, JPEG2000Lossless) else pixels.view(f"u{pixels.itemsize}")
        cells = signless if signless.dtype.kind == "i" else signless & ((1 << bits) - 1)
        frame = ENCODERS[syntax](np.ascontiguousarray(cells), bits)
        dataset.PixelData = encapsulate([bytes(frame)])
        dataset["PixelData"].VR = "OB"
        dataset["PixelData"].is_undefined_length = True
    elif syntax == ExplicitVRBigEndian:
        # OW: in words of two bytes, even where a pixel takes one (PS3.5 A.3).
        data = dataset.PixelData + b"\0" * (len(dataset.PixelData) % 2)
        dataset.PixelData = np.frombuffer(data, "<u2").byteswap().tobytes()
    dataset.file_meta.TransferSyntaxUID = syntax


def eight_bits_where_needed(folder: Path, syntax: str) -> Path:
    if syntax == JPEGBaseline8Bit:
        return make_dicom(folder, (PICTURE >> 4).astype(np.uint8), syntax, 8)
    return make_dicom(folder, PICTURE, syntax)


def replaced(path: Path, keyword: str, value: bytes) -> Path:
    """Overwrites the value of an element, of the same even length, with any bytes."""
    raw = pydicom.dcmread(path).get_item(keyword)
    data = bytearray(path.read_bytes())
    assert len(value) == raw.length
    data[raw.value_tell : raw.value_tell + raw.length] = value
    path.write_bytes(data)
    return path
