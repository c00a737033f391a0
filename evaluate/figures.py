"""The figures of one model in a comparison: what each section of a report measures, with an interval by patient."""

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from nlbs.errors import EvaluationError, NlbsError
from nlbs.evaluate.measures.anomaly import by_image, default_filters, images_of, negative_elbo, score_rows
from nlbs.evaluate.measures.distances import distance_intervals
from nlbs.evaluate.measures.intervals import Interval, auroc_interval, mean_interval
from nlbs.evaluate.measures.references import subset
from nlbs.evaluate.real_patches import subsample
from nlbs.evaluate.sections.anomaly import Search, chosen_rows
from nlbs.evaluate.sections.control import condition_control
from nlbs.evaluate.sections.galleries import MOST_VALUES, SHOWN, TILE_PX, groups_of
from nlbs.evaluate.sections.memorisation import memorisation
from nlbs.evaluate.sections.realism import realism
from nlbs.evaluate.sections.reconstruction import reconstruction
from nlbs.evaluate.study import Study
from nlbs.models.contract import Bounds, lacks
from nlbs.models.drawing import BATCH, SamplerAround
from nlbs.pictures import contact_sheet, picture_uri

_STRIP_PX = 1200  #: of a row of a gallery, at most
_NATS_TO_BITS, _GREY_BITS = 1 / math.log(2), math.log2(127.5)  #: a grey level is 1 / 127.5 on [-1, 1]


@dataclass(frozen=True)
class ModelFigures:
    """What one model does, as it is kept: JSON values, intervals as objects."""

    about: dict[str, Any]  #: family, resolution, fit, sampler, device, patches
    figures: dict[str, Any]
    lacks: dict[str, str]  #: figure -> why there is none
    doubts: list[str] = field(default_factory=list)
    galleries: dict[str, dict[str, str]] = field(
        default_factory=dict
    )  #: "view CC" -> "real", "drawn" as data URIs

    def interval(self, name: str) -> Interval | None:
        """Return a figure with its interval; None where there is none."""
        return as_interval(self.figures.get(name))

    @property
    def size(self) -> str:
        """What has to be equal where distances compare."""
        cropped = ", cropped" if self.about["fit"] == "crop" else ""
        return f"{self.about['resolution']} x {self.about['resolution']}{cropped}"


class TimedSampler(SamplerAround):
    """Draws as the sampler it is around does, and keeps how long each batch took."""

    def __init__(self, sampler: Any) -> None:
        """Take the other sampler."""
        super().__init__(sampler)
        self.seconds: list[float] = []

    def draw(self, noise: Sequence[Tensor], conditions: Mapping[str, Tensor]) -> Tensor:
        """Return patches (B, C, R, R), once they are there."""
        begun = time.perf_counter()
        drawn: Tensor = self.sampler.draw(noise, conditions)
        if drawn.device.type == "cuda":
            torch.cuda.synchronize(drawn.device)
        self.seconds.append(time.perf_counter() - begun)
        return drawn

    def seconds_per_1000(self) -> Interval:
        """Return the seconds of 1,000 draws, over batches; the first one, which is slower, is left out."""
        timed = np.array(self.seconds[1:] or self.seconds) * 1000 / BATCH
        return mean_interval(timed, np.arange(len(timed)))


Figures = dict[str, Any]
#: What a part leaves: figures, and under "lacks" and "doubts" what is said of them.
_Part = Callable[[Study, Search], Figures]


def figures_of(
    study: Study, sampler: TimedSampler, search: Search, only: Sequence[str]
) -> tuple[Figures, dict[str, str], list[str], dict[str, dict[str, str]]]:
    """Return the figures of a model, why others are lacking, what is doubtful, and the rows of its galleries.

    Args:
        study: of the model, which draws by ``sampler``.
        sampler: keeps the time.
        search: what is scored for anomalies; its filters are those of the model's conditions.
        only: the parts that are asked for.
    """
    networks = [
        study.model,
        *sampler.networks,
        *([sampler.grain] if isinstance(sampler.grain, nn.Module) else []),
    ]
    every = {id(one): one.numel() for network in networks for one in network.parameters()}
    _ = study.drawn
    figures: Figures = {"parameters": sum(every.values()), "seconds_per_1000": sampler.seconds_per_1000()}
    lacking: dict[str, str] = {}
    doubts: list[str] = []
    for name, (part, keys) in _PARTS.items():
        if name not in only:
            lacking |= dict.fromkeys(keys, "not asked for (--only)")
            continue
        try:
            found = part(study, search)
            lacking |= found.pop("lacks", {})
            doubts += found.pop("doubts", [])
            figures |= found
        except NlbsError as error:
            lacking |= dict.fromkeys(keys, str(error))
    missing = study.no_extractor or "not measurable"
    lacking |= {key: missing for _, keys in _PARTS.values() for key in keys if key not in figures | lacking}
    return figures, lacking, doubts, dict(_strips(study)) if "galleries" in only else {}


