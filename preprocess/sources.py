"""Rows of a dataset's CSV become files to decode: safe paths, pseudonymous ids, patients, splits."""

import os
import posixpath
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from nlbs.errors import DatasetError, ImageError
from nlbs.manifests.pseudonyms import Pseudonyms
from nlbs.manifests.splits import assign_splits
from nlbs.manifests.table import ImageRow
from nlbs.paths import AnyPath
from nlbs.remote import RemotePath


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
    shares: tuple[float, float, float],
    split_seed: int,
    patient_per_image: bool,
    known_splits: Mapping[str, str] | None = None,
) -> list[Source]:
    """Gives where each row's file is, who its patient is and in which split that patient stands.

    Args:
        rows: of the CSV.
        root: the folder that the paths are relative to; nothing outside it is opened.
        pseudonyms: makes the ids.
        shares, split_seed: of train, val and test, by patient.
        patient_per_image: where the patient is not known, take each image as its own.
        known_splits: pseudonymous patient -> split, of patients who never move.

    Raises:
        DatasetError: patients are unknown and ``patient_per_image`` is not set.
    """
    usable = [row for row in rows if row.problem is None]
    patients = _patients(usable, patient_per_image)
    known = None
    if known_splits is not None:
        old = {patient: known_splits.get(pseudonyms.patient(patient)) for patient in set(patients.values())}
        known = {patient: split for patient, split in old.items() if split}
    splits = assign_splits(patients.values(), shares, split_seed, known)
    seen: dict[str, int] = {}
    sources = []
    for row in rows:
        if row.problem is not None:
            sources.append(Source(row, "", "", "", None, "bad_row", row.problem))
            continue
        name = str(PurePosixPath(row.path))
        image, patient = pseudonyms.image(name), pseudonyms.patient(patients[row.row])
        split = splits[patients[row.row]]
        if image in seen:
            problem = f"the same image as row {seen[image]}, whose conditions count"
            sources.append(Source(row, image, patient, split, None, "duplicate", problem))
            continue
        seen[image] = row.row
        try:
            sources.append(Source(row, image, patient, split, safe_path(root, row.path)))
        except UnsafePathError as error:
            sources.append(Source(row, image, patient, split, None, error.status, str(error)))
    return sources


def safe_path(root: AnyPath, text: str) -> AnyPath:
    """Gives the file that a path in the CSV means, if it lies inside ``root``, links resolved.

    Raises:
        UnsafePathError: it does not, or no such path can exist.
    """
    if "\0" in text or text.startswith("~") or re.match(r"^[A-Za-z]:", text):
        raise UnsafePathError("the path is not relative to the folder of the images; check --images")
    if isinstance(root, RemotePath):
        return _safe_object(root, text)
    path = Path(os.path.normpath(root / text))
    inside = Path(os.path.realpath(root))
    if not Path(os.path.realpath(path)).is_relative_to(inside):
        raise UnsafePathError("the path leads out of the folder of the images; check --images")
    return path


def _safe_object(root: RemotePath, text: str) -> RemotePath:
    """Gives the object that a path means; a whole URL is taken where it begins with that of the root."""
    name = text.removeprefix(f"{root}/")
    normal = posixpath.normpath(name)
    if "://" in name or normal.startswith(("/", "../")) or normal in (".", ".."):
        raise UnsafePathError("the path leads out of the folder of the images; check --images")
    return root / normal


def _patients(rows: Sequence[ImageRow], patient_per_image: bool) -> dict[int, str]:
    """Gives the patient of each row, by row number."""
    unknown = [row.row for row in rows if row.patient is None]
    if unknown and not patient_per_image:
        some = ", ".join(str(number) for number in unknown[:5]) + (", ..." if len(unknown) > 5 else "")
        raise DatasetError(
            f"the patient of {len(unknown)} of {len(rows)} rows is not known (rows {some}), so images of one patient "
            "could come to stand in both train and test. Name the column with --patient-column, or the folder of the "
            "path with --patient-part (1 is the first); --patient-per-image takes each image as its own patient"
        )
    return {row.row: f"image {row.path}" if row.patient is None else row.patient for row in rows}
