"""Utility: a classifier that learnt from synthetic patches alone, tested on real ones of other patients."""

from dataclasses import dataclass

from nlbs.evaluate.measures.auc import Auc, condition_auc, interval_of
from nlbs.evaluate.measures.classifier import ConditionClassifier
from nlbs.evaluate.measures.intervals import Interval
from nlbs.evaluate.real_patches import RealPatches
from nlbs.manifests.conditions import CONDITIONS


@dataclass(frozen=True)
class Utility:
    """AUCs of one condition on the same held-out real patches."""

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
