"""What is fitted to the best model of a run once its epochs are over: what makes its draws better."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from threading import Event

import click
import torch

from nlbs.files import only_one
from nlbs.models import registry
from nlbs.shards.order.balance import Balance
from nlbs.shards.order.window import Window
from nlbs.train.config import TrainConfig
from nlbs.train.data.shard_source import Source
from nlbs.train.data.stream import PatchStream, rows_of
from nlbs.train.interrupts import interrupts
from nlbs.train.run_folder import RunFolder


def fit_samplers(config: TrainConfig, shards: Source, run_folder: RunFolder, device: torch.device) -> None:
    """Fit what the configuration has and the family of the model may have, where it is not there yet.

    Raises:
        NlbsError: as :func:`fit_grain_of` and :func:`fit_flow_of`.
        KeyboardInterrupt: interrupted; the same command continues.
    """
    for name in registry.family(config.family).companions:
        if name in _FITS:
            _FITS[name](config, shards, run_folder, device)


def fit_grain_of(config: TrainConfig, shards: Source, run_folder: RunFolder, device: torch.device) -> None:
    """Measure the grain of a run whose epochs are over, if its configuration has one.

    Raises:
        NlbsError: as :func:`nlbs.train.companions.grain.fit_grain`.
        KeyboardInterrupt: interrupted; the same command measures it from the start.
    """
    from nlbs.train.companions.grain import fit_grain

    if config.grain is None:
        return
    stream = _encoded_stream(config, shards, config.data.batch_size, device)
    _fit("grain", run_folder, lambda interrupted: fit_grain(config, stream, run_folder, device, interrupted))


def fit_flow_of(config: TrainConfig, shards: Source, run_folder: RunFolder, device: torch.device) -> None:
    """Fit the flow of a run whose epochs are over, if its configuration has one.

    Raises:
        NlbsError: as :func:`nlbs.train.companions.flow.fit_flow`.
        KeyboardInterrupt: interrupted; everything is saved.
    """
    from nlbs.train.companions.flow import fit_flow

    if config.flow is None:
        return
    flow, rows = config.flow, len(rows_of(shards, config.data.train_split, config.data.where))
    if rows < flow.batch_size:  # no reason to refuse: a flow learns from smaller batches too
        click.echo(f"flow: batches of {rows} patches, as the split {config.data.train_split!r} has no more")
        flow = replace(flow, batch_size=rows)
        config = replace(config, flow=flow)
    stream = _encoded_stream(config, shards, flow.batch_size, device)
    _fit("flow", run_folder, lambda interrupted: fit_flow(config, stream, run_folder, device, interrupted))


#: Section of the configuration -> what fits it. The section autoguidance is fitted with the flow.
_FITS: dict[str, Callable[[TrainConfig, Source, RunFolder, torch.device], None]] = {
    "grain": fit_grain_of,
    "flow": fit_flow_of,
}


def _fit(kind: str, run_folder: RunFolder, fit: Callable[[Event], Path | None]) -> None:
    """Have something fitted while no other process is in the folder, and names its file."""
    with only_one(run_folder.path, "nlbs-train"), interrupts() as interrupted:
        path = fit(interrupted)
    if path is not None:
        click.echo(f"{kind}: {path}")


def _encoded_stream(
    config: TrainConfig, shards: Source, batch_size: int, device: torch.device
) -> PatchStream:
    """Return the training patches whose latents are fitted to, as the model has seen them."""
    data = config.data
    return PatchStream(
        shards,
        batch_size,
        config.training.seed,
        data.train_split,
        data.order,
        pin_memory=device.type == "cuda",
        where=data.where,
        balance=Balance(data.balance, data.balance_power, data.balance_cap) if data.balance else None,
        window=Window(data.streams, data.window_shards),
        schema=config.schema,
    )
