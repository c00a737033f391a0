"""Sections of the report without conditions: reconstruction, realism with the sampling gap, latents."""

from typing import Any

import numpy as np

from nlbs.errors import EvaluationError
from nlbs.evaluate.measures.arrays import Floats, Patches, point_mass, subset
from nlbs.evaluate.measures.distances import (
    KernelDistance,
    Manifold,
    frechet_distance,
    kernel_distance,
    precision_recall,
)
from nlbs.evaluate.measures.dots import dot_recall, find_dots, plant_dots
from nlbs.evaluate.measures.features import FeatureExtractor
from nlbs.evaluate.measures.intervals import Interval, mean_interval
from nlbs.evaluate.measures.model_view import encode
from nlbs.evaluate.measures.reconstruction import compare_reconstructions
from nlbs.evaluate.measures.spectra import Sharpness, compare_sharpness, power_spectra
from nlbs.evaluate.real_patches import RealPatches
from nlbs.evaluate.report import Section, Table, picture
from nlbs.evaluate.sections import charts
from nlbs.evaluate.study import Study
from nlbs.models.contract import Bounds, HasPrior, lacks
from nlbs.models.latent_use import active_units, latent_use

_MOST = 1000  #: patches whose SSIM is computed, and dots
_DOT_PX = 3.0
_POINT_MASS = "point mass: always the mean training patch"
_MEASURES = {"l1": "L1, share of the range", "psnr_db": "PSNR, dB", "ssim": "SSIM", "ms_ssim": "MS-SSIM"}


def reconstruction(study: Study) -> Section:
    """Return how well held-out patches are rebuilt, beside the mean training patch."""
    real = study.held_out.take(np.arange(min(_MOST, len(study.held_out))))
    study.say(f"comparing {len(real):,} reconstructions")
    mean = point_mass(study.train.pixels, len(real))
    rows: dict[str, dict[str, Interval]] = {}
    weights: tuple[float, ...] = ()
    for name, other in (("reconstructed", study.encoded.reconstructed[: len(real)]), ("point_mass", mean)):
        found = compare_reconstructions(real.pixels, other)
        weights = found.ms_ssim_weights
        rows[name] = {one: _mean(getattr(found, one), real) for one in _MEASURES}
    section = Section("reconstruction", "Reconstruction", [
        "Held-out patches through the encoder and back, from the means of the latents. On the breast alone (where the "
        f"real patch is above 0), data range 255, MS-SSIM at {len(weights)} scales. Intervals: 95 %, by patient."
    ])  # fmt: skip
    if study.model.doubts.reconstructions:
        section.attention.append(study.model.doubts.reconstructions)
    section.figures = {"patches": len(real), "data_range": 255, "ms_ssim_weights": weights, **rows}
    body = [
        (words, *(rows[one][name] for name in _MEASURES))
        for one, words in (("reconstructed", "reconstructions"), ("point_mass", _POINT_MASS))
    ]
    section.tables.append(Table(f"{len(real):,} patches", ["", *_MEASURES.values()], body))
    _add_dots(section, study, real)
    return section


def _add_dots(section: Section, study: Study, real: RealPatches) -> None:
    """Add whether small bright dots survive: those of the patches themselves, and some that are planted."""
    study.say("dots, planted and found")
    planted = plant_dots(real.pixels, diameter_px=_DOT_PX, seed=study.seed)
    again = encode(study.model, planted.patches, real.conditions).reconstructed
    own = study.encoded.reconstructed[: len(real)]
    kinds = {
        "planted": ("planted dots", planted.patches, again, planted.positions),
        "found": ("dots that the patches have", real.pixels, own, find_dots(real.pixels, _DOT_PX)),
    }
    rows: list[tuple[Any, ...]] = []
    section.figures["dots"] = {"diameter_px": _DOT_PX}
    for name, (words, before, after, positions) in kinds.items():
        try:
            found = dot_recall(before, after, positions, real.patients, _DOT_PX, seed=study.seed)
        except EvaluationError as error:
            section.figures["dots"][name] = None
            rows.append((words, str(error), None, 0))
            continue
        section.figures["dots"][name] = found
        rows.append((words, found.recall, found.chance, found.dots))
    section.tables.append(
        Table(
            f"Small bright dots, {_DOT_PX:g} pixels wide, such as calcifications",
            ["", "share that reconstructions show", "by chance", "dots"],
            rows,
        )
    )


def _mean(values: Floats, real: RealPatches) -> Interval:
    """Return the mean of the finite values: a patch without breast has none, an exact copy no finite PSNR."""
    return mean_interval(np.where(np.isfinite(values), values, np.nan), real.patients)


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
    ratios = [
        (
            "sampling gap: drawn / reconstructions",
            gap,
            "1: drawing costs nothing. Bad reconstructions flatter it.",
        ),
        ("drawn / floor", section.figures["frechet_over_floor"], "1: as near as other real patients"),
        (
            "drawn / point mass",
            section.figures["frechet_over_point_mass"],
            "1: no better than one mean patch",
        ),
    ]
    section.tables.append(Table("Ratios of Fréchet distances", ["", "ratio", "how to read it"], ratios))
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
        "point_mass": _POINT_MASS,
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


def latents(study: Study) -> Section:
    """Return KL per level and active units; say where the latent has collapsed.

    Raises:
        EvaluationError: the model bounds no likelihood, or has no prior.
    """
    if not isinstance(study.model, Bounds):
        raise EvaluationError(lacks(study.model, "bound a likelihood"))
    if not isinstance(study.model, HasPrior):
        raise EvaluationError(lacks(study.model, "hold its latents against a prior"))
    encoded = study.encoded
    levels = encoded.kl_levels
    names = ["z"] if levels.shape[1] == 1 else [f"level {number}" for number in range(1, levels.shape[1] + 1)]
    use = latent_use({name: levels[:, number] for number, name in enumerate(names)})
    section = Section("latents", "Latents", [use.sentence])
    if use.collapsed or any(level.dead for level in use.levels):
        section.attention.append(use.sentence)
    kl = [mean_interval(levels[:, number], study.held_out.patients) for number in range(len(names))]
    units = [active_units(shifts) for shifts in encoded.shifts]
    section.figures = {
        "nats": mean_interval(levels.sum(axis=1), study.held_out.patients),
        "collapsed": use.collapsed,
        "levels": [
            {"name": name, "nats": nats, "dead": level.dead}
            for name, nats, level in zip(names, kl, use.levels, strict=True)
        ],
        "active_units": [{"active": one.active, "total": one.total} for one in units],
    }
    section.tables.append(
        Table(
            f"KL of q(z | x, c) from the prior, {len(levels):,} held-out patches, coarse to fine",
            ["level", "nats", "share", "dead"],
            [
                (name, nats, one.share, one.dead)
                for name, nats, one in zip(names, kl, use.levels, strict=True)
            ],
        )
    )
    section.tables.append(
        Table(
            f"Active units, {len(encoded.shifts[0]):,} patches",
            ["latent", "active", "of"],
            [(number, one.active, one.total) for number, one in enumerate(units, 1)],
            "Units whose posterior mean, less the prior's and in its deviations, varies by more than .01 among patches "
            "(Burda et al. 1509.00519): with the patch, and not with its conditions or coarser latents.",
        )
    )
    return section
