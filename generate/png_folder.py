"""Patches as PNG files that say they are synthetic, contact sheets, and tables; an interrupted call goes on."""

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
    SAMPLES_CSV,
    Provenance,
    finish,
    is_finished,
)
from nlbs.generate.plan import Plan
from nlbs.manifests.captions import caption
from nlbs.pictures import contact_sheet, write_png
from nlbs.progress import Progress

#: Gives the patches from one on, uint8 (R, R) or (R, R, 3) each.
Draw = Callable[[int], Iterable[npt.NDArray[np.uint8]]]
#: Gives the patches of some places, which have been written.
Read = Callable[[Sequence[int]], list[npt.NDArray[np.uint8]]]

_SHEET_LIMIT = 256  # tiles; beyond, a sheet is no longer looked at
#: What tables and pictures say beside conditions, which are not to be taken for it.
_OWN = frozenset(
    {"file", "index", "seed", "row", "answer", "model", "sampler", "synthetic", "software", "recipe"}
)


def write_pngs(
    folder: Path, plan: Plan, draw: Draw, provenance: Provenance, record: Mapping[str, Any]
) -> Read:
    """Write each patch that is not there as PNG, then ``samples.csv`` and the answer key.

    Memory does not grow with the number of patches.
    """
    first = _first_missing(folder, plan)
    with Progress("Drawing", len(plan) - first, "sample") as progress:
        for index, image in enumerate(draw(first) if first < len(plan) else (), start=first):
            row = _row(plan, index, provenance)
            write_png(folder / plan.layout.name(index), image, {**provenance.text(), **_told(row)})
            progress.advance()
    if plan.layout.withheld:
        answers = (_answer(plan, index, provenance) for index in range(len(plan)))
        write_table(folder / ANSWERS / ANSWER_KEY, answers)
    write_table(folder / SAMPLES_CSV, _rows(plan, provenance))
    return lambda places: [read_picture(folder / plan.layout.name(place)) for place in places]


def write_table(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write rows, all of the same names and at least one, as CSV."""
    left = iter(rows)
    first = next(left)
    with atomic_file(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(first), lineterminator="\n")
        writer.writeheader()
        writer.writerow(first)
        writer.writerows(left)


def columns_of(words: Mapping[str, str], before: str = "") -> dict[str, str]:
    """Return conditions in words as columns of a table, none of which has the name of another thing."""
    return {
        f"{before}{name}" if before or name not in _OWN else f"condition_{name}": word
        for name, word in words.items()
    }


def read_picture(path: Path) -> npt.NDArray[np.uint8]:
    """Return a PNG, uint8 (H, W), or (H, W, 3) in colour."""
    with Image.open(path) as image:
        return np.asarray(image, dtype=np.uint8)


def _first_missing(folder: Path, plan: Plan) -> int:
    """Return the first patch that is not there; they are written whole, and in order."""
    for index in range(len(plan)):
        if not (folder / plan.layout.name(index)).is_file():
            return index
    return len(plan)


def _row(plan: Plan, index: int, provenance: Provenance) -> dict[str, Any]:
    words = columns_of(told_words(plan, index))
    return {"file": plan.layout.name(index), "index": index, "seed": provenance.seed, **words}


def _rows(plan: Plan, provenance: Provenance) -> Iterator[dict[str, Any]]:
    columns = {name: values for name, values in plan.columns.items() if name not in plan.layout.withheld}
    for index in range(len(plan)):
        yield {
            **_row(plan, index, provenance),
            **{name: values[index] for name, values in columns.items()},
            "model": provenance.model,
            "sampler": provenance.sampler,
            "synthetic": "yes",
        }


def _answer(plan: Plan, index: int, provenance: Provenance) -> dict[str, Any]:
    columns = {name: values[index] for name, values in plan.columns.items()}
    words = columns_of(plan.words(index))
    return {
        "file": plan.layout.name(index), **columns, **words, "model": provenance.model, "synthetic": "yes"
    }  # fmt: skip


def told_words(plan: Plan, index: int) -> dict[str, str]:
    """Return the conditions of a patch in words, without those that are withheld."""
    return {name: word for name, word in plan.words(index).items() if name not in plan.layout.withheld}


def _told(row: Mapping[str, Any]) -> dict[str, str]:
    """Return a row of a table as metadata of a picture, whose keys are Latin-1 (PNG, 11.3.4.5)."""
    named = {key.replace("_", " ").title(): str(value) for key, value in row.items() if key != "file"}
    return {key.encode("latin-1", "replace").decode("latin-1"): value for key, value in named.items()}


def write_sheets(folder: Path, plan: Plan, read: Read, provenance: Provenance) -> None:
    """Write the contact sheet of what was drawn, and where something is withheld another one with answers."""
    shown = spread(len(plan))
    images, title = read(shown), sheet_title(len(plan))
    answers = [caption(plan.words(index), plan.schema) for index in shown]
    if not plan.layout.withheld:
        write_sheet(folder / CONTACT_SHEET, images, answers, title, provenance)
        return
    cases = [f"case {index + plan.layout.first}\n" for index in shown]
    told = [caption(told_words(plan, index), plan.schema) for index in shown]
    for path, captions, name in (
        (folder / CONTACT_SHEET, told, title),
        (folder / ANSWERS / CONTACT_SHEET, answers, f"{title}, with answers"),
    ):
        words = [case + words for case, words in zip(cases, captions, strict=True)]
        write_sheet(path, images, words, name, provenance)


def spread(count: int) -> list[int]:
    """Return the places that a sheet shows of ``count`` patches: all, or 256 at equal distances."""
    shown = min(count, _SHEET_LIMIT)
    return [number * count // shown for number in range(shown)]


def sheet_title(count: int, what: str = "Synthetic patches") -> str:
    """Return the title of a sheet."""
    return what if count <= _SHEET_LIMIT else f"{what}: {_SHEET_LIMIT} of {count:,}"


def write_sheet(
    path: Path,
    images: Sequence[npt.NDArray[np.uint8]],
    captions: Sequence[str],
    title: str,
    provenance: Provenance,
    columns: int = 8,
    **text: str,
) -> None:
    """Write a contact sheet that says it is synthetic, and ``text``."""
    said = {**provenance.text(), "Seed": str(provenance.seed), **text}
    write_png(path, contact_sheet(images, captions, columns, title=title), said)


@dataclass(frozen=True)
class Picture:
    """One tile of a sheet."""

    pixels: npt.NDArray[np.uint8]  #: (R, R), or (R, R, 3)
    caption: str
    #: What samples.csv says of it; "file" is its file, "" of a real patch, which has none.
    said: Mapping[str, Any]


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
            write_png(folder / row["file"], picture.pixels, {**_told(row), **provenance.text()})
        some_real = len(synthetic) < len(pictures)
        text = {"Synthetic": "yes, but for the tiles captioned real"} if some_real else {}
        tiles, captions = [picture.pixels for picture in pictures], [picture.caption for picture in pictures]
        write_sheet(folder / CONTACT_SHEET, tiles, captions, title, provenance, columns, **text)
        write_table(folder / SAMPLES_CSV, rows)
        finish(folder, record)
    return True
