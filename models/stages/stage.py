"""A stage: what is fitted to a trained model, as the commands know it before torch is imported; and which there are.

A run is a list of models. The first is of a family (:mod:`nlbs.models.family`); each later one is a stage: it is
trained on the latents that the model before it encodes, or measured on patches, and draws are made with it. A stage is
a file with a :class:`Stage` and a network, and a line of :data:`_MODULES`.
"""

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from nlbs.config import MOST_PATCHES, STRICT, Batch, Count, Positive, Share, Some, Weight
from nlbs.models.folder import model_file
from nlbs.models.guidance import Guidance

if TYPE_CHECKING:
    import torch

    from nlbs.models.contract import GenerativeModel
    from nlbs.models.drawing import Sampler
    from nlbs.models.stages.choice import SamplerChoice
    from nlbs.models.stages.fitted import Fitted, Measure

#: name -> the Stage of that name, ``module:NAME``; in the order in which stages are fitted.
_MODULES = {
    "grain": "nlbs.models.stages.grain_stage:GRAIN",
    "flow": "nlbs.models.stages.flow_stage:FLOW",
    "weak-flow": "nlbs.models.stages.flow_stage:WEAK_FLOW",
}


@dataclass(frozen=True)
class LatentTraining:
    """How a stage is trained on latents. A stage adds options of its own, and says what its network is."""

    __pydantic_config__ = STRICT
    network: Any = None
    patches: Count = 300_000  # seen in all, a patch again each time that it is seen
    reuse: Batch = 8  # so often a patch is seen once it is encoded, with other noise and at other times
    # Fewer where the split has fewer.
    batch_size: Batch = 64
    learning_rate: Positive = 1e-3  # at the start of the cosine to 0
    warmup_steps: Some = 50
    weight_decay: Weight = 1e-2
    ema_decay: Share = 0.998  # of the averaged weights, which are kept
    unknown_rate: Share = 0.1  # how often all conditions are hidden at once, for guidance
    each_unknown_rate: Share = 0.1  # how often one is hidden by itself, for guidance of that one


@dataclass(frozen=True)
class PatchMeasuring:
    """How a stage is measured on patches."""

    __pydantic_config__ = STRICT
    # Half of them for what is measured first, half for what is measured by that.
    patches: Annotated[int, Field(ge=2, le=MOST_PATCHES)] = 4000


@dataclass(frozen=True, eq=False)
class Stage:
    """What a file of a stage gives to the commands."""

    #: Of its file, ``best_model.NAME.safetensors``, and of its sampler.
    name: str
    #: Section of a run's configuration.
    section: str
    #: Dataclass of that section; None in its place: the run has no such stage.
    options: type[Any]
    #: Return what is fitted, fresh, of its network's options, for a model that may lie on the meta device.
    make: Callable[[Any, "GenerativeModel"], "Fitted"]
    #: How to draw without it, in words.
    instead: str = "draw with another --sampler"
    #: Dataclass of its network's options, which stand in its file; None: it has none.
    network: type[Any] | None = None
    #: Return what it is measured by, of patches of so many pixels an edge, and what the model renders of them, on a
    #: device; its options are then a PatchMeasuring. None: it is trained on latents, and they are a LatentTraining.
    measure: "Callable[[int, torch.device], Measure] | None" = None
    #: Name of the stage that it is fitted and drawn beside, as the weak one of that: from the same latents at the same
    #: scale, of the same network.
    beside: str | None = None
    #: Return how the stage is fitted, from the sections of all stages; None: not at all.
    fitting: Callable[[Mapping[str, Any]], Any] | None = None
    #: Return the sampler of a model, this stage, the weak one beside it, a choice and a guidance.
    sampler: "Callable[[GenerativeModel, Any, Any, SamplerChoice, Guidance], Sampler] | None" = None
    #: Whether its sampler takes --flow-steps.
    has_steps: bool = False
    #: Return the sampler of the same by one of SOLVERS, its name and its steps in the choice; None: there is none.
    solver: "Callable[[GenerativeModel, Any, Any, SamplerChoice, Guidance], Sampler] | None" = None
    #: Of draws by its sampler, or with it beside that, unless another is asked for.
    guidance: Guidance = field(default_factory=Guidance)
    #: Return a sampler whose draws have what this stage adds to those of any other.
    around: "Callable[[Sampler, Any], Sampler] | None" = None

    @property
    def kind(self) -> str:
        """What its file holds: a weak stage the same as the one beside it."""
        return self.beside or self.name

    @property
    def words(self) -> str:
        """Its name in words: "weak flow"."""
        return self.name.replace("-", " ")

    def path(self, checkpoint: Path) -> Path:
        """Return where the stage of a checkpoint lies: ``NAME.safetensors`` has ``NAME.flow.safetensors``."""
        file = model_file(checkpoint)
        return file.with_name(f"{file.name.removesuffix('.safetensors')}.{self.name}.safetensors")

    def fitting_of(self, sections: Mapping[str, Any]) -> Any:
        """Return how it is fitted in a run with such sections of stages; None: it is not."""
        return sections.get(self.section) if self.fitting is None else self.fitting(sections)

    def fresh(self, options: Any, model: "GenerativeModel") -> "Fitted":
        """Return what is fitted in a run, with fresh weights; ``options`` are those of :meth:`fitting_of`."""
        return self.make(options.network if self.network else None, model)


def register(name: str, place: str) -> None:
    """Add a stage, or replace one: ``place`` is ``module:NAME`` of a :class:`Stage`."""
    _MODULES[name] = place


def stages() -> tuple[Stage, ...]:
    """Return all stages, in the order in which they are fitted."""
    places = [place.split(":") for place in _MODULES.values()]
    return tuple(getattr(importlib.import_module(module), name) for module, name in places)
