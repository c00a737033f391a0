"""A TIFF file becomes stored values (TIFF 6.0, BigTIFF); channels and orientation are those of PNG too."""

import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, BinaryIO

import imagecodecs
import numpy as np
import numpy.typing as npt

from nlbs.pictures import luminance
from nlbs.preprocess.formats.codecs import Cells
from nlbs.preprocess.formats.frames import chosen_frame
from nlbs.preprocess.formats.header import SourceImage, Stored, check_size, plain_header, size_text
from nlbs.preprocess.formats.image_errors import (
    BadHeaderError,
    DecodeError,
    TruncatedError,
    UnsupportedImageError,
)
from nlbs.preprocess.formats.source_file import whole

_TAGS = {
    254: "subfile", 256: "columns", 257: "rows", 258: "bits", 259: "compression", 262: "photometric",
    273: "offsets", 274: "orientation", 277: "samples", 278: "rows_per_strip", 279: "byte_counts", 284: "planar",
    322: "tile_columns", 323: "tile_rows", 324: "offsets", 325: "byte_counts", 338: "extra", 339: "format",
}  # fmt: skip
_KINDS = {
    1: "B",
    3: "H",
    4: "I",
    13: "I",
    16: "Q",
    18: "Q",
}  #: of whole numbers: BYTE, SHORT, LONG, IFD, LONG8, IFD8
_COMPRESSIONS = {1: "none", 5: "LZW", 8: "deflate", 32946: "deflate", 32773: "PackBits", 50000: "zstd"}
_MOST_PAGES = 10_000
#: Values of an entry that is no list of strips or tiles.
_MOST_VALUES = 64
_LISTS = ("offsets", "byte_counts")
_LARGEST_TILE = 1 << 20  #: pixels
_NOTHING = np.zeros(0, np.uint64)

#: Name of an entry -> its whole numbers.
Page = dict[str, npt.NDArray[np.unsignedinteger[Any]]]


@dataclass(frozen=True)
class _Layout:
    """How the numbers of a file are written."""

    order: str  #: "<" or ">"
    big: bool  #: BigTIFF: offsets of 8 bytes


def tiff_image(file: BinaryIO, decoder: str, frame: int | str | None, max_pixels: int) -> SourceImage:
    """Return the values of a TIFF page of 8 or 16 bits, grey or in colour; arguments as of ``dicom_image``.

    Raises:
        ImageError: it is no such file, or one with several pages where no frame is asked for.
    """
    data = whole(file)
    try:
        pages = _pages(data)
    except struct.error as error:
        raise TruncatedError("the TIFF file ends within its directories") from error
    # A page that is marked as a smaller copy of another is no image of its own (TIFF 6.0, NewSubfileType).
    images = [index for index, page in enumerate(pages) if not _one(page, "subfile", 0) & 1]
    if not images:
        raise BadHeaderError("a TIFF file without an image")
    number = chosen_frame(len(images), frame)
    index = images[number - 1]
    page = pages[index]
    _check(page, len(data), max_pixels)
    try:
        pixels = imagecodecs.tiff_decode(data, index=index)
    except (RuntimeError, ValueError, IndexError) as error:
        raise DecodeError("the TIFF pixels cannot be decoded by imagecodecs") from error
    as_stored = opaque_values(pixels, _one(page, "rows"), _one(page, "columns"), alpha="extra" in page)
    values, notes = oriented(as_stored, _one(page, "orientation", 1))
    stored, colour = grey_and_colour(values)
    header = plain_header(
        stored.shape[0],
        stored.shape[1],
        bits=_one(page, "bits"),
        kind="tiff",
        signed=_one(page, "format", 1) == 2,
        inverted=_one(page, "photometric") == 0,
    )
    return SourceImage(stored, header, "imagecodecs", notes, number if len(images) > 1 else None, colour)


def orientation_of(data: bytes) -> int:
    """Return the orientation that the first directory of a TIFF or an Exif block states, 1 where it states none."""
    try:
        pages = _pages(data) if data[:4] in (b"II*\0", b"MM\0*") else []
    except (struct.error, BadHeaderError, TruncatedError):
        return 1
    return _one(pages[0], "orientation", 1) if pages else 1


