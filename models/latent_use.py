"""What the latents carry: active units, KL per level, and whether a model has collapsed."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from nlbs.errors import EvaluationError

ACTIVE_VARIANCE = 0.01  #: Burda et al. 2016, arXiv 1509.00519, section 5
DEAD_NATS = 0.5  #: a level whose mean KL lies below says nothing about the patch


@dataclass(frozen=True)
class ActiveUnits:
    """How many latent numbers depend on the patch."""

    active: int
    total: int
    variances: npt.NDArray[np.float64]  #: (total,) variance over patches of each posterior mean


def active_units(means: npt.NDArray[Any], threshold: float = ACTIVE_VARIANCE) -> ActiveUnits:
    """Return the units with ``Var_x(E_q(z|x)[z]) > threshold`` (Burda et al. 2016, section 5).

    Args:
        means: (n, ...) posterior means, one row per patch; each position of a spatial latent is a unit.
            Where the prior depends on the condition, pass mean minus prior mean, in prior standard
            deviations: else a unit counts as active that only repeats the condition.
        threshold: variance above which a unit is active.

    Raises:
        EvaluationError: fewer than two patches.
    """
    if len(means) < 2:
        raise EvaluationError(f"active units: found {len(means)} patches, expected 2 or more")
    variances = means.reshape(len(means), -1).astype(np.float64).var(axis=0, ddof=1)
    return ActiveUnits(int((variances > threshold).sum()), variances.size, variances)


@dataclass(frozen=True)
class Level:
    """The KL divergence of one level of latents."""

    name: str
    nats: float  #: mean over patches, summed over the level's units
    share: float  #: of the KL of all levels, 0 to 1

    @property
    def dead(self) -> bool:
        """Whether the level carries less than ``DEAD_NATS``."""
        return self.nats < DEAD_NATS


@dataclass(frozen=True)
class LatentUse:
    """The KL divergence by level, coarse to fine."""

    levels: tuple[Level, ...]
    nats: float  #: all levels together, mean over patches

    @property
    def collapsed(self) -> bool:
        """Whether all levels together carry less than ``DEAD_NATS``."""
        return self.nats < DEAD_NATS

    @property
    def sentence(self) -> str:
        """What a person should know about it."""
        if self.collapsed:
            return (
                f"The latent has collapsed: all levels together carry {self.nats:.2f} nats, below {DEAD_NATS}, so "
                "samples do not depend on it."
            )
        dead = [level.name for level in self.levels if level.dead]
        if dead:
            return (
                f"The latent carries {self.nats:.1f} nats, but {len(dead)} of {len(self.levels)} levels are dead "
                f"(below {DEAD_NATS} nats): {', '.join(dead)}."
            )
        return f"The latent carries {self.nats:.1f} nats, and every level takes part."


def latent_use(kl: Mapping[str, npt.NDArray[Any]]) -> LatentUse:
    """Return the mean KL by level.

    Args:
        kl: level's name -> (n,) nats of each patch, summed over the level's units; coarse to fine.

    Raises:
        EvaluationError: no levels, or a level without patches or with values that are not finite.
    """
    if not kl:
        raise EvaluationError("KL by level: found no levels, expected at least one")
    for name, nats in kl.items():
        if not len(nats) or not np.isfinite(nats).all():
            raise EvaluationError(f"KL of level {name}: found no patches, or values that are not finite")
    means = {name: float(np.mean(nats, dtype=np.float64)) for name, nats in kl.items()}
    total = sum(means.values())
    levels = (Level(name, mean, mean / total if total > 0 else 0.0) for name, mean in means.items())
    return LatentUse(tuple(levels), total)
