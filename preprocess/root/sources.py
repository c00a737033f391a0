"""Rows of a dataset's table become images to decode: safe paths, pseudonymous ids, patients, splits; their files."""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from nlbs.errors import DatasetError, ImageError
from nlbs.manifests.people.pseudonyms import Pseudonyms
from nlbs.manifests.people.splits import assign_splits
from nlbs.manifests.tables.table import ImageRow
from nlbs.paths import AnyPath
from nlbs.preprocess.formats.header import MAX_PIXELS
from nlbs.preprocess.formats.image_errors import MissingFileError, UnsupportedImageError
from nlbs.stores import store_of
from nlbs.text import counted


class UnsafePathError(ImageError):
    """The CSV points outside the folder of the images."""

    status = "unsafe_path"


@dataclass(frozen=True, slots=True)  # of a million images the command holds one each
class Source:
    """An image of a dataset's table, from its row to the store: one record, which gains fields on its way."""

    row: ImageRow  #: once table and header are put together, with the conditions of both
    image: str  #: pseudonymous id; empty where the row names no image
    patient: str  #: pseudonymous; empty where the row cannot be used
    split: str  #: empty where the row cannot be used
    path: AnyPath | None  #: of the file to decode; None where ``reason`` says why not
    status: str = "ok"  #: so far
    reason: str = ""  #: a sentence that names no patient
    # What came of its file.
    detail: str = ""  #: what else is known, perhaps with text from the file
    record: Mapping[str, Any] | None = None  #: of the stored image
    stamp: str = ""  #: size and time of the file that was decoded
    decoded: bool = False  #: in this run, and not an earlier one
    patches: int = 0  #: that the image gives, where they were counted
    kind: str = ""  #: of nlbs.manifests.kinds; empty where neither table nor a header that was read says it
    # What its header adds.
    from_header: tuple[str, ...] = ()  #: conditions that the DICOM header gave
    disagrees: bool = False  #: table and header state different things

    @property
    def is_failure(self) -> bool:
        """Whether an image was lost; a second row of the same image is no loss, nor one of a kind not asked for."""
        return self.status not in ("ok", "duplicate", "not_reached", "disagreement", "other_kind")

    @property
    def key(self) -> tuple[str, str, str]:
        """What tells apart what became of two rows: number of a row without an image, id, status."""
        return "" if self.image else str(self.row.row), self.image, self.status

    def failed(self, status: str, reason: str, detail: str = "", kind: str = "") -> "Source":
        """Return the record of an image that could not be decoded."""
        return replace(self, status=status, reason=reason, detail=detail, kind=kind, decoded=True)


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
        person = _patient(row)
        image, patient, split = pseudonyms.image(row.name), pseudonyms.patient(person), splits[person]
        # Two spellings of one file are one image.
        same = image if row.file is None else f"file {replace(row, path=row.file).name}"
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
            f"--split dataset: no split is named for {len(unknown)} of {counted(len(rows), 'row')} "
            f"(rows {_some(unknown)}); "
            "divide by patient, with --split 80/10/10"
        )
    splits: dict[str, str] = {}
    torn: dict[str, int] = {}
    for row in rows:
        if splits.setdefault(_patient(row), str(row.split)) != row.split:
            torn.setdefault(_patient(row), row.row)
    if torn:
        raise DatasetError(
            f"--split dataset: {counted(len(torn), 'patient stands', 'patients stand')} in two splits "
            "of the dataset, for example in rows "
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
            f"the patient of {len(unknown)} of {counted(len(rows), 'row')} is not known (rows "
            f"{_some(unknown)}), so images of one "
            "patient could come to stand in both train and test. Name the column with --patient-column, or the folder "
            "of the path with --patient-part (1 is the first); --patient-per-image takes each image as its own patient"
        )


def _some(numbers: Sequence[int]) -> str:
    return ", ".join(str(number) for number in numbers[:5]) + (", ..." if len(numbers) > 5 else "")


LARGEST_FILE_BYTES = 2 * MAX_PIXELS + (64 << 20)


@contextmanager
def fetched(path: AnyPath, first_bytes: int | None = None) -> Iterator[Path]:
    """Return a source file as a local one: itself, or a copy that is gone after the body.

    Args:
        path: of the file.
        first_bytes: of an object these alone are copied, and it may have any size.

    Raises:
        ImageError: there is no such object, or it is larger than any image.
        ObjectStoreError: the store cannot be reached.
    """
    with ExitStack() as stack:
        try:
            local = stack.enter_context(store_of(path).local_file(path, LARGEST_FILE_BYTES, first_bytes))
        except FileNotFoundError:
            raise MissingFileError("there is no such object") from None
        except PermissionError:
            raise MissingFileError("no permission to read the object") from None
        except ValueError as error:
            raise UnsupportedImageError(str(error)) from None
        yield local


def stamp_of(path: AnyPath) -> str:
    """Return what tells a file from an earlier one of its name; empty where there is none.

    Size and modification time; of an object, size and tag.
    """
    try:
        return store_of(path).stamp(path)
    except (OSError, ValueError):
        return ""
