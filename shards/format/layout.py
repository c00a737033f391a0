"""The names in a dataset root, and how a shard set is found there: by its shard_set.json alone."""

import hashlib
import json
import shlex
from collections.abc import Mapping
from contextlib import suppress
from itertools import islice
from typing import Any

from nlbs.errors import ShardError
from nlbs.files import read_json
from nlbs.paths import AnyPath
from nlbs.shards.format.description_check import check_description
from nlbs.text import shown

FORMAT = "nlbs-shards"
#: Versions that are read. 1: grey patches. 2: what it holds beside has three channels.
FORMAT_VERSIONS = (1, 2)

IMAGES_CSV = "images.csv"  #: one row per row of the input CSV
SOURCES_CSV = "sources.csv"  #: image id -> source path; identifies patients
STORE = "images.zarr"  #: the decoded images
BUILD_PARTS = ".parts"  #: what the parts of a build by several machines leave for merge; identifies patients
SHARD_SET_JSON = "shard_set.json"  #: written last: a folder with it is a complete shard set
MANIFEST = "manifest.arrow"  #: one row per patch


def manifest_name(generation: int) -> str:
    """Return the file name of the manifest of a generation of a shard set, counted from 1."""
    return MANIFEST if generation == 1 else f"manifest-{generation:05d}.arrow"


def description_name(generation: int) -> str:
    """Return the file name under which ``shard_set.json`` of a generation is kept once there is a newer one."""
    return f"shard_set-{generation:05d}.json"


#: What every shard_set.json has beside its format and version.
_KEYS = ("code_books", "counts", "dataset_id", "manifest", "parameters", "shards")
#: Key of shard_set.json: a digest of all the others.
RECORD_SHA256 = "record_sha256"
_MOST_LOOKED_AT = 100  #: folders in which a shard set or a dataset root is looked for


def how_to_build(path: AnyPath) -> str:
    """Return what to do where ``path`` is no shard set or no dataset root, for the end of a message.

    Where one lies near it, that was meant. A folder of other things is no place to build into.
    """
    near = _near(path)
    if near:
        return f"name {' or '.join(near)} in its place"
    taken = path.is_dir() and next(iter(path.iterdir()), None) is not None
    out = "shards/" if taken else shlex.quote(str(path))
    return f"make one with: nlbs-preprocess build-shards --csv meta.csv --out {out}"


def _near(path: AnyPath) -> list[str]:
    """Return the shard sets or dataset roots that a path may mean: what it lies in, or what lies in it."""
    above, found = path.absolute().parent, list[AnyPath]()
    with suppress(OSError):  # of a folder that may not be read nothing is said
        if (above / IMAGES_CSV).is_file():
            return [str(above)]
        if not path.exists():
            found = shard_sets_in(above)
        elif path.is_dir():
            below: list[AnyPath] = list(islice(path.iterdir(), _MOST_LOOKED_AT))
            for folder in below:
                with suppress(OSError):
                    if (folder / IMAGES_CSV).is_file() or shard_sets_in(folder):
                        found.append(folder)
    return sorted(map(str, found))[:5]


def how_to_restore(folder: AnyPath) -> str:
    """Return what to do about a shard set with damaged files, for the end of a message."""
    if not can_be_repaired(folder):
        return _copy_again(folder)
    return f"nlbs-preprocess verify --shards {shlex.quote(str(folder))} --repair cuts it anew from the decoded images"


def can_be_repaired(folder: AnyPath) -> bool:
    """Return whether the decoded images and the table that a shard set was cut from stand beside it."""
    with suppress(OSError):  # what cannot be looked at restores nothing
        return (folder.parent / IMAGES_CSV).is_file() and (folder.parent / STORE).is_dir()
    return False


def how_to_recut(folder: AnyPath) -> str:
    """Return what to do about a shard set that does not even say what it holds, for the end of a message."""
    if (folder.parent / STORE).is_dir():
        return f"delete {folder} and run the nlbs-preprocess command again, which cuts it anew from the decoded images"
    return _copy_again(folder)


