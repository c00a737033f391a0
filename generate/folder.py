"""The folder of one call: what made its patches, what is still to do, and what of it may be replaced."""

import hashlib
import json
import re
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from nlbs.errors import ConfigError
from nlbs.files import read_json, refuse_link, remove_partials, write_json
from nlbs.shards.format.commit import PARTS
from nlbs.shards.format.layout import IMAGES_CSV, SHARD_SET_JSON, STORE
from nlbs.stores import store_of
from nlbs.text import printable

SOFTWARE = "NLBS-CVAE"
RECORD = "samples.json"  #: what the files are and come from; its "complete" turns true last
SAMPLES_CSV = "samples.csv"  #: a row per picture
CONTACT_SHEET = "contact_sheet.png"
ANSWERS = "answers"  #: folder of what a reader of the pictures should not see
ANSWER_KEY = "answer_key.csv"
DATASHEET = "README.md"  #: of a set that is to be shared
CAPTURES = "dicom"  #: folder of DICOM files

_COMPLETE = "complete"
_DIGESTS = ("codes", "request")  #: of a record, which tell a person nothing
_MOST_RECORD_BYTES = 64 << 20
_KINDS = "synthetic|case|reconstruction|interpolation|traversal|variation|inpainted|superresolved"
_PICTURE = re.compile(rf"({_KINDS})-\d+(-\d+)*\.png")
_SET = re.compile(r"r\d+-synthetic")


@dataclass(frozen=True)
class Provenance:
    """What made synthetic patches."""

    model: str  #: id of the checkpoint, see :func:`nlbs.models.folder.model_id`
    resolution: int  #: edge of a patch in pixels
    seed: int
    sampler: str  #: in words
    conditions: str  #: in words, where they come from
    recipe: str = "draw"  #: the command of nlbs-generate
    device: str = "cpu"  #: kind of device: another one may round otherwise
    fitted: str = ""  #: ids of the files beside the checkpoint that it draws with
    of_patients: bool = False  #: from latents of real patches: a likeness of a patient, not a patch of nobody
    channels: int = 1  #: 1 of grey patches, 3 of coloured ones

    def text(self) -> dict[str, str]:
        """Return what the metadata of a picture says."""
        return {
            "Synthetic": "yes",
            "Software": SOFTWARE,
            "Model": self.model,
            "Sampler": self.sampler,
            "Conditions From": self.conditions,
            "Recipe": self.recipe,
        }

    def record(self, **asked: Any) -> dict[str, Any]:
        """Return what a folder of patches says of itself.

        Args:
            asked: whatever else the patches depend on, as JSON values.

        Returns:
            JSON values; ``request`` is 32 hexadecimal digits: equal ones mean equal files.
        """
        values = {"synthetic": True, "software": SOFTWARE, **asdict(self), **asked}
        if self.channels == 1:  # as in the records of earlier releases
            del values["channels"]
        text = json.dumps(values, sort_keys=True, allow_nan=False)
        return {**values, "request": hashlib.sha256(text.encode()).hexdigest()[:32]}


def set_name(resolution: int) -> str:
    """Return the name of the folder of a synthetic shard set."""
    return f"r{resolution}-synthetic"


def is_finished(folder: Path, record: Mapping[str, Any], overwrite: bool) -> bool:
    """Return whether a call has nothing left to do; where it has, the folder is made ready for it.

    What an interrupted call of the same record left stays, and is gone on with. Call it under the folder's lock.

    Args:
        folder: of the call.
        record: as :meth:`Provenance.record` gives it.
        overwrite: begin anew where files of another call, or all of this one, are.

    Raises:
        ConfigError: the folder holds something that is not to be replaced.
    """
    if (folder / IMAGES_CSV).exists() or (folder / STORE).exists():
        raise ConfigError(
            f"{folder} is a dataset root of real images: choose another --out, so that nobody takes synthetic patches "
            "for real ones"
        )
    for below in (ANSWERS, CAPTURES):
        refuse_link(folder / below)
    remove_partials(folder)
    found = read_record(folder)
    if found is not None and found.get("request") == record["request"]:
        if not found.get(_COMPLETE):
            return False
        if not overwrite:
            return True
    elif (found is not None or _own_files(folder)) and not overwrite:
        holds = "samples" if found is None else _in_short(found)
        state = "" if found is None or found.get(_COMPLETE) else ", not all of them drawn"
        other = "" if found is None else f" ({_differences(found, record)})"
        raise ConfigError(
            f"{folder} holds {holds} of another call{state}{other}: choose another --out, or pass --overwrite"
        )
    _check_datasheet(folder, record, found)
    if found is not None or _own_files(folder):
        # First of all: half of what stood there must not be taken for all of it, nor for what comes now.
        write_json(folder / RECORD, {**(found or {}), "request": "", _COMPLETE: False})
        _remove_own_files(folder)
    _check_room(folder, record)
    write_json(folder / RECORD, {**record, _COMPLETE: False})
    return False


