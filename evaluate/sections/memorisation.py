"""The section on memorisation: nearer to training patches than new patients are, or copies of them outright?"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from nlbs.errors import EvaluationError
from nlbs.evaluate.measures.anomaly import negative_elbo
from nlbs.evaluate.measures.arrays import Features
from nlbs.evaluate.measures.copies import PROVEN_SHARE, CopyAudit, audit_copies
from nlbs.evaluate.measures.intervals import Interval
from nlbs.evaluate.measures.memorisation import (
    authenticity,
    copy_test,
    membership_auc,
    nearest_neighbour_ratio,
)
from nlbs.evaluate.real_patches import RealPatches
from nlbs.evaluate.report import Picture, Section, Table, picture
from nlbs.evaluate.study import Study
from nlbs.models.contract import Bounds, lacks
from nlbs.pictures import contact_sheet

_SHOWN = 8  #: flagged patches in the page
_TILE_PX = 110
_TELLS_NOTHING = 0.6  #: an AUC of membership up to which little is told
_READ = {
    "nearest_ratio": "median distance to training / to held-out; below 1: nearer to training",
    "nearer_to_train": "share nearer to a training patch; .5 is right",
    "c_t": "C_T; below -3 copies, above 3 underfits",
    "auth_pct": "AuthPct, share; about half is right",
    "membership_auc": "AUC of the ELBO, training against held-out; .5 tells nothing",
}


def memorisation(study: Study) -> Section:
    """Return distances to training patches, membership by ELBO, and the audit with planted copies."""
    section = Section("memorisation", "Memorisation", [
        "Whether drawn patches lie nearer to training patches than patches of new patients do, and whether any is a "
        "copy. An audit that does not catch copies which were planted proves nothing, whatever it finds."
    ])  # fmt: skip
    _add_audit(section, study)
    rows = list(_figures(section, study))
    section.tables.append(
        Table("Nearer than new patients", ["", "drawn", "held-out real patches in their place"], rows)
    )
    if told := _tells_who_was_trained_on(section.figures["membership_auc"]["drawn"]):
        section.attention.append(told)
    return section


def _tells_who_was_trained_on(found: Any) -> str | None:
    """Return a sentence where the model's weights say of a real patch whether it was learnt from."""
    if not isinstance(found, Interval) or found.low is None or found.low <= _TELLS_NOTHING:
        return None
    return (
        f"The model's likelihood bound tells training patches from others with an AUC of {found.value:.2f} "
        f"({found.level:.0%} interval {found.low:.2f} to {found.high:.2f}): whoever has its weights and a patient's "
        "image can find out whether that patient was trained on. Where that is confidential, share draws and not "
        "weights; a page has the weights in it."
    )


def _add_audit(section: Section, study: Study) -> None:
    train = study.all_train
    study.say(f"looking for copies of {len(train):,} training patches")
    try:
        audit = audit_copies(
            study.drawn,
            train.pixels,
            study.held_out.pixels,
            study.held_out.patients,
            seed=study.seed,
            train_groups=train.patients,
        )
    except EvaluationError as error:
        section.figures["copies"] = {"proven": False, "verdict": "not proven", "why": str(error)}
        section.attention.append(f"Memorisation is not proven either way: {error}")
        return
    section.figures["copies"] = {
        "proven": audit.proven,
        "verdict": audit.verdict,
        "training_patches": len(train),
        "of": study.train_total,
        "threshold": audit.threshold,
        "false_positive_rate": audit.false_positive_rate,
        "generated_flagged": audit.generated_flagged,
        "held_out_flagged": audit.held_out_flagged,
        "generated_auc": audit.generated_auc,
        "control_auc": audit.control_auc,
        "planted_caught": audit.caught,
    }
    (section.attention if audit.verdict != "no copies found" else section.lead).append(audit.sentence)
    if len(train) < study.train_total:
        section.attention.append(
            f"The audit saw {len(train):,} of {study.train_total:,} training patches: it finds no copies of others."
        )
    section.tables += [_audit_table(audit, len(train)), _planted_table(audit)]
    if len(audit.flagged):
        section.pictures.append(("Flagged", [_flagged(audit, study.drawn, train)]))


