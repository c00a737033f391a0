"""What lies there instead of an image: told by its first bytes, each with the way out in one sentence."""

import re
import struct
from dataclasses import dataclass

#: So many bytes tell what a file is, tar and NIfTI included.
FOREIGN_BYTES = 4096

#: Words of what is said; none is of the file.
_AGAIN = "download it again"
_CONVERT = "convert it to PNG or TIFF, or get the DICOM file it was made from"


@dataclass(frozen=True)
class Foreign:
    """Something that is no image which is read here."""

    name: str  #: a few words, for counts: "a Git LFS pointer"
    way_out: str  #: what to do

    @property
    def sentence(self) -> str:
        """What stands in images.csv."""
        return f"not a DICOM file, nor a PNG, PGM or TIFF image, but {self.name}: {self.way_out}"


EMPTY = Foreign("an empty file (0 bytes)", f"the download or copy was interrupted, {_AGAIN}")
ZEROS = Foreign("a file of zeros", f"the download was begun and its bytes never came, {_AGAIN}")
HOLE = Foreign("a file that begins with a hole of zeros", f"a part of it never came or was lost, {_AGAIN}")
TEXT = Foreign("a text", "check the path in the table: the image lies elsewhere")
UNKNOWN = Foreign(
    "something that is not known here",
    "it has no 'DICM' after 128 bytes (PS3.10 7.1); check the path in the table",
)
_BARE = Foreign(
    "a DICOM data set without preamble and 'DICM'",
    "a file has both (PS3.10 7.1), write it as one with dcmconv of DCMTK, gdcmconv, or pydicom's "
    "dcmread(force=True) and save_as(enforce_file_format=True)",
)
_PAGE = Foreign(
    "a web page (HTML)", f"the server asked for a login or answered with an error, log in and {_AGAIN}"
)
_XML = Foreign(
    "an XML text", f"perhaps the error message of a server or a table of metadata, look into it and {_AGAIN}"
)
_JSON = Foreign(
    "a JSON text", f"perhaps the error message of a server or a table of metadata, look into it and {_AGAIN}"
)
_ANSWER = Foreign(
    "the answer of a server with its headers, in which a DICOM file may stand",
    f"{_AGAIN} with a client of DICOMweb, which takes the parts of a multipart answer out",
)
_MOVED = Foreign(
    "a DICOM file with other bytes before it",
    f"'DICM' stands behind 128 bytes (PS3.10 7.1): {_AGAIN}, or take the bytes before it away",
)
_LFS = Foreign("a Git LFS pointer", "fetch the file itself with git lfs pull")
_ANNEX = Foreign("a git-annex pointer", "fetch the file itself with git annex get, or datalad get")
_DVC = Foreign("a DVC pointer", "fetch the file itself with dvc pull")
_APPLE = Foreign(
    "what macOS keeps beside a file (AppleDouble, named ._*)",
    "the image itself has the name without ._, dot_clean removes these",
)
_STORE = Foreign("a folder's settings of macOS (.DS_Store)", "take it out of the table")
_SHORTCUT = Foreign("a Windows shortcut", "copy the file that it points to")
_RAW_CODESTREAM = "it has no header that says how grey values and spacing are meant, " + _CONVERT
_UNPACK = "unpack it first"


def _fixed(name: str, way_out: str, *starts: bytes) -> tuple[tuple[bytes, Foreign], ...]:
    return tuple((start, Foreign(name, way_out)) for start in starts)


