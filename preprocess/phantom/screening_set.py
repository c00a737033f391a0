"""A synthetic screening set in the NLBS layout, for tests and for people without data."""

import csv
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from joblib import Parallel, delayed
from pydicom.uid import UID

from nlbs.errors import ConfigError, DatasetError
from nlbs.files import atomic_file
from nlbs.preprocess.phantom.breast import draw_pixels, draw_view, spacing_of
from nlbs.preprocess.phantom.header import TRANSFER_SYNTAXES, make_dataset
from nlbs.preprocess.phantom.patient import Findings, Patient, draw_breast, draw_patient, stream
from nlbs.preprocess.phantom.truth import COLUMNS, Truth, cells, truth_of
from nlbs.preprocess.workers import end_with_parent
from nlbs.progress import Progress

META_COLUMNS = ("File Path", "Image Laterality", "View Position", "Age", "Cancer", "False Positive")
#: Size of an image of a GE Senographe Essential.
ROWS, COLUMNS_PX = 3062, 2394

_FOLDERS = {"L": "left", "R": "right"}
_SCREENING_VIEWS = (("L", "CC"), ("L", "MLO"), ("R", "CC"), ("R", "MLO"))
_FEWEST_ROWS = 256  # below, a breast has no texture left
_PROPORTIONS = (0.6, 1.2)  # columns per row: the largest breast fits, the label too


@dataclass(frozen=True)
class PhantomSummary:
    """What a phantom holds."""

    meta: Path  #: its ``meta.csv``
    patients: int
    images: int
    cancer_patients: int
    false_positive_patients: int
    unknown_age_patients: int


def write_phantom(
    out: Path,
    patients: int,
    seed: int,
    rows: int = ROWS,
    columns: int = COLUMNS_PX,
    jobs: int = 1,
    transfer_syntax: str | None = None,
    findings: Findings | None = None,
) -> PhantomSummary:
    """Write made-up patients with four views each: DICOM files, ``meta.csv`` and ``truth.csv``.

    An image depends on the seed, its patient's place, side and view only: fewer patients are the
    first ones of more, and the number of jobs changes nothing. ``meta.csv`` is written last; a folder
    without one can be completed by the same call.

    Args:
        out: folder to write into; other files in it stay.
        patients: how many.
        seed: not negative.
        rows, columns: of an image; the detector keeps its height of 288 mm.
        jobs: processes, one patient at a time each; -1 for one a core.
        transfer_syntax: a name of :data:`TRANSFER_SYNTAXES` for all files, or None for all in turn.
        findings: how many patients have a cancer or a false positive; None: 15 % each.

    Raises:
        ConfigError: an argument out of range.
        DatasetError: ``out`` holds a dataset already.
    """
    _check(patients, seed, rows, columns, transfer_syntax)
    meta = out / "meta.csv"
    if meta.exists():
        raise DatasetError(f"{meta} exists already; a phantom is written into a folder without one.")
    tasks = (
        delayed(_write_patient)(out, index, seed, rows, columns, transfer_syntax, findings)
        for index in range(patients)
    )
    results = Parallel(n_jobs=jobs, return_as="generator", initializer=end_with_parent)(tasks)
    people: list[Patient] = []
    truths: list[Truth] = []
    with Progress("Drawing", patients, "patient") as progress:
        for patient, images in results:
            people.append(patient)
            truths.extend(images)
            progress.advance()
    _write_csv(out / "truth.csv", COLUMNS, map(cells, truths))
    _write_csv(meta, META_COLUMNS, map(_meta_cells, truths))
    return PhantomSummary(
        meta=meta,
        patients=patients,
        images=len(truths),
        cancer_patients=sum(person.cancer_side is not None for person in people),
        false_positive_patients=sum(person.false_positive_side is not None for person in people),
        unknown_age_patients=sum(not person.age_known for person in people),
    )


def _write_patient(
    out: Path, index: int, seed: int, rows: int, columns: int, transfer_syntax: str | None,
    findings: Findings | None,
) -> tuple[Patient, list[Truth]]:  # fmt: skip
    """Write the four images of one patient and return what they show."""
    patient = draw_patient(index, stream(seed, index), findings)
    truths = []
    for number, (laterality, view_name) in enumerate(_SCREENING_VIEWS):
        side, projection = divmod(number, 2)
        breast = draw_breast(patient, laterality, stream(seed, index, side))
        width_mm = columns * spacing_of(rows)
        view = draw_view(breast, view_name, width_mm, stream(seed, index, side, projection))
        # The pixels' noise has a stream of its own: a finding does not shift it.
        drawing = draw_pixels(view, rows, columns, stream(seed, index, side, projection, 0))
        parts = (patient.group, patient.number, _FOLDERS[laterality], view_name)
        path = "\\".join((*parts, f"IM-{index + 1:04d}-{number + 1:04d}-0001.dcm"))
        syntax = _syntax(transfer_syntax, 4 * index + number)
        dataset = make_dataset(view, drawing.pixels, drawing.spacing_mm, seed, syntax)
        with atomic_file(out.joinpath(*path.split("\\"))) as file:
            dataset.save_as(file, enforce_file_format=True)
        truths.append(truth_of(view, drawing, path, str(syntax)))
    return patient, truths


def _syntax(name: str | None, image: int) -> UID:
    """The named transfer syntax, or the one whose turn it is at an image of the set."""
    if name is not None:
        return TRANSFER_SYNTAXES[name]
    # Four images a patient, five syntaxes: every view gets every syntax in time.
    return list(TRANSFER_SYNTAXES.values())[image % len(TRANSFER_SYNTAXES)]


def _meta_cells(truth: Truth) -> list[str]:
    age = str(truth.age_years) if truth.age_known else ""
    labels = str(int(truth.cancer)), str(int(truth.false_positive))
    return [truth.path, truth.laterality, truth.view, age, *labels]


def _write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    with atomic_file(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)


def _check(patients: int, seed: int, rows: int, columns: int, transfer_syntax: str | None) -> None:
    if patients < 1:
        raise ConfigError(f"{patients} patients cannot be drawn; ask for 1 or more.")
    if seed < 0:
        raise ConfigError(f"the seed is {seed}; it must be 0 or more.")
    low, high = _PROPORTIONS
    if rows < _FEWEST_ROWS or not low <= columns / rows <= high:
        raise ConfigError(
            f"images of {rows} rows and {columns} columns cannot be drawn; expected {_FEWEST_ROWS} rows or "
            f"more and {low:g} to {high:g} times as many columns, such as 3062 and 2394, or 768 and 600."
        )
    if transfer_syntax is not None and transfer_syntax not in TRANSFER_SYNTAXES:
        known = ", ".join(TRANSFER_SYNTAXES)
        raise ConfigError(f"the transfer syntax {transfer_syntax!r} is not one of {known}.")