def _audit_table(audit: CopyAudit, count: int) -> Table:
    rows = [
        ("drawn patches flagged as copies", audit.generated_flagged),
        ("held-out real patches flagged", audit.held_out_flagged),
        ("AUC of drawn against held-out; above .5: nearer to training", audit.generated_auc),
        ("AUC of held-out patients as if drawn; .5 is right", audit.control_auc),
    ]
    note = (
        f"Threshold set for {audit.false_positive_rate:.1%} of held-out patches; what it flags of these was counted by "
        "fifths of the patients, on each by the threshold of the others."
    )
    return Table(f"Copies of {count:,} training patches: {audit.verdict}", ["", "share"], rows, note)


def _planted_table(audit: CopyAudit) -> Table:
    rows = [(kind, share, share.value >= PROVEN_SHARE) for kind, share in audit.caught.items()]
    return Table("Planted copies", ["kind", "share caught", f"at least {PROVEN_SHARE:.0%}"], rows)


def _flagged(audit: CopyAudit, drawn: npt.NDArray[np.uint8], train: RealPatches) -> Picture:
    shown, sources = audit.flagged[:_SHOWN], audit.sources[:_SHOWN]
    images = [*drawn[shown], *train.pixels[sources]]
    sheet = contact_sheet(images, [""] * len(images), columns=len(shown), tile_px=_TILE_PX)
    return picture(sheet, "above: drawn, the most alike first; below: the training patch of each")


def _figures(section: Section, study: Study) -> Iterator[tuple[Any, ...]]:
    """Yield the rows of the table, and keep their values for report.json."""
    for name, (measure, reference) in _measures(study).items():
        row: list[Any] = [_READ[name]]
        for place, compute in (("drawn", measure), ("held_out", reference)):
            try:
                value = compute() if compute else None
            except EvaluationError as error:
                value = f"left out: {error}"
            section.figures.setdefault(name, {})[place] = value
            row.append(value)
        yield tuple(row)


_Compute = Callable[[], Any]
#: Of patches in place of drawn ones, and of held-out ones, (n, d) features each.
_Measure = Callable[[Features, Features], Any]


def _measures(study: Study) -> dict[str, tuple[_Compute, _Compute | None]]:
    """Return for each figure how it is computed of drawn patches, and of held-out ones in their place."""
    measures: dict[str, tuple[_Compute, _Compute | None]] = {}
    if study.extractor is not None:
        train, held_out, drawn = (study.features(kind) for kind in ("train", "held_out", "drawn"))
        seed, groups = study.seed, (study.train.patients, study.held_out.patients)
        of: dict[str, _Measure] = {
            "nearest_ratio": lambda a, b: nearest_neighbour_ratio(a, train, b, seed).ratio,
            "nearer_to_train": lambda a, b: nearest_neighbour_ratio(a, train, b, seed).nearer_to_train,
            "c_t": lambda a, b: copy_test(a, train, b, seed=seed).c_t,
        }
        measures = {
            name: (
                partial(measure, drawn, held_out),
                partial(_by_halves, measure, held_out, study.held_out, seed),
            )
            for name, measure in of.items()
        }
        measures["auth_pct"] = (
            lambda: authenticity(drawn, train, held_out, *groups, seed=seed).generated,
            lambda: authenticity(drawn, train, held_out, *groups, seed=seed).held_out,
        )
    return measures | {"membership_auc": (lambda: _membership(study), None)}


def _membership(study: Study) -> Any:
    if not isinstance(study.model, Bounds):
        raise EvaluationError(lacks(study.model, "bound a likelihood"))
    found = study.encoded_train, study.encoded
    errors = np.concatenate([one.absolute_error for one in found])
    kl = np.concatenate([one.kl_levels.sum(axis=1) for one in found])
    elbo = -negative_elbo(errors, kl, study.model.image.channels * study.model.resolution**2)[0]
    count = len(study.train)
    return membership_auc(
        elbo[:count], elbo[count:], study.train.patients, study.held_out.patients, seed=study.seed
    )


def _by_halves(measure: _Measure, features: Features, held_out: RealPatches, seed: int) -> Any:
    """Return a figure of the patches of one half of the patients, beside those of the other."""
    patients = np.unique(held_out.patients)
    if len(patients) < 2:
        raise EvaluationError("all held-out patches are of one patient, so there are no halves of them")
    chosen = np.random.default_rng(seed).permutation(patients)[: len(patients) // 2]
    one = np.isin(held_out.patients, chosen)
    return measure(features[one], features[~one])
