"""Whether what the image store says of an image can be true, before anything is allocated or decoded by it.

The store may come from somebody else, who can mend its checksums: a type "O" would make pointers of the pixels.
"""

import math
import struct
from collections.abc import Mapping
from typing import Any

from nlbs.names import is_name
from nlbs.shards.format.payload import DTYPES
from nlbs.text import shown

MOST_EDGE = 1 << 24  #: rows or columns of an image
MOST_PIXELS = 1 << 28  #: of a crop; the decoders take at most 120 million
_MOST_TEXT_CHARS = 4000
_SPARE = (
    4096  # pixels that a mask may have above those of the image: its cells reach over the edges of small ones
)
_MOST_ITEMS = 10_000  # of a list beside the mask
_CODECS = ["bytes", "blosc", "crc32c"]
_BLOSC_HEADER = struct.Struct(
    "<BBBBIII"
)  # version, of the codec, flags, typesize, bytes, block bytes, packed bytes
#: What a cut needs of a record.
NEEDED = ("crop_y", "crop_x", "crop_rows", "crop_columns", "mask", "spacing_mm", "pixels_sha256")

_WHOLE = ("source_rows", "source_columns", "crop_y", "crop_x", "crop_rows", "crop_columns")
_TEXTS = ("voi", "transfer_syntax", "decoder", "mask_method")
_LISTS = ("notes", "mask_flags")


def check_array(description: Mapping[str, Any]) -> tuple[int, ...]:
    """Return the shape of a stored image of which ``description`` is the zarr.json: rows, columns, 3 if in colour.

    Raises:
        ValueError: it describes no array that this store holds, or its record has what no image has.
    """
    if description.get("zarr_format") != 3 or description.get("node_type") != "array":
        raise ValueError("it is no array of zarr version 3")
    kind, shape = description.get("data_type"), description.get("shape")
    if not isinstance(kind, str) or kind not in DTYPES:
        raise ValueError(f"its pixels are of type {shown(kind)}, expected {' or '.join(DTYPES)}")
    if (
        not isinstance(shape, list)
        or (len(shape) != 2 and shape[2:] != [3])
        or not _are_whole(shape, 1, MOST_EDGE)
    ):
        raise ValueError(f"its shape is {_sizes(shape)}, expected two numbers of pixels, and 3 if in colour")
    if math.prod(shape) > MOST_PIXELS:
        raise ValueError(f"it has {math.prod(shape):,} values, at most {MOST_PIXELS:,} are read")
    if [codec.get("name") for codec in _objects(description.get("codecs"))] != _CODECS:
        raise ValueError(f"its pixels went through other codecs than {', '.join(_CODECS)}")
    grid = description.get("chunk_grid")
    chunk = grid.get("configuration") if isinstance(grid, dict) else None
    if not isinstance(chunk, dict) or chunk.get("chunk_shape") != shape:
        raise ValueError("it has not one chunk")
    check_record(description["attributes"], shape)
    return tuple(shape)


def check_record(record: Mapping[str, Any], shape: list[int]) -> None:
    """Raise ValueError where the record of an image has what no image has. What is not there is not missed."""
    for name in _WHOLE:
        if name in record and not _is_whole(record[name], 0, MOST_EDGE):
            raise ValueError(f"{name} is {shown(record[name])}, expected a number of pixels")
    for name, length in zip(("crop_rows", "crop_columns"), shape[:2], strict=True):
        if record.get(name, length) != length:
            raise ValueError(f"{name} is {record[name]}, and its pixels have {length}")
    spacing = record.get("spacing_mm")
    if spacing is not None and not (
        isinstance(spacing, list) and len(spacing) == 2 and all(map(_is_mm, spacing))
    ):
        raise ValueError(f"spacing_mm is {_sizes(spacing)}, expected two numbers of mm")
    if "mask" in record:
        _check_mask(record["mask"], shape)
    if not _is_whole(record.get("chunk_crc32c"), 0, (1 << 32) - 1):
        raise ValueError("it has no checksum of its pixels")
    if not is_name("sha256", record.get("pixels_sha256")):
        raise ValueError("it has no digest of its pixels")
    for name in _TEXTS:
        if not isinstance(record.get(name, ""), str):
            raise ValueError(f"{name} is {shown(record[name])}, expected a text")
    for name in _LISTS:
        if not all(isinstance(item, str) for item in _listed(record.get(name, []))):
            raise ValueError(f"{name} is {shown(record[name])}, expected a list of texts")
    if not isinstance(record.get("inverted", False), bool):
        raise ValueError(f"inverted is {shown(record['inverted'])}, expected true or false")
    _check_stated(record)
    for name, value in record.items():
        if name != "mask" and isinstance(value, str | list | dict):
            _check_plain(name, value)


