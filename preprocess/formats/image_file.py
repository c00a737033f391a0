"""Any image file that is read here becomes stored values: DICOM, PNG, PGM, TIFF, told apart by their first bytes."""

from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from nlbs.preprocess.formats.dicom import dicom_image
from nlbs.preprocess.formats.header import MAX_PIXELS, SourceImage
from nlbs.preprocess.formats.image_errors import NotDicomError
from nlbs.preprocess.formats.pgm import pgm_image
from nlbs.preprocess.formats.png import png_image
from nlbs.preprocess.formats.source_file import START_BYTES, kind_of, opened
from nlbs.preprocess.formats.tiff import tiff_image

#: Kind of file -> function of (file, decoder, frame, max_pixels).
READERS: dict[str, Callable[[BinaryIO, str, int | str | None, int], SourceImage]] = {
    "dicom": dicom_image,
    "png": png_image,
    "pgm": pgm_image,
    "tiff": tiff_image,
}


def read_image(
    path: Path, decoder: str = "auto", frame: int | str | None = None, max_pixels: int = MAX_PIXELS
) -> SourceImage:
    """Gives the stored values of one grey image; arguments and errors as of :func:`~nlbs.preprocess.dicom.dicom_image`.

    Raises:
        ImageError: there is no such image; its ``status`` says why.
    """
    with opened(path) as file:
        kind = kind_of(file.read(START_BYTES))
        file.seek(0)
        if kind is None:
            raise NotDicomError(
                "not a DICOM file (no 'DICM' after 128 bytes, PS3.10 7.1), nor a PNG, PGM or TIFF image"
            )
        return READERS[kind](file, decoder, frame, max_pixels)
