"""Measures the grain of a trained model's training patches: seconds at the end of a run."""

from pathlib import Path
from threading import Event

import click
import torch

from nlbs.models.companions.choice import grain_path
from nlbs.models.companions.grain import GrainMeasure, open_grain, save_grain
from nlbs.models.contract import encoding
from nlbs.models.registry import load_checkpoint
from nlbs.train.companions.latents import as_trained_on, endless, identity_of, is_there
from nlbs.train.config import TrainConfig
from nlbs.train.data.stream import PatchStream
from nlbs.train.run_folder import RunFolder
from nlbs.train.step import step_seed

_STREAM = 0x677261  #: keeps the random numbers of this part apart from others of the same seed


def fit_grain(
    config: TrainConfig, stream: PatchStream, run_folder: RunFolder, device: torch.device, interrupted: Event
) -> Path | None:
    """Measure the grain of the best model of a finished run and write it beside that, where it is not there yet.

    Args:
        config: resolved, with a ``grain``.
        stream: of the training split.
        run_folder: with best_model.safetensors.
        device: of this process.
        interrupted: set when the fit is to leave.

    Returns:
        The file; None where there is no best model.

    Raises:
        KeyboardInterrupt: interrupted; nothing is saved.
        NlbsError: a checkpoint cannot be read or written.
    """
    settings = config.grain
    if settings is None or not run_folder.best_model.exists():
        return None
    model = load_checkpoint(run_folder.best_model, device).requires_grad_(False)
    latents = encoding(model, "grain")
    path = grain_path(run_folder.best_model)
    identity = identity_of(settings, stream)
    if is_there("grain", path, identity, lambda: open_grain(path, model)[1]):
        return path
    click.echo(f"grain: renders {settings.patches:,} patches")
    measure = GrainMeasure(model.resolution, device)
    seen = 0
    for number, batch in enumerate(endless(stream, device)):
        if interrupted.is_set():
            click.echo("stopped while measuring the grain; the same command measures it from the start")
            raise KeyboardInterrupt
        torch.manual_seed(step_seed(config.training.seed, number, _STREAM))
        pixels, conditions = as_trained_on(config, batch)
        with torch.no_grad():
            noise = [torch.randn(len(batch), *shape, device=device) for shape in latents.latent_shapes]
            rendered = latents.render(latents.infer(pixels, conditions, noise), conditions)
        # The first half says how strong the grain is, the second what it looks like.
        (measure.add_strength if 2 * seen < settings.patches else measure.add_spectrum)(pixels, rendered)
        seen += len(batch)
        if seen >= settings.patches and number:  # a batch for each, however small the halves are
            break
    save_grain(path, measure.grain(), model, identity)
    return path
