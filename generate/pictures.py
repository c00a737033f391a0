"""A few pictures of one call, whichever it was: PNG files, a contact sheet and ``samples.csv``."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nlbs.files import only_one
from nlbs.generate.folder import CONTACT_SHEET, SAMPLES_CSV, finish, is_finished
from nlbs.generate.provenance import Provenance
from nlbs.generate.samples import write_table
from nlbs.pictures import contact_sheet, write_png


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
    """Writes every synthetic picture as PNG, all of them on one sheet, and the table.

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
