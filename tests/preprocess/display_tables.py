"""Headers that say how stored values are shown, and the tables that they make."""

from pathlib import Path
from typing import Any

import numpy as np
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from nlbs.preprocess.formats.header import Header
from nlbs.preprocess.formats.image_file import read_image
from nlbs.preprocess.images.display import (
    Display,
    display_table,
)
from tests.preprocess.dicom_files import make_dicom

#: Every stored value of 12 bits, once, as an image.
RAMP = np.arange(4096, dtype=np.uint16).reshape(64, 64)


BREAST = np.arange(1000.0, 3001.0)


def header_of(folder: Path, pixels: np.ndarray = RAMP, bits: int = 12, **elements: Any) -> Header:
    return read_image(make_dicom(folder, pixels, bits=bits, **elements)).header


def table_of(
    header: Header, dtype: str = "uint16", choice: str = "auto", breast: np.ndarray = BREAST
) -> Display:
    return display_table(header, 0, 4095, breast, dtype, choice)


def lut(first: int, entries: np.ndarray, bits: int, vr: str = "US", data: object = None) -> Sequence:
    """A LUT sequence of one item (PS3.3 C.11.1.1)."""
    item = Dataset()
    item.add_new("LUTDescriptor", "US" if first >= 0 else "SS", [len(entries) % 65536, first, bits])
    item.add_new("LUTData", vr, entries.tolist() if data is None else data)
    return Sequence([item])
