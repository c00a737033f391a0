"""Synthetic patches as DICOM: secondary captures marked as synthetic data (PS3.3 A.8.1, C.12.1, C.8.6.1).

What nlbs-generate left is read from disk: it knows no DICOM, and this knows no model.
"""

import csv
import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from nlbs.errors import ConfigError, DatasetError
from nlbs.files import atomic_file, only_one, read_json, remove_partials
from nlbs.manifests.conditions import LATERALITIES
from nlbs.manifests.schema import AGE_YEARS, NLBS
from nlbs.names import checked_name
from nlbs.preprocess.root.tables import open_own_table
from nlbs.progress import Progress
from nlbs.shards import open_shards
from nlbs.shards.format.description_check import LARGEST_RESOLUTION
from nlbs.shards.format.layout import SHARD_SET_JSON, shard_sets_in
from nlbs.shards.format.manifest import SCHEMA
from nlbs.system_calls import read_regular
from nlbs.text import printable, shown

_MOST_PICTURE_BYTES = 64 << 20  # the largest patch has 16 MiB of pixels
_RECORD, _TABLE = "samples.json", "samples.csv"  # what nlbs-generate writes beside its pictures
_SCHEMA = "schema"  # of the record: names of the model's conditions; without it those of NLBS
_LONGEST_NAME, _LONGEST_WORD = 64, 1000
#: Conditions that a manifest has columns for, and columns that say something else.
_OF_FORMAT = {*NLBS.names, AGE_YEARS.name}
_NO_CONDITIONS = {*SCHEMA.names, "synthetic", "model", "seed", "sampler"}
#: Of one process, the moment at which it ran: equal input is to give equal bytes.
_CLOCK = (
    "InstanceCreationDate", "InstanceCreationTime", "ContentDate", "ContentTime", "DateOfSecondaryCapture",
    "TimeOfSecondaryCapture", "ContributionDateTime",
)  # fmt: skip


@dataclass(frozen=True)
class SyntheticPatch:
    """One patch with what is said of it."""

    name: str  #: of its file, without ending
    index: int
    pixels: npt.NDArray[np.uint8]  #: (R, R), or (R, R, 3)
    conditions: Mapping[str, str]  #: in words; empty is unknown, missing is not to be told
    record: Mapping[str, Any]  #: of the call that drew it


def write_captures(samples: Path, out: Path, overwrite: bool = False) -> int:
    """Write each synthetic patch of a folder as DICOM file, and return how many; those that are there stay.

    Args:
        samples: what ``nlbs-generate`` wrote: pictures or a shard set.
        out: made where it is missing; other files in it stay.
        overwrite: write anew what is there of other patches.

    Raises:
        DatasetError: there are no synthetic patches, or not all of them yet.
        ConfigError: highdicom is not installed, or files of other patches are in the way.
    """
    try:
        import highdicom  # noqa: F401  # an extra
    except ImportError:
        raise ConfigError("DICOM files need the package highdicom: pip install 'nlbs-cvae[dicom]'") from None
    record = _record_of(samples)
    count = 0  # what is there, whatever the record says
    with only_one(out, "nlbs-preprocess"), Progress("Writing", int(record["patches"]), "capture") as progress:
        remove_partials(out)
        for patch in _patches(samples, record):
            path = out / f"{patch.name}.dcm"
            if not _is_written(path, patch, overwrite):
                capture = secondary_capture(patch)
                with atomic_file(path) as file:
                    capture.save_as(file)
            progress.advance()
            count += 1
    return count


