"""Which sampler draws: the one place where flags become an object of :mod:`nlbs.models.drawing`. Imports torch late."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import click

from nlbs.command import Finite
from nlbs.config import STRICT, Count, Weight, nearest
from nlbs.errors import CheckpointError, ConfigError
from nlbs.models import registry
from nlbs.models.family import FLOW_STEPS, SOLVERS, Family
from nlbs.models.guidance import Guidance, check_autoguidance, parsed_guidance
from nlbs.models.stages.stage import Stage, stages

if TYPE_CHECKING:
    from nlbs.models.contract import GenerativeModel
    from nlbs.models.drawing import Sampler

Command = TypeVar("Command", bound=Callable[..., Any])

AUTOGUIDANCE = 1.5  #: unless another is asked for, where there is a weak stage (docs/decisions/0015)


@dataclass(frozen=True)
class SamplerChoice:
    """The flags that choose a sampler."""

    __pydantic_config__ = STRICT
    sampler: str = (
        "auto"  #: a stage that has one, or the family's own; "auto": such a stage where there is one
    )
    temperature: Weight = 1.0
    guidance: str | None = None  #: as parsed_guidance reads it; None: that of the stage
    grain: bool | None = None  #: None: where it was measured
    autoguidance: Weight | None = None  #: of a stage with a weak one; None: AUTOGUIDANCE, where that is there
    sampler_steps: Count | None = None  #: of one of SOLVERS; None: those of the model, or of SOLVERS
    correlation: Weight = 0.0  #: length in pixels over which noise that has maps is alike; 0: it is not
    precision: Literal["float32", "bfloat16"] = "float32"  #: of the passes of networks
    flow_steps: Count | None = None  #: of the flow's own rule; None: FLOW_STEPS, where that draws

    def __str__(self) -> str:
        """Return it in words: every output says it."""
        stage = _drawing(self.sampler)
        name = (
            f"{self.sampler} of {self.flow_steps or FLOW_STEPS} steps"
            if stage and stage.has_steps
            else self.sampler
        )
        if self.sampler in SOLVERS:
            name = f"{name} of {self.sampler_steps} steps"
        guidance = f", guidance {self.guidance}" if self.guidance not in (None, "1") else ""
        autoguidance = (
            f", autoguidance {self.autoguidance:.12g}" if self.autoguidance not in (None, 1) else ""
        )
        grain = ", with grain" if self.grain else ""
        correlation = f", correlation {self.correlation:.12g} px" if self.correlation else ""
        precision = f", {self.precision}" if self.precision != "float32" else ""
        return (
            f"{name}, temperature {self.temperature:g}{guidance}{autoguidance}{correlation}{grain}{precision}"
        )

    def of(self, checkpoint: Path) -> "SamplerChoice":
        """Return the choice for a checkpoint: never "auto", and with a guidance and an autoguidance.

        Raises:
            CheckpointError: there is no such checkpoint, or a stage is asked for that it has not.
            ConfigError: there is no such sampler, the guidance cannot be read, or autoguidance is for a stage alone.
        """
        from nlbs.models.checkpoint import read_metadata, schema_of

        family, values = registry.family_of_checkpoint(checkpoint), read_metadata(checkpoint)
        sampler = self._sampler_of(checkpoint, family, values["model"])
        autoguidance = self._autoguidance_of(sampler, checkpoint)
        around = [stage for stage in stages() if stage.around]
        for stage in around if self.grain else []:
            _check_there(stage, checkpoint)
        if self.correlation and sampler == "sde":
            raise ConfigError(
                f"--correlation {self.correlation:g} is of the noise that a draw begins with, and the sampler sde adds "
                "other noise at each step; take --sampler dpm or ode"
            )
        schema = schema_of(values)
        usual = _usual_guidance(family, sampler, autoguidance).within(schema)
        return replace(
            self,
            sampler=sampler,
            guidance=str(usual if self.guidance is None else parsed_guidance(self.guidance, usual, schema)),
            grain=any(stage.path(checkpoint).exists() for stage in around) and self.grain is not False,
            autoguidance=autoguidance,
            sampler_steps=self._steps_of(sampler, values["model"], family.denoises),
            flow_steps=self._flow_steps_of(sampler),
        )

    def files(self, checkpoint: Path) -> list[Path]:
        """Return the files beside a checkpoint that the choice draws with."""
        choice = self.of(checkpoint)
        used = [choice._stage(checkpoint), choice._weak(checkpoint), *choice._around(checkpoint)]
        return [stage.path(checkpoint) for stage in used if stage is not None]

    def doubts(self, model: "GenerativeModel", checkpoint: Path) -> list[str]:
        """Return sentences that a person should know of draws from the trained model of a checkpoint."""
        found, by_stage = model.doubts, self.of(checkpoint)._stage(checkpoint) is not None
        return [one for one in (found.draws, "" if by_stage else found.own_draws) if one]

    def open(self, model: "GenerativeModel", checkpoint: Path) -> "Sampler":
        """Return the sampler over the trained model of a checkpoint.

        Raises:
            CheckpointError: a stage does not fit the model.
            ConfigError: it cannot be had of this model.
        """
        from nlbs.models.correlation import CorrelatedSampler
        from nlbs.models.drawing import Bfloat16Sampler, OwnSampler
        from nlbs.models.samplers import DenoisingSampler
        from nlbs.models.stages.fitted import load_stage

        choice = self.of(checkpoint)
        stage, weak = choice._stage(checkpoint), choice._weak(checkpoint)
        beside = None if weak is None else load_stage(checkpoint, weak, model)
        guidance = parsed_guidance(choice.guidance or "1", Guidance(), model.schema)
        sampler: Sampler
        if stage is None and choice.sampler in SOLVERS:
            sampler = DenoisingSampler(model, choice.sampler, choice.sampler_steps, guidance)
        elif stage is None:
            sampler = OwnSampler(model, choice.temperature, guidance)
        elif choice.sampler in SOLVERS and stage.solver is not None:
            sampler = stage.solver(model, load_stage(checkpoint, stage, model), beside, choice, guidance)
        elif stage.sampler is not None:
            sampler = stage.sampler(model, load_stage(checkpoint, stage, model), beside, choice, guidance)
        if choice.precision == "bfloat16":
            sampler = Bfloat16Sampler(sampler)
        if choice.correlation:
            sampler = CorrelatedSampler(sampler, choice.correlation, model.resolution)
        for one in choice._around(checkpoint):
            if one.around is not None:
                sampler = one.around(sampler, load_stage(checkpoint, one, model))
        return sampler

    def _weak(self, checkpoint: Path) -> Stage | None:
        """Return the weak stage that is drawn with."""
        return None if self.autoguidance == 1 else _weak_beside(self._stage(checkpoint))

    def _around(self, checkpoint: Path) -> list[Stage]:
        """Return the stages that add to the draws of the sampler."""
        return [s for s in stages() if self.grain and s.around and s.path(checkpoint).exists()]

    def _stage(self, checkpoint: Path) -> Stage | None:
        """Return the stage that is drawn from."""
        return _drawn_from(self.sampler, checkpoint)

    def _sampler_of(self, checkpoint: Path, family: Family, options: Mapping[str, Any]) -> str:
        """Return the sampler: a stage's that is there, one of SOLVERS, or the model's own."""
        drawing, own = [stage for stage in stages() if stage.sampler], _own_sampler(family, options)
        can_solve = family.denoises or _solved(checkpoint) is not None
        if self.sampler == "auto":
            if can_solve and options.get("sampler") in SOLVERS:
                return str(options["sampler"])
            return next((s.name for s in drawing if s.path(checkpoint).exists()), own)
        if self.sampler == own or (can_solve and self.sampler in SOLVERS):
            return self.sampler
        if self.sampler in SOLVERS:
            raise ConfigError(
                f"the sampler {self.sampler} needs a model that denoises, and one of the family {family.name} does "
                "not, nor has it a flow; leave --sampler out"
            )
        stage = _drawing(self.sampler)
        if stage is None:
            known = ["auto", *(stage.name for stage in drawing), *(SOLVERS if family.denoises else [own])]
            raise ConfigError(
                f"a model of the family {family.name} has no sampler {self.sampler!r}; {nearest(self.sampler, known)}"
            )
        _check_there(stage, checkpoint)
        return self.sampler

    def _steps_of(self, sampler: str, options: Mapping[str, Any], denoises: bool) -> int | None:
        """Return the steps of one of SOLVERS.

        Raises:
            ConfigError: temperature or steps are asked for that the sampler does not have.
        """
        if sampler not in SOLVERS and self.sampler_steps is not None:
            raise ConfigError(
                f"--sampler-steps {self.sampler_steps} is of {', '.join(SOLVERS)}, and these draws are from the "
                f"{sampler}; leave it out"
            )
        if sampler not in SOLVERS:
            return None
        if self.temperature != 1 and denoises:
            raise ConfigError(
                f"--temperature {self.temperature:g} is of a prior, and the sampler {sampler} has none; leave it out"
            )
        own = options.get("steps") if options.get("sampler") == sampler else None
        return self.sampler_steps or own or SOLVERS[sampler]

    def _flow_steps_of(self, sampler: str) -> int | None:
        """Return the steps of a stage's own rule. Raises ConfigError: they are asked for, and it does not draw."""
        stage = _drawing(sampler)
        if stage is not None and stage.has_steps:
            return self.flow_steps or FLOW_STEPS
        if self.flow_steps is not None:
            instead = "take --sampler-steps, or --sampler flow" if sampler in SOLVERS else "leave it out"
            raise ConfigError(
                f"--flow-steps {self.flow_steps} is of the sampler flow, and these draws are by {sampler}; {instead}"
            )
        return None

    def _autoguidance_of(self, sampler: str, checkpoint: Path) -> float:
        weak = _weak_beside(_drawn_from(sampler, checkpoint))
        if self.autoguidance is None:
            return AUTOGUIDANCE if weak and weak.path(checkpoint).exists() else 1.0
        check_autoguidance(self.autoguidance)
        if self.autoguidance == 1:
            return 1.0
        if weak is None:
            others = [s.beside for s in stages() if s.beside and s.path(checkpoint).exists()]
            instead = (
                f", or take --sampler {others[0]}" if others else ": it is for draws away from a weak flow"
            )
            raise ConfigError(
                f"--autoguidance {self.autoguidance:g} needs a sampler with a weak one beside it, and these draws are "
                f"from the {sampler}; leave it out{instead}"
            )
        _check_there(weak, checkpoint)
        return self.autoguidance


