"""The section on utility: what drawn patches are worth as training data."""

from nlbs.evaluate.measures.utility import utility
from nlbs.evaluate.report import Section, Table
from nlbs.evaluate.study import Study


def training_utility(study: Study) -> Section:
    """Return what synthetic patches are worth as training data."""
    found = utility(study.on_few_real, study.on_synthetic, study.held_out, study.seed)
    section = Section("utility", "Utility", [
        f"Train on synthetic, test on real: one classifier learns from {len(study.train):,} real training patches, one "
        "from as many drawn by the same conditions; both are tested on held-out real patients."
    ])  # fmt: skip
    labels = {target.name: target.label for target in study.on_real.targets}
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
                    labels[name],
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
