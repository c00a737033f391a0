"""Rows of a dataset's CSV become files to decode: safe paths, pseudonymous ids, patients, splits."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from nlbs.errors import DatasetError, ImageError
from nlbs.manifests.people.pseudonyms import Pseudonyms
from nlbs.manifests.people.splits import assign_splits
from nlbs.manifests.tables.table import ImageRow
from nlbs.paths import AnyPath
from nlbs.stores import store_of


class UnsafePathError(ImageError):
    """The CSV points outside the folder of the images."""

    status = "unsafe_path"


@dataclass(frozen=True)
class Source:
    """One row of the CSV with what identifies it, and its pseudonyms."""

    row: ImageRow
    image: str  #: pseudonymous id; empty where the row names no image
    patient: str  #: pseudonymous; empty where the row cannot be used
    split: str  #: empty where the row cannot be used
    path: AnyPath | None  #: of the file to decode; None where ``problem`` says why not
    status: str = "ok"  #: of the row so far
    problem: str | None = None


def locate_sources(
    rows: Sequence[ImageRow],
    root: AnyPath,
    pseudonyms: Pseudonyms,
    shares: tuple[float, float, float] | None,
    split_seed: int,
    patient_per_image: bool,
    known_splits: Mapping[str, str] | None = None,
) -> list[Source]:
    """Return where each row's file is, who its patient is and in which split that patient stands.

    Args:
        rows: of the CSV.
        root: the folder that the paths are relative to; nothing outside it is opened.
        pseudonyms: makes the ids.
        shares, split_seed: of train, val and test, by patient; None for the split of the dataset itself.
        patient_per_image: where the patient is not known, take each image as its own.
        known_splits: pseudonymous patient -> split, of patients who never move.

    Raises:
        DatasetError: patients are unknown and ``patient_per_image`` is not set.
    """
    usable = [row for row in rows if row.problem is None]
    _check_patients(usable, patient_per_image)
    splits = (
        own_splits(usable)
        if shares is None
        else assign_splits(
            map(_patient, usable), shares, split_seed, _standing(usable, pseudonyms, known_splits)
        )
    )
    seen: dict[str, tuple[int, str]] = {}
    sources = []
    for row in rows:
        if row.problem is not None:
            sources.append(Source(row, "", "", "", None, "bad_row", row.problem))
            continue
        name = str(PurePosixPath(row.path))
        person = _patient(row)
        image, patient, split = pseudonyms.image(name), pseudonyms.patient(person), splits[person]
        # Two spellings of one file are one image.
        same = image if row.file is None else f"file {row.file}"
        if image in seen or same in seen:
            first, owner = seen.get(image) or seen[same]
            problem = f"the same image as row {first}, whose conditions count"
            if owner != person:
                problem += (
                    ", and of another patient there: other images of that person may be in another split"
                )
            sources.append(Source(row, image, patient, split, None, "duplicate", problem))
            continue
        seen[image] = seen[same] = row.row, person
        try:
            sources.append(Source(row, image, patient, split, safe_path(root, row.file or row.path)))
        except UnsafePathError as error:
            sources.append(Source(row, image, patient, split, None, error.status, str(error)))
    return sources


def safe_path(root: AnyPath, text: str) -> AnyPath:
    """Return the file that a path in the CSV means, if it lies inside ``root``, links resolved.

    Raises:
        UnsafePathError: it does not, or no such path can exist.
    """
    if "\0" in text or text.startswith("~") or re.match(r"^[A-Za-z]:", text):
        raise UnsafePathError("the path is not relative to the folder of the images; check --images")
    try:
        path = store_of(root).inside(root, text)
    except UnicodeEncodeError:
        raise UnsafePathError(
            "the path has letters that this system's file names cannot have; PYTHONUTF8=1 lets Python use UTF-8"
        ) from None
    if path is None:
        raise UnsafePathError("the path leads out of the folder of the images; check --images")
    return path


def own_splits(rows: Sequence[ImageRow]) -> dict[str, str]:
    """Return the split of each patient as the dataset itself divides them.

    Raises:
        DatasetError: it does not say, or has a patient in two splits.
    """
    unknown = [row.row for row in rows if row.split is None]
    if unknown:
        raise DatasetError(
            f"--split dataset: no split is named for {len(unknown)} of {len(rows)} rows (rows {_some(unknown)}); "
            "divide by patient, with --split 80/10/10"
        )
    splits: dict[str, str] = {}
    torn: dict[str, int] = {}
    for row in rows:
        if splits.setdefault(_patient(row), str(row.split)) != row.split:
            torn.setdefault(_patient(row), row.row)
    if torn:
        raise DatasetError(
            f"--split dataset: {len(torn)} patients stand in two splits of the dataset, for example in rows "
            f"{_some(list(torn.values()))}, so a model would be tested on patients that it knows; divide by patient, "
            "with --split 80/10/10"
        )
    return splits


def _patient(row: ImageRow) -> str:
    return f"image {row.path}" if row.patient is None else row.patient


def _standing(
    rows: Sequence[ImageRow], pseudonyms: Pseudonyms, known: Mapping[str, str] | None
) -> dict[str, str] | None:
    """Return the splits of patients that have one already; None where nobody has."""
    if known is None:
        return None
    old = {person: known.get(pseudonyms.patient(person)) for person in {_patient(row) for row in rows}}
    return {person: split for person, split in old.items() if split}


def _check_patients(rows: Sequence[ImageRow], patient_per_image: bool) -> None:
    unknown = [row.row for row in rows if row.patient is None]
    if unknown and not patient_per_image:
        raise DatasetError(
            f"the patient of {len(unknown)} of {len(rows)} rows is not known (rows {_some(unknown)}), so images of one "
            "patient could come to stand in both train and test. Name the column with --patient-column, or the folder "
            "of the path with --patient-part (1 is the first); --patient-per-image takes each image as its own patient"
        )


def _some(numbers: Sequence[int]) -> str:
    return ", ".join(str(number) for number in numbers[:5]) + (", ..." if len(numbers) > 5 else "")
