"""Conditions as a network sees them: codes, labels and numbers become one embedding."""

import math
import re
from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from nlbs.errors import ConfigError
from nlbs.manifests.conditions import UNKNOWN
from nlbs.manifests.schema import NLBS, Condition, Schema

ORDINAL_DIM = 8  #: of the embedding of an ordinal condition
_FREQUENCIES = 6  #: of Fourier features: 1, 2, 4, ... half-waves over the range
_UNKNOWN_FLAG = 0.5  #: half-way between no and yes


class ConditionEncoder(nn.Module):
    """c = W2 SiLU(W1 v + b1) + b2, where v is the condition vector: of the NLBS conditions, 14 numbers.

    What is unknown is zeros, and 0.5 of a binary condition: never the value of another patient.

    =========== ==========================================================================
    kind        in the vector
    =========== ==========================================================================
    categorical one-hot
    ordinal     a learned embedding of 8 numbers
    binary      0 or 1
    multilabel  of each label 0 or 1, and whether it is known
    continuous  of each number sines and cosines (Tancik et al., 2006.10739, section 2, with
                octaves as frequencies), and whether it is known
    =========== ==========================================================================
    """

    def __init__(self, embed_dim: int | None, schema: Schema = NLBS) -> None:
        """Make an encoder of the conditions of a schema with fresh weights; None: c is the vector v itself."""
        super().__init__()
        self.schema = schema
        for condition in schema:
            if condition.kind == "ordinal":
                self.add_module(_embedding_of(condition), nn.Embedding(len(condition.values), ORDINAL_DIM))
        width = sum(_width(condition) for condition in schema)
        self.mlp: nn.Module = nn.Identity()
        if embed_dim is not None:
            self.mlp = nn.Sequential(nn.Linear(width, embed_dim), nn.SiLU(), nn.Linear(embed_dim, embed_dim))
        self.width = width if embed_dim is None else embed_dim  #: of the embeddings

    def vector(self, conditions: Mapping[str, Tensor]) -> Tensor:
        """Return the condition vectors v, (B, numbers), of conditions as batches hold them."""
        dtype = next(self.parameters(), torch.zeros(())).dtype
        parts = [self._part(condition, conditions[condition.name]) for condition in self.schema]
        return torch.cat([part.to(dtype) for part in parts], dim=1)

    def forward(self, conditions: Mapping[str, Tensor]) -> Tensor:
        """Return the embeddings c, (B, embed_dim)."""
        embedding: Tensor = self.mlp(self.vector(conditions))
        return embedding

    def _part(self, condition: Condition, values: Tensor) -> Tensor:
        if condition.kind == "ordinal":
            weight = self.get_parameter(f"{_embedding_of(condition)}.weight")
            # The row of the embedding, or zeros.
            return _one_hot(condition, values).to(weight) @ weight
        return _PARTS[condition.kind](condition, values)


def zeros_of(schema: Schema, count: int) -> dict[str, Tensor]:
    """Return conditions of the right shapes and types, all 0, on torch's default device."""
    blank = schema.unknown(1)
    return {
        name: torch.zeros(count, *values.shape[1:], dtype=torch.from_numpy(values).dtype)
        for name, values in blank.items()
    }


def unknown_like(values: Tensor) -> Tensor:
    """Return values of a condition, all unknown, of the same shape, type and device."""
    return torch.full_like(values, math.nan if values.is_floating_point() else UNKNOWN)


