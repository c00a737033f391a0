"""Condition control: do generated patches show what was asked for, as far as real ones show it at all?"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from nlbs.evaluate.measures.auc import Auc, interval_of
from nlbs.evaluate.measures.classifier import ConditionClassifier, Images
from nlbs.evaluate.measures.intervals import Interval
from nlbs.evaluate.measures.targets import Target, Values
from nlbs.evaluate.real_patches import RealPatches
from nlbs.models.drawing import Codes, Sampler, draw_patches

CHANCE = 0.5
TOO_FEW = "fewer than two held-out patients have one of its values, or the others"

_SMALLEST = 1e-12  #: a probability, before its logarithm


@dataclass(frozen=True)
class Flip:
    """Pairs drawn from the same noise that differ in one condition, label or number."""

    pairs: int
    moved: (
        float | None
    )  #: share whose reading moved towards what was asked, standing still being half; chance .5
    change: float  #: mean absolute difference in grey levels, of 255


@dataclass(frozen=True)
class ConditionControl:
    """How far one condition, label or number is obeyed."""

    ceiling: Auc | None  #: on held-out real patches
    generated: Auc | None  #: on patches drawn by the conditions of these
    ratio: (
        Interval | None
    )  #: (generated - .5) / (ceiling - .5): 1 is as plain as in real patches, 0 is chance
    why_not: str  #: why the condition cannot be measured; empty where it can


def control(
    classifier: ConditionClassifier, held_out: RealPatches, drawn: Images, asked: Codes, seed: int = 0
) -> dict[str, ConditionControl]:
    """Return by the names of targets how far drawn patches show each, beside held-out real patches.

    Args:
        classifier: trained on real patches of other patients.
        held_out: real patches, the ceiling.
        drawn: uint8, (n, R, R).
        asked: the conditions that they were drawn by.
        seed: of the bootstrap, by patient for real patches and by patch for drawn ones.
    """
    real, generated = classifier.readings(held_out.pixels), classifier.readings(drawn)
    found = {}
    for target in classifier.targets:
        name = target.name
        if name not in real:
            found[name] = ConditionControl(None, None, None, classifier.unlearnt[name])
            continue
        ceiling = target.auc(real[name], target.of(held_out.conditions), held_out.patients, seed)
        if ceiling is None:
            found[name] = ConditionControl(None, None, None, TOO_FEW)
            continue
        scored = target.auc(generated[name], target.of(asked), None, seed + 1, ceiling.values)
        found[name] = _compared(ceiling, scored)
    return found


def _compared(ceiling: Auc, generated: Auc | None) -> ConditionControl:
    low = ceiling.interval.low
    if low is None or not low > CHANCE:
        why_not = "the classifier does not see it in held-out real patches with confidence (its AUC there may be .5)"
        return ConditionControl(ceiling, generated, None, why_not)
    if generated is None:
        return ConditionControl(ceiling, None, None, "too few patches were drawn of one of its values")
    # The two samples are independent, so a draw of the one goes with any of the other.
    above = np.where(ceiling.draws > CHANCE, ceiling.draws - CHANCE, np.nan)
    draws = (generated.draws - CHANCE) / above
    value = (generated.value - CHANCE) / (ceiling.value - CHANCE)
    return ConditionControl(ceiling, generated, interval_of(value, draws, ceiling.groups), "")


def flip_all(
    sampler: Sampler, classifier: ConditionClassifier, conditions: Codes, seed: int
) -> dict[str, Flip | None]:
    """Return by the names of targets what changing one alone does to patches drawn from the same noise.

    Args:
        sampler: of the model.
        classifier: that says which way a patch moved.
        conditions: to start from, n pairs for each target. What is unknown is set first.
        seed: of the noise and of the values.

    Returns:
        None for a target that has one value only.
    """
    changes = {target: target.flipped(target.of(conditions), seed) for target in classifier.targets}
    start = conditions
    for target, values in changes.items():
        start = start if values is None else target.put(start, values[0])
    first = np.stack(list(draw_patches(sampler, start, seed)))
    found: dict[str, Flip | None] = {}
    for target, values in changes.items():
        found[target.name] = None
        if values is not None:
            second = np.stack(list(draw_patches(sampler, target.put(start, values[1]), seed)))
            found[target.name] = _flip(classifier, target, values, (first, second))
    return found


def _flip(
    classifier: ConditionClassifier,
    target: Target,
    values: tuple[Values, Values],
    images: tuple[Images, Images],
) -> Flip:
    """Return what came of pairs of images, whose target had the first and then the second values."""
    change = float(np.abs(images[0].astype(np.float64) - images[1]).mean())
    if target.name in classifier.unlearnt:
        return Flip(len(images[0]), None, change)
    before, after = values
    shown = [_towards(target, classifier.readings(some)[target.name], after, before) for some in images]
    moved = np.where(shown[1] == shown[0], 0.5, shown[1] > shown[0])
    return Flip(len(images[0]), float(moved.mean()), change)


def _towards(
    target: Target, readings: npt.NDArray[np.float64], towards: Values, away: Values
) -> npt.NDArray[np.float64]:
    """Return log p(towards) / p(away), (n,); of a number how far the reading lies that way."""
    if target.is_number:
        lies: npt.NDArray[np.float64] = readings[:, 0] * np.sign(towards - away)
        return lies
    places = np.arange(len(readings))
    logs = np.log(np.maximum(readings, _SMALLEST))
    odds: npt.NDArray[np.float64] = logs[places, towards] - logs[places, away]
    return odds
