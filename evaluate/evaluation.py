"""The two uses of nlbs-evaluate, from paths to written reports."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nlbs import __version__
from nlbs.errors import ConfigError, EvaluationError, NlbsError
from nlbs.evaluate.measures.anomaly import default_filters
from nlbs.evaluate.measures.features import DEFAULT_EXTRACTOR, FeatureExtractor, extractor
from nlbs.evaluate.real_patches import RealPatches, Rows, read_patches, rows_to_judge_on
from nlbs.evaluate.report import Section, as_card, write_report
from nlbs.evaluate.sections.anomaly import Search, anomaly_sections
from nlbs.evaluate.sections.control import condition_control
from nlbs.evaluate.sections.galleries import galleries
from nlbs.evaluate.sections.latents import latents
from nlbs.evaluate.sections.memorisation import memorisation
from nlbs.evaluate.sections.realism import realism
from nlbs.evaluate.sections.reconstruction import reconstruction
from nlbs.evaluate.sections.utility import training_utility
from nlbs.evaluate.study import Study
from nlbs.models.card import complete_card, told_filter
from nlbs.models.checkpoint import read_metadata, trained_fit
from nlbs.models.contract import GenerativeModel
from nlbs.models.device import choose_device
from nlbs.models.folder import model_id, model_name
from nlbs.models.pixels import require_channels
from nlbs.models.registry import load_checkpoint
from nlbs.models.seen import guess, unseen
from nlbs.models.stages.choice import SamplerChoice
from nlbs.paths import AnyPath
from nlbs.shards import ShardSet, open_shards
from nlbs.shards.format.payload import foreground_word

#: Training patches that copies are looked for among: the detector keeps 16 KB of each, beside its pixels.
_AUDITED, _AUDITED_BYTES = 50_000, 1_000_000_000

REPORT, ANOMALY = "report", "anomaly"  #: names of the files, without .html and .json

_NOTE = (
    "Figures are of patches, not of people: none of them says that a model is safe to use on a patient. This page "
    "shows parts of real images: handle it as you handle the shards."
)
_MAKE: dict[str, Callable[[Study], Section]] = {
    "galleries": galleries,
    "reconstruction": reconstruction,
    "realism": realism,
    "control": condition_control,
    "utility": training_utility,
    "memorisation": memorisation,
    "latents": latents,
}


@dataclass(frozen=True, kw_only=True)
class Setting:
    """On what models are judged, and where the report goes: what all uses are told."""

    shards: AnyPath
    out: Path
    split: str = "test"
    allow_train: bool = False  #: split may be "train"
    device: str = "auto"
    seed: int = 0
    overwrite: bool = False  #: an earlier report
    say: Callable[[str], None] = lambda line: None


@dataclass(frozen=True, kw_only=True)
class Request(Setting):
    """One model, and on what it is judged."""

    checkpoint: Path


def evaluate(
    request: Request, num: int, where: str | None, extractor: str, only: Sequence[str], choice: SamplerChoice
) -> list[Path]:
    """Judge a model and write ``report.html`` and ``report.json``; return both paths.

    Args:
        request: what is judged.
        num: held-out patches at most.
        where: filter of patches; None: that of training.
        extractor: a name as :func:`nlbs.evaluate.measures.features.extractor` takes it.
        only: which sections, in this order.
        choice: how the model draws.

    Raises:
        NlbsError: a report is there already, or something given cannot be used.
    """
    _check_out(request, REPORT)
    checkpoint, split, seed, say = request.checkpoint, request.split, request.seed, request.say
    choice = choice.of(checkpoint)
    model, training, fit = open_model(checkpoint, request.device)
    features, no_features = extractor_or_why(extractor, request.device)
    where = training.get("where") if where is None else where
    with open_shards(request.shards) as shard_set:
        require_channels(shard_set.channels, model.image.channels, shard_set.folder)
        rows = rows_to_judge_on(shard_set, split, where, request.allow_train)
        learnt = rows_to_judge_on(shard_set, "train", where, allow_train=True)

        def read(some: Rows, most: int) -> RealPatches:
            return read_patches(shard_set, some, model.resolution, fit, most, seed, model.schema)

        held_out, train = read(rows, num), read(learnt, 2 * num)
        say(
            f"{counted_patches(held_out)} of {split}, {counted_patches(train)} of train, {model.resolution} pixels wide"
        )
        audited = most_audited(model)
        study = Study(
            model, choice.open(model, checkpoint), train, held_out, features, no_features, seed,
            lambda: read(learnt, audited), len(learnt), say=say,
            shows=foreground_word(shard_set.parameters),
        )  # fmt: skip
        sections = []
        for name in only:
            say(f"{name}:")
            sections.append(section_of(name, study))
        made = _provenance(request, training, shard_set, where) | {
            "held-out patches": counted_patches(held_out),
            "training patches": counted_patches(train),
            "sampler": str(choice),
            "features": features.name if features else f"none: {no_features}",
        }
        doubts = doubts_of(training, shard_set, split)
        if new := unseen(training, held_out.conditions, model.schema):
            doubts.append(guess(new))
    sections[0].attention[:0] = doubts
    head = {"title": f"What {model_name(checkpoint)} is worth", "note": _NOTE, "made": made}
    written = write_report(request.out, REPORT, head, sections)
    _complete_card(request, sections, made)
    return written


def find_anomalies(
    request: Request, healthy: str | None, abnormal: str | None, images: int, heat_maps: int
) -> list[Path]:
    """Score images by a model of healthy ones, write ``anomaly.html`` and ``anomaly.json``; return both paths.

    Args:
        request: what is judged.
        healthy: filter of healthy patches; None: what the model's conditions say.
        abnormal: filter of the others; None: likewise.
        images: scored at most.
        heat_maps: of how many images.

    Raises:
        NlbsError: a report is there already, or something given cannot be used.
    """
    _check_out(request, ANOMALY)
    model, training, fit = open_model(request.checkpoint, request.device)
    with open_shards(request.shards) as shards:
        require_channels(shards.channels, model.image.channels, shards.folder)
        if healthy is None or abnormal is None:
            usual = default_filters(model.schema, shards.code_books)
            healthy, abnormal = healthy or usual[0], abnormal or usual[1]
        search = Search(
            model, shards, fit, request.split, healthy, abnormal, images, request.seed, request.allow_train,
            request.say,
        )  # fmt: skip
        sections = anomaly_sections(search, heat_maps, request.out)
        made = _provenance(request, training, shards, None)
        sections[0].attention[:0] = doubts_of(training, shards, request.split) + _not_healthy(
            training, healthy
        )
    head = {"title": f"Abnormal images by {model_name(request.checkpoint)}", "note": _NOTE, "made": made}
    return write_report(request.out, ANOMALY, head, sections)


def _complete_card(request: Request, sections: Sequence[Section], made: Mapping[str, Any]) -> None:
    """Put the figures of a report into the card of the model's run; where that fails, a line says so."""
    how = {
        "patches": f"{made['held-out patches']}, split {made['split']}",
        "shard set": "that of training" if made["trained on"] == made["dataset id"] else "another one",
        "filter": told_filter(made["filter"]),
        "sampler": made["sampler"],
    }
    try:
        card = complete_card(request.checkpoint, {one.name: as_card(one, how) for one in sections})
    except (NlbsError, OSError) as error:
        request.say(f"the model card was not completed: {error}")
    else:
        if card is not None:
            request.say(f"model card: {card}")


