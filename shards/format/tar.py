"""Tar shards: ``{key}.npy`` or ``.png``, and ``{key}.json`` per patch, in USTAR, as WebDataset readers take them."""

import io
import json
import tarfile
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any, NamedTuple, Protocol

import google_crc32c
import numpy as np

from nlbs.errors import ShardError
from nlbs.names import is_name
from nlbs.shards.format.payload import ENCODERS, Pixels
from nlbs.text import shown

_BLOCK = tarfile.BLOCKSIZE


class Sink(Protocol):
    """What a shard is written to: a binary file, or something that looks on."""

    def write(self, data: bytes, /) -> object: ...


class Placement(NamedTuple):
    """Where the pixels of one patch lie in a shard, as they are stored."""

    offset: int  #: bytes from the start of the file to the first of them
    nbytes: int
    crc32c: int  #: of these bytes (RFC 3720, Castagnoli)


def write_tar(
    file: Sink, patches: Iterable[tuple[str, Pixels, Mapping[str, Any]]], compression: str = "none"
) -> list[Placement]:
    """Write a tar shard and return where each patch's pixels lie.

    The bytes depend on the patches only: no time, user or host goes into a header.

    Args:
        file: a binary file at its start.
        patches: (key, pixels, record) each: a key without dots, pixels (R, R) or (R, R, 3), and what
            ``{key}.json`` is to say.
        compression: "none" for members ``{key}.npy``, "png" for ``{key}.png``.

    Raises:
        ShardError: a key is no name.
    """
    placements = []
    offset = 0
    kind = "npy" if compression == "none" else compression
    for key, pixels, record in patches:
        if not is_name("member", key):  # whoever unpacks the tar must not write elsewhere
            raise ShardError(f"{shown(key)} is no key of a patch: expected letters, digits, '_' and '-'")
        array_header = npy_header(pixels) if kind == "npy" else b""
        data = ENCODERS[compression](pixels)
        start = offset + _BLOCK + len(array_header)
        placements.append(Placement(start, len(data), google_crc32c.value(data)))
        offset += _write_member(file, f"{key}.{kind}", array_header, data)
        offset += _write_member(file, f"{key}.json", _json_bytes(record))
    end = 2 * _BLOCK  # POSIX 1003.1, ustar: two blocks of zeros, then padding to a whole record
    file.write(bytes(end + -(offset + end) % tarfile.RECORDSIZE))
    return placements


def npy_header(pixels: Pixels) -> bytes:
    """Return what stands before the pixels in a .npy file (format 1.0, 128 bytes)."""
    return _npy_header(pixels.dtype.newbyteorder("<").str, pixels.shape)


@lru_cache(maxsize=16)  # it is the same for every patch of a set
def _npy_header(kind: str, shape: tuple[int, ...]) -> bytes:
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": kind, "fortran_order": False, "shape": shape})
    return header.getvalue()


def _write_member(file: Sink, name: str, *parts: bytes) -> int:
    size = sum(len(part) for part in parts)
    padding = -size % _BLOCK
    file.write(b"".join((member_header(name, size), *parts, bytes(padding))))
    return _BLOCK + size + padding


def member_header(name: str, size: int) -> bytes:
    """Return the header of a member: mtime, uid and gid 0, no names (POSIX 1003.1, ustar)."""
    encoded, number = name.encode("ascii"), b"%011o\0" % size
    if len(encoded) > 100 or len(number) > 12:  # tarfile knows what to do, or refuses
        info = tarfile.TarInfo(name)
        info.size = size
        return info.tobuf(tarfile.USTAR_FORMAT, encoding="ascii", errors="strict")
    # Name, size and checksum are all that differs; tarfile would take forty times as long for each.
    owner, time, rest, their_sum = _unchanging()
    checksum = b"%06o\0 " % (sum(encoded) + sum(number) + their_sum)
    return b"".join((encoded.ljust(100, b"\0"), owner, number, time, checksum, rest))


@lru_cache(maxsize=1)
def _unchanging() -> tuple[bytes, bytes, bytes, int]:
    """Return what stands before the size, between size and checksum, and after it, and the sum of it all."""
    header = tarfile.TarInfo("").tobuf(tarfile.USTAR_FORMAT, encoding="ascii", errors="strict")
    parts = header[100:124], header[136:148], header[156:]
    return *parts, sum(map(sum, parts)) + 8 * ord(" ")  # the checksum itself counts as spaces


def _json_bytes(record: Mapping[str, Any]) -> bytes:
    return json.dumps(record, separators=(",", ":"), ensure_ascii=True, allow_nan=False).encode("ascii")
