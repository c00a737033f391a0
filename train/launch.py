"""The command's way into a run: alone, or as one of the processes that torchrun starts. Imports torch late."""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from nlbs.command import EXIT_ERROR
from nlbs.train.best_preset import AUTO, best_preset

if TYPE_CHECKING:
    import torch

    from nlbs.shards.reading.mixed_sets import Source
    from nlbs.train.config import TrainConfig
_TOLD = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


def is_under_torchrun() -> bool:
    """Whether torchrun, or somebody who speaks its language, has started this process."""
    return all(os.environ.get(name) for name in _TOLD)


def train(
    prepared: "Callable[[], tuple[TrainConfig, Source]]",
    run_path: Path,
    device_name: str,
    timeout_s: float,
    preset: str = "none",
) -> None:
    """Train a run to its end, with the processes that torchrun started.

    Args:
        prepared: opens what is trained on; where it fails in one process, it fails in all.
        run_path: the run folder.
        device_name: "auto", "cuda" or "cpu".
        timeout_s: how long the processes wait for each other.
        preset: its name, for the model card.

    Raises:
        NlbsError, KeyboardInterrupt: as :func:`nlbs.train.setup.train`.
    """
    # Alone, what is wrong shows before torch is imported, which takes seconds.
    ready = None if is_under_torchrun() else prepared()

    from nlbs.models.device import choose_device
    from nlbs.train import card
    from nlbs.train import setup as start
    from nlbs.train.handshake import shake_hands
    from nlbs.train.optimisation import with_precision
    from nlbs.train.ranks.ranks import LostRankError, Ranks, joined_ranks, own_device
    from nlbs.train.run_folder import Progress, RunFolder
    from nlbs.train.stages.run import run_stages

    run_folder = RunFolder(run_path)

    def finish(progress: Progress) -> None:
        started = with_precision(config, device, run_folder.precision())
        if progress.has_no_epochs_left(started):
            run_stages(started, source, run_folder, device)
        card.write_run_card(started, source, run_folder, progress, _named(preset, source, device))

    if ready is not None:
        config, source = ready
        device = choose_device(device_name)
        finish(start.train(config, source, run_folder, device, Ranks()))
        return
    try:
        with joined_ranks(timeout_s) as ranks:
            device = ranks.each(lambda: own_device(choose_device(device_name)))
            shake_hands(ranks, {"kind of device": device.type})
            config, source = ranks.each(prepared)
            progress = start.train(config, source, run_folder, device, ranks)
            is_first = ranks.is_first
        # By the first process alone: what is fitted is small, and the others would wait for it.
        if is_first:
            finish(progress)
    except LostRankError as error:
        click.echo(f"Error: {error}", err=True)
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(EXIT_ERROR)  # what torch holds of the lost process could keep the interpreter from ending


def _named(preset: str, source: "Source", device: "torch.device") -> str:
    """Return the name of a preset, and for ``auto`` what it came to be."""
    if preset != AUTO:
        return preset
    return f"{AUTO}: {best_preset(source.resolution, device.type == 'cuda').preset}"
