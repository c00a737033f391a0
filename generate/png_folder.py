"""Patches as PNG files that say they are synthetic, with contact sheets and a table; an interrupted call goes on."""

import csv
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from nlbs.files import atomic_file, only_one
from nlbs.generate.folder import (
    ANSWER_KEY,
    ANSWERS,
    CONTACT_SHEET,
    DATASHEET,
    SAMPLES_CSV,
    finish,
    is_finished,
)
from nlbs.generate.plan import Plan
from nlbs.generate.provenance import Provenance
from nlbs.generate.words import caption, in_words
from nlbs.pictures import contact_sheet, write_png
from nlbs.progress import Progress

Draw = Callable[[int], Iterable[npt.NDArray[np.uint8]]]

_SHEET_LIMIT = 256  # tiles; beyond, a sheet is no longer looked at


@dataclass(frozen=True)
class Layout:
    """How pictures are named, and what they do not tell."""

    kind: str = "synthetic"  #: what a file name begins with
    digits: int = 6
    first: int = 0  #: number of the first file
    withheld: tuple[str, ...] = ()  #: conditions that stand in the answer key alone

    def name(self, index: int) -> str:
        """Return the file name of a patch."""
        return f"{self.kind}-{index + self.first:0{self.digits}d}.png"


def write_samples(
    folder: Path,
    plan: Plan,
    draw: Draw,
    provenance: Provenance,
    overwrite: bool,
    layout: Layout | None = None,
    kind: str = "png",
    datasheet: str | None = None,
) -> bool:
    """Write each patch as PNG, then contact sheet and ``samples.csv``; goes on where such a call was interrupted.

    Memory does not grow with the number of patches.

    Args:
        folder: made where it is missing; other files in it stay.
        plan: the conditions.
        draw: gives the patches.
        provenance: goes into every PNG and every row.
        overwrite: replace the samples of an earlier call.
        layout: names; None: ``synthetic-000000.png`` and on.
        kind: the format that was asked for: DICOM files are made from these.
        datasheet: text of a README.md beside them.

    Returns:
        Whether anything was left to do.

    Raises:
        ConfigError: the folder holds something that is not to be replaced, or the disk is too small.
    """
    layout = layout or Layout()
    record = provenance.record(
        patches=len(plan),
        codes=plan.digest,
        format=kind,
        files=layout.name(0),
        withheld=list(layout.withheld),
    )
    with only_one(folder, "nlbs-generate"):
        if is_finished(folder, record, overwrite):
            return False
        first = _first_missing(folder, len(plan), layout)
        with Progress("Drawing", len(plan) - first, "sample") as progress:
            for index, image in enumerate(draw(first) if first < len(plan) else (), start=first):
                row = _row(plan, index, provenance, layout)
                write_png(folder / layout.name(index), image, _png_text(row, provenance))
                progress.advance()
        _write_sheets(folder, plan, provenance, layout)
        if layout.withheld:
            answers = (_answer(plan, index, provenance, layout) for index in range(len(plan)))
            write_table(folder / ANSWERS / ANSWER_KEY, answers)
        write_table(folder / SAMPLES_CSV, _rows(plan, provenance, layout))
        if datasheet is not None:
            write_text(folder / DATASHEET, datasheet)
        finish(folder, record)
    return True


