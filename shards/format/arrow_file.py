"""Arrow IPC files that may come from somebody else: what is mapped is the file itself, and nothing is unpacked.

Arrow inflates a compressed batch as soon as it is read, to whatever size the file states. The manifests of this
product are not compressed, so one that is, is refused by its metadata: the footer of the file and the head of each
message, flatbuffers as https://arrow.apache.org/docs/format/Columnar.html describes them (File.fbs, Message.fbs).
"""

import os
import struct
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa

from nlbs.system_calls import open_regular

_MAGIC = b"ARROW1"
_MOST_FOOTER_BYTES, _MOST_HEAD_BYTES = 64 << 20, 64 << 20
_MOST_BLOCKS = 1_000_000
_DICTIONARY_BATCH, _RECORD_BATCH = 2, 3  # of the union MessageHeader


def read_arrow(path: Path, refuse_schema: Callable[[pa.Schema], None]) -> pa.Table:
    """Return the table in an Arrow IPC file by memory map; its buffers fit the lengths that it states.

    Whether the values in it are sound is not known: ``Table.validate(full=True)`` tells.

    Args:
        path: of the file.
        refuse_schema: is given the schema before a batch is read, and raises where it is not the expected one.

    Raises:
        OSError, pa.ArrowException: it is no such file, it is compressed, or its buffers do not fit.
    """
    with mapped(path) as source:
        reader = pa.ipc.open_file(source)
        refuse_schema(reader.schema)
        _refuse_compressed(source)
        table = reader.read_all()
    table.validate()
    return table


def mapped(path: Path) -> pa.NativeFile:
    """Return a file by memory map; one that is read as it is used where the file system has none (some FUSE)."""
    os.close(open_regular(path))  # Arrow would wait for the other end of a pipe
    try:
        return pa.memory_map(str(path))
    except FileNotFoundError:
        raise
    except OSError:
        return pa.OSFile(str(path))


def _refuse_compressed(source: pa.NativeFile) -> None:
    """Raise ArrowInvalid where a batch is compressed, or the file has no sound list of its batches."""
    size = source.size()
    try:
        end = source.read_at(10, size - 10)
        (length,) = struct.unpack("<i", end[:4])
        if end[4:] != _MAGIC or not 0 < length <= min(size - 10, _MOST_FOOTER_BYTES):
            raise pa.ArrowInvalid("it has no footer")
        footer = _Table.root(source.read_at(length, size - 10 - length))
        for field in (2, 3):  # dictionaries and record batches, of Footer
            for offset, head in footer.blocks(field):
                if not 8 <= head <= _MOST_HEAD_BYTES or not 0 <= offset <= size - head:
                    raise pa.ArrowInvalid("it names a batch that is not in it")
                if _is_compressed(source.read_at(head, offset)):
                    raise pa.ArrowInvalid("it is compressed, which a manifest never is")
    except (struct.error, IndexError):
        raise pa.ArrowInvalid("its metadata is damaged") from None


def _is_compressed(head: bytes) -> bool:
    start = 8 if head[:4] == b"\xff\xff\xff\xff" else 4  # before Arrow 0.15 there was no continuation mark
    message = _Table.root(head[start:])
    kind, batch = message.byte(1), message.table(2)
    if kind == _DICTIONARY_BATCH and batch is not None:
        batch = batch.table(1)
    elif kind != _RECORD_BATCH:
        raise pa.ArrowInvalid("it names a batch that is none")
    return batch is not None and batch.has(3)  # RecordBatch.compression


class _Table:
    """A table of a flatbuffer; what lies outside the bytes raises struct.error or IndexError."""

    def __init__(self, data: bytes, at: int) -> None:
        self._data, self._at = data, at
        (back,) = _unpack("<i", data, at)
        self._vtable = at - back
        (self._vtable_bytes,) = _unpack("<H", data, self._vtable)

    @classmethod
    def root(cls, data: bytes) -> "_Table":
        return cls(data, _unpack("<I", data, 0)[0])

    def _field(self, number: int) -> int:
        """Return where a field is, 0 where it is not there."""
        slot = 4 + 2 * number
        if slot + 2 > self._vtable_bytes:
            return 0
        (offset,) = _unpack("<H", self._data, self._vtable + slot)
        return self._at + offset if offset else 0

    def has(self, number: int) -> bool:
        return self._field(number) != 0

    def byte(self, number: int) -> int:
        at = self._field(number)
        return int(_unpack("<B", self._data, at)[0]) if at else 0

    def table(self, number: int) -> "_Table | None":
        at = self._field(number)
        return _Table(self._data, at + _unpack("<I", self._data, at)[0]) if at else None

    def blocks(self, number: int) -> list[tuple[int, int]]:
        """Return offset and length of the metadata of each Block of a vector: int64, int32, padding, int64."""
        at = self._field(number)
        if not at:
            return []
        start = at + _unpack("<I", self._data, at)[0]
        (count,) = _unpack("<I", self._data, start)
        if count > _MOST_BLOCKS:
            raise pa.ArrowInvalid(f"it has {count:,} batches, at most {_MOST_BLOCKS:,} are read")
        found = (_unpack("<qi", self._data, start + 4 + 24 * number) for number in range(count))
        return [(offset, head) for offset, head in found]


def _unpack(form: str, data: bytes, at: int) -> tuple[int, ...]:
    if at < 0:  # Python would count from the end
        raise IndexError(at)
    return struct.unpack_from(form, data, at)