def hidden(conditions: Mapping[str, Tensor], hide: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return conditions, each unknown where ``hide``, (B,) bool of each, says so."""
    return {
        name: torch.where(_beside(hide[name], values), unknown_like(values), values)
        for name, values in conditions.items()
    }


def told(conditions: Mapping[str, Tensor], schema: Schema, count: int) -> dict[str, Tensor]:
    """Return conditions of which the first ``count`` parts of the schema are told, and the others are unknown."""
    found = dict(conditions)
    for name, known in schema.among_first(count).items():
        values, condition = conditions[name], schema[name]
        if condition.kind == "multilabel":
            found[name] = torch.cat([values[:, :known], unknown_like(values[:, known:])], dim=1)
        elif not known:
            found[name] = unknown_like(values)
    return found


def mirrored(conditions: Mapping[str, Tensor], flip: Tensor, schema: Schema) -> dict[str, Tensor]:
    """Return the conditions of patches of which some are mirrored from left to right: a left breast is a right one.

    Args:
        conditions: as batches hold them.
        flip: (B,) bool, which patches are mirrored.
        schema: says what a mirror image does to them; what is unknown stays so.
    """
    return {
        name: torch.where(_beside(flip, values), _mirror_image(schema[name], values), values)
        if schema[name].mirrored
        else values
        for name, values in conditions.items()
    }


def checked_conditions(
    conditions: Mapping[str, Tensor], device: torch.device, schema: Schema = NLBS
) -> dict[str, Tensor]:
    """Return the conditions as a batch holds them, of one size on a device.

    Args:
        conditions: for each condition of the schema a tensor as :mod:`nlbs.manifests.schema` says; codes may be
            integers of any kind, and -1 or NaN is unknown.
        device: where they are to be.
        schema: of the model.

    Raises:
        ConfigError: a condition is missing or not known, the sizes differ, or a value is out of range.
    """
    _check_names(conditions, schema)
    values = {
        condition.name: _checked(condition, conditions[condition.name]).to(device) for condition in schema
    }
    sizes = {name: len(value) for name, value in values.items()}
    if len(set(sizes.values())) > 1:
        found = ", ".join(f"{name} {size}" for name, size in sizes.items())
        raise ConfigError(f"the conditions have different sizes ({found}); give each the same number")
    return values


def repeated(conditions: Mapping[str, Tensor], count: int) -> dict[str, Tensor]:
    """Return ``count`` conditions: one, repeated, or as many as there are.

    Raises:
        ConfigError: there are several, and not ``count``.
    """
    size = len(next(iter(conditions.values())))
    if size == 1:
        return {name: values.expand(count, *values.shape[1:]) for name, values in conditions.items()}
    if count in (1, size):
        return dict(conditions)
    raise ConfigError(
        f"{count} samples of {size} conditions are asked for; give one condition to sample it {count} times, "
        f"or {size} conditions to get one sample each"
    )


def _check_names(conditions: Mapping[str, Tensor], schema: Schema) -> None:
    missing = [name for name in schema.names if name not in conditions]
    unknown = [name for name in conditions if name not in schema.names]
    if missing:
        raise ConfigError(f"the condition {missing[0]!r} is missing; give its code, or -1 for unknown")
    if unknown:
        raise ConfigError(f"there is no condition {unknown[0]!r}; expected {', '.join(schema.names)}")


def _checked(condition: Condition, given: Tensor) -> Tensor:
    values, name, count = torch.as_tensor(given), condition.name, len(condition.values)
    if condition.kind == "continuous":
        if not values.is_floating_point():
            raise ConfigError(
                f"the condition {name!r} has the type {values.dtype}; expected floats, NaN unknown"
            )
        return _of_places(condition, values).to(torch.float32)
    if values.is_floating_point() or values.is_complex():
        raise ConfigError(f"the condition {name!r} has the type {values.dtype}; expected integer codes")
    highest = 1 if condition.kind == "multilabel" else count - 1
    wrong = values[(values < UNKNOWN) | (values > highest)]
    if len(wrong):
        raise ConfigError(
            f"the condition {name!r} has the code {int(wrong[0])}; expected 0 to {highest}, or -1 for unknown"
        )
    if condition.kind == "multilabel":
        return _of_places(condition, values).to(torch.int8)
    return values.reshape(-1).to(torch.int64)


def _of_places(condition: Condition, values: Tensor) -> Tensor:
    if values.ndim != 2 or values.shape[1] != len(condition.values):
        raise ConfigError(
            f"the condition {condition.name!r} has the shape {tuple(values.shape)}; expected (n, "
            f"{len(condition.values)}), of {', '.join(condition.values[:20])}"
        )
    return values


def _mirror_image(condition: Condition, values: Tensor) -> Tensor:
    if condition.kind == "continuous":
        turned = values.clone()
        turned[:, list(condition.mirrored)] = (
            condition.low + condition.high - values[:, list(condition.mirrored)]
        )
        return turned
    if condition.kind == "multilabel":
        return values[:, list(condition.mirrored)]
    codes = torch.tensor([*condition.mirrored, UNKNOWN], device=values.device)
    return codes[values]  # -1 is the last of them


def _beside(chosen: Tensor, values: Tensor) -> Tensor:
    """Return (B,) as it goes with values, (B,) or (B, places)."""
    return chosen.reshape(-1, *[1] * (values.ndim - 1))


def _embedding_of(condition: Condition) -> str:
    """Return the name of an embedding in a model; of the age bins as checkpoints have it from the first on."""
    return f"{re.sub(r'[^a-zA-Z0-9]', '_', condition.name.removesuffix('_bin'))}_embedding"


def _width(condition: Condition) -> int:
    count = len(condition.values)
    return {
        "categorical": count,
        "ordinal": ORDINAL_DIM,
        "binary": 1,
        "multilabel": 2 * count,
        "continuous": count * (2 * _FREQUENCIES + 1),
    }[condition.kind]


def _one_hot(condition: Condition, code: Tensor) -> Tensor:
    known = functional.one_hot(code.clamp(min=0), len(condition.values))
    return known * (code != UNKNOWN).unsqueeze(1)


def _flag(condition: Condition, code: Tensor) -> Tensor:
    return torch.where(code == UNKNOWN, _UNKNOWN_FLAG, code.to(torch.float32)).unsqueeze(1)


def _labels(condition: Condition, has: Tensor) -> Tensor:
    return torch.cat([has.clamp(min=0), (has != UNKNOWN).to(has.dtype)], dim=1)


def _fourier(condition: Condition, numbers: Tensor) -> Tensor:
    known = ~numbers.isnan()
    share = (numbers.nan_to_num() - condition.low) / (condition.high - condition.low)
    angles = (
        math.pi * share.clamp(0, 1).unsqueeze(2) * 2.0 ** torch.arange(_FREQUENCIES, device=numbers.device)
    )
    waves = torch.cat([angles.sin(), angles.cos()], dim=2) * known.unsqueeze(2)
    return torch.cat([waves.flatten(1), known.to(waves.dtype)], dim=1)


_PARTS: dict[str, Callable[[Condition, Tensor], Tensor]] = {
    "categorical": _one_hot,
    "binary": _flag,
    "multilabel": _labels,
    "continuous": _fourier,
}
