"""Any image file that is read here becomes stored values: DICOM, PNG, PGM, TIFF, told apart by their first bytes."""

from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import pydicom

from nlbs.preprocess.formats.dicom import dicom_image
from nlbs.preprocess.formats.header import MAX_PIXELS, SourceImage
from nlbs.preprocess.formats.image_errors import NotDicomError
from nlbs.preprocess.formats.pgm import pgm_image
from nlbs.preprocess.formats.png import png_image
from nlbs.preprocess.formats.source_file import START_BYTES, kind_of, lies_there, opened
from nlbs.preprocess.formats.tiff import tiff_image

#: Kind of file but DICOM -> function of (file, decoder, frame, max_pixels).
READERS: dict[str, Callable[[BinaryIO, str, int | str | None, int], SourceImage]] = {
    "png": png_image,
    "pgm": pgm_image,
    "tiff": tiff_image,
}


def read_image(
    path: Path,
    decoder: str = "auto",
    frame: int | str | None = None,
    max_pixels: int = MAX_PIXELS,
    check: Callable[[pydicom.Dataset], None] | None = None,
) -> SourceImage:
    """Return the stored values of one grey image; arguments and errors as of :func:`~.dicom.dicom_image`.

    Raises:
        ImageError: there is no such image; its ``status`` says why.
    """
    with opened(path) as file:
        kind = kind_of(file.read(START_BYTES))
        file.seek(0)
        if kind is None:
            raise NotDicomError(lies_there(file).sentence)
        if kind == "dicom":
            return dicom_image(file, decoder, frame, max_pixels, check)
        return READERS[kind](file, decoder, frame, max_pixels)
