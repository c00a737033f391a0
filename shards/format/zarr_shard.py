"""zarr shards: a zarr version 3 array (patches, R, R) or (patches, R, R, 3), of one shard file and one chunk per patch.

Written here and not by zarr-python, patch by patch in one pass: the offset of each patch is then known, and the
bytes depend on no release of zarr-python. https://zarr-specs.readthedocs.io/en/latest/v3/codecs/sharding-indexed
"""

import json
from collections.abc import Iterable
from typing import Any

import google_crc32c
import numpy as np

from nlbs.shards.format.payload import ENCODERS, ZSTD_LEVEL, Pixels, patch_shape
from nlbs.shards.format.tar import Placement, Sink

ZARR_JSON = "zarr.json"  #: what the array is: shape, type, codecs

_NO_CHUNK = 2**64 - 1  # sharding codec: offset and length of an inner chunk that is not there


def chunk_file(channels: int) -> str:
    """Return the file with all pixels: the one shard, in the words of zarr, of an array of three or four dimensions."""
    return "c/0/0/0" if channels == 1 else "c/0/0/0/0"


def write_chunks(file: Sink, patches: Iterable[Pixels], compression: str) -> list[Placement]:
    """Write the shard file of an array, one inner chunk per patch, and return where each patch's pixels lie.

    A chunk is the pixels as stored and their CRC-32C; the index at the end, with a CRC-32C of
    its own, holds offset and length of each chunk.

    Args:
        file: a binary file at its start.
        patches: (R, R) or (R, R, 3) each.
        compression: "none" or "zstd".
    """
    placements: list[Placement] = []
    offset = 0
    for pixels in patches:
        data = ENCODERS[compression](pixels)
        checksum = google_crc32c.value(data)
        file.write(data)
        file.write(_little(checksum))
        placements.append(Placement(offset, len(data), checksum))
        offset += len(data) + 4
    # An array of no patches has no chunk either; its index then says that of the one it could have.
    entries = [(place.offset, place.nbytes + 4) for place in placements] or [(_NO_CHUNK, _NO_CHUNK)]
    index = np.array(entries, dtype="<u8").tobytes()
    file.write(index + _little(google_crc32c.value(index)))
    return placements


def zarr_json(patches: int, resolution: int, dtype: str, compression: str, channels: int = 1) -> bytes:
    """Return the description of an array as zarr.json holds it: a pure function, so that it can be made again."""
    patch = patch_shape(resolution, channels)
    checksum = {"name": "crc32c"}
    little = {"name": "bytes", "configuration": {"endian": "little"}}
    zstd = {"name": "zstd", "configuration": {"level": ZSTD_LEVEL, "checksum": False}}
    sharding: dict[str, Any] = {
        "chunk_shape": [1, *patch],
        "codecs": [little, *([zstd] if compression == "zstd" else []), checksum],
        "index_codecs": [little, checksum],
        "index_location": "end",
    }
    description = {
        "zarr_format": 3,
        "node_type": "array",
        "shape": [patches, *patch],
        "data_type": dtype,
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [max(1, patches), *patch]}},
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
        "fill_value": 0,
        "codecs": [{"name": "sharding_indexed", "configuration": sharding}],
        "dimension_names": ["patch", "y", "x", "channel"][: 1 + len(patch)],
        "attributes": {},
    }
    return (json.dumps(description, indent=1) + "\n").encode("ascii")


def _little(checksum: int) -> bytes:
    return checksum.to_bytes(4, "little")