def check_store(attributes: Mapping[str, Any]) -> None:
    """Raise ValueError where the attributes of a store are not those of one."""
    if attributes.get("dtype", "uint8") not in DTYPES:
        raise ValueError(
            f"its images are of type {shown(attributes['dtype'])}, expected {' or '.join(DTYPES)}"
        )
    for name, value in attributes.items():
        if isinstance(value, dict | list) or (isinstance(value, str) and not is_name("word", value)):
            raise ValueError(f"{shown(name)} is {shown(value)}, expected one word or number")


def check_chunk(packed: bytes, expected: int) -> None:
    """Raise ValueError where a blosc chunk does not say that it holds so many bytes of pixels.

    Decoders leave what they do not fill as it was, so that a chunk that is too short would give foreign memory away.
    """
    if len(packed) < _BLOSC_HEADER.size:
        raise ValueError("its pixels are cut off")
    *_, nbytes, _, cbytes = _BLOSC_HEADER.unpack_from(packed)
    if (nbytes, cbytes) != (expected, len(packed)):
        raise ValueError("its chunk holds another number of pixels")


def _check_mask(mask: Any, shape: list[int]) -> None:
    if not isinstance(mask, dict) or not {"step", "rows", "columns", "runs"} <= mask.keys():
        raise ValueError("its mask is none")
    if not _are_whole([mask["step"], mask["rows"], mask["columns"]], 1, MOST_EDGE):
        raise ValueError("its mask has sizes that none can have")
    pixels = mask["rows"] * mask["columns"]
    if pixels > shape[0] * shape[1] + _SPARE:
        raise ValueError(f"its mask is larger than the image: {mask['rows']}x{mask['columns']}")
    runs = mask["runs"]
    # The largest first: a sum of 64-bit numbers could come round to the right one.
    if not _are_whole(runs, 0, pixels) or len(runs) > pixels + 1 or sum(runs) != pixels:
        raise ValueError("the runs of its mask do not come to its pixels")


def _check_stated(record: Mapping[str, Any]) -> None:
    """Raise ValueError where what the header stated is nothing that a header states."""
    for name in ("header_view", "header_laterality", "header_rows_toward"):
        if record.get(name) is not None and not is_name("word", record[name]):
            raise ValueError(f"{name} is {shown(record[name])}, expected one word")
    age = record.get("header_age_years")
    if age is not None and not _is_whole(age, 0, 150):
        raise ValueError(f"header_age_years is {shown(age)}, expected an age")


def _check_plain(name: str, value: Any) -> None:
    if isinstance(value, str) and len(value) > _MOST_TEXT_CHARS:
        raise ValueError(f"{shown(name)} has {len(value):,} characters")
    if isinstance(value, list | dict):
        items = [*value, *value.values()] if isinstance(value, dict) else value
        if len(items) > _MOST_ITEMS:
            raise ValueError(f"{shown(name)} has {len(items):,} items")
        for item in items:
            _check_plain(name, item)


def _is_whole(value: Any, low: int, high: int) -> bool:
    return type(value) is int and low <= value <= high  # True is no number here


def _are_whole(values: Any, low: int, high: int) -> bool:
    if not isinstance(values, list) or not values or set(map(type, values)) != {int}:
        return False
    return bool(low <= min(values) and max(values) <= high)


def _is_mm(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value) and 0 < value < 1000


def _listed(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise ValueError(f"{shown(value)} stands where a list is expected")
    return value


def _objects(value: Any) -> list[dict[str, Any]]:
    return [item if isinstance(item, dict) else {} for item in value] if isinstance(value, list) else []


def _sizes(value: Any) -> str:
    return ", ".join(map(shown, value[:4])) if isinstance(value, list) else shown(value)
