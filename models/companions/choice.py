"""Which sampler draws: the one place where flags become an object of :mod:`nlbs.models.drawing`. Imports torch late."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from nlbs.command import Finite
from nlbs.errors import CheckpointError, ConfigError
from nlbs.manifests.schema import NLBS, Schema
from nlbs.models.guidance import Guidance, check_autoguidance, parsed_guidance

if TYPE_CHECKING:
    from nlbs.models.contract import GenerativeModel
    from nlbs.models.drawing import Sampler

Command = TypeVar("Command", bound=Callable[..., Any])

#: "auto" is the flow where one lies beside the checkpoint, else the prior.
SAMPLERS = ("auto", "flow", "prior")
#: Unless another is asked for. A flow learns least of what few patches show: draws by these show each condition about
#: as plainly as real patches do, and are as like them as draws without guidance (docs/decisions/0011).
GUIDANCE = {"flow": Guidance(1.25, {"cancer": 3}), "prior": Guidance()}
#: Unless others are asked for, where there is a weak flow: what it adds makes guidance by all conditions needless
#: (docs/decisions/0015).
AUTOGUIDANCE, BESIDE_AUTOGUIDANCE = 1.5, Guidance(1, {"cancer": 3})


@dataclass(frozen=True)
class SamplerChoice:
    """The flags that choose a sampler."""

    sampler: str = "auto"  #: of SAMPLERS
    temperature: float = 1.0
    guidance: str | None = None  #: as parsed_guidance reads it; None: that of GUIDANCE
    grain: bool | None = None  #: None: where it was measured
    autoguidance: float | None = None  #: of a flow; None: that of AUTOGUIDANCE, where there is a weak flow
    flow_steps: int = 15  #: 15 and 48 differ by half a grey level of 255 in the mean (docs/decisions/0011)

    def __str__(self) -> str:
        """Return it in words: every output says it."""
        name = f"flow of {self.flow_steps} steps" if self.sampler == "flow" else self.sampler
        guidance = f", guidance {self.guidance}" if self.guidance not in (None, "1") else ""
        autoguidance = (
            f", autoguidance {self.autoguidance:.12g}" if self.autoguidance not in (None, 1) else ""
        )
        grain = ", with grain" if self.grain else ""
        return f"{name}, temperature {self.temperature:g}{guidance}{autoguidance}{grain}"

    def of(self, checkpoint: Path) -> "SamplerChoice":
        """Return the choice for a checkpoint: never "auto", and with a guidance and an autoguidance.

        Raises:
            CheckpointError: flow, weak flow or grain are asked for, and there is none.
            ConfigError: there is no such sampler, the guidance cannot be read, or autoguidance is for a flow alone.
        """
        if self.sampler not in SAMPLERS:
            raise ConfigError(f"there is no sampler {self.sampler!r}; known: {', '.join(SAMPLERS)}")
        path = flow_path(checkpoint)
        if self.sampler == "flow" and not path.exists():
            raise CheckpointError(
                f"there is no flow {path}; nlbs-train fits one once all epochs are over, where the configuration has a "
                "section flow (presets nlbs, nlbs-small); or draw with --sampler prior"
            )
        has_grain = grain_path(checkpoint).exists()
        if self.grain and not has_grain:
            raise CheckpointError(
                f"there is no grain {grain_path(checkpoint)}; nlbs-train --grain-patches 4000 measures it once all "
                "epochs are over, of a finished run too; or draw with --no-grain"
            )
        sampler = self.sampler
        if sampler == "auto":
            sampler = "flow" if path.exists() else "prior"
        grain = has_grain if self.grain is None else self.grain
        autoguidance = self._autoguidance_of(sampler, checkpoint)
        return replace(
            self,
            sampler=sampler,
            guidance=str(self._guidance_of(sampler, autoguidance, _schema_of(checkpoint))),
            grain=grain,
            autoguidance=autoguidance,
        )

    def files(self, checkpoint: Path) -> list[Path]:
        """Return the files beside a checkpoint that the choice, made by :meth:`of`, draws with."""
        choice = self.of(checkpoint)
        used = {
            flow_path: choice.sampler == "flow",
            weak_flow_path: choice.autoguidance != 1,
            grain_path: choice.grain,
        }
        return [path(checkpoint) for path, is_used in used.items() if is_used]

    def open(self, model: "GenerativeModel", checkpoint: Path) -> "Sampler":
        """Return the sampler over the trained model of a checkpoint.

        Raises:
            CheckpointError: flow or grain do not fit the model.
            ConfigError: it cannot be had of this model.
        """
        from nlbs.models.companions.grain import GrainySampler, load_grain

        choice = self.of(checkpoint)
        sampler = choice._open(model, checkpoint)
        return GrainySampler(sampler, load_grain(grain_path(checkpoint), model)) if choice.grain else sampler

    def _open(self, model: "GenerativeModel", checkpoint: Path) -> "Sampler":
        from nlbs.models.companions.flow import load_flow
        from nlbs.models.companions.flow_sampler import FlowSampler
        from nlbs.models.drawing import PriorSampler

        autoguidance = 1.0 if self.autoguidance is None else self.autoguidance
        guidance = self._guidance_of(self.sampler, autoguidance, model.schema)
        if self.sampler == "prior":
            return PriorSampler(model, self.temperature, guidance)
        flow = load_flow(flow_path(checkpoint), model)
        weak = None
        if autoguidance != 1:
            weak = load_flow(weak_flow_path(checkpoint), model, "draw with --autoguidance 1")
        return FlowSampler(
            model, flow, self.flow_steps, guidance, self.temperature, weak=weak, autoguidance=autoguidance
        )

    def _guidance_of(self, sampler: str, autoguidance: float, schema: Schema) -> Guidance:
        usual = (GUIDANCE[sampler] if autoguidance == 1 else BESIDE_AUTOGUIDANCE).within(schema)
        return usual if self.guidance is None else parsed_guidance(self.guidance, usual, schema)

    def _autoguidance_of(self, sampler: str, checkpoint: Path) -> float:
        path = weak_flow_path(checkpoint)
        if self.autoguidance is None:
            return AUTOGUIDANCE if sampler == "flow" and path.exists() else 1.0
        check_autoguidance(self.autoguidance)
        if self.autoguidance != 1 and sampler != "flow":
            instead = ", or take --sampler flow" if flow_path(checkpoint).exists() else ": there is no flow"
            raise ConfigError(
                f"--autoguidance {self.autoguidance:g} is for draws from a flow, and these are from the {sampler}; "
                f"leave it out{instead}"
            )
        if self.autoguidance != 1 and not path.exists():
            raise CheckpointError(
                f"there is no weak flow {path}; nlbs-train fits one after the flow, of a finished run too, where the "
                "configuration has a section autoguidance (presets nlbs, nlbs-small); or draw with --autoguidance 1"
            )
        return self.autoguidance


def _schema_of(checkpoint: Path) -> Schema:
    """Return the conditions of the model of a checkpoint; of one that is not there, which is refused later, any."""
    from nlbs.models.checkpoint import read_metadata, schema_of

    return schema_of(read_metadata(checkpoint)) if checkpoint.exists() else NLBS


def flow_path(checkpoint: Path) -> Path:
    """Return where the flow of a checkpoint lies: ``NAME.safetensors`` has ``NAME.flow.safetensors``."""
    return _beside(checkpoint, "flow")


def weak_flow_path(checkpoint: Path) -> Path:
    """Return where the weak flow of a checkpoint lies: ``NAME.safetensors`` has ``NAME.weak-flow.safetensors``."""
    return _beside(checkpoint, "weak-flow")


def grain_path(checkpoint: Path) -> Path:
    """Return where the grain of a checkpoint lies: ``NAME.safetensors`` has ``NAME.grain.safetensors``."""
    return _beside(checkpoint, "grain")


def _beside(checkpoint: Path, kind: str) -> Path:
    return checkpoint.with_name(f"{checkpoint.name.removesuffix('.safetensors')}.{kind}.safetensors")


_OPTIONS = (
    click.option("--sampler", type=click.Choice(SAMPLERS), default="auto", show_default=True,
                 help="flow: what was fitted to the latents of training patches; prior: the model's own; "
                 "auto: the flow where there is one, else the prior."),
    click.option("--temperature", type=Finite(min=0), default=1.0, show_default=True,
                 help="Factor of the prior's standard deviations: below 1, likelier and less diverse patches."),
    click.option("--guidance", default=None, metavar="NUMBERS",
                 show_default="with a flow 1.25,cancer=3, or 1,cancer=3 beside autoguidance; else 1",
                 help="Above 1, conditions count for more than in training: plainer, less diverse patches. A number "
                 "for all of them, and others for single ones, such as 1,cancer=4."),
    click.option("--autoguidance", type=Finite(min=1), default=None, metavar="NUMBER",
                 show_default=f"{AUTOGUIDANCE:g} where a weak flow was fitted, else 1",
                 help="Above 1, draw away from what the weak flow draws, which was fitted to too little: nearer to "
                 "real patches on the whole, and as varied; 2 is too much."),
    click.option("--grain/--no-grain", default=None, show_default="where it was measured",
                 help="Add what the model does not render: noise of film or detector."),
    click.option("--flow-steps", type=click.IntRange(min=1), default=15, show_default=True,
                 help="Steps of the flow from noise to latents; each evaluates it twice."),
)  # fmt: skip


def sampler_options(command: Command) -> Command:
    """Add the flags of a :class:`SamplerChoice` to a command, under the names of its fields."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command
