"""A plan becomes files: the model is opened, the sampler chosen, the format written."""

import importlib.util
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np
import numpy.typing as npt
import torch

from nlbs.errors import ConfigError, NlbsError
from nlbs.files import atomic_file, only_one
from nlbs.generate.datasheet import datasheet
from nlbs.generate.folder import (
    CAPTURES,
    CONTACT_SHEET,
    DATASHEET,
    SAMPLES_CSV,
    Provenance,
    finish,
    fitted_ids,
    is_finished,
    model_id,
    set_name,
)
from nlbs.generate.plan import Plan
from nlbs.generate.png_folder import Draw, Read, write_pngs, write_sheets
from nlbs.generate.shard_folder import left_out, write_shards
from nlbs.manifests.schema import NLBS, Schema, Value
from nlbs.models.checkpoint import read_metadata
from nlbs.models.contract import GenerativeModel
from nlbs.models.device import choose_device
from nlbs.models.drawing import draw_patches
from nlbs.models.registry import family, load_checkpoint
from nlbs.models.seen import guess, unseen
from nlbs.models.stages.choice import SamplerChoice

#: What --format gives -> what writes the patches that are missing of a call, whose record is last.
WRITERS: dict[str, Callable[[Path, Plan, Draw, Provenance, Mapping[str, Any]], Read]] = {
    "png": write_pngs,
    "shards": write_shards,
    "dicom": write_pngs,
}


@dataclass(frozen=True)
class Call:
    """What every command is told beside the conditions."""

    checkpoint: Path
    device: str
    seed: int
    sampler: SamplerChoice
    out: Path
    overwrite: bool
    recipe: str
    schema: Schema  #: of the model
    said: Mapping[str, Value]  #: condition -> what options say of it; the others are unknown
    kind: str = "png"  #: of WRITERS


@dataclass(frozen=True)
class Opened:
    """A model, ready to draw."""

    model: GenerativeModel
    device: torch.device
    provenance: Provenance


def open_model(call: Call, conditions: str, latents: str | None = None) -> Opened:
    """Open the model of a call and notes where what it draws comes from.

    Args:
        call: with the checkpoint.
        conditions: in words, where they come from.
        latents: in words, where they come from; None: from the sampler.

    Raises:
        CheckpointError: the checkpoint is no model of ours.
        ConfigError: there is no such device.
    """
    device = choose_device(call.device)
    model = load_checkpoint(call.checkpoint, device)
    provenance = Provenance(
        model_id(call.checkpoint),
        model.resolution,
        call.seed,
        latents or str(call.sampler),
        conditions,
        call.recipe,
        device.type,
        fitted_ids(call.sampler.files(call.checkpoint)) if latents is None else "",
        of_patients=latents is not None,
        channels=model.image.channels,
    )
    return Opened(model, device, provenance)


def note_unseen(call: Call, values: Mapping[str, npt.ArrayLike]) -> None:
    """Say where a model is asked for conditions that it never met in training."""
    if found := unseen(read_metadata(call.checkpoint).get("training"), values, call.schema):
        click.echo(f"Note: {guess(found)}")


def draw(call: Call, plan: Plan, with_datasheet: bool = False) -> None:
    """Draw a plan into files, and say what came of it.

    Raises:
        CheckpointError, ConfigError: the checkpoint, the device or the folder cannot be used.
    """
    if call.kind == "dicom":
        _check_captures()
    opened = open_model(call, plan.source)
    note_unseen(call, plan.values)
    for doubt in call.sampler.doubts(opened.model, call.checkpoint):
        click.echo(f"Note: {doubt}")
    sampler, provenance = call.sampler.open(opened.model, call.checkpoint), opened.provenance

    def patches(first: int) -> Iterator[npt.NDArray[np.uint8]]:
        return draw_patches(sampler, plan.values, call.seed, first)

    for name in left_out(plan.schema) if call.kind == "shards" else ():
        click.echo(f"Note: a shard set has a column {name} of its own: the condition {name} is not written.")
    title = family(opened.model.family).title
    sheet = datasheet(plan, provenance, call.kind, title) if with_datasheet else None
    new = _write(call, plan, patches, provenance, sheet)
    size = f"{provenance.resolution}x{provenance.resolution}"
    state = "" if new else " were there already, nothing was left to do; --overwrite draws them anew"
    click.echo(f"{len(plan):,} synthetic patches of {size} pixels in {call.out}{state}")
    click.echo(f"Contact sheet   {call.out / CONTACT_SHEET}")
    if call.kind == "shards":
        click.echo(f"Shard set       {call.out / set_name(provenance.resolution)}")
        return
    click.echo(f"Table           {call.out / SAMPLES_CSV}")
    if call.kind == "dicom":
        _write_captures(call.out, call.overwrite)


def _write(call: Call, plan: Plan, patches: Draw, provenance: Provenance, sheet: str | None) -> bool:
    """Write the patches of a plan, contact sheet and tables; go on where such a call was interrupted.

    Returns:
        Whether anything was left to do.

    Raises:
        ConfigError: the folder holds something that is not to be replaced, or the disk is too small.
    """
    asked: dict[str, Any] = {"patches": len(plan), "codes": plan.digest, "format": call.kind}
    if call.kind != "shards":
        asked |= {"files": plan.layout.name(0), "withheld": list(plan.layout.withheld)}
    record = provenance.record(**asked)
    if plan.schema != NLBS:  # for to-dicom, which reads no checkpoint
        record["schema"] = list(plan.schema.names)
    with only_one(call.out, "nlbs-generate"):
        if is_finished(call.out, record, call.overwrite):
            return False
        read = WRITERS[call.kind](call.out, plan, patches, provenance, record)
        write_sheets(call.out, plan, read, provenance)
        if sheet is not None:
            with atomic_file(call.out / DATASHEET, "w", encoding="utf-8", newline="\n") as file:
                file.write(sheet)
        finish(call.out, record)
    return True


def _check_captures() -> None:
    """Raise ConfigError where DICOM files cannot be written."""
    if importlib.util.find_spec("highdicom") is None:
        raise ConfigError("--format dicom needs the package highdicom: pip install 'nlbs-cvae[dicom]'")


def _write_captures(folder: Path, overwrite: bool) -> None:
    """Have nlbs-preprocess write DICOM files: in a process of its own, as this one is to know no DICOM.

    Raises:
        NlbsError: it could not; it has said why.
    """
    command = [
        sys.executable,
        "-m",
        "nlbs.preprocess",
        "to-dicom",
        "--samples",
        folder,
        "--out",
        folder / CAPTURES,
    ]
    done = subprocess.run([*map(str, command), *(["--overwrite"] if overwrite else [])], check=False)
    if done.returncode:
        raise NlbsError(
            f"the DICOM files in {folder / CAPTURES} are not complete: give the same command again"
        )
