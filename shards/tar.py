"""Tar shards: ``{key}.npy`` and ``{key}.json`` per patch, in USTAR, as any WebDataset reader takes them."""

import io
import json
import tarfile
from collections.abc import Iterable, Mapping
from typing import IO, Any, NamedTuple

import google_crc32c
import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8] | npt.NDArray[np.uint16]

_BLOCK = tarfile.BLOCKSIZE


class Placement(NamedTuple):
    """Where the pixels of one patch lie in a shard."""

    offset: int  #: bytes from the start of the file to the first pixel
    nbytes: int
    crc32c: int  #: of the pixels (RFC 3720, Castagnoli)


def write_tar(file: IO[bytes], patches: Iterable[tuple[str, Pixels, Mapping[str, Any]]]) -> list[Placement]:
    """Writes a tar shard and gives where each patch's pixels lie.

    The bytes depend on the patches only: no time, user or host goes into a header.

    Args:
        file: a binary file at its start.
        patches: (key, pixels, record) each: a key without dots, pixels (R, R), and what
            ``{key}.json`` is to say.
    """
    placements = []
    offset = 0
    for key, pixels, record in patches:
        array_header = npy_header(pixels)
        data = np.ascontiguousarray(pixels, dtype=pixels.dtype.newbyteorder("<")).tobytes()
        start = offset + _BLOCK + len(array_header)
        placements.append(Placement(start, len(data), google_crc32c.value(data)))
        offset += _write_member(file, f"{key}.npy", array_header + data)
        offset += _write_member(file, f"{key}.json", _json_bytes(record))
    end = 2 * _BLOCK  # POSIX 1003.1, ustar: two blocks of zeros, then padding to a whole record
    file.write(bytes(end + -(offset + end) % tarfile.RECORDSIZE))
    return placements


def npy_header(pixels: Pixels) -> bytes:
    """Gives what stands before the pixels in a .npy file (format 1.0, 128 bytes)."""
    header = io.BytesIO()
    kind = pixels.dtype.newbyteorder("<").str
    np.lib.format.write_array_header_1_0(
        header, {"descr": kind, "fortran_order": False, "shape": pixels.shape}
    )
    return header.getvalue()


def _write_member(file: IO[bytes], name: str, data: bytes) -> int:
    info = tarfile.TarInfo(name)  # mtime, uid and gid 0, no names
    info.size = len(data)
    padding = -len(data) % _BLOCK
    file.write(info.tobuf(tarfile.USTAR_FORMAT, encoding="ascii", errors="strict"))
    file.write(data)
    file.write(bytes(padding))
    return _BLOCK + len(data) + padding


def _json_bytes(record: Mapping[str, Any]) -> bytes:
    return json.dumps(record, separators=(",", ":"), ensure_ascii=True, allow_nan=False).encode("ascii")