def _copy_again(folder: AnyPath) -> str:
    return f"copy {folder} again from where it came: the decoded images it was cut from are not beside it"


def shard_sets_in(root: AnyPath) -> list[AnyPath]:
    """Return the complete shard sets of a dataset root, sorted by name."""
    if not root.is_dir():
        return []
    return sorted(path for path in root.iterdir() if (path / SHARD_SET_JSON).is_file())


def find_shard_set(path: AnyPath) -> AnyPath:
    """Return the folder of the shard set that ``path`` means: itself, or the only one of a dataset root.

    Raises:
        ShardError: nothing is there, the set is not complete, or there are several to choose from.
    """
    found = find_shard_sets(path)
    if len(found) == 1:
        return found[0]
    choices = ", ".join(str(choice) for choice in found)
    raise ShardError(
        f"{path} holds {len(found)} shard sets; name one of them in its place: {choices}; "
        f"nlbs-preprocess info --shards {shlex.quote(str(path))} says what each holds"
    )


def find_shard_sets(path: AnyPath) -> list[AnyPath]:
    """Return the folders of the shard sets that ``path`` means: itself, or all of a dataset root, sorted by name.

    Raises:
        ShardError: nothing is there, or no set is complete.
    """
    if (path / SHARD_SET_JSON).is_file():
        return [path]
    if not path.exists():
        raise ShardError(f"there is no folder {path}; {how_to_build(path)}")
    if not path.is_dir():
        raise ShardError(f"{path} is a file: name the folder of the dataset or of the shard set")
    found = shard_sets_in(path)
    if found:
        return found
    unfinished = (path / STORE).exists() or (path / "parts").exists()
    if unfinished:
        raise ShardError(f"{path} holds an unfinished build: run the same nlbs-preprocess command again")
    raise ShardError(
        f"{path} holds no shard set (no {SHARD_SET_JSON}): check the path, or {how_to_build(path)}"
    )


def read_shard_set_json(folder: AnyPath, generation: int | None = None) -> dict[str, Any]:
    """Return what ``shard_set.json`` of a shard set says, or its copy for an earlier generation.

    Raises:
        ShardError: it is no JSON, not ours, or of a format version that this release does not read; or
            there is no such generation.
    """
    info = read_description(folder, SHARD_SET_JSON)
    newest = int(info.get("generation", 1))
    if generation is None or generation == newest:
        return info
    if not 1 <= generation <= newest:
        raise ShardError(f"{folder} has no generation {generation}: expected 1 to {newest}")
    return read_description(folder, description_name(generation))


def read_description(folder: AnyPath, name: str) -> dict[str, Any]:
    """Return what one description of a shard set says, of this generation or another. Raises ShardError."""
    path = folder / name
    try:
        info = read_json(path)
    except (OSError, ValueError) as error:
        raise ShardError(f"cannot read {path} ({error}); {how_to_recut(folder)}") from None
    if not isinstance(info, dict) or info.get("format") != FORMAT:
        raise ShardError(f"{path} does not describe a shard set (its 'format' should be {FORMAT!r})")
    if info.get("format_version") not in FORMAT_VERSIONS:
        raise ShardError(
            f"{path} has format version {shown(info.get('format_version'))}, this nlbs-cvae reads version "
            f"{' or '.join(map(str, FORMAT_VERSIONS))}: install the release that wrote it, or {how_to_recut(folder)}"
        )
    missing = [key for key in _KEYS if key not in info]
    if missing:
        raise ShardError(f"{path} is damaged: it lacks {', '.join(missing)}; {how_to_recut(folder)}")
    check_description(info, path, how_to_recut(folder))
    return info


def format_version(channels: int) -> int:
    """Return the version of the format of a set: 1 wherever it can be."""
    return 1 if channels == 1 else 2


def record_digest(info: Mapping[str, Any]) -> str:
    """Return the SHA-256 of what ``shard_set.json`` says beside it: JSON, keys sorted, as ``json.dumps`` writes it."""
    others = {key: value for key, value in info.items() if key != RECORD_SHA256}
    return hashlib.sha256(json.dumps(others, sort_keys=True).encode()).hexdigest()