def section_of(name: str, study: Study) -> Section:
    """Return a section by its name; where the patches do not allow it, one that says why."""
    try:
        return _MAKE[name](study)
    except EvaluationError as error:
        study.say(f"left out: {error}")
        return Section(name, name.capitalize(), skipped=str(error))


def _check_out(request: Request, name: str) -> None:
    if (request.out / f"{name}.json").exists() and not request.overwrite:
        raise ConfigError(
            f"{request.out} holds {name}.json already: choose another --out, or pass --overwrite"
        )


def open_model(checkpoint: Path, device: str) -> tuple[GenerativeModel, Mapping[str, Any], str]:
    """Return a model, what its checkpoint says of its training, and how that prepared larger patches."""
    model = load_checkpoint(checkpoint, choose_device(device))
    values = read_metadata(checkpoint)
    training: Mapping[str, Any] = values["training"]
    return model, training, trained_fit(values)


def extractor_or_why(name: str, device: str) -> tuple[FeatureExtractor | None, str]:
    """Return the extractor; of the default one None and the reason where it is not installed."""
    try:
        return extractor(name, device), ""
    except EvaluationError as error:
        if name != DEFAULT_EXTRACTOR:
            raise
        return None, str(error)


def most_audited(model: GenerativeModel) -> int:
    """Return how many training patches of a model's size copies are looked for among, at most."""
    return min(_AUDITED, _AUDITED_BYTES // (model.image.channels * model.resolution**2))


def counted_patches(patches: RealPatches) -> str:
    """Return how many patches of how many patients these are, in words."""
    return f"{len(patches):,} patches of {len(np.unique(patches.patients)):,} patients"


def _provenance(
    request: Request, training: Mapping[str, Any], shards: ShardSet, where: str | None
) -> dict[str, Any]:
    return {
        "checkpoint": str(request.checkpoint),
        "model id": model_id(request.checkpoint),
        "trained on": training.get("dataset_id", "unknown"),
        "trained with --where": training.get("where"),
        "steps": training.get("step"),
        "shard set": str(shards.folder),
        "dataset id": shards.dataset_id,
        "split": request.split,
        "filter": where,
        "seed": str(request.seed),
        "nlbs-cvae": __version__,
    }


def doubts_of(training: Mapping[str, Any], shards: ShardSet, split: str) -> list[str]:
    """Return what makes the whole report doubtful."""
    doubts = []
    if split == "train":
        doubts.append(
            "This is the training split: the model has seen these patches, and every figure flatters it."
        )
    if split == "val":
        doubts.append("The best checkpoint of a run is chosen on val: figures on it are a little too good.")
    if training.get("dataset_id") != shards.dataset_id:
        doubts.append(
            "The model was trained on another shard set, so it is not known whether it has seen these patients."
        )
    return doubts


def _not_healthy(training: Mapping[str, Any], healthy: str) -> list[str]:
    """Return where a model did not learn from healthy images alone."""
    where = training.get("where")
    if where == healthy:
        return []
    learnt = f"from patches with {where}" if where else "from all patches, abnormal ones among them"
    return [
        f"This model learnt {learnt}; a model of healthy tissue is trained with: nlbs-train --where '{healthy}'"
    ]
