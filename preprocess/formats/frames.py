"""Frames of a file: which is taken, what its functional groups say (PS3.3 C.7.6.16), where its bytes lie (A.4)."""

import struct
from dataclasses import dataclass, replace
from typing import Any, BinaryIO

import pydicom
from pydicom.multival import MultiValue

from nlbs.errors import ConfigError
from nlbs.preprocess.formats.codecs import coding_of
from nlbs.preprocess.formats.header import element, whole_number, whole_of
from nlbs.preprocess.formats.image_errors import BadHeaderError, TruncatedError, UnsupportedImageError

#: Sequence of a functional group -> keyword in its item -> keyword that single-frame images have it under.
_GROUPS = {
    "PixelMeasuresSequence": {"PixelSpacing": "PixelSpacing"},
    "PixelValueTransformationSequence": {
        "RescaleIntercept": "RescaleIntercept",
        "RescaleSlope": "RescaleSlope",
        "RescaleType": "RescaleType",
    },
    "FrameVOILUTSequence": {
        "WindowCenter": "WindowCenter",
        "WindowWidth": "WindowWidth",
        "VOILUTFunction": "VOILUTFunction",
    },
    "FrameAnatomySequence": {"FrameLaterality": "ImageLaterality"},
}


def parse_frame(text: str | None) -> int | str | None:
    """Return what ``--frame`` asks for: a number from 1, "middle", or None.

    Raises:
        ConfigError: it is neither.
    """
    if text is None or text == "middle":
        return text
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise ConfigError(f"--frame {text}: expected a number from 1, or middle")
    return int(text)


