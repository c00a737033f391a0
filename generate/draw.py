"""A plan becomes files: the model is opened, the sampler chosen, the format written."""

import importlib.util
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
import numpy.typing as npt
import torch

from nlbs.errors import ConfigError, NlbsError
from nlbs.generate.datasheet import datasheet
from nlbs.generate.folder import CAPTURES, CONTACT_SHEET, SAMPLES_CSV, set_name
from nlbs.generate.plan import Plan
from nlbs.generate.png_folder import Layout, write_samples
from nlbs.generate.provenance import Provenance, fitted_ids, model_id
from nlbs.generate.shard_folder import write_synthetic_set
from nlbs.models.checkpoint import read_metadata, schema_of
from nlbs.models.companions.choice import SamplerChoice
from nlbs.models.contract import GenerativeModel
from nlbs.models.device import choose_device
from nlbs.models.drawing import draw_patches
from nlbs.models.registry import load_checkpoint
from nlbs.models.seen import guess, unseen


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
    kind: str = "png"  #: one of nlbs.generate.commands.options.FORMATS


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
    )
    return Opened(model, device, provenance)


def note_unseen(checkpoint: Path, codes: Mapping[str, npt.ArrayLike]) -> None:
    """Say where a model is asked for conditions that it never met in training."""
    values = read_metadata(checkpoint)
    if found := unseen(values.get("training"), codes, schema_of(values)):
        click.echo(f"Note: {guess(found)}")


def draw(call: Call, plan: Plan, layout: Layout | None = None, with_datasheet: bool = False) -> None:
    """Draw a plan into files, and say what came of it.

    Raises:
        CheckpointError, ConfigError: the checkpoint, the device or the folder cannot be used.
    """
    if call.kind == "dicom":
        _check_captures()
    opened = open_model(call, plan.source)
    note_unseen(call.checkpoint, plan.codes)
    if opened.model.doubts.draws:
        click.echo(f"Note: {opened.model.doubts.draws}")
    sampler, provenance = call.sampler.open(opened.model, call.checkpoint), opened.provenance

    def patches(first: int) -> Iterator[npt.NDArray[np.uint8]]:
        return draw_patches(sampler, plan.codes, call.seed, first)

    sheet = datasheet(plan, provenance, call.kind) if with_datasheet else None
    if call.kind == "shards":
        new = write_synthetic_set(call.out, plan, patches, provenance, call.overwrite, sheet)
    else:
        new = write_samples(call.out, plan, patches, provenance, call.overwrite, layout, call.kind, sheet)
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