def _own_sampler(family: Family, options: Mapping[str, Any]) -> str:
    """Return what a model is drawn from where no stage is: what the family calls it, or one of SOLVERS."""
    return str(options.get("sampler") or "dpm") if family.denoises else family.sampler


def _solved(checkpoint: Path) -> Stage | None:
    """Return the stage of a checkpoint that SOLVERS draw from."""
    return next((stage for stage in stages() if stage.solver and stage.path(checkpoint).exists()), None)


def _drawn_from(sampler: str, checkpoint: Path) -> Stage | None:
    """Return the stage that a sampler draws from: by its own, or by one of SOLVERS where the model has none."""
    if sampler not in SOLVERS:
        return _drawing(sampler)
    return None if registry.family_of_checkpoint(checkpoint).denoises else _solved(checkpoint)


def _drawing(sampler: str) -> Stage | None:
    """Return the stage that has a sampler of that name."""
    return next((stage for stage in stages() if stage.name == sampler and stage.sampler), None)


def _weak_beside(stage: Stage | None) -> Stage | None:
    """Return the stage that is the weak one of a stage, if that has one."""
    return None if stage is None else next((one for one in stages() if one.beside == stage.name), None)


def _usual_guidance(family: Family, sampler: str, autoguidance: float) -> Guidance:
    if sampler in SOLVERS:
        return family.solver_guidance
    stage = _drawing(sampler)
    stage = stage if autoguidance == 1 else _weak_beside(stage)
    return Guidance() if stage is None else stage.guidance