def chosen_frame(frames: int, asked: int | str | None) -> int:
    """Return the number of the frame to take, from 1.

    Args:
        frames: how many the file has.
        asked: a number, "middle" (the lower one of two), or None: only a single image will do.

    Raises:
        UnsupportedImageError: the file has other frames than that.
    """
    if frames < 1:
        raise UnsupportedImageError(f"{frames} frames, expected at least one")
    if asked is None and frames > 1:
        raise UnsupportedImageError(
            f"{frames} frames, expected a single image: --frame middle, or --frame with a number, takes one of them; a "
            "table with a row per frame and --map frame=COLUMN takes several"
        )
    names: dict[int | str | None, int] = {None: 1, "middle": (frames + 1) // 2}
    number = names.get(asked, asked)
    if not isinstance(number, int) or not 1 <= number <= frames:
        raise UnsupportedImageError(f"frame {asked} is asked for, the file has {frames}")
    return number


def flatten_groups(dataset: pydicom.Dataset, frame: int, frames: int) -> None:
    """Put what the functional groups say of one frame where single-frame images have it.

    Args:
        dataset: changed in place.
        frame: its number, from 1.
        frames: how many there are.

    Raises:
        BadHeaderError: there are groups per frame, and not one for each.
    """
    own = element(dataset, "PerFrameFunctionalGroupsSequence")
    if own and len(own) != frames:
        raise BadHeaderError(
            f"Per-Frame Functional Groups (5200,9230) has {len(own)} items, NumberOfFrames says {frames}"
        )
    shared = element(dataset, "SharedFunctionalGroupsSequence")
    # What stands with the frame goes over what all share.
    for item in ([shared[0]] if shared else []) + ([own[frame - 1]] if own else []):
        for sequence, keywords in _GROUPS.items():
            group: Any = element(item, sequence)
            for inner, outer in keywords.items() if group else ():
                value = element(group[0], inner)
                if value is not None:
                    setattr(dataset, outer, value)


def number_of_frames(dataset: pydicom.Dataset) -> tuple[int, tuple[str, ...]]:
    """Return how many frames the file has, 1 where it does not say or says 0, and a remark on what it says.

    Raises:
        BadHeaderError: it is no number.
    """
    stated = element(dataset, "NumberOfFrames")
    if isinstance(stated, MultiValue) and len(set(stated)) == 1:
        return whole_of(stated[0], "NumberOfFrames"), ("NumberOfFrames is stated more than once",)
    number = whole_number(dataset, "NumberOfFrames", 1)
    if number == 0:  # as pydicom takes it; what there is of more than one is remarked with the pixels
        return 1, ("NumberOfFrames is 0, it is taken as 1",)
    return number, ()


_ITEM, _END = 0xFFFEE000, 0xFFFEE0DD


#: More items than any image has: each takes memory, and an empty one takes 8 bytes of a file.
_MOST_ITEMS = 300_000


@dataclass(frozen=True, slots=True)
class Fragment:
    """The value of one item."""

    offset: int  #: of the item from the first item behind the basic offset table, as tables count
    place: int  #: of the value in the file
    length: int


def compressed_frame(
    file: BinaryIO,
    frame: int,
    frames: int,
    marked: bool,
    extended: bytes | None = None,
    limit: int | None = None,
) -> tuple[bytes, tuple[str, ...]]:
    """Return the compressed bytes of one frame, and what looked wrong; of other frames only items' heads are read.

    Args:
        file: at the first item, the basic offset table; it is left behind the last.
        frame: the frame's number, from 1.
        frames: how many there are.
        marked: whether a frame ends with the marker FFD9.
        extended: Extended Offset Table (7FE0,0001), if there is one.
        limit: how many bytes there are, where Pixel Data has a length.

    Raises:
        TruncatedError: the items do not end as they should, or hold nothing.
        BadHeaderError: nothing tells the frames apart, or there are others than stated.
    """
    table, fragments, notes = _items(file, marked, limit)
    end = file.tell()
    if not sum(fragment.length for fragment in fragments):
        raise TruncatedError("there are no compressed pixels (PS3.5 A.4)")
    offsets = _offsets(extended, "Q") or _offsets(table, "I")
    chosen, more = _of_frame(file, fragments, offsets, frame, frames, marked)
    data = b"".join(_value(file, fragment) for fragment in chosen)
    file.seek(end)
    if not data:
        raise TruncatedError(f"frame {frame} has no compressed pixels (PS3.5 A.4)")
    return data, (*notes, *more)


def _items(file: BinaryIO, marked: bool, limit: int | None) -> tuple[bytes, list[Fragment], tuple[str, ...]]:
    """Return the basic offset table, the fragments behind it, and what looked wrong."""
    start = file.tell()
    end = file.seek(0, 2) if limit is None else start + limit
    file.seek(start)
    if coding_of(_head_of(file, start, 64)) is not None:  # a codestream that no item encloses
        file.seek(end)
        return b"", [Fragment(0, start, end - start)], ()
    table: bytes | None = None
    fragments: list[Fragment] = []
    notes: list[str] = []
    first = start
    while file.tell() < end or limit is None:
        place = file.tell()
        head = file.read(8)
        group, number, length = struct.unpack("<HHI", head) if len(head) == 8 else (0, 0, 0)
        tag = group << 16 | number
        if tag == _END:
            break
        if tag != _ITEM:
            near = _beside(file, place, fragments)
            if near is not None:
                notes.append("a fragment of the compressed pixels has an odd length (PS3.5 A.4)")
                if near < place:  # its length was rounded up, and no byte added
                    fragments[-1] = replace(fragments[-1], length=fragments[-1].length - 1)
                file.seek(near)
                continue
            notes.append(_of_missing_end(file, head, fragments, marked, end))
            break
        if place + 8 + length > end:
            fragments.append(
                _last_of_cut_file(file, Fragment(place - first, place + 8, end - place - 8), marked)
            )
            notes.append("the last fragment of the compressed pixels is shorter than stated, and whole")
            break
        if table is None and coding_of(_head_of(file, place + 8, min(length, 64))) is not None:
            table, first = b"", place
            notes.append("the compressed pixels have no item for an offset table (PS3.5 A.4)")
        if table is None:
            table, first = file.read(length), place + 8 + length
            continue
        fragments.append(Fragment(place - first, place + 8, length))
        file.seek(place + 8 + length)
        if len(fragments) > _MOST_ITEMS:
            raise BadHeaderError(f"more than {_MOST_ITEMS:,} fragments, which no image has")
    return table or b"", fragments, tuple(dict.fromkeys(notes))


def _beside(file: BinaryIO, place: int, fragments: list[Fragment]) -> int | None:
    """Return where an item begins one byte before or behind its place: the one before has an odd length, or says so."""
    for near in (place + 1, place - 1) if fragments else ():
        if _head_of(file, near, 4) in (b"\xfe\xff\x00\xe0", b"\xfe\xff\xdd\xe0"):
            return near
    return None


def _of_missing_end(file: BinaryIO, head: bytes, fragments: list[Fragment], marked: bool, end: int) -> str:
    """Return the remark on items that no delimiter ends; the file is left where it should stand.

    Raises:
        TruncatedError, BadHeaderError: the last fragment is not the last of its frame.
    """
    place = file.tell() - len(head)
    whole = bool(fragments) and (not marked or _is_last(file, fragments[-1]))
    if len(head) < 8:  # the file ends here
        if not whole or (head and not b"\xfe\xff\xdd\xe0\0\0\0\0".startswith(head)):
            raise TruncatedError("the file ends before its compressed pixels do (PS3.5 A.4)")
        file.seek(end)
        return "the delimiter behind the compressed pixels is missing (PS3.5 A.4)"
    if whole and not head.strip(b"\0"):
        file.seek(place + 8)
        return "the delimiter behind the compressed pixels is zeros (PS3.5 A.4)"
    if whole and marked:
        file.seek(place)
        return "the delimiter behind the compressed pixels is missing (PS3.5 A.4)"
    raise BadHeaderError("between the compressed pixels stands something that is no item (PS3.5 A.4)")


def _last_of_cut_file(file: BinaryIO, rest: Fragment, marked: bool) -> Fragment:
    """Return what there is of an item that goes beyond its end, where a codestream ends with it.

    Raises:
        TruncatedError: none does.
    """
    if not marked or rest.length < 2 or not _is_last(file, rest):
        raise TruncatedError("the file ends before its compressed pixels do (PS3.5 A.4)")
    file.seek(rest.place + rest.length)
    return rest


def _head_of(file: BinaryIO, place: int, count: int) -> bytes:
    """Return bytes of a place in the file, which stays where it is."""
    before = file.tell()
    file.seek(place)
    data = file.read(count)
    file.seek(before)
    return data


def _offsets(table: bytes | None, kind: str) -> list[int]:
    width = struct.calcsize(kind)
    if not table or len(table) % width:
        return []
    return list(struct.unpack(f"<{len(table) // width}{kind}", table))


def _of_frame(
    file: BinaryIO, fragments: list[Fragment], offsets: list[int], frame: int, frames: int, marked: bool
) -> tuple[list[Fragment], tuple[str, ...]]:
    """Return the fragments of one frame: by the offset table, else one each, else by their end markers; a remark."""
    starts = {fragment.offset: index for index, fragment in enumerate(fragments)}
    sound = offsets == sorted(set(offsets)) and set(offsets) <= set(starts) and offsets[:1] == [0]
    named = len(offsets) if sound else 0
    if frames == 1:
        return _only(file, fragments, named, marked)
    if named > frames:
        raise _other_number(named, frames)
    if named == frames:
        end = starts[offsets[frame]] if frame < frames else len(fragments)
        return fragments[starts[offsets[frame - 1]] : end], ()
    if len(fragments) == frames:
        return [fragments[frame - 1]], ()
    ends = _ends(file, fragments) if marked and len(fragments) > frames else []
    if len(ends) == frames:
        return fragments[ends[frame - 2] + 1 if frame > 1 else 0 : ends[frame - 1] + 1], ()
    if len(fragments) < frames:
        raise TruncatedError(f"{len(fragments)} fragments, NumberOfFrames says {frames} (PS3.5 A.4)")
    raise BadHeaderError(
        f"{len(fragments)} fragments and no offset table that tells {frames} frames apart (PS3.5 A.4)"
    )


def _only(
    file: BinaryIO, fragments: list[Fragment], named: int, marked: bool
) -> tuple[list[Fragment], tuple[str, ...]]:
    """Return the fragments of the only frame, and a remark where there are, or are said to be, several.

    Args:
        file: with the fragments.
        fragments: all of them.
        named: how many frames the offset table names, 0 where there is none that can be used.
        marked: whether a frame ends with the marker FFD9.
    """
    ends = _ends(file, fragments) if marked and len(fragments) > 1 else []
    if named > 1 and (not marked or len(ends) > 1):
        raise _other_number(named, 1)
    if len(ends) > 1:
        note = f"the compressed pixels are {len(ends)} images, NumberOfFrames says 1: the first is taken"
        return fragments[: ends[0] + 1], (note,)
    note = f"the offset table names {named} frames, the compressed pixels are one image"
    return fragments, (note,) if named > 1 else ()


def _other_number(named: int, frames: int) -> BadHeaderError:
    return BadHeaderError(f"the offset table names {named} frames, NumberOfFrames says {frames}")


def _ends(file: BinaryIO, fragments: list[Fragment]) -> list[int]:
    """Return the numbers, from 0, of the fragments with which a codestream ends."""
    last = len(fragments) - 1
    return [
        index
        for index, fragment in enumerate(fragments)
        if _is_last(file, fragment)
        and (index == last or coding_of(_head_of(file, fragments[index + 1].place, 64)) is not None)
    ]


def _is_last(file: BinaryIO, fragment: Fragment) -> bool:
    """Return whether a frame ends here: by FFD9, behind which a few bytes of padding may follow."""
    length = min(fragment.length, 16)
    file.seek(fragment.place + fragment.length - length)
    return b"\xff\xd9" in file.read(length)


def _value(file: BinaryIO, fragment: Fragment) -> bytes:
    file.seek(fragment.place)
    return file.read(fragment.length)