def _one(page: Page, name: str, default: int | None = None) -> int:
    values = page.get(name, _NOTHING)
    if len(values):
        return int(values[0])
    if default is None:
        raise BadHeaderError(f"the TIFF directory has no {name}")
    return default


def _pages(data: bytes) -> list[Page]:
    """Return the directories of a file, in order (TIFF 6.0 section 2)."""
    order = "<" if data[:2] == b"II" else ">"
    big = struct.unpack_from(f"{order}H", data, 2)[0] == 43
    layout = _Layout(order, big)
    (place,) = struct.unpack_from(f"{order}{'Q' if big else 'I'}", data, 8 if big else 4)
    pages: list[Page] = []
    seen = set()
    while place:
        if place in seen or len(pages) >= _MOST_PAGES:
            raise BadHeaderError("the TIFF directories do not end")
        seen.add(place)
        page, place = _directory(data, place, layout)
        pages.append(page)
    return pages


def _directory(data: bytes, place: int, layout: _Layout) -> tuple[Page, int]:
    """Return the known entries of a directory, and where the next one is."""
    order, wide = layout.order, "Q" if layout.big else "I"
    (count,) = struct.unpack_from(f"{order}{'Q' if layout.big else 'H'}", data, place)
    place += 8 if layout.big else 2
    entry = struct.calcsize(f"<HH{wide}{wide}")
    if place + count * entry > len(data):
        raise TruncatedError("the TIFF file ends within its directories")
    page: Page = {}
    for _ in range(count):
        tag, kind, length = struct.unpack_from(f"{order}HH{wide}", data, place)
        if tag in _TAGS and kind in _KINDS:
            where = place + entry - struct.calcsize(wide)
            if length * struct.calcsize(_KINDS[kind]) > struct.calcsize(wide):
                (where,) = struct.unpack_from(f"{order}{wide}", data, where)
            if where + length * struct.calcsize(_KINDS[kind]) > len(data):
                raise TruncatedError("the TIFF file ends within its directories")
            if _TAGS[tag] not in _LISTS:
                length = min(length, _MOST_VALUES)
            # A view: numbers of their own would take many times the file, where many pages share one list.
            page[_TAGS[tag]] = np.frombuffer(data, f"{order}{_KINDS[kind]}", length, where)
        place += entry
    (following,) = struct.unpack_from(f"{order}{wide}", data, place)
    return page, following


