"""The grain as a stage: its options, and what it adds to draws. No torch, so that commands start at once."""

from typing import TYPE_CHECKING

from nlbs.models.stages.stage import PatchMeasuring, Stage

if TYPE_CHECKING:
    import torch

    from nlbs.models.contract import GenerativeModel
    from nlbs.models.drawing import Sampler
    from nlbs.models.stages.fitted import Measure
    from nlbs.models.stages.grain import Grain


def _make(network: None, model: "GenerativeModel") -> "Grain":
    from nlbs.models.contract import Encodes, capable
    from nlbs.models.stages.grain import no_grain

    capable(model, Encodes, "grain")
    return no_grain(model.resolution)


def _measure(resolution: int, device: "torch.device") -> "Measure":
    from nlbs.models.stages.grain import GrainMeasure

    return GrainMeasure(resolution, device)


def _around(sampler: "Sampler", grain: "Grain") -> "Sampler":
    from nlbs.models.stages.grain import GrainySampler

    return GrainySampler(sampler, grain)


GRAIN = Stage(
    "grain",
    section="grain",
    options=PatchMeasuring,
    make=_make,
    instead="draw with --no-grain",
    measure=_measure,
    around=_around,
)
