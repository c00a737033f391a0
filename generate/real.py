"""Real patches as a model takes them: some rows of a shard set, at the model's size."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from nlbs.errors import ConfigError
from nlbs.generate.plan import uniform
from nlbs.models.contract import GenerativeModel
from nlbs.models.pixels import FITS, require_channels, with_channels
from nlbs.shards import ShardSet


def rows_of(
    shards: ShardSet, rows: Sequence[int], split: str | None, num: int, seed: int
) -> npt.NDArray[np.int64]:
    """Return the rows that are asked for: those named, or some of a split at random, in order.

    Raises:
        ConfigError: a row that is not there, a split that has none, or a set of synthetic patches.
    """
    shards.require_real()
    if rows:
        wrong = [row for row in rows if not 0 <= row < len(shards)]
        if wrong:
            raise ConfigError(f"{shards.folder} has no row {wrong[0]}: its rows are 0 to {len(shards) - 1}")
        return np.array(rows, dtype=np.int64)
    found = shards.rows(split)
    if not len(found):
        raise ConfigError(
            f"{shards.folder} has no patch in the split {split!r}: name another, or rows with --row"
        )
    order = np.argsort(uniform("rows", seed, len(found)), kind="stable")
    return np.sort(found[order[:num]])


def read_real(
    shards: ShardSet, rows: npt.NDArray[np.int64], model: GenerativeModel, device: torch.device, fit: str
) -> tuple[Tensor, dict[str, Tensor]]:
    """Return pixels (n, C, R, R) float32 in [-1, 1] and the model's conditions of some rows.

    Args:
        shards: where they are read.
        rows: of its manifest.
        model: says the size, and which conditions.
        device: where they are to lie.
        fit: how larger patches come to it, as in training (:func:`nlbs.models.checkpoint.trained_fit`).

    Raises:
        ConfigError: the patches are smaller than the model's, or have other channels.
    """
    if shards.resolution < model.resolution:
        raise ConfigError(
            f"{shards.folder} has patches of {shards.resolution}x{shards.resolution} pixels, smaller than the "
            f"{model.resolution}x{model.resolution} of the model: cut a set with --resolution {model.resolution}"
        )
    require_channels(shards.channels, model.image.channels, shards.folder)
    stored = with_channels(torch.from_numpy(shards.read(rows)))
    pixels = FITS[fit](stored.to(device), model.resolution, None)
    conditions = shards.conditions(rows, model.schema)
    return pixels, {name: torch.from_numpy(values).to(device) for name, values in conditions.items()}
