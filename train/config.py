"""The configuration of a training run: preset, then YAML on top, then flags on top of that."""

import dataclasses
import functools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from nlbs.config import (
    LARGEST,
    MOST_PATCHES,
    STRICT,
    Batch,
    Count,
    Positive,
    Share,
    Some,
    Weight,
    from_mapping,
    merged,
    read_yaml,
)
from nlbs.errors import ConfigError
from nlbs.manifests.schema import NLBS, Condition, Schema
from nlbs.models import registry
from nlbs.models.family import Family, Resolution
from nlbs.models.stages.stage import Stage, stages

_MOST_STREAMS = 4096


@dataclass(frozen=True)
class AugmentConfig:
    """Random changes of training patches. Zero leaves a change out."""

    __pydantic_config__ = STRICT
    horizontal_flip: Annotated[float, Field(ge=0, le=1)] = 0.5  # probability; swaps laterality as well
    rotation_deg: Annotated[float, Field(ge=0, le=180)] = 10.0  # up to this, either way
    brightness: Share = 0.1  # factor within 1 +- this
    contrast: Share = 0.1  # factor within 1 +- this, about the mean of the tissue
    noise: Weight = 0.01  # standard deviation, on the scale [-1, 1]


NO_AUGMENT = AugmentConfig(horizontal_flip=0, rotation_deg=0, brightness=0, contrast=0, noise=0)


@dataclass(frozen=True)
class TrainingConfig:
    """How the weights are found. The defaults are the guide's own."""

    __pydantic_config__ = STRICT
    optimizer: Literal["adam", "adamw"] = (
        "adam"  # adamw: weight_decay shrinks the weights, not the gradients' way
    )
    null_token_rate: Share = (
        0.0  # how often each condition is hidden, so that unknown ones and guidance are learned
    )
    # How many conditions are told in each of so many equal shares of the epochs, in their order, such as (2, 4, 8, 14);
    # of several labels each counts. The others are unknown until then. (): all are told from the start.
    condition_stages: Annotated[tuple[Count, ...], Field(max_length=64)] = ()
    precision: Literal["auto", "float32", "bfloat16", "float16"] = (
        "float32"  # of the model's passes; weights are float32. auto: what the processor or card is quickest in
    )
    channels_last: bool = False  # channels beside each other in memory: quicker convolutions on some GPUs
    compile: bool = False  # torch.compile: minutes at the start, quicker steps after
    learning_rate: Positive = 1e-4  # at the start of the cosine
    min_learning_rate: Weight = 1e-6  # at its end
    warmup_steps: Some = 0  # the rate rises linearly over these; 0: at once
    betas: tuple[Share, Share] = (0.9, 0.999)
    weight_decay: Weight = 1e-5
    max_grad_norm: Positive = 1.0  # gradients are scaled down to this norm
    accumulate: Batch = 1  # parts that a batch goes through the model in, one after the other, to save memory
    ema_decay: Share | None = (
        None  # per step, of the averaged weights that are judged and kept; None: no average
    )
    ema_warms_up: bool = False  # it first follows quickly, so that short runs have one too
    loss: Any = None  # weights of the terms and their schedules: the family's own section
    epochs: Count = 100
    max_steps: Count | None = None  # stop early after so many steps; None: only epochs count
    max_minutes: Positive | None = (
        None  # save and leave after so long, each time it is started; None: no limit
    )
    early_stop_epochs: Count | None = None  # end where so many epochs bring no better loss; None: never
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0  # of weights, order, augmentation and latents
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    log_every_steps: Count = 50  # a row of metrics.jsonl and of TensorBoard
    save_every_steps: Count | None = None  # beside the end of each epoch; None: only there
    samples_every_steps: Count | None = None  # a picture in samples/; None: at the end of each epoch


@dataclass(frozen=True)
class DataConfig:
    """Which patches, and how they come to the model's size."""

    __pydantic_config__ = STRICT
    resolution: Resolution = 256  # edge of the model's images in pixels
    channels: Literal[1, 3] = 1  # of the model's images: those that the shard set has
    patch_stride: Count | None = None  # checked against the shard set; None: whatever it has
    min_foreground_frac: Annotated[float, Field(ge=0, le=1)] | None = None  # the same
    batch_size: Batch = 4
    fit: Literal["downsample", "crop"] = "downsample"  # larger patches: area average, or a window of them
    train_split: str = "train"
    val_split: str = "val"
    # Conditions of the model, names of columns; in a run's own file with their values. None: the five of NLBS.
    conditions: Annotated[tuple[Condition | str, ...], Field(min_length=1, max_length=64)] | None = None
    where: str | None = None  # a filter, "view == 'MLO' and cancer == 0", of both; None: all patches
    order: Literal["global", "window", "sequential"] = "global"  # of training; window: few shards at a time
    streams: Annotated[int, Field(ge=1, le=_MOST_STREAMS)] = 8  # of the window order, read side by side
    window_shards: Annotated[int, Field(ge=2, le=MOST_PATCHES)] = (
        16  # of the window order, in use at one time in a stream
    )
    balance: Annotated[
        tuple[str, ...], Field(max_length=64)
    ] = ()  # columns whose combinations are the classes to balance in training
    balance_power: Annotated[float, Field(ge=0, le=1)] = 0.5  # 0: as they occur; 1: classes alike
    balance_cap: Annotated[float, Field(ge=1, le=LARGEST)] = (
        5.0  # no class comes so many times as often as it occurs
    )
    resident: Literal["auto", "always", "never"] = "never"  # pixels kept on the device; auto: where they fit
    mix: tuple[Positive, ...] | None = None  # the share of each shard set, where there are several
    generation: Count | None = None  # of a shard set that has grown; None: the newest
    verify: Literal["first", "always", "off"] = "first"  # when a patch is compared with its checksum
    on_damage: Literal["raise", "replace"] = "raise"  # replace: another of its split and conditions