def finish(folder: Path, record: Mapping[str, Any]) -> None:
    """Say that all files of a call are there."""
    write_json(folder / RECORD, {**record, _COMPLETE: True})


def read_record(folder: Path) -> dict[str, Any] | None:
    """Return what a folder says of itself; None where it says nothing that can be read."""
    try:
        found = read_json(folder / RECORD, _MOST_RECORD_BYTES)
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def _own_files(folder: Path) -> list[Path]:
    """Return the files and folders of earlier calls; what else lies there is not ours."""
    names = {SAMPLES_CSV, CONTACT_SHEET}
    return [
        path
        for path in folder.iterdir()
        if path.name in names
        or (_PICTURE.fullmatch(path.name) and path.is_file())
        or (_SET.fullmatch(path.name) and ((path / SHARD_SET_JSON).exists() or (path / PARTS).exists()))
    ]


def _remove_own_files(folder: Path) -> None:
    found = read_record(folder) or {}
    for path in _own_files(folder):
        if path.is_dir():
            store_of(path).withdraw(path)
        else:
            path.unlink()
    for name in (ANSWER_KEY, CONTACT_SHEET):
        (folder / ANSWERS / name).unlink(missing_ok=True)
    if found.get("recipe") == "share":
        (folder / DATASHEET).unlink(missing_ok=True)
    if found.get("format") == "dicom":
        for path in (folder / CAPTURES).glob("*.dcm"):
            if _PICTURE.fullmatch(f"{path.stem}.png"):
                path.unlink()


def _check_datasheet(folder: Path, record: Mapping[str, Any], found: Mapping[str, Any] | None) -> None:
    """Raise ConfigError where the datasheet would replace a file that is not ours."""
    ours = found is not None and found.get("recipe") == "share"
    if record["recipe"] == "share" and not ours and (folder / DATASHEET).exists():
        raise ConfigError(
            f"{folder / DATASHEET} is there and not of a shared set: choose another --out, or move it"
        )


def _check_room(folder: Path, record: Mapping[str, Any]) -> None:
    """Refuse what cannot fit, before hours are spent on it.

    Raises:
        ConfigError: the disk has no room for it.
    """
    pixels = int(record["resolution"]) ** 2 * int(record.get("channels", 1))
    # A shard holds pixels as they are, headers and a record; noise in a PNG shrinks little, a smooth patch to a tenth.
    each = pixels + 2048 if record.get("format") == "shards" else pixels // 50 + 512
    needed, disk = int(record["patches"]) * each, shutil.disk_usage(folder)
    free = disk.free if disk.total else needed  # some FUSE file systems say 0 of everything
    if needed > free:
        raise ConfigError(
            f"{record['patches']:,} patches of {record['resolution']}x{record['resolution']} pixels take at least "
            f"{needed / 1e6:,.1f} MB, and the disk of {folder} has {free / 1e6:,.1f} MB left: draw fewer, or choose "
            "another --out"
        )


def _in_short(record: Mapping[str, Any]) -> str:
    """Return in a few words what a folder of patches holds."""
    patches, recipe, model, seed = (
        printable(str(record.get(name, "?")), 60) for name in ("patches", "recipe", "model", "seed")
    )
    return f"{patches} patches by {recipe} of model {model}, seed {seed}"


def _differences(found: Mapping[str, Any], asked: Mapping[str, Any]) -> str:
    """Return in words what two records of folders do not have in common: "patches: 16 there, 32 asked for"."""
    told = [
        f"{name.replace('_', ' ')}: {printable(str(found[name]), 120)} there, {value} asked for"
        for name, value in asked.items()
        if name in found
        and isinstance(value, str | int | float)
        and found[name] != value
        and name not in _DIGESTS
    ]
    # The codes depend on the number of patches, so they say something only where that is the same.
    if not told and any(found.get(name) != asked.get(name) for name in _DIGESTS):
        told = ["other conditions for some patches"]
    return "; ".join(told) or "other settings"