def secondary_capture(patch: SyntheticPatch) -> Any:
    """Return a patch as a pydicom Dataset: a secondary capture of a patient, study and series of its own.

    The UIDs depend on the call and on the patch alone; dates and times are left out.
    """
    from highdicom.sc import SCImage

    told = {name: word for name, word in patch.conditions.items() if word}
    capture: Any = SCImage(
        pixel_array=patch.pixels,
        photometric_interpretation="MONOCHROME2" if patch.pixels.ndim == 2 else "RGB",
        bits_allocated=8,
        coordinate_system="PATIENT",
        study_instance_uid=_uid(patch, "study"),
        series_instance_uid=_uid(patch, "series"),
        series_number=1,
        sop_instance_uid=_uid(patch, "instance"),
        instance_number=1,
        manufacturer=str(patch.record["software"]),
        patient_id=f"SYNTHETIC-{patch.record['request'][:8]}-{patch.index}",
        patient_name="SYNTHETIC^PATCH",
        patient_orientation=("L", "F"),
        laterality=told.get("laterality") if told.get("laterality") in LATERALITIES else None,
    )
    capture.SyntheticData = "YES"  # (0008,001C), SOP Common
    capture.ConversionType = "SYN"  # (0008,0064), SC Equipment: synthetic image
    capture.PatientOrientation = None  # type 2C; nobody knows it of a patch
    capture.BurnedInAnnotation = "NO"
    if len(told.get("view", "")) in range(1, 17):  # PS3.5 6.2: a code string
        capture.ViewPosition = told["view"]
    capture.SeriesDescription = "Synthetic patch"
    capture.DerivationDescription = "Synthetic: drawn by a generative model. It shows no person."
    capture.ImageComments = _comments(patch)
    for dataset in (capture, *capture.get("ContributingEquipmentSequence", ())):
        for keyword in _CLOCK:
            if keyword in dataset:
                delattr(dataset, keyword)
    return capture


def _comments(patch: SyntheticPatch) -> str:
    said = [f"{name.replace('_', ' ')} {word or 'unknown'}" for name, word in patch.conditions.items()]
    record = patch.record
    return (
        f"SYNTHETIC. Asked for: {', '.join(said)}. Model {record['model']}, sampler {record['sampler']}, seed "
        f"{record['seed']}, index {patch.index}; conditions {record['conditions']}."
    )


def _uid(patch: SyntheticPatch, what: str) -> str:
    from pydicom.uid import generate_uid

    return str(
        generate_uid(entropy_srcs=["nlbs synthetic", what, str(patch.record["request"]), str(patch.index)])
    )


def _is_written(path: Path, patch: SyntheticPatch, overwrite: bool) -> bool:
    """Return whether a file is that of the patch already; files appear whole."""
    import pydicom
    from pydicom.errors import InvalidDicomError

    if not path.exists():
        return False
    try:
        found = pydicom.dcmread(path, specific_tags=["SOPInstanceUID"]).get("SOPInstanceUID")
    except (InvalidDicomError, OSError):
        found = None
    if found == _uid(patch, "instance"):
        return True
    if not overwrite:
        raise ConfigError(f"{path} is there and of another patch: choose another --out, or pass --overwrite")
    return False


def _record_of(samples: Path) -> dict[str, Any]:
    """Return what a folder says of the call that filled it.

    Raises:
        DatasetError: it is not of nlbs-generate, or not complete.
    """
    if not (samples / SHARD_SET_JSON).is_file():
        try:
            record = read_json(samples / _RECORD)
        except (OSError, ValueError):
            record = None
    else:
        with open_shards(samples) as shards:
            record = shards.synthetic
    if not isinstance(record, dict) or record.get("synthetic") is not True:
        raise DatasetError(
            f"{samples} does not say that its patches are synthetic: name a folder that nlbs-generate wrote; real "
            "patches are never written as synthetic ones"
        )
    if record.get("of_patients"):
        recipe = printable(str(record.get("recipe")), 60)
        raise DatasetError(
            f"{samples} holds patches made from those of real patients ({recipe}): they show these "
            "patients and are never written as synthetic ones; name a folder of drawn patches"
        )
    for name in ("patches", "seed"):
        if type(record.get(name)) is not int or not 0 <= record[name] < 1 << 64:
            raise DatasetError(f"{samples} says {name} {shown(record.get(name))}: expected a number")
    for name in ("software", "request", "model", "sampler", "conditions"):
        if (
            not isinstance(record.get(name), str)
            or not record[name].isprintable()
            or len(record[name]) > 1000
        ):
            raise DatasetError(f"{samples} says {name} {shown(record.get(name))}: expected a short text")
    names = record.setdefault(_SCHEMA, list(NLBS.names))
    if not isinstance(names, list) or not all(
        isinstance(name, str) and name.isprintable() and len(name) <= _LONGEST_NAME for name in names
    ):
        raise DatasetError(f"{samples} says {_SCHEMA} {shown(names)}: expected names of conditions")
    return record


