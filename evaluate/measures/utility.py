"""Utility: a classifier that learnt from synthetic patches alone, tested on real ones of other patients."""

from dataclasses import dataclass

from nlbs.evaluate.measures.auc import Auc, interval_of
from nlbs.evaluate.measures.classifier import ConditionClassifier
from nlbs.evaluate.measures.control import TOO_FEW
from nlbs.evaluate.measures.intervals import Interval
from nlbs.evaluate.real_patches import RealPatches


@dataclass(frozen=True)
class Utility:
    """AUCs of one condition, label or number on the same held-out real patches."""

    real: Auc | None  #: of the classifier that learnt from real patches
    synthetic: Auc | None  #: of the one that learnt from as many synthetic ones
    difference: Interval | None  #: synthetic - real, patients drawn alike for both
    why_not: str


def utility(
    on_real: ConditionClassifier, on_synthetic: ConditionClassifier, held_out: RealPatches, seed: int = 0
) -> dict[str, Utility]:
    """Return by the names of targets what synthetic training data is worth (TSTR; Esteban et al. 1706.02633).

    Args:
        on_real: trained on real patches.
        on_synthetic: trained the same way on as many patches, drawn by the conditions of these.
        held_out: real patches of other patients.
        seed: of the bootstrap by patient.
    """
    real, synthetic = (one.readings(held_out.pixels) for one in (on_real, on_synthetic))
    found = {}
    for target in on_real.targets:
        name = target.name
        if name not in real or name not in synthetic:
            found[name] = Utility(None, None, None, on_real.unlearnt.get(name) or on_synthetic.unlearnt[name])
            continue
        values, patients = target.of(held_out.conditions), held_out.patients
        first, second = (target.auc(one[name], values, patients, seed) for one in (real, synthetic))
        if first is None or second is None:
            found[name] = Utility(None, None, None, TOO_FEW)
            continue
        difference = interval_of(second.value - first.value, second.draws - first.draws, first.groups)
        found[name] = Utility(first, second, difference, "")
    return found
