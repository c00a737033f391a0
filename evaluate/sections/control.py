"""The section on control: do drawn patches show what was asked for, and what does one change alone do?"""

from collections.abc import Mapping, Sequence

import numpy as np

from nlbs.evaluate.measures.control import ConditionControl, Flip, control, flip_all
from nlbs.evaluate.measures.targets import Target
from nlbs.evaluate.real_patches import subsample
from nlbs.evaluate.report import Section, Table
from nlbs.evaluate.study import Study
from nlbs.manifests.captions import short_name
from nlbs.text import listed

_PAIRS = 256  #: for each condition, label or number that is flipped


def condition_control(study: Study) -> Section:
    """Return how far each condition is obeyed, and what flipping it alone does."""
    targets = study.on_real.targets
    found = control(study.on_real, study.held_out, study.drawn, study.held_out.conditions, study.seed)
    study.say("flipping one condition at a time")
    places = np.sort(subsample(study.held_out.patients, _PAIRS, study.seed))
    start = {name: values[places] for name, values in study.held_out.conditions.items()}
    flips = flip_all(study.sampler, study.on_real, start, study.seed)
    section = Section("control", "Condition control", [
        f"A classifier learns each condition from {len(study.all_train):,} real training patches. Its AUC on held-out "
        "real patients is the ceiling: what real patches show at all. The ratio (AUC - .5) / (ceiling - .5) of drawn "
        "patches is 1 where they show what was asked as plainly as real ones do, and 0 where the condition is ignored. "
        "Classifiers are small networks of our own, trained from scratch, apart from any feature extractor."
    ])  # fmt: skip
    section.figures = {
        target.name: _figures(target, found[target.name]) | {"flip": flips[target.name]} for target in targets
    }
    section.tables += [_control_table(targets, found), _flip_table(targets, flips)]
    for target in targets:
        ratio = found[target.name].ratio
        if ratio is not None and ratio.low is not None and ratio.low <= 0:
            section.attention.append(
                f"Drawn patches do not show the condition {target.label} better than chance, with confidence."
            )
    return section


def _figures(target: Target, found: ConditionControl) -> dict[str, object]:
    return {
        "ceiling_auc": found.ceiling and found.ceiling.interval,
        "generated_auc": found.generated and found.generated.interval,
        "values": [target.values[code] for code in found.ceiling.values] if found.ceiling else None,
        "ratio": found.ratio,
        "not_measurable": found.why_not or None,
    }


def _control_table(targets: Sequence[Target], found: Mapping[str, ConditionControl]) -> Table:
    rows = []
    for target in targets:
        one = found[target.name]
        rows.append(
            (
                target.label,
                one.ceiling and one.ceiling.interval,
                one.generated and one.generated.interval,
                one.ratio,
                f"not measurable: {one.why_not}" if one.why_not else "",
            )
        )
    return Table(
        "Asked for, and shown",
        ["condition", "ceiling: AUC on held-out real", "AUC on drawn", "ratio", ""],
        rows,
        f"{what_an_auc_is(targets)} Intervals: 95 %, by patient for real patches and by patch for drawn ones. Chance "
        "is .5; a condition of the image is invisible in most of its patches, so read the ratio.",
    )


def what_an_auc_is(targets: Sequence[Target]) -> str:
    """Return a sentence about the AUCs of several values, and about what stands in their place for numbers."""
    sentence = "AUC of patches"
    for kind in ("ordinal", "categorical"):
        names = _names(
            [target for target in targets if target.condition.kind == kind and len(target.values) > 2]
        )
        if names:
            bins = f"{'its' if len(names) == 1 else 'their'} {'bins' if kind == 'ordinal' else 'values'}"
            sentence += f"; of {listed(names)} the mean over {bins}, each against the rest"
    if numbers := _names([target for target in targets if target.is_number]):
        sentence += (
            f"; of {listed(numbers)} the concordance index: of two patches whose numbers differ, how often the reading "
            "has them in the same order"
        )
    return f"{sentence}."


def _names(targets: Sequence[Target]) -> list[str]:
    return list(dict.fromkeys(short_name(target.condition) for target in targets))


def _flip_table(targets: Sequence[Target], flips: Mapping[str, Flip | None]) -> Table:
    rows = [
        (target.label, flip.pairs, flip.moved, flip.change)
        for target in targets
        if (flip := flips[target.name]) is not None
    ]
    return Table(
        "The same noise, one condition changed",
        ["condition", "pairs", "share that the classifier moves the right way", "mean pixel change, of 255"],
        rows,
        "Chance is .5; a pair that does not differ counts half.",
    )