def _patches(samples: Path, record: Mapping[str, Any]) -> Iterator[SyntheticPatch]:
    sets = [samples] if (samples / SHARD_SET_JSON).is_file() else shard_sets_in(samples)
    if sets:
        yield from _of_shards(Path(str(sets[0])), record)
    else:
        yield from _of_pictures(samples, record)


def _of_shards(folder: Path, record: Mapping[str, Any]) -> Iterator[SyntheticPatch]:
    with open_shards(folder) as shards:
        names = [name for name in record[_SCHEMA] if name in _OF_FORMAT or name not in _NO_CONDITIONS]
        table = shards.manifest.select([name for name in names if name in shards.manifest.column_names])
        for row in range(len(shards)):
            words = {name: _said(name, value) for name, value in table.slice(row, 1).to_pylist()[0].items()}
            yield SyntheticPatch(f"synthetic-{row:06d}", row, shards.read([row])[0], words, record)


def _of_pictures(samples: Path, record: Mapping[str, Any]) -> Iterator[SyntheticPatch]:
    table = samples / _TABLE
    if not table.is_file():
        raise DatasetError(
            f"{samples} is not complete, it has no {_TABLE}: give the nlbs-generate call again"
        )
    for number, row in enumerate(_rows(table)):
        name = checked_name("picture", row.get("file"), table, DatasetError)
        index = row.get("index", str(number))
        if not (isinstance(index, str) and index.isascii() and index.isdecimal() and len(index) < 16):
            raise DatasetError(f"{table} has the index {shown(index)}: expected a number")
        # The column of a condition that is called like another thing of the table says so.
        columns = {
            name: f"condition_{name}" if f"condition_{name}" in row else name for name in record[_SCHEMA]
        }
        words = {name: _word(table, row[column]) for name, column in columns.items() if column in row}
        pixels = _picture(samples / name)
        yield SyntheticPatch(Path(name).stem, int(index), pixels, words, record)


def _rows(table: Path) -> Iterator[dict[str, Any]]:
    """Yield the rows of samples.csv. Raises DatasetError: it cannot be read."""
    try:
        with open_own_table(table) as file:
            yield from csv.DictReader(file)
    except (OSError, ValueError, csv.Error) as error:
        raise DatasetError(
            f"cannot read {table} ({printable(str(error), 200)}): give the nlbs-generate call again"
        ) from None


def _picture(path: Path) -> npt.NDArray[np.uint8]:
    """Return the pixels of a picture. Raises DatasetError: it is none that nlbs-generate writes."""
    try:
        data = io.BytesIO(read_regular(path, _MOST_PICTURE_BYTES))
        with Image.open(data, formats=["PNG"]) as image:
            if not 1 <= image.width == image.height <= LARGEST_RESOLUTION or image.mode not in ("L", "RGB"):
                raise ValueError(f"{image.mode} of {image.size[0]}x{image.size[1]} pixels")
            return np.asarray(image, dtype=np.uint8)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise DatasetError(
            f"{path} is no square PNG of a patch ({printable(str(error), 200)}): give the "
            "nlbs-generate call again"
        ) from None


def _said(name: str, value: Any) -> str:
    """Return what a column of a manifest says in words."""
    if value is None:
        return ""
    return NLBS[name].values[value] if isinstance(value, int) and name in NLBS else str(value)


def _word(table: Path, text: object) -> str:
    if isinstance(text, str) and len(text) <= _LONGEST_WORD and text.isprintable():
        return text
    raise DatasetError(f"{table} has the condition {shown(text)}: expected a few words")