#: First bytes -> what the file is.
_STARTS: tuple[tuple[bytes, Foreign], ...] = (
    *_fixed("a JPEG 2000 image", _CONVERT, b"\0\0\0\x0cjP  \r\n\x87\n"),
    *_fixed("a JPEG 2000 codestream", _RAW_CODESTREAM, b"\xff\x4f\xff\x51"),
    *_fixed("a JPEG XL image", _CONVERT, b"\0\0\0\x0cJXL \r\n\x87\n", b"\xff\x0a"),
    *_fixed("a GIF image", _CONVERT, b"GIF87a", b"GIF89a"),
    *_fixed("a Photoshop image", _CONVERT, b"8BPS"),
    *_fixed("a colour image (PPM)", _CONVERT, b"P3\n", b"P6\n", b"P3 ", b"P6 "),
    *_fixed("a bitmap without grey values (PBM) or of any depth (PAM)", _CONVERT, b"P1\n", b"P4\n", b"P7\n"),
    *_fixed("an archive (gzip)", f"{_UNPACK}, with gunzip", b"\x1f\x8b"),
    *_fixed("an archive (bzip2)", f"{_UNPACK}, with bunzip2", b"BZh"),
    *_fixed("an archive (xz)", f"{_UNPACK}, with unxz", b"\xfd7zXZ\0"),
    *_fixed("an archive (Zstandard)", f"{_UNPACK}, with unzstd", b"\x28\xb5\x2f\xfd"),
    *_fixed("an archive (LZ4)", f"{_UNPACK}, with unlz4", b"\x04\x22\x4d\x18"),
    *_fixed("an archive (compress)", f"{_UNPACK}, with uncompress", b"\x1f\x9d"),
    *_fixed("an archive (7z)", f"{_UNPACK}, with 7z x", b"7z\xbc\xaf\x27\x1c"),
    *_fixed("an archive (rar)", f"{_UNPACK}, with unrar", b"Rar!\x1a\x07"),
    *_fixed("an archive (zip) or a NumPy .npz, or an Office document", _UNPACK, b"PK\3\4", b"PK\5\6", b"PK\7\x08"),
    *_fixed("a PDF document", "the image lies elsewhere, check the path in the table", b"%PDF-"),
    *_fixed("an older Office document", "the image lies elsewhere, check the path in the table",
            b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"),
    *_fixed("an HDF5 or MATLAB 7.3 file", _CONVERT, b"\x89HDF\r\n\x1a\n", b"MATLAB 7.3"),
    *_fixed("a MATLAB file", _CONVERT, b"MATLAB 5.0"),
    *_fixed("a NumPy array", _CONVERT, b"\x93NUMPY"),
    *_fixed("an NRRD image", _CONVERT, b"NRRD000"),
    *_fixed("a MetaImage header", _CONVERT, b"ObjectType =", b"NDims =", b"ObjectType="),
    *_fixed("a NIfTI or Analyze image", _CONVERT, b"\x5c\1\0\0", b"\0\0\1\x5c", b"\x1c\2\0\0", b"\0\0\2\x1c"),
    *_fixed("a FITS image", _CONVERT, b"SIMPLE  ="),
    *_fixed("a Parquet table", "check the path in the table: the image lies elsewhere", b"PAR1"),
    *_fixed("a SQLite database", "check the path in the table: the image lies elsewhere", b"SQLite format 3\0"),
    *_fixed("a pickled Python object", "it is not opened, as it could run any program; export it to PNG or TIFF",
            b"\x80\2", b"\x80\3", b"\x80\4", b"\x80\5"),
    (b"version https://git-lfs.github.com/spec/", _LFS),
    (b"/annex/objects/", _ANNEX),
    (b"\0\x05\x16\x07", _APPLE),
    (b"\0\x05\x16\0", _APPLE),
    (b"\0\0\0\1Bud1", _STORE),
    (b"L\0\0\0\1\x14\2\0", _SHORTCUT),
    (b"[InternetShortcut]", _SHORTCUT),
    (b"[{000214A0", _SHORTCUT),
)  # fmt: skip

_PAGE_START = re.compile(
    rb"\s*(?:<!--.*?-->\s*)*<(?:!doctype\s+html|html|head|body|script|meta|title)\b", re.I | re.S
)
_TEXT_BYTES = bytes({7, 8, 9, 10, 12, 13, 27} | set(range(0x20, 0x100)) - {0x7F})


def foreign(start: bytes, size: int) -> Foreign:
    """Return what a file is that is no image which is read here.

    Args:
        start: its first :data:`FOREIGN_BYTES`.
        size: in bytes.
    """
    if size == 0:
        return EMPTY
    if not start.strip(b"\0"):
        return ZEROS
    for signature, found in _STARTS:
        if start.startswith(signature):
            return found
    return _by_structure(start) or _by_text(start) or UNKNOWN


def _by_structure(start: bytes) -> Foreign | None:
    if start[:3] == b"\xff\xd8\xff":
        # SOF55 and the high byte of its length, behind what an application may have put before (T.87 C.2.2).
        if b"\xff\xf7\0" in start[:128]:
            return Foreign("a JPEG-LS codestream", _RAW_CODESTREAM)
        return Foreign("a JPEG image", _CONVERT)
    if start[257:262] == b"ustar":
        return Foreign("an archive (tar)", f"{_UNPACK}, with tar xf")
    if start[:4] == b"RIFF" and start[8:12] == b"WEBP":
        return Foreign("a WebP image", _CONVERT)
    if start[4:8] == b"ftyp":
        is_image = start[8:12] in (b"heic", b"heix", b"mif1", b"avif")
        return Foreign("a HEIF or AVIF image" if is_image else "a film (MP4)", _CONVERT)
    if start[:2] == b"BM" and start[6:10] == b"\0\0\0\0" and len(start) >= 26:
        return Foreign("a BMP image", _CONVERT)
    if start[:5] == b"HTTP/" or (start[:2] == b"--" and b"application/dicom" in start):
        return _ANSWER
    if start.find(b"DICM", 129) > 128 and b"\x02\0\0\0UL" in start:
        return _MOVED
    if start[128:132].upper() == b"DICM" or start[:4] == b"DICM":
        return Foreign("a DICOM file with a damaged beginning", _AGAIN)
    return _BARE if _is_bare_dicom(start) else None


def _is_bare_dicom(start: bytes) -> bool:
    """Return whether bytes begin with an element of group 0002 or 0008, in any of the encodings of PS3.5 7.1."""
    if len(start) < 16:
        return False
    for order in "<>":
        group, number = struct.unpack_from(f"{order}HH", start)
        if (group, number) not in (
            *((2, 0), (2, 1), (2, 2), (2, 0x10)),
            *((8, 0), (8, 1), (8, 5), (8, 6), (8, 8), (8, 0x12), (8, 0x16), (8, 0x18), (8, 0x20)),
        ):
            continue
        vr, (length,) = start[4:6], struct.unpack_from(f"{order}I", start, 4)
        if vr in (b"UL", b"OB", b"UI", b"CS", b"SQ", b"DA", b"TM") or length <= 256:
            return True
    return False


def _by_text(start: bytes) -> Foreign | None:
    """Return which text it is, in UTF-8, Latin-1 or UTF-16; None where it is no text."""
    if start[:2] in (b"\xff\xfe", b"\xfe\xff"):
        start = start.decode("utf-16", "replace").encode()
    start = start.removeprefix(b"\xef\xbb\xbf")
    if start.translate(None, _TEXT_BYTES):
        return None
    if len(start) > 64 and sum(byte > 0x7F for byte in start) > len(start) // 3:
        return None
    text = start.lstrip()
    if _PAGE_START.match(text):
        return _PAGE
    if text.startswith(b"<"):
        return _PAGE if b"<html" in text.lower() else _XML
    if text[:1] in (b"{", b"["):
        return _JSON
    if b"/annex/objects/" in text[:512] or b".git/annex/" in text[:512]:
        return _ANNEX
    if text.startswith((b"outs:", b"- md5:", b"md5:")) and b"path:" in text:
        return _DVC
    return TEXT


#: Endings of what stands beside a file that is not there, and what it is.
UNFINISHED = (".part", ".partial", ".crdownload", ".download", ".filepart", ".tmp", ".aria2", ".opdownload")
PACKED = (".gz", ".zip", ".bz2", ".xz", ".zst", ".7z")


def neighbour_sentence(ending: str) -> str:
    """Return what is to be done where a file is not there, and one of its name with an ending is."""
    if ending == ".icloud":
        return "there is no such file, but what iCloud leaves in its place: download it in the Finder"
    if ending in UNFINISHED:
        return f"there is no such file, but one of its name with {ending}: the download did not end, {_AGAIN}"
    return f"there is no such file, but one of its name with {ending}: unpack it"