def _check_there(stage: Stage, checkpoint: Path) -> None:
    """Raise CheckpointError where a checkpoint has no such stage."""
    path = stage.path(checkpoint)
    if not path.exists():
        raise CheckpointError(
            f"there is no {stage.words} {path}; nlbs-train fits one once all epochs are over, of a finished run too, "
            f"where the configuration has a section {stage.section} (as preset nlbs-small has); or {stage.instead}"
        )


_OPTIONS = (
    click.option("--sampler", default="auto", show_default=True, metavar="NAME",
                 help="flow: what was fitted to the latents of training patches; prior: the model's own (model, of a "
                 "family without a prior); dpm, ode, sde: of a diffusion model or a flow, DPM-Solver++, Heun's rule, "
                 "or noise at each step; auto: the flow where there is one, in the way that the model says, else the "
                 "model's own."),
    click.option("--temperature", type=Finite(min=0), default=1.0, show_default=True,
                 help="Factor of the standard deviations of what the model's own prior draws, with a flow the finer "
                 "levels alone: below 1, likelier and less diverse patches. Refused where it would change nothing."),
    click.option("--guidance", default=None, metavar="NUMBERS",
                 show_default="with --sampler flow 1.25,cancer=3, beside autoguidance 1,cancer=3; by dpm, ode, sde of "
                 "nlbs presets 1,cancer=3; else 1",
                 help="Above 1, conditions count for more than in training: plainer, less diverse patches. A number "
                 "for all of them, and others for single ones, such as 1,cancer=4."),
    click.option("--autoguidance", type=Finite(min=1), default=None, metavar="NUMBER",
                 show_default=f"{AUTOGUIDANCE:g} where a weak flow was fitted, else 1",
                 help="Above 1, draw away from what the weak flow draws, which was fitted to too little: nearer to "
                 "real patches on the whole, and as varied; 2 is too much."),
    click.option("--grain/--no-grain", default=None, show_default="where it was measured",
                 help="Add what the model does not render: noise of film or detector."),
    click.option("--correlation", type=Finite(min=0), default=0.0, show_default=True, metavar="PIXELS",
                 help="Begin with noise whose neighbouring parts agree, where it has maps: over so many pixels of an "
                 "image the correlation falls to 61 %. 0: independent noise, which models learn from."),
    click.option("--precision", type=click.Choice(["float32", "bfloat16"]), default="float32", show_default=True,
                 help="Of the networks that draw. bfloat16 is quicker on processors and cards that have it, slower on "
                 "others; patches are as good and not the same to the last grey level."),
    click.option("--flow-steps", type=click.IntRange(min=1), default=None, metavar="N", show_default=str(FLOW_STEPS),
                 help="Steps of --sampler flow from noise to latents; each evaluates the flow twice."),
    click.option("--sampler-steps", type=click.IntRange(min=1), default=None, metavar="N",
                 show_default="those of the model; else dpm 20, ode 20, sde 500",
                 help="Steps of dpm, ode or sde from noise to images; ode evaluates the model twice in each."),
)  # fmt: skip


def sampler_options(command: Command) -> Command:
    """Add the flags of a :class:`SamplerChoice` to a command, under the names of its fields."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command