def _reconstruction(study: Study, search: Search) -> Figures:
    rebuilt = reconstruction(study).figures["reconstructed"]
    return {name: rebuilt[name] for name in ("psnr_db", "ssim")}


def _likelihood(study: Study, search: Search) -> Figures:
    """Return bits per number of a patch, at most: pixels are of 256 grey levels, as stored patches are."""
    if not isinstance(study.model, Bounds):
        raise EvaluationError(lacks(study.model, "bound a likelihood"))
    encoded, numbers = study.encoded, study.model.image.channels * study.model.resolution**2
    nats, _ = negative_elbo(encoded.absolute_error, encoded.kl_levels.sum(axis=1), numbers)
    levels = encoded.kl_levels.shape[1]
    return {
        "bits": mean_interval(nats / numbers * _NATS_TO_BITS + _GREY_BITS, study.held_out.patients),
        "bound": f"KL of {levels} {'latent' if levels == 1 else 'levels of latents'} from the prior of the family "
        f"{study.model.family}, and a Laplace error of its reconstructions at one scale",
    }


def _realism(study: Study, search: Search) -> Figures:
    found, figures = realism(study).figures, Figures()
    if "frechet" in found:
        some = subset(len(study.held_out), found["patches"], study.seed)
        real, drawn = study.features("held_out")[some], study.features("drawn")[some]
        study.say("intervals of distances, by patient")
        figures = {
            **distance_intervals(real, drawn, study.held_out.patients[some], study.seed),
            **{f"frechet_{name}": found["frechet"][name] for name in ("floor", "point_mass")},
            **{f"kernel_{name}": found["kernel"][name].value for name in ("floor", "point_mass")},
            **{f"{name}_floor": getattr(found["manifold"]["floor"], name) for name in _SHARES},
        }
    sharp = found["sharpness"]["generated"]
    if isinstance(sharp, str):
        return figures
    return figures | {
        "exponent": sharp.exponent,
        "exponent_real": sharp.real_exponent,
        "top_octave": sharp.top_octave_ratio,
    }


def _control(study: Study, search: Search) -> Figures:
    section = condition_control(study)
    found = section.figures
    why = {
        f"control of {name}": one["not_measurable"] for name, one in found.items() if one["not_measurable"]
    }
    ratios = {name: one["ratio"] for name, one in found.items()}
    return {"control": ratios, "lacks": why, "doubts": section.attention}


def _memorisation(study: Study, search: Search) -> Figures:
    section = memorisation(study)
    copies = section.figures["copies"]
    found = {"copies": copies["verdict"], "doubts": section.attention}
    if "why" in copies:
        return found | {"lacks": {"flagged": copies["why"]}}
    return found | {"flagged": copies["generated_flagged"]}


def _anomaly(study: Study, search: Search) -> Figures:
    if not isinstance(study.model, Bounds):
        raise EvaluationError(lacks(study.model, "bound a likelihood"))
    healthy, abnormal = default_filters(study.model.schema, search.shards.code_books)
    search = replace(search, healthy=healthy, abnormal=abnormal)
    rows, is_abnormal = chosen_rows(search)
    study.say(f"scoring {len(rows):,} patches")
    found = score_rows(search.model, search.shards, rows, is_abnormal, search.fit)
    scores = by_image(found.scores["negative_elbo"], found.images, "top")
    _, patients, labels = images_of(found)
    auroc = auroc_interval(scores, labels, patients, seed=search.seed)
    return {"auroc": auroc, "healthy": healthy, "abnormal": abnormal}


_SHARES = ("precision", "recall", "coverage")
#: name -> what measures it, and the figures that it leaves
_PARTS: dict[str, tuple[_Part, tuple[str, ...]]] = {
    "reconstruction": (_reconstruction, ("psnr_db", "ssim")),
    "likelihood": (_likelihood, ("bits",)),
    "realism": (_realism, ("frechet", "kernel", *_SHARES, "exponent", "top_octave")),
    "control": (_control, ("control",)),
    "memorisation": (_memorisation, ("copies", "flagged")),
    "anomaly": (_anomaly, ("auroc",)),
}


def _strips(study: Study) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield of all, and of each value of each condition, a row of real patches and one of draws by their conditions."""
    held_out, seed = study.held_out, study.seed
    groups = [("of all", subsample(held_out.patients, SHOWN, seed))]
    for condition in study.model.schema:
        groups += groups_of(condition, held_out, seed)[:MOST_VALUES]
    for words, chosen in groups:
        kinds = {"real": held_out.pixels, "drawn": study.drawn}
        yield words, {kind: _strip(pixels[chosen]) for kind, pixels in kinds.items()}


def _strip(pixels: npt.NDArray[np.uint8]) -> str:
    sheet = contact_sheet(list(pixels), [""] * len(pixels), columns=len(pixels), tile_px=TILE_PX)
    return str(picture_uri(sheet, _STRIP_PX))


def as_interval(value: Any) -> Interval | None:
    """Return a kept value as an interval; None: it is none."""
    if isinstance(value, Mapping) and value.get("value") is not None:
        return Interval(**value)
    return None
