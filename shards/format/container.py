"""The containers of a shard: one tar file, or one folder with a zarr array. A record is (file, offset, nbytes)."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import IO, Any

import google_crc32c

from nlbs.files import atomic_file, atomic_folder
from nlbs.names import is_name
from nlbs.paths import AnyPath
from nlbs.shards.format.payload import Pixels, channels_of
from nlbs.shards.format.tar import Placement, write_tar
from nlbs.shards.format.zarr_shard import ZARR_JSON, chunk_file, write_chunks, zarr_json
from nlbs.stores import store_of
from nlbs.text import shown

CONTAINERS = {"tar": ("none", "png"), "zarr": ("none", "zstd")}

#: Key, pixels (R, R) or (R, R, 3), and what a tar shard's ``{key}.json`` is to say.
Patch = tuple[str, Pixels, Mapping[str, Any]]


@dataclass(frozen=True)
class PatchFormat:
    """What all patches of a shard set are like."""

    container: str  #: "tar" or "zarr"
    compression: str  #: "none", "png" or "zstd"
    resolution: int  #: edge in pixels
    dtype: str  #: "uint8" or "uint16"
    channels: int = 1  #: 1, or 3: red, green, blue

    @classmethod
    def of(cls, parameters: Mapping[str, Any]) -> "PatchFormat":
        """Return the format that the parameters of a shard set state."""
        compression = str(parameters.get("compression", "none"))
        return cls(
            str(parameters["container"]),
            compression,
            int(parameters["resolution"]),
            str(parameters["dtype"]),
            channels_of(parameters),
        )


@dataclass(frozen=True)
class WrittenShard:
    """What was written of one shard."""

    placements: list[Placement]  #: one per patch, in order
    entry: dict[str, int]  #: sizes and checksums, as shard_set.json states them


def misfit(container: str, compression: str) -> str | None:
    """Return in one sentence why a container cannot hold what is so compressed; None where it can."""
    if container not in CONTAINERS:
        return f"there is no container {shown(container)}: expected {' or '.join(CONTAINERS)}"
    if compression in CONTAINERS[container]:
        return None
    others = [name for name, kinds in CONTAINERS.items() if compression in kinds]
    where = f": it goes into {' and '.join(others)}" if others else ""
    return (
        f"a {container} shard does not hold --compression {compression}{where}; {container} takes "
        f"{' and '.join(CONTAINERS[container])}"
    )


def suffix(container: str, compression: str) -> str:
    """Return what the folder name of a set ends with: "-zarr-zstd"; "" for plain tar."""
    return "".join(f"-{part}" for part in (container, compression) if part not in ("tar", "none"))


def shard_name(number: int, container: str) -> str:
    """Return the name of a shard: of a file, or of the folder of an array."""
    return f"{number:05d}.{container}"


def pixels_name(name: str, channels: int = 1) -> str:
    """Return the name, in the folder of a shard set, of the file that the offsets of a shard count in."""
    return f"{name}/{chunk_file(channels)}" if name.endswith(".zarr") else name


def pixels_file(folder: AnyPath, name: str, channels: int = 1) -> AnyPath:
    """Return the file that the offsets of a shard count in: the tar itself, or the chunk file of an array."""
    return folder / pixels_name(name, channels)


def write_shard(path: AnyPath, patches: Iterable[Patch], form: PatchFormat) -> WrittenShard:
    """Write a shard, whole or not at all; one of that name, which no complete set has, goes first."""
    if form.container == "tar":
        with atomic_file(path) as file:
            summed = _Summed(file)
            placements = write_tar(summed, patches, form.compression)
        return WrittenShard(placements, {"bytes": summed.size, "crc32c": summed.checksum})
    remove_shard(path.parent, path.name)
    with atomic_folder(path) as folder:
        chunks = folder / chunk_file(form.channels)
        chunks.parent.mkdir(parents=True)
        with chunks.open("wb") as file:
            summed = _Summed(file)
            only_pixels = (pixels for _, pixels, _ in patches)
            placements = write_chunks(summed, only_pixels, form.compression)
        described = zarr_json(len(placements), form.resolution, form.dtype, form.compression, form.channels)
        (folder / ZARR_JSON).write_bytes(described)
    entry = {"bytes": summed.size, "crc32c": summed.checksum}
    return WrittenShard(placements, {**entry, "zarr_json_crc32c": google_crc32c.value(described)})


def remove_shard(folder: AnyPath, name: str) -> None:
    """Remove a shard of ours where it is there; what has another kind of name is left alone.

    Of a link, the link goes, and what it names stays.
    """
    if is_name("shard", name) and name.endswith((".tar", ".zarr")):
        store_of(folder).remove(folder / name)


class _Summed:
    """A file that sums what is written to it, so that nobody has to read it again."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.size = 0
        self.checksum = 0

    def write(self, data: bytes) -> int:
        self.size += len(data)
        self.checksum = int(google_crc32c.extend(self.checksum, data))
        return self._file.write(data)
