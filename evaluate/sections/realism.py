"""The section on realism: distances beside their floor, the sampling gap, and spectra."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from nlbs.evaluate.measures.arrays import Patches
from nlbs.evaluate.measures.distances import (
    KernelDistance,
    Manifold,
    frechet_distance,
    kernel_distance,
    precision_recall,
)
from nlbs.evaluate.measures.features import FeatureExtractor
from nlbs.evaluate.measures.intervals import Interval
from nlbs.evaluate.measures.references import POINT_MASS, point_mass, subset
from nlbs.evaluate.measures.spectra import Sharpness, compare_sharpness, power_spectra
from nlbs.evaluate.report import Section, Table, picture
from nlbs.evaluate.sections import charts
from nlbs.evaluate.study import Study
from nlbs.models.contract import lacks


def realism(study: Study) -> Section:
    """Return distances by features beside floor and point mass, the sampling gap, and spectra."""
    section = Section("realism", "Realism and sampling gap", [
        "Drawn patches have the conditions of the held-out ones, one each. The floor is what real training patches "
        "reach; a point mass is a model that always draws the mean training patch."
    ])  # fmt: skip
    if study.extractor is None:
        section.attention.append(f"Distances are left out: {study.no_extractor}")
    else:
        _add_distances(section, study, study.extractor)
    _add_spectra(section, study)
    return section


def _add_distances(section: Section, study: Study, extractor: FeatureExtractor) -> None:
    # All sides of all distances have the same number of patches: small sets lie farther apart.
    count = min(len(study.train), len(study.held_out))
    some = subset(len(study.held_out), count, study.seed)
    real = study.features("held_out")[some]
    sets = {
        "floor": study.features("train")[subset(len(study.train), count, study.seed)],
        **({"reconstructed": study.features("reconstructed")[some]} if study.rebuilds else {}),
        **(
            {"without_grain": study.features("without_grain")[some]} if study.grain and study.rebuilds else {}
        ),
        "generated": study.features("drawn")[some],
        "point_mass": np.repeat(extractor(point_mass(study.train.pixels, 1)), count, axis=0),
    }
    study.say("distances")
    frechet = {name: frechet_distance(features, real) for name, features in sets.items()}
    kernel: dict[str, KernelDistance] = {
        name: kernel_distance(features, real, seed=study.seed) for name, features in sets.items()
    }
    manifold: dict[str, Manifold] = {
        name: precision_recall(real, features) for name, features in sets.items() if name != "point_mass"
    }
    rebuilt = frechet.get("reconstructed")
    gap = frechet["generated"] / rebuilt if rebuilt else None if rebuilt is None else float("nan")
    section.figures |= {
        "extractor": extractor.name,
        "patches": count,
        "frechet": frechet,
        "kernel": kernel,
        "manifold": manifold,
        "sampling_gap": gap,
        "frechet_over_floor": frechet["generated"] / frechet["floor"] if frechet["floor"] else float("nan"),
        "frechet_over_point_mass": frechet["generated"] / frechet["point_mass"],
    }
    section.tables.append(_distance_table(extractor.name, count, frechet, kernel, manifold))
    section.tables.append(_ratio_table(section.figures))
    if gap is None:
        section.attention.append(f"There is no sampling gap: {lacks(study.model, 'rebuild images')}.")
    elif gap < 1 and section.figures["frechet_over_floor"] > 2:
        section.attention.append(
            "Draws lie nearer to real patches than reconstructions do: these must be poor."
        )
    if frechet["generated"] >= frechet["point_mass"]:
        section.attention.append(
            "Drawn patches are no nearer to real ones than one mean patch, again and again."
        )


def _ratio_table(figures: Mapping[str, Any]) -> Table:
    rows = {
        "sampling gap: drawn / reconstructions": "1: drawing costs nothing. Bad reconstructions flatter it.",
        "drawn / floor": "1: as near as other real patients",
        "drawn / point mass": "1: no better than one mean patch",
    }
    ratios = (figures[name] for name in ("sampling_gap", "frechet_over_floor", "frechet_over_point_mass"))
    body = [(words, ratio, reading) for (words, reading), ratio in zip(rows.items(), ratios, strict=True)]
    return Table("Ratios of Fréchet distances", ["", "ratio", "how to read it"], body)


def _distance_table(
    name: str,
    count: int,
    frechet: dict[str, float],
    kernel: dict[str, KernelDistance],
    manifold: dict[str, Manifold],
) -> Table:
    words = {
        "floor": "floor: real training patches",
        "reconstructed": "reconstructions of the held-out"
        + (", with grain" if "without_grain" in frechet else ""),
        "without_grain": "reconstructions as they are rendered",
        "generated": "drawn",
        "point_mass": POINT_MASS,
    }
    rows = []
    for key, label in words.items():
        if key not in frechet:
            continue
        shares = manifold.get(key)
        few = [shares.precision, shares.recall, shares.density, shares.coverage] if shares else [None] * 4
        distance = kernel[key]
        low, high = (1000 * end if distance.subsets > 1 else None for end in (distance.low, distance.high))
        within = Interval(1000 * distance.value, low, high, 0.95, distance.subsets)
        rows.append((label, frechet[key], within, *few))
    return Table(
        f"Distance to {count:,} held-out patches, by {name}",
        ["", "Fréchet", "kernel × 1000 (over subsets)", "precision", "recall", "density", "coverage"],
        rows,
        "Of the same number of patches on each side. Figures by other features, or of other numbers of patches, do not "
        "compare.",
    )


def _add_spectra(section: Section, study: Study) -> None:
    study.say("spectra")
    held_out, train = study.held_out, study.train
    sets: dict[str, tuple[str, Patches]] = {
        "floor": (
            "floor: real training patches",
            train.pixels[subset(len(train), len(held_out), study.seed)],
        ),
        **(_rebuilt_sets(study) if study.rebuilds else {}),
        "generated": ("drawn", study.drawn),
    }
    rows: list[tuple[Any, ...]] = []
    figures: dict[str, Sharpness | str] = {}
    for key, (words, patches) in sets.items():
        if not np.ptp(patches):
            figures[key] = "all patches are of one grey"
            rows.append((words, None, None, None))
            continue
        found = compare_sharpness(patches, held_out.pixels, held_out.patients, seed=study.seed)
        figures[key] = found
        if not rows:
            rows.append(("held-out real patches", found.real_exponent, found.real_top_octave_share, 1.0))
        rows.append((words, found.exponent, found.top_octave_share, found.top_octave_ratio))
    section.figures["sharpness"] = figures
    section.tables.append(
        Table(
            "Sharpness, without any network",
            ["", "spectral exponent", "top octave, share of variance", "top-octave energy / real"],
            rows,
            "P(f) ~ 1/f^exponent: blurred patches have a higher exponent, and less energy in the top octave.",
        )
    )
    curves = {"held-out": power_spectra(held_out.pixels).mean(axis=0)}
    curves |= {words: power_spectra(patches).mean(axis=0) for words, patches in sets.values()}
    section.figures["spectra"] = curves
    section.pictures.append(("Power spectra", [picture(charts.spectra(curves), "mean over the patches")]))


def _rebuilt_sets(study: Study) -> dict[str, tuple[str, Patches]]:
    if study.grain is None:
        return {"reconstructed": ("reconstructions", study.rebuilt)}
    return {
        "reconstructed": ("reconstructions, with grain", study.rebuilt),
        "without_grain": ("as rendered", study.encoded.reconstructed),
    }
