"""The decoded image store ``images.zarr``: each image once, cropped to the breast, lossless, with its mask."""

import hashlib
import json
import struct
from collections.abc import Mapping
from typing import Any

import google_crc32c
import imagecodecs
import numpy as np
import numpy.typing as npt

from nlbs.errors import DatasetError
from nlbs.files import atomic_folder, make_folder, read_json, refuse_link, write_json
from nlbs.names import checked_name
from nlbs.paths import AnyPath
from nlbs.preprocess.images.mask import Bits
from nlbs.preprocess.images.store_check import MOST_PIXELS, check_array, check_chunk, check_store
from nlbs.shards.format.payload import DTYPES
from nlbs.stores import store_of

STORE_VERSION = 1

#: Bit planes of neighbouring pixels are alike: half the size of the bytes as they are. Blocks of this size
#: are compressed twice as fast as blosc's own choice, and a little smaller.
_BLOSC: dict[str, Any] = {"cname": "zstd", "clevel": 1, "shuffle": "bitshuffle", "blocksize": 1 << 20}
_MOST_RECORD_BYTES = 16 << 20  # of a zarr.json; a mask of a thousand runs takes four thousand
_MOST_CHUNK_BYTES = (
    2 * MOST_PIXELS + (2 * MOST_PIXELS >> 8) + (1 << 16)
)  # blosc adds little to what it cannot pack


class ImageStore:
    """A zarr group with one array (rows, columns) or (rows, columns, 3) per image, named by its id.

    The array's attributes are the image's record: its geometry, its mask, how it was decoded.
    """

    def __init__(self, path: AnyPath) -> None:
        self.path = path

    @classmethod
    def open(cls, path: AnyPath, recipe: Mapping[str, Any]) -> "ImageStore":
        """Open the store at ``path``, or makes an empty one.

        Args:
            path: ``images.zarr`` of a dataset root.
            recipe: all that the pixels depend on beside the files.

        Raises:
            DatasetError: the store there was decoded by another recipe.
        """
        attributes = {"store_version": STORE_VERSION, **recipe}
        refuse_link(path)
        found = cls(path).attributes
        if found is None:
            make_folder(path)
            group = {"zarr_format": 3, "node_type": "group", "attributes": attributes}
            write_json(path / "zarr.json", group)
        elif found != attributes:
            differing = [
                key for key in sorted({*found, *attributes}) if found.get(key) != attributes.get(key)
            ]
            if differing == ["key_fingerprint"]:
                raise DatasetError(
                    f"the ids in {path} were made with another key file: give that of the first build with "
                    "--key-file or NLBS_KEY_FILE, or another folder for --out"
                )
            if differing == ["foreground"]:
                here, now = (given.get("foreground", "breast") for given in (found, attributes))
                raise DatasetError(
                    f"{path} holds images that were cut by the foreground {here}, those of this table have {now}: give "
                    f"--foreground {here} where they are alike, or another folder for --out"
                )
            changes = ", ".join(
                f"{key} was {found.get(key)!r}, now {attributes.get(key)!r}" for key in differing
            )
            raise DatasetError(
                f"{path} holds images that were decoded otherwise ({changes}): use the same options, "
                "or another folder for --out"
            )
        return cls(path)

    @classmethod
    def existing(cls, path: AnyPath) -> "ImageStore":
        """Open the store at ``path`` as it is.

        Raises:
            DatasetError: there is none.
        """
        if cls(path).attributes is None:
            raise DatasetError(f"there are no decoded images at {path}: run build-shards first")
        return cls(path)

    @property
    def attributes(self) -> dict[str, Any] | None:
        """What the store as a whole was made with; None where there is no store."""
        description = _description(self.path)
        if description is None:
            return None
        try:
            check_store(description["attributes"])
        except ValueError as error:
            raise DatasetError(
                f"{self.path} is damaged ({error}): decode the images again into another folder"
            ) from None
        return dict(description["attributes"])

    def record(self, image: str) -> dict[str, Any] | None:
        """Return the record of an image; None where the store does not hold it.

        Raises:
            DatasetError: the record is damaged.
        """
        folder = self._folder(image)
        description = _description(folder)
        if description is None:
            return None
        _check_record(description, folder)
        try:
            check_array(description)
        except ValueError as error:
            raise DatasetError(
                f"the record of the decoded image {folder} is damaged ({error}): delete that folder and run "
                "build-shards again"
            ) from None
        attributes: dict[str, Any] = description["attributes"]
        return attributes

    def put(self, image: str, pixels: npt.NDArray[Any], record: Mapping[str, Any]) -> dict[str, Any]:
        """Store an image, whole or not at all: pixels (rows, columns) or (rows, columns, 3), uint8 or uint16, air 0.

        Returns:
            The record as it is stored, with its checksums.
        """
        store_of(self.path).withdraw(self._folder(image))  # of an earlier version of the file
        pixels = np.ascontiguousarray(pixels)
        chunk = _chunk_of(pixels)
        attributes = {**record, "pixels_sha256": hashlib.sha256(pixels.data).hexdigest()}
        attributes["chunk_crc32c"] = struct.unpack("<I", chunk[-4:])[0]
        description = _array_description(pixels, attributes)
        attributes["record_sha256"] = _record_digest(description)
        with atomic_folder(self._folder(image)) as folder:
            place = folder / _chunk_name(pixels.ndim)
            place.parent.mkdir(parents=True)
            place.write_bytes(chunk)
            (folder / "zarr.json").write_text(
                json.dumps(description, separators=(",", ":")), encoding="utf-8"
            )
        return attributes

    def pixels(self, image: str) -> npt.NDArray[Any]:
        """Return the pixels of an image, (rows, columns) or (rows, columns, 3), uint8 or uint16.

        Raises:
            DatasetError: the image is missing or damaged.
        """
        folder = self._folder(image)
        try:
            description = _description(folder)
            if description is None:
                raise FileNotFoundError("its record is missing")
            _check_record(description, folder)
            shape = check_array(description)
            return _pixels_of(_chunk_in(folder, len(shape)), description, shape)
        except (OSError, ValueError, TypeError, LookupError, RuntimeError) as error:
            raise DatasetError(
                f"the decoded image {folder} is damaged ({error}): delete that folder and run build-shards again"
            ) from None

    def _folder(self, image: str) -> AnyPath:
        """Return the folder of an image. Raises DatasetError: the id, which a table may hold, is none."""
        return self.path / checked_name(
            "image", image, f"what is read from {self.path.name}", DatasetError, "run build-shards again"
        )


