"""Sections of the report on conditions: galleries, control, utility."""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from nlbs.evaluate.measures.control import ConditionControl, Flip, control, flip_all, utility
from nlbs.evaluate.real_patches import subsample
from nlbs.evaluate.report import Picture, Section, Table, picture
from nlbs.evaluate.study import Study
from nlbs.manifests.conditions import CONDITIONS, word_of
from nlbs.models.contract import lacks
from nlbs.pictures import contact_sheet

_SHOWN = 8  #: patches in a row of a gallery
_TILE_PX = 96
_PAIRS = 256  #: for each condition that is flipped
_SAME_MANY = (
    "Classifiers are small networks of our own, trained from scratch, apart from any feature extractor."
)


def galleries(study: Study) -> Section:
    """Return real, reconstructed and drawn patches side by side, for each value of each condition."""
    section = Section("galleries", "Real, reconstructed, drawn", [
        "In each picture: above, held-out real patches; in the middle, their reconstructions; below, patches drawn by "
        "the same conditions. Chosen at random."
    ])  # fmt: skip
    if not study.rebuilds:
        section.attention.append(
            f"There are no reconstructions in the middle: {lacks(study.model, 'rebuild images')}."
        )
    for name in CONDITIONS:
        group = list(_by_value(study, name))
        if group:
            section.pictures.append((name.replace("_", " "), group))
    section.figures = {"groups": sum(len(group) for _, group in section.pictures)}
    return section


def _by_value(study: Study, name: str) -> Iterator[Picture]:
    for code in range(CONDITIONS[name]):
        places = np.flatnonzero(study.held_out.conditions[name] == code)
        if not len(places):
            continue
        places = places[subsample(study.held_out.patients[places], _SHOWN, study.seed)]
        sheet = _three_rows(study, places)
        shown = "real, reconstructed, drawn" if study.rebuilds else "real, drawn"
        yield picture(sheet, f"{name.replace('_', ' ')} {word_of(name, code)}: {shown}")


def _three_rows(study: Study, places: npt.NDArray[np.int64]) -> npt.NDArray[np.uint8]:
    rebuilt = [study.encoded.reconstructed] if study.rebuilds else []
    rows = (study.held_out.pixels, *rebuilt, study.drawn)
    images = [image for row in rows for image in row[places]]
    return contact_sheet(images, [""] * len(images), columns=len(places), tile_px=_TILE_PX)


def condition_control(study: Study) -> Section:
    """Return how far each condition is obeyed, and what flipping it alone does."""
    found = control(study.on_real, study.held_out, study.drawn, study.held_out.conditions, study.seed)
    study.say("flipping one condition at a time")
    places = np.sort(subsample(study.held_out.patients, _PAIRS, study.seed))
    start = {name: codes[places] for name, codes in study.held_out.conditions.items()}
    flips = flip_all(study.sampler, study.on_real, start, study.seed)
    section = Section("control", "Condition control", [
        f"A classifier learns each condition from {len(study.all_train):,} real training patches. Its AUC on held-out "
        "real patients is the ceiling: what real patches show at all. The ratio (AUC - .5) / (ceiling - .5) of drawn "
        "patches is 1 where "
        f"they show what was asked as plainly as real ones do, and 0 where the condition is ignored. {_SAME_MANY}"
    ])  # fmt: skip
    section.figures = {
        name: {
            "ceiling_auc": one.ceiling and one.ceiling.interval,
            "generated_auc": one.generated and one.generated.interval,
            "values": [word_of(name, code) for code in one.ceiling.values] if one.ceiling else None,
            "ratio": one.ratio,
            "not_measurable": one.why_not or None,
            "flip": flips[name],
        }
        for name, one in found.items()
    }
    section.tables.append(_control_table(found))
    section.tables.append(_flip_table(flips))
    section.attention += [
        f"Drawn patches do not show the condition {name.replace('_', ' ')} better than chance, with confidence."
        for name, one in found.items()
        if one.ratio is not None and one.ratio.low is not None and one.ratio.low <= 0
    ]
    return section


def _control_table(found: dict[str, ConditionControl]) -> Table:
    rows = []
    for name, one in found.items():
        rows.append(
            (
                name.replace("_", " "),
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
        "AUC of patches; of age the mean over its bins, each against the rest. Intervals: 95 %, by patient for real "
        "patches and by patch for drawn ones. Chance is .5; a condition of the image is invisible in most of its "
        "patches, so read the ratio.",
    )


def _flip_table(flips: dict[str, Flip]) -> Table:
    rows = [(name.replace("_", " "), one.pairs, one.moved, one.change) for name, one in flips.items()]
    return Table(
        "The same noise, one condition changed",
        ["condition", "pairs", "share that the classifier moves the right way", "mean pixel change, of 255"],
        rows,
        "Chance is .5; a pair that does not differ counts half.",
    )


def training_utility(study: Study) -> Section:
    """Return what synthetic patches are worth as training data."""
    found = utility(study.on_few_real, study.on_synthetic, study.held_out, study.seed)
    section = Section("utility", "Utility", [
        f"Train on synthetic, test on real: one classifier learns from {len(study.train):,} real training patches, one "
        "from as many drawn by the same conditions; both are tested on held-out real patients."
    ])  # fmt: skip
    section.figures = {
        name: {
            "real_auc": one.real and one.real.interval,
            "synthetic_auc": one.synthetic and one.synthetic.interval,
            "difference": one.difference,
            "not_measurable": one.why_not or None,
        }
        for name, one in found.items()
    }
    section.tables.append(
        Table(
            f"AUC on {len(study.held_out):,} held-out real patches",
            ["condition", "trained on real", "trained on synthetic", "difference", ""],
            [
                (
                    name.replace("_", " "),
                    one.real and one.real.interval,
                    one.synthetic and one.synthetic.interval,
                    one.difference,
                    f"not measurable: {one.why_not}" if one.why_not else "",
                )
                for name, one in found.items()
            ],
            "Intervals: 95 %, by patient; of the difference with the same patients for both.",
        )
    )
    return section
