"""Condition control: do generated patches show what was asked for, as far as real ones show it at all?"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from nlbs.evaluate.measures.auc import Auc, condition_auc, interval_of
from nlbs.evaluate.measures.classifier import ConditionClassifier, Images
from nlbs.evaluate.measures.intervals import Interval
from nlbs.evaluate.real_patches import RealPatches
from nlbs.manifests.conditions import CONDITIONS, UNKNOWN
from nlbs.models.drawing import Codes, Sampler, draw_patches

CHANCE = 0.5

_SMALLEST = 1e-12  #: a probability, before its logarithm


@dataclass(frozen=True)
class Flip:
    """Pairs drawn from the same noise that differ in one condition."""

    pairs: int
    moved: (
        float | None
    )  #: share whose class moved towards what was asked, standing still being half; chance .5
    change: float  #: mean absolute difference in grey levels, of 255


@dataclass(frozen=True)
class ConditionControl:
    """How far one condition is obeyed."""

    ceiling: Auc | None  #: on held-out real patches
    generated: Auc | None  #: on patches drawn by the conditions of these
    ratio: (
        Interval | None
    )  #: (generated - .5) / (ceiling - .5): 1 is as plain as in real patches, 0 is chance
    why_not: str  #: why the condition cannot be measured; empty where it can


def control(
    classifier: ConditionClassifier, held_out: RealPatches, drawn: Images, asked: Codes, seed: int = 0
) -> dict[str, ConditionControl]:
    """Return for every condition how far drawn patches show it, beside held-out real patches.

    Args:
        classifier: trained on real patches of other patients.
        held_out: real patches, the ceiling.
        drawn: uint8, (n, R, R).
        asked: the codes that they were drawn by, (n,) each.
        seed: of the bootstrap, by patient for real patches and by patch for drawn ones.
    """
    real, generated = classifier.probabilities(held_out.pixels), classifier.probabilities(drawn)
    found = {}
    for name in CONDITIONS:
        if name not in real:
            found[name] = ConditionControl(None, None, None, classifier.unlearnt[name])
            continue
        ceiling = condition_auc(real[name], held_out.conditions[name], held_out.patients, seed)
        if ceiling is None:
            why_not = "fewer than two held-out patients have one of its values, or the others"
            found[name] = ConditionControl(None, None, None, why_not)
            continue
        scored = condition_auc(generated[name], asked[name], None, seed + 1, ceiling.values)
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
) -> dict[str, Flip]:
    """Return what changing one condition alone does to patches drawn from the same noise.

    Args:
        sampler: of the model.
        classifier: that says which way a patch moved.
        conditions: the codes to start from, (n,) each: n pairs for each condition. What is unknown
            is set first.
        seed: of the noise and of the values.
    """
    codes = {name: flipped_codes(conditions[name], CONDITIONS[name], seed) for name in CONDITIONS}
    start = {name: before for name, (before, _) in codes.items()}
    first = np.stack(list(draw_patches(sampler, start, seed)))
    return {
        name: _flip(sampler, classifier, (start, first), name, after, seed)
        for name, (_, after) in codes.items()
    }


def _flip(
    sampler: Sampler,
    classifier: ConditionClassifier,
    start: tuple[Codes, Images],
    name: str,
    after: npt.NDArray[np.int64],
    seed: int,
) -> Flip:
    conditions, first = start
    before = conditions[name]
    second = np.stack(list(draw_patches(sampler, {**conditions, name: after}, seed)))
    change = float(np.abs(first.astype(np.float64) - second).mean())
    if name in classifier.unlearnt:
        return Flip(len(before), None, change)
    shown = [_log_odds(classifier.probabilities(images)[name], after, before) for images in (first, second)]
    moved = np.where(shown[1] == shown[0], 0.5, shown[1] > shown[0])
    return Flip(len(before), float(moved.mean()), change)


def flipped_codes(
    codes: npt.NDArray[np.int64], count: int, seed: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return codes without unknown ones, and for each another value, (n,) each."""
    generator = np.random.default_rng(seed)
    before = np.where(codes == UNKNOWN, generator.integers(0, count, len(codes)), codes)
    return before, (before + generator.integers(1, count, len(codes))) % count


def _log_odds(
    probabilities: npt.NDArray[np.float64], towards: npt.NDArray[np.int64], away: npt.NDArray[np.int64]
) -> npt.NDArray[np.float64]:
    """Return log p(towards) / p(away), (n,)."""
    places = np.arange(len(probabilities))
    logs = np.log(np.maximum(probabilities, _SMALLEST))
    odds: npt.NDArray[np.float64] = logs[places, towards] - logs[places, away]
    return odds


@dataclass(frozen=True)
class Utility:
    """AUCs of one condition on the same held-out real patches: what synthetic training data is worth."""

    real: Auc | None  #: of the classifier that learnt from real patches
    synthetic: Auc | None  #: of the one that learnt from as many synthetic ones
    difference: Interval | None  #: synthetic - real, patients drawn alike for both
    why_not: str


def utility(
    on_real: ConditionClassifier, on_synthetic: ConditionClassifier, held_out: RealPatches, seed: int = 0
) -> dict[str, Utility]:
    """Return for every condition what synthetic training data is worth (TSTR; Esteban et al. 1706.02633).

    Args:
        on_real: trained on real patches.
        on_synthetic: trained the same way on as many patches, drawn by the conditions of these.
        held_out: real patches of other patients.
        seed: of the bootstrap by patient.
    """
    real, synthetic = (one.probabilities(held_out.pixels) for one in (on_real, on_synthetic))
    found = {}
    for name in CONDITIONS:
        if name not in real or name not in synthetic:
            found[name] = Utility(None, None, None, on_real.unlearnt.get(name) or on_synthetic.unlearnt[name])
            continue
        codes, patients = held_out.conditions[name], held_out.patients
        first = condition_auc(real[name], codes, patients, seed)
        second = condition_auc(synthetic[name], codes, patients, seed)
        if first is None or second is None:
            why_not = "fewer than two held-out patients have one of its values, or the others"
            found[name] = Utility(None, None, None, why_not)
            continue
        difference = interval_of(second.value - first.value, second.draws - first.draws, first.groups)
        found[name] = Utility(first, second, difference, "")
    return found
