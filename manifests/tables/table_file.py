"""The file of a table: its bytes, unpacked where they are gzip; what is no table is told for what it is."""

import re
import zlib

from nlbs.errors import DatasetError
from nlbs.paths import AnyPath

LARGEST_TABLE_BYTES = 1 << 30

_SAVE = "open it in a spreadsheet program, save the sheet as CSV (UTF-8), and name that file"
#: First bytes -> what the file is, and what to do.
_OTHERS: tuple[tuple[bytes, str], ...] = (
    (rb"PK\x03\x04.{26}mimetypeapplication/vnd\.oasis\.opendocument", f"an OpenDocument spreadsheet (.ods): {_SAVE}"),
    (rb"PK\x03\x04.{26}(?:\[Content_Types\]|_rels/|docProps/|xl/)", f"an Excel workbook (.xlsx): {_SAVE}"),
    (rb"PK\x03\x04", f"a spreadsheet or a zip file: unpack it, or {_SAVE}"),
    (rb"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", f"an Excel workbook (.xls): {_SAVE}"),
    (rb"BZh\d", "packed with bzip2: unpack it, and name the table in it"),
    (rb"\xfd7zXZ\x00", "packed with xz: unpack it, and name the table in it"),
    (rb"\x28\xb5\x2f\xfd", "packed with Zstandard: unpack it, and name the table in it"),
    (rb"7z\xbc\xaf\x27\x1c|Rar!", "an archive: unpack it, and name the table in it"),
    (rb"PAR1", "a Parquet file: save it as CSV, for example by pandas.read_parquet(...).to_csv(..., index=False)"),
    (rb"ARROW1|\xff\xff\xff\xff", "an Arrow file: save it as CSV, for example by pandas"),
    (rb"SQLite format 3", "an SQLite database: export the table as CSV"),
    (rb"%PDF", "a PDF document: --csv takes the dataset's table as CSV"),
    (rb"\{\\rtf", f"a document of a word processor: {_SAVE}"),
    (rb"version https://git-lfs", "a pointer of Git LFS, and the table itself was not fetched: git lfs pull"),
    (rb"\s*[\[{]\s*[\[{\"\]}]", "JSON: save it as CSV, for example by pandas.read_json(...).to_csv(..., index=False)"),
    (rb"\s*<(?:\?xml|!doctype|html|table|\w+:)", "XML or a web page: download the table itself, or save it as CSV"),
)  # fmt: skip


def read_table_file(path: AnyPath) -> bytes:
    """Return the bytes of a table.

    Raises:
        DatasetError: the file is missing, cannot be read, or is of another kind.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise DatasetError(f"there is no CSV at {path}: check --csv") from None
    except IsADirectoryError:
        raise DatasetError(f"{path} is a folder: --csv takes the dataset's table, a .csv file") from None
    except OSError as error:
        raise DatasetError(
            f"cannot read {path} ({error.strerror or error}): --csv takes the dataset's table, a .csv file"
        ) from None
    if data.startswith(b"\x1f\x8b"):
        data = _unpacked(data, path)
    for pattern, what in _OTHERS:
        if re.match(pattern, data[:512], re.DOTALL | re.IGNORECASE):
            raise DatasetError(f"{path} is {what}")
    return data


def _unpacked(data: bytes, path: AnyPath) -> bytes:
    parts, left = [], LARGEST_TABLE_BYTES
    try:
        while data:  # a gzip file may have several members
            packed = zlib.decompressobj(wbits=31)
            parts.append(packed.decompress(data, left))
            left -= len(parts[-1])
            if packed.unconsumed_tail or left <= 0:
                raise DatasetError(
                    f"{path} unpacks to more than {LARGEST_TABLE_BYTES:,} bytes, which no table has: unpack it yourself"
                )
            if not packed.eof:
                raise DatasetError(f"{path} is a gzip file that ends too early: fetch it again")
            data = packed.unused_data.lstrip(b"\0")
    except zlib.error:
        raise DatasetError(f"{path} is a damaged gzip file: fetch it again") from None
    return b"".join(parts)
