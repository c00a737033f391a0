"""Conditions as a network sees them: five integer codes become one embedding."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from nlbs.errors import ConfigError
from nlbs.manifests.conditions import CONDITIONS, UNKNOWN

AGE_EMBED_DIM = 8
#: view one-hot 2 + laterality one-hot 2 + age embedding 8 + cancer 1 + false positive 1
VECTOR_DIM = CONDITIONS["view"] + CONDITIONS["laterality"] + AGE_EMBED_DIM + 2

_UNKNOWN_FLAG = 0.5  #: half-way between no and yes


class ConditionEncoder(nn.Module):
    """c = W2 SiLU(W1 v + b1) + b2, where v is the 14-d condition vector."""

    def __init__(self, embed_dim: int) -> None:
        super().__init__()
        self.age_embedding = nn.Embedding(CONDITIONS["age_bin"], AGE_EMBED_DIM)
        self.mlp = nn.Sequential(nn.Linear(VECTOR_DIM, embed_dim), nn.SiLU(), nn.Linear(embed_dim, embed_dim))

    def vector(self, conditions: Mapping[str, Tensor]) -> Tensor:
        """Return the condition vectors v, (B, 14), of codes, each (B,) integers.

        An unknown condition (-1) is zeros in the one-hots and the age embedding and 0.5 in the
        two scalars: never the value of another patient.
        """
        age = _one_hot(conditions["age_bin"], CONDITIONS["age_bin"])
        weight = self.age_embedding.weight
        return torch.cat(
            [
                _one_hot(conditions["view"], CONDITIONS["view"]).to(weight),
                _one_hot(conditions["laterality"], CONDITIONS["laterality"]).to(weight),
                age.to(weight) @ weight,  # the row of the embedding, or zeros
                _flag(conditions["cancer"]).to(weight),
                _flag(conditions["false_positive"]).to(weight),
            ],
            dim=1,
        )

    def forward(self, conditions: Mapping[str, Tensor]) -> Tensor:
        """Return the embeddings c, (B, embed_dim), of condition codes, each (B,) integers."""
        embedding: Tensor = self.mlp(self.vector(conditions))
        return embedding


def checked_conditions(conditions: Mapping[str, Tensor], device: torch.device) -> dict[str, Tensor]:
    """Return the codes as int64 tensors of one size on a device.

    Args:
        conditions: a (n,) integer tensor for each name of
            :data:`nlbs.manifests.conditions.CONDITIONS`; -1 is unknown.

    Raises:
        ConfigError: a condition is missing or not known, the sizes differ, or a code is out of range.
    """
    _check_names(conditions)
    codes = {name: _codes(name, conditions[name]).to(device) for name in CONDITIONS}
    sizes = {name: len(code) for name, code in codes.items()}
    if len(set(sizes.values())) > 1:
        found = ", ".join(f"{name} {size}" for name, size in sizes.items())
        raise ConfigError(f"the conditions have different sizes ({found}); give each the same number")
    return codes


def repeated(conditions: Mapping[str, Tensor], count: int) -> dict[str, Tensor]:
    """Return ``count`` conditions: one, repeated, or as many as there are.

    Raises:
        ConfigError: there are several, and not ``count``.
    """
    size = len(next(iter(conditions.values())))
    if size == 1:
        return {name: code.expand(count) for name, code in conditions.items()}
    if count in (1, size):
        return dict(conditions)
    raise ConfigError(
        f"{count} samples of {size} conditions are asked for; give one condition to sample it {count} times, "
        f"or {size} conditions to get one sample each"
    )


def _check_names(conditions: Mapping[str, Tensor]) -> None:
    missing = [name for name in CONDITIONS if name not in conditions]
    unknown = [name for name in conditions if name not in CONDITIONS]
    if missing:
        raise ConfigError(f"the condition {missing[0]!r} is missing; give its code, or -1 for unknown")
    if unknown:
        raise ConfigError(f"there is no condition {unknown[0]!r}; expected {', '.join(CONDITIONS)}")


def _codes(name: str, value: Tensor) -> Tensor:
    code = torch.as_tensor(value).reshape(-1)
    if code.is_floating_point() or code.is_complex():
        raise ConfigError(f"the condition {name!r} has the type {code.dtype}; expected integer codes")
    code = code.to(torch.int64)
    highest = CONDITIONS[name] - 1
    wrong = code[(code < UNKNOWN) | (code > highest)]
    if len(wrong):
        raise ConfigError(
            f"the condition {name!r} has the code {int(wrong[0])}; expected 0 to {highest}, or -1 for unknown"
        )
    return code


def _one_hot(code: Tensor, count: int) -> Tensor:
    known = functional.one_hot(code.clamp(min=0), count)
    return known * (code != UNKNOWN).unsqueeze(1)


def _flag(code: Tensor) -> Tensor:
    return torch.where(code == UNKNOWN, _UNKNOWN_FLAG, code.to(torch.float32)).unsqueeze(1)
