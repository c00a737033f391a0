"""A few elements of a DICOM file, for a look at many files in the command's own process: little is read of each."""

import io
import warnings
import zlib
from collections.abc import Sequence
from pathlib import Path

import pydicom
from pydicom.filereader import _read_file_meta_info, read_dataset, read_preamble

from nlbs.preprocess.formats.header import PYDICOM_ERRORS, element
from nlbs.preprocess.formats.image_errors import BadHeaderError
from nlbs.preprocess.formats.source_file import SCAN_BYTES, opened
from nlbs.preprocess.formats.syntaxes import DEFLATED

#: Sequences may be long, and of what stands behind them nothing is looked for.
_LAST_TAG = 0x52009230


def scanned(path: Path, keywords: Sequence[str] = ()) -> pydicom.Dataset:
    """Return some elements of a DICOM file that stand before its pixels, with ``file_meta``.

    No more than SCAN_BYTES are read or unpacked; what stands behind them is not found.

    Args:
        path: of the file.
        keywords: of the elements; none is the File Meta Information alone.

    Raises:
        ImageError: there is no such file, or its elements cannot be read.
    """
    with opened(path, SCAN_BYTES) as file, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # odd values in elements that are not read here
        try:
            read_preamble(file, force=False)
            meta = _read_file_meta_info(file)
            if not keywords:
                found = pydicom.Dataset()
            elif element(meta, "TransferSyntaxUID") == DEFLATED:
                data = zlib.decompressobj(-zlib.MAX_WBITS).decompress(file.read(SCAN_BYTES // 2), SCAN_BYTES)
                found = read_dataset(
                    io.BytesIO(data), False, True, stop_when=_is_behind, specific_tags=_tags(keywords)
                )
            else:
                file.seek(0)
                found = pydicom.dcmread(file, stop_before_pixels=True, specific_tags=list(keywords))
        except (*PYDICOM_ERRORS, zlib.error) as error:
            raise BadHeaderError(f"the DICOM elements cannot be read ({type(error).__name__})") from error
    found.file_meta = meta
    return found


def _is_behind(tag: int, vr: str | None, length: int) -> bool:
    return tag > _LAST_TAG


def _tags(keywords: Sequence[str]) -> list[pydicom.tag.BaseTag | int]:
    return [pydicom.tag.Tag(keyword) for keyword in keywords]