def _chunk_of(pixels: npt.NDArray[Any]) -> bytes:
    """Return the array's one chunk: blosc, then its CRC-32C (zarr's codecs ``blosc`` and ``crc32c``)."""
    packed = imagecodecs.blosc_encode(
        pixels.data.cast("B"),  # type: ignore[arg-type]  # its stubs know bytes alone, it takes any buffer
        level=_BLOSC["clevel"],
        compressor=_BLOSC["cname"],
        shuffle=_BLOSC["shuffle"],
        typesize=pixels.itemsize,
        blocksize=_BLOSC["blocksize"],
        numthreads=1,
    )
    return bytes(packed) + struct.pack("<I", google_crc32c.value(packed))


def _chunk_name(axes: int) -> str:
    """Return the name of the one chunk of an array, in the words of zarr."""
    return "/".join(("c", *"0" * axes))


def _pixels_of(chunk: bytes, description: Mapping[str, Any], shape: tuple[int, ...]) -> npt.NDArray[Any]:
    """Return the pixels in a chunk. Raises ValueError where it is not the one that was stored."""
    packed, checksum = chunk[:-4], chunk[-4:]
    stored = description["attributes"]["chunk_crc32c"]
    if checksum != struct.pack("<I", stored) or google_crc32c.value(packed) != stored:
        raise ValueError("its pixels are not the ones that were stored")
    pixels = np.empty(shape, DTYPES[description["data_type"]])
    check_chunk(packed, pixels.nbytes)
    imagecodecs.blosc_decode(packed, numthreads=1, out=pixels.data.cast("B"))
    return pixels


def _array_description(pixels: npt.NDArray[Any], attributes: dict[str, Any]) -> dict[str, Any]:
    """Return the zarr.json of an image: zarr core specification version 3, array metadata."""
    bytes_codec = {"name": "bytes", "configuration": {"endian": "little"}}
    return {
        "zarr_format": 3,
        "node_type": "array",
        "shape": list(pixels.shape),
        "data_type": pixels.dtype.name,
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": list(pixels.shape)}},
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
        "fill_value": 0,
        "codecs": [
            bytes_codec,
            {"name": "blosc", "configuration": {"typesize": pixels.itemsize, **_BLOSC}},
            {"name": "crc32c"},
        ],
        "dimension_names": ["y", "x", "channel"][: pixels.ndim],
        "attributes": attributes,
    }


def run_lengths(bits: Bits) -> list[int]:
    """Return a mask as lengths of runs in row-major order, the first run False (perhaps of length 0)."""
    flat = bits.ravel()
    bounds = np.concatenate(([0], np.flatnonzero(flat[1:] != flat[:-1]) + 1, [flat.size]))
    runs = [int(run) for run in np.diff(bounds)]
    return [0, *runs] if flat.size and flat[0] else runs


def mask_of(record: Mapping[str, Any]) -> tuple[Bits, int]:
    """Return the breast mask of a stored image: True inside, and its pixels per mask pixel."""
    mask = record["mask"]
    runs = np.asarray(mask["runs"], dtype=np.int64)
    values = np.arange(len(runs)) % 2 == 1
    return np.repeat(values, runs).reshape(mask["rows"], mask["columns"]), int(mask["step"])


def _description(folder: AnyPath) -> dict[str, Any] | None:
    """Return what zarr keeps of an array or group; None where there is none."""
    try:
        description = read_json(folder / "zarr.json", _MOST_RECORD_BYTES)
    except FileNotFoundError:
        return None
    except ValueError:
        raise _damaged(folder / "zarr.json", folder) from None
    if not isinstance(description, dict) or not isinstance(description.get("attributes"), dict):
        raise _damaged(folder / "zarr.json", folder)
    return description


def _chunk_in(folder: AnyPath, axes: int) -> bytes:
    try:
        return store_of(folder).read(folder / _chunk_name(axes), _MOST_CHUNK_BYTES)
    except FileNotFoundError:
        raise FileNotFoundError("its pixels are missing") from None


def _check_record(description: Mapping[str, Any], folder: AnyPath) -> None:
    if description["attributes"].get("record_sha256") != _record_digest(description):
        raise _damaged(folder / "zarr.json", folder)


def _record_digest(description: Mapping[str, Any]) -> str:
    """Return a checksum of a record, with shape and type of its pixels: a flipped digit would move patches."""
    attributes = {key: value for key, value in description["attributes"].items() if key != "record_sha256"}
    checked = [attributes, description.get("shape"), description.get("data_type")]
    return hashlib.sha256(json.dumps(checked, sort_keys=True).encode()).hexdigest()


def _damaged(file: AnyPath, folder: AnyPath) -> DatasetError:
    return DatasetError(f"{file} is damaged: delete {folder} and run build-shards again")
