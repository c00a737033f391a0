"""The section on reconstructions: figures of patches, and whether small bright dots survive."""

from typing import Any

import numpy as np

from nlbs.errors import EvaluationError
from nlbs.evaluate.measures.arrays import Floats
from nlbs.evaluate.measures.dots import dot_recall, find_dots, plant_dots
from nlbs.evaluate.measures.intervals import Interval, mean_interval
from nlbs.evaluate.measures.model_view import encode
from nlbs.evaluate.measures.reconstruction import compare_reconstructions
from nlbs.evaluate.measures.references import POINT_MASS, point_mass
from nlbs.evaluate.real_patches import RealPatches
from nlbs.evaluate.report import Section, Table
from nlbs.evaluate.study import Study

_MOST = 1000  #: patches whose SSIM is computed, and dots
_DOT_PX = 3.0
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
        f"Held-out patches through the encoder and back, from the means of the latents. On the {study.shows} alone "
        f"(where the real patch is above 0), data range 255, MS-SSIM at {len(weights)} scales. "
        "Intervals: 95 %, by patient."
    ])  # fmt: skip
    if study.model.doubts.reconstructions:
        section.attention.append(study.model.doubts.reconstructions)
    section.figures = {"patches": len(real), "data_range": 255, "ms_ssim_weights": weights, **rows}
    body = [
        (words, *(rows[one][name] for name in _MEASURES))
        for one, words in (("reconstructed", "reconstructions"), ("point_mass", POINT_MASS))
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
