"""A DICOM frame of three samples per pixel becomes red, green and blue: RGB and the YBR kinds (PS3.3 C.7.6.3.1.2)."""

import warnings
from dataclasses import replace
from typing import BinaryIO

import numpy as np
import pydicom
from pydicom.pixels.utils import pixel_array

from nlbs.preprocess.formats.header import (
    PYDICOM_ERRORS,
    SPACINGS,
    SourceImage,
    check_size,
    element,
    plain_header,
    sensible_spacing,
    size_text,
    whole_number,
)
from nlbs.preprocess.formats.image_errors import BadHeaderError, DecodeError
from nlbs.preprocess.formats.syntaxes import Syntax
from nlbs.preprocess.formats.tiff import grey_and_colour


def dicom_colour(
    file: BinaryIO, dataset: pydicom.Dataset, syntax: Syntax, number: int | None, max_pixels: int
) -> SourceImage:
    """Return the values of one frame in colour, decoded by pydicom, whose YBR kinds become RGB.

    Args:
        file: at its beginning.
        dataset: its elements without the pixels.
        syntax: its transfer syntax.
        number: of the frame, from 1; None where there is one.
        max_pixels: larger images are refused.

    Raises:
        ImageError: it cannot be decoded, or is no colour image of 8 or 16 bits.
    """
    rows, columns = whole_number(dataset, "Rows"), whole_number(dataset, "Columns")
    bits = whole_number(dataset, "BitsStored", whole_number(dataset, "BitsAllocated"))
    check_size(rows, columns, max_pixels)
    if bits not in (8, 16) or whole_number(dataset, "PixelRepresentation", 0):
        raise BadHeaderError(f"a colour image of {bits} bits, expected unsigned ones of 8 or 16")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about values that are checked here
            pixels = pixel_array(pydicom.dcmread(file, force=True), index=(number or 1) - 1)
    # As in stored.py: native codecs raise classes of their own, and pydicom an error for each missing element.
    except (*PYDICOM_ERRORS, RuntimeError) as error:
        raise DecodeError(f"the {syntax.name} colour pixels cannot be decoded by pydicom") from error
    if pixels.shape != (rows, columns, 3) or pixels.dtype != np.dtype(f"u{bits // 8}"):
        raise DecodeError(
            f"the decoded image is {size_text(pixels.shape)} {pixels.dtype}, expected {rows} x {columns} x 3 of "
            f"{bits} bits"
        )
    spacing, notes = sensible_spacing({name: element(dataset, name) for name in SPACINGS}, (rows, columns))
    header = plain_header(rows, columns, bits, str(syntax.uid), signed=False, inverted=False)
    stored, colour = grey_and_colour(pixels)
    header = replace(header, dataset=dataset, spacing_mm=spacing)
    return SourceImage(stored, header, "pydicom", notes, number, colour)
