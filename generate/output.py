"""What nlbs-generate leaves behind: PNG files that say they are synthetic, a contact sheet, a table."""

import csv
import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nlbs.errors import ConfigError
from nlbs.files import atomic_file
from nlbs.manifests.conditions import AGE_BINS, CONDITIONS, LATERALITIES, UNKNOWN, VIEWS
from nlbs.pictures import contact_sheet, write_png

SAMPLES_CSV = "samples.csv"
CONTACT_SHEET = "contact_sheet.png"

_SHEET_LIMIT = 256  # tiles; beyond, a sheet is no longer looked at
_VALUES = {"view": VIEWS, "laterality": LATERALITIES, "age_bin": AGE_BINS}


@dataclass(frozen=True)
class Provenance:
    """Where synthetic images come from."""

    model: str  #: id of the checkpoint, see :func:`model_id`
    seed: int
    conditions: Mapping[str, int]  #: condition -> code, -1 for unknown


def model_id(checkpoint: Path) -> str:
    """Gives the first 16 digits of the SHA-256 of a checkpoint file."""
    with checkpoint.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]


def in_words(conditions: Mapping[str, int]) -> dict[str, str]:
    """Gives each condition as a person writes it; empty where it is unknown."""
    words = {}
    for name in CONDITIONS:
        code = conditions[name]
        words[name] = "" if code == UNKNOWN else _VALUES.get(name, ("no", "yes"))[code]
    return words


def write_samples(
    folder: Path, images: Iterable[npt.NDArray[np.uint8]], provenance: Provenance, overwrite: bool
) -> list[Path]:
    """Writes each image as PNG, a contact sheet, and last ``samples.csv`` with a row per file.

    Args:
        folder: made where it is missing; other files in it stay.
        images: (R, R) uint8 each.
        provenance: goes into every PNG and every row.
        overwrite: replace the samples of an earlier call.

    Raises:
        ConfigError: the folder holds samples already and is not to be overwritten.
    """
    if (folder / SAMPLES_CSV).exists() and not overwrite:
        raise ConfigError(f"{folder} holds samples already: choose another --out, or pass --overwrite")
    words = in_words(provenance.conditions)
    rows: list[dict[str, Any]] = []
    shown: list[npt.NDArray[np.uint8]] = []
    for index, image in enumerate(images):
        row = {"file": f"synthetic-{index:06d}.png", "index": index, "seed": provenance.seed, **words}
        write_png(folder / str(row["file"]), image, _png_text(row, provenance))
        rows.append({**row, "model": provenance.model, "synthetic": "yes"})
        if len(shown) < _SHEET_LIMIT:
            shown.append(image)
    sheet = contact_sheet(shown, [_caption(row) for row in rows[: len(shown)]], title="Synthetic patches")
    write_png(folder / CONTACT_SHEET, sheet, {"Synthetic": "yes", "Model": provenance.model})
    with atomic_file(folder / SAMPLES_CSV, "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return [folder / str(row["file"]) for row in rows]


def _png_text(row: Mapping[str, Any], provenance: Provenance) -> dict[str, str]:
    text = {"Synthetic": "yes", "Software": "NLBS-CVAE", "Model": provenance.model}
    text |= {key.replace("_", " ").title(): str(value) for key, value in row.items() if key != "file"}
    return text


def _caption(row: Mapping[str, Any]) -> str:
    flags = [name.replace("_", " ") for name in ("cancer", "false_positive") if row[name] == "yes"]
    unknown = [name.replace("_", " ") for name in ("cancer", "false_positive") if row[name] == ""]
    state = ", ".join(flags + [f"{name}?" for name in unknown]) or "normal"
    return f"{row['view'] or 'view?'} {row['laterality'] or 'side?'} {row['age_bin'] or 'age?'}\n{state}"