def write_table(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write rows, all of the same names and at least one, as CSV."""
    left = iter(rows)
    first = next(left)
    with atomic_file(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(first), lineterminator="\n")
        writer.writeheader()
        writer.writerow(first)
        writer.writerows(left)


def write_text(path: Path, text: str) -> None:
    """Write a text file, whole or not at all."""
    with atomic_file(path, "w", encoding="utf-8", newline="\n") as file:
        file.write(text)


def spread(count: int) -> list[int]:
    """Return the places that a sheet shows of ``count`` patches: all, or 256 at equal distances."""
    shown = min(count, _SHEET_LIMIT)
    return [number * count // shown for number in range(shown)]


def sheet_title(count: int, what: str = "Synthetic patches") -> str:
    """Return the title of a sheet."""
    return what if count <= _SHEET_LIMIT else f"{what}: {_SHEET_LIMIT} of {count:,}"


def read_picture(path: Path) -> npt.NDArray[np.uint8]:
    """Return a grey PNG, (H, W) uint8."""
    with Image.open(path) as image:
        return np.asarray(image, dtype=np.uint8)


def _first_missing(folder: Path, count: int, layout: Layout) -> int:
    """Return the first patch that is not there; they are written whole, and in order."""
    for index in range(count):
        if not (folder / layout.name(index)).is_file():
            return index
    return count


def _row(plan: Plan, index: int, provenance: Provenance, layout: Layout) -> dict[str, Any]:
    words = {name: word for name, word in in_words(plan.at(index)).items() if name not in layout.withheld}
    return {"file": layout.name(index), "index": index, "seed": provenance.seed, **words}


def _rows(plan: Plan, provenance: Provenance, layout: Layout) -> Iterator[dict[str, Any]]:
    columns = {name: values for name, values in plan.columns.items() if name not in layout.withheld}
    for index in range(len(plan)):
        yield {
            **_row(plan, index, provenance, layout),
            **{name: values[index] for name, values in columns.items()},
            "model": provenance.model,
            "sampler": provenance.sampler,
            "synthetic": "yes",
        }


def _answer(plan: Plan, index: int, provenance: Provenance, layout: Layout) -> dict[str, Any]:
    columns = {name: values[index] for name, values in plan.columns.items()}
    words = in_words(plan.at(index))
    return {"file": layout.name(index), **columns, **words, "model": provenance.model, "synthetic": "yes"}


def _png_text(row: Mapping[str, Any], provenance: Provenance) -> dict[str, str]:
    said = {key.replace("_", " ").title(): str(value) for key, value in row.items() if key != "file"}
    return {**provenance.text(), **said}


def _write_sheets(folder: Path, plan: Plan, provenance: Provenance, layout: Layout) -> None:
    shown = spread(len(plan))
    images = [read_picture(folder / layout.name(index)) for index in shown]
    title = sheet_title(len(plan))
    answers = [caption(in_words(plan.at(index))) for index in shown]
    if layout.withheld:
        questions = [
            f"case {index + layout.first}\n"
            + caption({k: word for k, word in in_words(plan.at(index)).items() if k not in layout.withheld})
            for index in shown
        ]
        write_sheet(folder / CONTACT_SHEET, images, questions, title, provenance)
        told = [
            f"case {index + layout.first}\n{answer}" for index, answer in zip(shown, answers, strict=True)
        ]
        write_sheet(folder / ANSWERS / CONTACT_SHEET, images, told, f"{title}, with answers", provenance)
    else:
        write_sheet(folder / CONTACT_SHEET, images, answers, title, provenance)


def write_sheet(
    path: Path,
    images: Sequence[npt.NDArray[np.uint8]],
    captions: Sequence[str],
    title: str,
    provenance: Provenance,
    columns: int = 8,
) -> None:
    """Write a contact sheet that says it is synthetic."""
    text = {**provenance.text(), "Seed": str(provenance.seed)}
    write_png(path, contact_sheet(images, captions, columns, title=title), text)


@dataclass(frozen=True)
class Picture:
    """One tile of a sheet."""

    pixels: npt.NDArray[np.uint8]  #: (R, R)
    caption: str
    said: Mapping[
        str, Any
    ]  #: what samples.csv says of it; "file" is its file, "" of a real patch, which has none


def write_pictures(
    folder: Path,
    pictures: Sequence[Picture],
    provenance: Provenance,
    columns: int,
    title: str,
    overwrite: bool,
    **asked: Any,
) -> bool:
    """Write every synthetic picture as PNG, all of them on one sheet, and the table.

    Real patches stand on the sheet to compare with, captioned "real", and in no file of their own.

    Args:
        folder: made where it is missing; other files in it stay.
        pictures: synthetic ones, and real ones between them.
        provenance: goes into every file.
        columns: of the sheet.
        title: of the sheet.
        overwrite: replace the pictures of an earlier call.
        asked: what they depend on beside that, as JSON values.

    Returns:
        Whether anything was left to do.

    Raises:
        ConfigError: the folder holds something that is not to be replaced.
    """
    synthetic = [picture for picture in pictures if picture.said["file"]]
    record = provenance.record(patches=len(synthetic), format="png", **asked)
    rows = [
        {**picture.said, "seed": provenance.seed, "model": provenance.model, "synthetic": "yes"}
        for picture in synthetic
    ]
    with only_one(folder, "nlbs-generate"):
        if is_finished(folder, record, overwrite):
            return False
        for picture, row in zip(synthetic, rows, strict=True):
            said = {key.replace("_", " ").title(): str(value) for key, value in row.items() if key != "file"}
            write_png(folder / row["file"], picture.pixels, {**said, **provenance.text()})
        text = {**provenance.text(), "Seed": str(provenance.seed)}
        if len(synthetic) < len(pictures):
            text["Synthetic"] = "yes, but for the tiles captioned real"
        tiles = [picture.pixels for picture in pictures]
        sheet = contact_sheet(tiles, [picture.caption for picture in pictures], columns, title=title)
        write_png(folder / CONTACT_SHEET, sheet, text)
        write_table(folder / SAMPLES_CSV, rows)
        finish(folder, record)
    return True