@dataclass(frozen=True)
class TrainConfig:
    """A training run. The sections and keys are those of the guide's YAML.

    The sections ``model`` and ``training.loss`` are dataclasses of the family, and each stage has a section of its own:
    :func:`train_config` makes them.
    """

    __pydantic_config__ = STRICT
    family: str = field(default=registry.DEFAULT, kw_only=True)  # of models, a name of the registry
    model: Any
    training: TrainingConfig
    data: DataConfig

    @property
    def schema(self) -> Schema:
        """The conditions of the model, once :func:`with_conditions` has found them in the shard set."""
        asked = self.data.conditions
        return NLBS if asked is None else Schema(tuple(c for c in asked if isinstance(c, Condition)))

    def __post_init__(self) -> None:
        """Raise ConfigError where the sections do not fit together."""
        family = registry.family(self.family)
        family.check(self.model, self.training.loss, self.data.resolution)
        if self.training.accumulate > self.data.batch_size:
            raise ConfigError(
                f"training.accumulate ({self.training.accumulate}) is above data.batch_size "
                f"({self.data.batch_size}), and a part of a batch has one patch at least; lower it"
            )
        stages = self.training.condition_stages
        if any(after <= before for before, after in pairwise(stages)):
            raise ConfigError(
                f"training.condition_stages is {list(stages)}; expected numbers that rise, such as [2, 4, 8, 14]"
            )
        if self.training.min_learning_rate > self.training.learning_rate:
            raise ConfigError(
                f"training.min_learning_rate ({self.training.min_learning_rate:g}) is above "
                f"training.learning_rate ({self.training.learning_rate:g}); lower one or raise the other"
            )

    @property
    def stages(self) -> list[tuple[Stage, Any]]:
        """The stages that follow the model, in their order, each with how it is fitted."""
        every = stages()
        sections = {stage.section: vars(self).get(stage.section) for stage in every}
        found = [(stage, stage.fitting_of(sections)) for stage in every]
        return [(stage, options) for stage, options in found if options is not None]


def train_config(values: Mapping[str, Any], source: str) -> TrainConfig:
    """Return the configuration that nested plain values describe; they may name a family of models.

    Args:
        values: sections.
        source: where they stand, for messages.

    Raises:
        ConfigError: an unknown family or key, a missing one, or a value that does not make sense.
    """
    try:
        family = registry.family(values.get("family", registry.DEFAULT))
    except ConfigError as error:
        raise ConfigError(f"{source}: {error}") from None
    return from_mapping(_class_of(family, stages()), values, source)


@functools.cache
def _class_of(family: Family, known: tuple[Stage, ...]) -> type[TrainConfig]:
    """Return TrainConfig with the sections of a family and of stages: every key of theirs is checked."""
    namespace = {"__pydantic_config__": STRICT}
    loss = ("loss", family.loss, field(default_factory=family.loss))
    training = dataclasses.make_dataclass(
        "TrainingConfig", [loss], bases=(TrainingConfig,), namespace=namespace, frozen=True
    )
    sections: list[Any] = [("model", family.options), ("training", training)]
    sections += [(stage.section, stage.options | None, field(default=None)) for stage in known]
    return dataclasses.make_dataclass(
        "TrainConfig", sections, bases=(TrainConfig,), namespace=namespace, frozen=True
    )


def preset(name: str) -> TrainConfig:
    """Return the configuration of a preset, of whatever family.

    Raises:
        ConfigError: there is none of that name.
    """
    family = registry.family_of_preset(name)
    sections = {"family": family.name, "model": {}, "training": {}, "data": {}, **family.presets[name]}
    return train_config(sections, f"the preset {name}")


class RemovedOptionError(ConfigError):
    """A configuration asks for what this version no longer has."""


