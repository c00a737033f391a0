"""A family of models, as the commands know it before torch is imported: its options, its presets, how one is made."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

from pydantic import Field

from nlbs.config import STRICT
from nlbs.errors import ConfigError
from nlbs.manifests.schema import Schema
from nlbs.models.guidance import Guidance
from nlbs.text import shown

if TYPE_CHECKING:
    from nlbs.models.contract import GenerativeModel
MOST_RESOLUTION = 16_384
#: Samplers of whatever denoises (:mod:`nlbs.models.samplers`) -> their steps, unless others are asked for.
SOLVERS = {"dpm": 20, "ode": 20, "sde": 500}
#: Of the midpoint rule of a flow: 15 and 48 differ by half a grey level of 255 in the mean (docs/decisions/0011).
FLOW_STEPS = 15
#: The section ``training.augment`` where images are taken as they are.
AS_THEY_ARE = {"horizontal_flip": 0.0, "rotation_deg": 0.0, "brightness": 0.0, "contrast": 0.0, "noise": 0.0}
FLIPPED = {**AS_THEY_ARE, "horizontal_flip": 0.5}
#: Of sections ``training``: Adam as torch has it, nothing decayed, nothing clipped.
PLAIN_ADAM = {"weight_decay": 0.0, "max_grad_norm": 1e12}
#: Of sections ``training``: weights are averaged, each condition is hidden at times, and passes are in the precision
#: that the device is quickest in.
AVERAGED = {"null_token_rate": 0.1, "ema_decay": 0.998, "ema_warms_up": True, "precision": "auto"}
#: The same, and a rate that falls, for mended models with one network to train.
MENDED = {
    **AVERAGED,
    "optimizer": "adamw",
    "learning_rate": 1e-3,
    "min_learning_rate": 1e-5,
    "warmup_steps": 50,
    "augment": AS_THEY_ARE,
}
Resolution = Annotated[int, Field(ge=1, le=MOST_RESOLUTION)]  # edge of images in pixels


class ImageSpec(NamedTuple):
    """The images of a model, (channels, edge, edge)."""

    channels: int
    edge: int  #: in pixels


@dataclass(frozen=True)
class NoOptions:
    """The section of a family that has nothing to choose there."""

    __pydantic_config__ = STRICT


def _anything_goes(options: Any, loss: Any, resolution: int) -> None:
    """Accept every combination of sections."""


@dataclass(frozen=True, eq=False)
class Family:
    """What a file of a family gives to the registry."""

    name: str
    #: Dataclass of the section ``model``; kept in checkpoints.
    options: type[Any]
    #: Return a fresh model of options, images, conditions and loss. Imports torch.
    make: Callable[[Any, ImageSpec, Schema, Any], "GenerativeModel"]
    #: name -> sections of a training run, as its YAML has them; what is left out is as TrainConfig says.
    presets: Mapping[str, Mapping[str, Any]]
    #: Dataclass of the section ``training.loss``; the schedules of the family's terms stand there too.
    loss: type[Any] = NoOptions
    #: Raise ConfigError where options, loss and edge in pixels do not fit together.
    check: Callable[[Any, Any, int], None] = _anything_goes
    #: What --sampler calls the way in which the model itself draws.
    sampler: str = "model"
    #: What it is, in words for those that get its draws.
    title: str = "generative model"
    #: Whether its models denoise, and are drawn from by SOLVERS; their options may say ``sampler`` and ``steps``.
    denoises: bool = False
    #: Guidance by conditions, unless another is asked for, where SOLVERS draw; none: one pass in each step.
    solver_guidance: Guidance = field(default_factory=Guidance)


def checked_resolution(value: object) -> int:
    """Return the edge of images that a file says.

    Raises:
        ConfigError: it is no whole number, or one that no image has.
    """
    if type(value) is not int or not 1 <= value <= MOST_RESOLUTION:
        raise ConfigError(
            f"its resolution is {shown(value)}; expected a whole number from 1 to {MOST_RESOLUTION}"
        )
    return value
