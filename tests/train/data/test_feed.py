"""Conditions on their way to a device: each keeps its shape, type and values, in as many copies as there are types."""

import numpy as np
import torch
from torch import Tensor

from nlbs.manifests.schema import AGE_YEARS, NLBS, POSITION
from nlbs.train.data.feed import copied, to_device
from nlbs.train.data.stream import Batch


def test_values_of_all_shapes_come_in_one_copy_for_each_type() -> None:
    values = {
        "view": torch.tensor([0, 1, -1]),
        "position": torch.rand(3, 2),
        "findings": torch.tensor([[0, 1], [1, 1], [-1, -1]]),
        "age_years": torch.tensor([40.5, 60.0, float("nan")]),
    }
    copies: list[Tensor] = []

    def copy(together: Tensor) -> Tensor:
        copies.append(together)
        return together.clone()

    found = copied(values, copy)
    assert list(found) == list(values)
    assert {name: one.dtype for name, one in found.items()} == {n: one.dtype for n, one in values.items()}
    same = [torch.equal(one.nan_to_num(-7), values[name].nan_to_num(-7)) for name, one in found.items()]
    assert same == [True] * 4
    assert [(one.ndim, one.numel()) for one in copies] == [(1, 9), (1, 9)]
    assert not any(found[name] is one for name, one in values.items())


def test_a_batch_with_conditions_of_every_kind_goes_to_another_device() -> None:
    schema = [*NLBS, AGE_YEARS, POSITION]
    conditions = {c.name: torch.from_numpy(np.repeat(c.array([c.parse("")]), 4, axis=0)) for c in schema}
    pixels = torch.zeros(4, 1, 8, 8, dtype=torch.uint8)
    batch = Batch(pixels, conditions, np.arange(4), 0, 3, torch.ones(4, dtype=torch.bool))
    found = to_device(batch, torch.device("meta"))
    shapes = {name: (one.shape, one.dtype, one.device.type) for name, one in found.conditions.items()}
    assert shapes == {name: (one.shape, one.dtype, "meta") for name, one in conditions.items()}
    assert (found.pixels.device.type, found.step) == ("meta", 3)
