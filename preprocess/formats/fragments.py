"""Where the compressed frames of a file lie (PS3.5 A.4): items, offset tables, fragments."""

import struct
from dataclasses import dataclass
from typing import BinaryIO

from nlbs.preprocess.formats.image_errors import BadHeaderError, TruncatedError

_ITEM, _END = 0xFFFEE000, 0xFFFEE0DD


@dataclass(frozen=True)
class Fragment:
    """The value of one item."""

    offset: int  #: of the item from the first item behind the basic offset table, as tables count
    place: int  #: of the value in the file
    length: int


def compressed_frame(
    file: BinaryIO, frame: int, frames: int, marked: bool, extended: bytes | None = None
) -> bytes:
    """Gives the compressed bytes of one frame; of the others nothing but their items' heads is read.

    Args:
        file: at the first item, the basic offset table; it is left behind the last.
        frame: the frame's number, from 1.
        frames: how many there are.
        marked: whether a frame ends with the marker FFD9.
        extended: Extended Offset Table (7FE0,0001), if there is one.

    Raises:
        TruncatedError: the items do not end as they should, or hold nothing.
        BadHeaderError: nothing tells the frames apart, or there are others than stated.
    """
    table, fragments = _items(file)
    end = file.tell()
    if not sum(fragment.length for fragment in fragments):
        raise TruncatedError("there are no compressed pixels (PS3.5 A.4)")
    offsets = _offsets(extended, "Q") or _offsets(table, "I")
    chosen = _of_frame(file, fragments, offsets, frame, frames, marked)
    data = b"".join(_value(file, fragment) for fragment in chosen)
    file.seek(end)
    if not data:
        raise TruncatedError(f"frame {frame} has no compressed pixels (PS3.5 A.4)")
    return data


def _items(file: BinaryIO) -> tuple[bytes, list[Fragment]]:
    """Gives the basic offset table, and the fragments behind it."""
    start = file.tell()
    size = file.seek(0, 2)
    file.seek(start)
    table, fragments, first = None, [], start
    while True:
        place = file.tell()
        head = file.read(8)
        if len(head) < 8:
            raise TruncatedError("the file ends before its compressed pixels do (PS3.5 A.4)")
        group, number, length = struct.unpack("<HHI", head)
        if group << 16 | number == _END:
            break
        if group << 16 | number != _ITEM:
            raise BadHeaderError("between the compressed pixels stands something that is no item (PS3.5 A.4)")
        if place + 8 + length > size:
            raise TruncatedError("the file ends before its compressed pixels do (PS3.5 A.4)")
        if table is None:
            table, first = file.read(length), place + 8 + length
        else:
            fragments.append(Fragment(place - first, place + 8, length))
            file.seek(length, 1)
    return table or b"", fragments


def _offsets(table: bytes | None, kind: str) -> list[int]:
    width = struct.calcsize(kind)
    if not table or len(table) % width:
        return []
    return list(struct.unpack(f"<{len(table) // width}{kind}", table))


def _of_frame(
    file: BinaryIO, fragments: list[Fragment], offsets: list[int], frame: int, frames: int, marked: bool
) -> list[Fragment]:
    """Gives the fragments of one frame: by the offset table, else one each, else by their end markers."""
    starts = {fragment.offset: index for index, fragment in enumerate(fragments)}
    sound = offsets == sorted(set(offsets)) and set(offsets) <= set(starts) and offsets[:1] == [0]
    if sound and len(offsets) > frames:
        raise BadHeaderError(f"the offset table names {len(offsets)} frames, NumberOfFrames says {frames}")
    if frames == 1:
        return fragments
    if sound and len(offsets) == frames:
        end = starts[offsets[frame]] if frame < frames else len(fragments)
        return fragments[starts[offsets[frame - 1]] : end]
    if len(fragments) == frames:
        return [fragments[frame - 1]]
    if marked and len(fragments) > frames:
        ends = [index for index, fragment in enumerate(fragments) if _is_last(file, fragment)]
        if len(ends) == frames:
            return fragments[ends[frame - 2] + 1 if frame > 1 else 0 : ends[frame - 1] + 1]
    raise BadHeaderError(
        f"{len(fragments)} fragments and no offset table that tells {frames} frames apart (PS3.5 A.4)"
    )


def _is_last(file: BinaryIO, fragment: Fragment) -> bool:
    """Says whether a frame ends here: by FFD9, behind which a few bytes of padding may follow."""
    length = min(fragment.length, 16)
    file.seek(fragment.place + fragment.length - length)
    return b"\xff\xd9" in file.read(length)


def _value(file: BinaryIO, fragment: Fragment) -> bytes:
    file.seek(fragment.place)
    return file.read(fragment.length)