def resolved_config(
    name: str,
    yaml_path: Path | None,
    flags: Mapping[str, Any],
    beneath: Mapping[str, Any] | None = None,
) -> TrainConfig:
    """Return the configuration of a run.

    Args:
        name: of a preset, of any family.
        yaml_path: a file with some of the sections and keys; None for none.
        flags: the same, nested, of what the command line says.
        beneath: the same, over the preset and under the file.

    Raises:
        ConfigError: no such preset, an unknown key, a value that does not make sense.
    """
    values = merged(dataclasses.asdict(preset(name)), beneath or {})
    if yaml_path is not None:
        values = merged(values, read_yaml(yaml_path))
        values = without_removed(values, str(yaml_path))
        train_config(values, str(yaml_path))  # so that messages name the file
    return train_config(merged(values, flags), "the options")


def without_removed(values: Mapping[str, Any], source: str) -> dict[str, Any]:
    """Return the values of a configuration without what earlier versions wrote and this one no longer has.

    Raises:
        RemovedOptionError: something that is no longer there was asked for, in a file named ``source``.
    """
    kept = dict(values)
    training = kept.get("training")
    for name, section in (("mixture", kept), ("sharpening", training)):
        if not isinstance(section, Mapping) or name not in section:
            continue
        if section[name] is not None:
            raise RemovedOptionError(
                f"{source} has a section {name}, which this version no longer has (docs/decisions/0017): delete it and "
                "start another --run"
            )
    kept.pop("mixture", None)
    if isinstance(training, Mapping):
        kept["training"] = {name: value for name, value in training.items() if name != "sharpening"}
    return kept


def keys_named(name: str) -> list[str]:
    """Return where a key of that name stands in a configuration, such as "training.ema_decay"."""

    def below(section: Any, place: str) -> list[str]:
        found: list[str] = []
        for key in dataclasses.fields(section):
            here = f"{place}{key.name}"
            value = getattr(section, key.name)
            if dataclasses.is_dataclass(value):
                found += below(value, f"{here}.")
            elif key.name == name:
                found.append(here)
        return found

    families = map(registry.family, registry.names())
    configs = [preset(known) for family in families for known in family.presets]
    return list(dict.fromkeys(key for config in configs for key in below(config, "")))


def with_conditions(config: TrainConfig, shards: Any) -> TrainConfig:
    """Return a configuration with the channels of a shard set or a mixture, and the values that conditions have there.

    Raises:
        ConfigError: there is no such condition, or the last of ``training.condition_stages`` does not tell all of them.
    """
    config = dataclasses.replace(config, data=dataclasses.replace(config.data, channels=shards.channels))
    asked = config.data.conditions
    if asked is not None:
        schema = Schema(
            tuple(c if isinstance(c, Condition) else shards.schema([c]).conditions[0] for c in asked)
        )
        conditions = None if schema == NLBS else schema.conditions
        config = dataclasses.replace(config, data=dataclasses.replace(config.data, conditions=conditions))
    stages, parts = config.training.condition_stages, config.schema.parts
    if stages and stages[-1] != len(parts):
        raise ConfigError(
            f"training.condition_stages ends at {stages[-1]}, and the model is told {len(parts)} conditions (of "
            f"several labels each counts): {', '.join(parts[:20])}{', ...' if len(parts) > 20 else ''}; end at "
            f"{len(parts)}, or choose others by --conditions"
        )
    return config


def without_mirroring(config: TrainConfig, parameters: Iterable[Mapping[str, Any]]) -> TrainConfig:
    """Return a configuration that mirrors no patch where a shard set shows bodies, or nobody knows what.

    A mirrored breast is the other one; a mirrored chest has its heart at the right, and no condition says so.

    Args:
        config: of a run.
        parameters: of each of its shard sets.
    """
    augment = config.training.augment
    if not any(known.get("foreground") in ("body", "none") for known in parameters):
        return config
    augment = dataclasses.replace(augment, horizontal_flip=0.0)
    return dataclasses.replace(config, training=dataclasses.replace(config.training, augment=augment))


def check_against_shards(config: TrainConfig, parameters: Mapping[str, Any], where: str) -> None:
    """Check what the configuration says about patches against what a shard set was cut with.

    Raises:
        ConfigError: they disagree, or the patches are smaller than the model's images.
    """
    for key, parameter in (("patch_stride", "stride"), ("min_foreground_frac", "min_foreground")):
        asked, found = getattr(config.data, key), parameters.get(parameter)
        if asked is not None and found is not None and asked != found:
            raise ConfigError(
                f"data.{key} is {asked:g}, but the shard set {where} was cut with {parameter} {found:g}; "
                f"leave the key out, or cut a set with --{parameter.replace('_', '-')} {asked:g}"
            )
    channels = int(parameters.get("channels", 1))
    if channels != config.data.channels:
        raise ConfigError(
            f"the shard set {where} has patches of {channels} channels, and the run images of {config.data.channels}; "
            "start another --run"
        )
    patch_px = int(parameters["resolution"])
    if patch_px < config.data.resolution:
        raise ConfigError(
            f"the shard set {where} has patches of {patch_px} x {patch_px}, smaller than the model's "
            f"{config.data.resolution} x {config.data.resolution}; cut a set with --resolution "
            f"{config.data.resolution}, or train a smaller model (--preset nlbs-small)"
        )
