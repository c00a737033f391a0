"""The flow and the weak flow as stages: their options, and how they draw. No torch, so that commands start at once."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from nlbs.config import STRICT, Share
from nlbs.errors import ConfigError
from nlbs.models.family import FLOW_STEPS
from nlbs.models.guidance import Guidance
from nlbs.models.stages.stage import LatentTraining, Stage

if TYPE_CHECKING:
    from nlbs.models.contract import GenerativeModel
    from nlbs.models.drawing import Sampler
    from nlbs.models.stages.choice import SamplerChoice
    from nlbs.models.stages.flow import LatentFlow

_MOST_CHANNELS, _MOST_LEVELS, _MOST_BLOCKS = 16_384, 16, 64

#: GroupNorm has 8 groups, attention 4 heads.
Width = Annotated[int, Field(ge=8, le=_MOST_CHANNELS, multiple_of=8)]


@dataclass(frozen=True)
class FlowConfig:
    """The network of a flow over latents (:mod:`nlbs.models.stages.flow`): a U-Net whose sizes are theirs."""

    __pydantic_config__ = STRICT
    widths: Annotated[tuple[Width, ...], Field(max_length=_MOST_LEVELS)] = (
        192,
        128,
        96,
    )  # features of each size of maps, coarsest first
    blocks: Annotated[int, Field(ge=1, le=_MOST_BLOCKS)] = (
        1  # residual blocks of each size, on the way down and on the way up
    )
    attention: Annotated[int, Field(ge=0, le=_MOST_LEVELS)] = (
        2  # so many of the coarsest sizes have self-attention
    )
    folded: bool = False  # one level more, its places laid four to one on the maps of the last of these
    distort: Share = (
        0.0  # how often each way of distorting changes a patch that it learns from, and is told of
    )


@dataclass(frozen=True)
class FlowTraining(LatentTraining):
    """The flow that is fitted to the latents of the best model once training is done."""

    __pydantic_config__ = STRICT
    network: FlowConfig = field(default_factory=lambda: FlowConfig(folded=True))


@dataclass(frozen=True)
class AutoguidanceTraining:
    """The weak flow that is fitted after the flow: the same options, fewer patches, perhaps a narrower network."""

    __pydantic_config__ = STRICT
    share: Annotated[float, Field(gt=0, lt=1)] = 1 / 16  # of the flow's patches
    # As flow.network.widths, and as many: a narrower network is a quicker one; None: those.
    widths: Annotated[tuple[Width, ...], Field(max_length=_MOST_LEVELS)] | None = None

    def weak(self, flow: FlowTraining) -> FlowTraining:
        """Return how the weak flow is fitted beside a flow.

        Raises:
            ConfigError: its network would have other levels than the flow's.
        """
        network = flow.network
        if self.widths is not None:
            if len(self.widths) != len(network.widths):
                raise ConfigError(
                    f"autoguidance.widths has {len(self.widths)} numbers and flow.network.widths "
                    f"{len(network.widths)}; both flows see the same levels of latents: give as many, or leave it out"
                )
            network = dataclasses.replace(network, widths=self.widths)
        return dataclasses.replace(flow, network=network, patches=max(1, round(self.share * flow.patches)))


def _make(network: FlowConfig, model: "GenerativeModel") -> "LatentFlow":
    from nlbs.models.contract import Encodes, capable
    from nlbs.models.stages.flow import LatentFlow

    return LatentFlow(network, capable(model, Encodes, "a flow"), model.schema)


def _sampler(
    model: "GenerativeModel",
    flow: "LatentFlow",
    weak: "LatentFlow | None",
    choice: "SamplerChoice",
    guidance: Guidance,
) -> "Sampler":
    from nlbs.models.stages.flow_sampler import FlowSampler

    strength = 1.0 if choice.autoguidance is None else choice.autoguidance
    return FlowSampler(
        model,
        flow,
        choice.flow_steps or FLOW_STEPS,
        guidance,
        choice.temperature,
        weak=weak,
        autoguidance=strength,
    )


def _solver(
    model: "GenerativeModel",
    flow: "LatentFlow",
    weak: "LatentFlow | None",
    choice: "SamplerChoice",
    guidance: Guidance,
) -> "Sampler":
    from nlbs.models.stages.flow_sampler import FlowSolver

    strength = 1.0 if choice.autoguidance is None else choice.autoguidance
    return FlowSolver(
        model, flow, choice.sampler, choice.sampler_steps, guidance, weak, strength, choice.temperature
    )


def _weak(sections: Mapping[str, Any]) -> FlowTraining | None:
    share, flow = sections.get("autoguidance"), sections.get("flow")
    return None if share is None or flow is None else share.weak(flow)


#: A flow learns least of what few patches show: draws by this guidance show each condition about as plainly as real
#: patches do, and are as like them as draws without (docs/decisions/0011).
FLOW = Stage(
    "flow",
    section="flow",
    options=FlowTraining,
    make=_make,
    network=FlowConfig,
    sampler=_sampler,
    has_steps=True,
    solver=_solver,
    guidance=Guidance(1.25, {"cancer": 3}),
)

#: What it adds makes guidance by all conditions needless (docs/decisions/0015).
WEAK_FLOW = dataclasses.replace(
    FLOW,
    name="weak-flow",
    section="autoguidance",
    options=AutoguidanceTraining,
    instead="draw with --autoguidance 1",
    beside="flow",
    fitting=_weak,
    sampler=None,
    solver=None,
    guidance=Guidance(1, {"cancer": 3}),
)
