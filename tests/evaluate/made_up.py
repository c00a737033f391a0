"""Made-up patches in which each condition has a sign of its own, and samplers with known control."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from nlbs.evaluate.real_patches import RealPatches
from nlbs.manifests.schema import NLBS, POSITION, Condition, Schema

EDGE = 32

Codes = Mapping[str, npt.NDArray[Any]]


def draw_signs(conditions: Codes, generator: np.random.Generator) -> npt.NDArray[np.uint8]:
    """Gives patches: view is the bars' direction, laterality the bright side, cancer a dot, age the brightness.

    False positive has no sign at all.
    """
    count = len(conditions["view"])
    y, x = np.mgrid[:EDGE, :EDGE]
    phase = generator.uniform(0, 2 * np.pi, (count, 1, 1))
    along = np.where((conditions["view"] == 0)[:, None, None], x, y)
    side = np.where((conditions["laterality"] == 0)[:, None, None], x < EDGE // 2, x >= EDGE // 2)
    spot = generator.integers(8, EDGE - 8, (count, 2))
    far = np.hypot(y - spot[:, :1, None], x - spot[:, 1:, None])
    dot = (far < 4) & (conditions["cancer"] == 1)[:, None, None]
    grey = 70 + 20 * np.sin(2 * np.pi * along / 8 + phase) + 40 * side + 90 * dot
    grey = (
        grey + 15 * np.maximum(conditions["age_bin"], 0)[:, None, None] + generator.normal(0, 8, grey.shape)
    )
    return grey.clip(1, 255).astype(np.uint8)


def draw_conditions(count: int, generator: np.random.Generator) -> dict[str, npt.NDArray[np.int64]]:
    return {condition.name: generator.integers(0, len(condition.values), count) for condition in NLBS}


def signed_patches(count: int = 240, seed: int = 0, patients: int = 24) -> RealPatches:
    generator = np.random.default_rng(seed)
    conditions = draw_conditions(count, generator)
    people = np.arange(count) % patients
    return RealPatches(draw_signs(conditions, generator), conditions, people, people, np.arange(count))


OTHER = Schema(
    (
        NLBS["view"],
        Condition("density", "ordinal", ("A", "B", "C", "D")),
        Condition("findings", "multilabel", ("Calcification", "Mass"), healthy=0),
        POSITION,
    )
)


def draw_other_signs(conditions: Codes, generator: np.random.Generator) -> npt.NDArray[np.uint8]:
    """Gives patches by the conditions of OTHER: density is the brightness, a mass a dot, across a slope of grey.

    Calcification and down have no sign at all.
    """
    count = len(conditions["view"])
    mass = {
        "cancer": conditions["findings"][:, 1],
        "age_bin": conditions["density"],
        "view": conditions["view"],
    }
    patches = draw_signs({**mass, "laterality": np.full(count, -1)}, generator)
    slope = (np.nan_to_num(conditions["position"][:, :1, None], nan=0.5) - 0.5) * np.linspace(-60, 60, EDGE)
    return (patches + slope).clip(1, 255).astype(np.uint8)


def draw_other_conditions(count: int, generator: np.random.Generator) -> dict[str, npt.NDArray[Any]]:
    return {
        "view": generator.integers(0, 2, count),
        "density": generator.integers(0, 4, count),
        "findings": generator.integers(0, 2, (count, 2)).astype(np.int8),
        "position": generator.random((count, 2)).astype(np.float32),
    }


def other_patches(count: int = 240, seed: int = 0, patients: int = 24) -> RealPatches:
    generator = np.random.default_rng(seed)
    conditions, people = draw_other_conditions(count, generator), np.arange(count) % patients
    return RealPatches(draw_other_signs(conditions, generator), conditions, people, people, np.arange(count))


class SignSampler:
    """Draws the signs of the conditions it is asked for, or of none of them."""

    grain = None

    def __init__(self, ignores: Sequence[str] = (), schema: Schema = NLBS) -> None:
        self.ignores, self._schema = ignores, schema
        nlbs = (draw_conditions, draw_signs)
        self._conditions, self._signs = (draw_other_conditions, draw_other_signs) if schema is OTHER else nlbs

    @property
    def noise_shapes(self) -> list[tuple[int, ...]]:
        return [(1,)]

    @property
    def schema(self) -> Schema:
        return self._schema

    @property
    def device(self) -> torch.device:
        return torch.device("cpu")

    def draw(self, noise: Sequence[Tensor], conditions: Mapping[str, Tensor]) -> Tensor:
        patches = []
        for place, value in enumerate(noise[0].numpy().view(np.uint32).ravel()):
            generator = np.random.default_rng(int(value))
            other = self._conditions(1, generator)
            codes = {
                name: other[name] if name in self.ignores else code.numpy()[place : place + 1]
                for name, code in conditions.items()
            }
            patches.append(self._signs(codes, generator))
        return torch.from_numpy(np.stack(patches)).float() / 127.5 - 1