def _check(page: Page, size: int, max_pixels: int) -> None:
    """Refuse a page that is no grey image, or whose pixels are not all in the file, before it is decoded."""
    rows, columns, samples = _one(page, "rows"), _one(page, "columns"), _one(page, "samples", 1)
    check_size(rows, columns, max_pixels)
    if _one(page, "photometric") not in (0, 1, 2) or not 1 <= samples <= 4:
        raise UnsupportedImageError(
            f"a TIFF with photometric interpretation {_one(page, 'photometric')} and {samples} samples per pixel, "
            "expected a grey image"
        )
    bits = set(page["bits"].tolist() if "bits" in page else (1,))
    if bits not in ({8}, {16}) or set(page["format"].tolist() if "format" in page else (1,)) not in (
        {1},
        {2},
    ):
        raise UnsupportedImageError(
            f"a TIFF of {'/'.join(str(number) for number in sorted(bits))} bits, sample format "
            f"{_one(page, 'format', 1)}: expected integers of 8 or 16 bits"
        )
    if _one(page, "compression", 1) not in _COMPRESSIONS:
        raise UnsupportedImageError(
            f"a TIFF of compression {_one(page, 'compression')}, expected one of "
            + ", ".join(dict.fromkeys(_COMPRESSIONS.values()))
        )
    _check_parts(page, size, max_pixels, _one(page, "bits") // 8)


def _check_parts(page: Page, size: int, max_pixels: int, bytes_per_value: int) -> None:
    """Refuse a page that lacks strips or tiles: a reader would fill them with 0."""
    rows, columns, samples = _one(page, "rows"), _one(page, "columns"), _one(page, "samples", 1)
    offsets, counts = page.get("offsets", _NOTHING), page.get("byte_counts", _NOTHING)
    if "tile_rows" in page:
        height, width = _one(page, "tile_rows"), _one(page, "tile_columns")
    else:
        height, width = min(_one(page, "rows_per_strip", rows), rows), columns
    if height < 1 or width < 1:
        raise BadHeaderError(f"the TIFF has parts of {height} x {width} pixels")
    if height * width > max(max_pixels, _LARGEST_TILE):  # a tile may be larger than its image, within bounds
        raise BadHeaderError(
            f"the TIFF has parts of {height} x {width} pixels, expected at most {max_pixels:,}"
        )
    parts = -(-rows // height) * -(-columns // width) * (samples if _one(page, "planar", 1) == 2 else 1)
    if len(offsets) != parts or len(counts) != parts:
        raise BadHeaderError(f"the TIFF has {len(offsets)} strips or tiles, its size needs {parts}")
    begin, length = offsets.astype(np.uint64), counts.astype(np.uint64)
    within = (begin > 0) & (length > 0) & (begin <= size) & (length <= size)
    if not (within & (begin + length <= size)).all():
        raise TruncatedError("the TIFF file ends before its pixels do, or lacks strips of them")
    need = rows * columns * samples * bytes_per_value
    if _one(page, "compression", 1) == 1 and int(length.sum()) < need:
        raise TruncatedError(f"the TIFF has {int(length.sum()):,} bytes of pixels, its size needs {need:,}")


def opaque_values(pixels: Cells, rows: int, columns: int, alpha: bool) -> Stored:
    """Return the channels of an image without its opacity: (H, W, channels).

    Args:
        pixels: (H, W) or (H, W, channels), integers.
        rows, columns: as the file's header says.
        alpha: whether the last channel is opacity.

    Raises:
        UnsupportedImageError: some pixels are transparent.
        DecodeError: the size is another one.
    """
    if pixels.shape[:2] != (rows, columns) or pixels.ndim not in (2, 3) or pixels.dtype.kind not in "iu":
        raise DecodeError(
            f"the decoded image is {size_text(pixels.shape)}, its header says {rows} x {columns}"
        )
    channels: npt.NDArray[np.integer] = pixels if pixels.ndim == 3 else pixels[..., None]
    if alpha:
        if (channels[..., -1] != np.iinfo(channels.dtype).max).any():
            raise UnsupportedImageError(
                "some pixels are transparent, expected an opaque grey or colour image"
            )
        channels = channels[..., :-1]
    return channels


def grey_and_colour(channels: Stored) -> tuple[Stored, Stored | None]:
    """Return the luminance of three channels, and these; of a grey image its channel, and None.

    Args:
        channels: (H, W, channels) integers.

    Raises:
        UnsupportedImageError: channels that differ and are not three, or have a sign.
    """
    first, count = channels[..., 0], channels.shape[-1]
    is_grey = not any((channels[..., index] != first).any() for index in range(1, count))
    in_colour = count == 3 and channels.dtype.kind == "u"
    if not is_grey and not in_colour:
        raise UnsupportedImageError(f"a colour image of {count} channels that differ, expected grey or RGB")
    stored = np.ascontiguousarray(first) if is_grey else luminance(channels)
    return stored, np.ascontiguousarray(channels) if in_colour else None


def oriented(stored: Stored, orientation: int) -> tuple[Stored, tuple[str, ...]]:
    """Return an image as it is to be shown, and a remark where that is not as its lines are stored.

    TIFF 6.0, tag 274, which Exif has taken over: 2 to 4 are mirrored or turned by half, 5 to 8 have rows for columns.

    Args:
        stored: (H, W) or (H, W, channels), as stored.
        orientation: 1 to 8.
    """
    turns: dict[int, Callable[[Stored], Stored]] = {
        2: lambda values: values[:, ::-1],
        3: lambda values: values[::-1, ::-1],
        4: lambda values: values[::-1],
        5: lambda values: values.swapaxes(0, 1),
        6: lambda values: values[::-1].swapaxes(0, 1),
        7: lambda values: values[::-1, ::-1].swapaxes(0, 1),
        8: lambda values: values[:, ::-1].swapaxes(0, 1),
    }
    if orientation == 1:
        return stored, ()
    if orientation not in turns:
        return stored, (f"the orientation of the image is {orientation}, expected 1 to 8: it is left out",)
    note = f"the image was turned or mirrored to its orientation, {orientation}"
    return np.ascontiguousarray(turns[orientation](stored)), (note,)
