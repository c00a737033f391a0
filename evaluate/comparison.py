"""The use ``compare`` of nlbs-evaluate: several models on the same held-out patches, whose figures are kept."""

import hashlib
import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from nlbs import __version__
from nlbs.config import read_yaml
from nlbs.errors import ConfigError, EvaluationError, NlbsError
from nlbs.evaluate.evaluation import (
    Setting,
    counted_patches,
    doubts_of,
    extractor_or_why,
    most_audited,
    open_model,
)
from nlbs.evaluate.figures import ModelFigures, TimedSampler, figures_of
from nlbs.evaluate.measures.features import FeatureExtractor
from nlbs.evaluate.real_patches import RealPatches, Rows, read_patches, rows_to_judge_on
from nlbs.evaluate.report import plain, write_report
from nlbs.evaluate.sections.anomaly import Search
from nlbs.evaluate.sections.comparison import comparison_sections
from nlbs.evaluate.study import Study
from nlbs.files import read_json, write_json
from nlbs.json_text import parse_json
from nlbs.models.checkpoint import read_metadata
from nlbs.models.contract import GenerativeModel
from nlbs.models.device import choose_device
from nlbs.models.folder import file_digest, model_file
from nlbs.models.pixels import require_channels
from nlbs.models.seen import guess, unseen
from nlbs.models.stages.choice import SamplerChoice
from nlbs.models.stages.stage import stages
from nlbs.shards import ShardSet, open_shards
from nlbs.shards.format.payload import foreground_word
from nlbs.system_calls import open_regular
from nlbs.text import counted

COMPARE, KEPT = "compare", "models"  #: name of the files without .html and .json; folder of what was measured
_VERSION = 1  #: of what is kept; another one is measured anew
_IMAGES = 200  #: scored for anomalies at most, half of them abnormal
_MOST_ROW_CHARS = 1 << 20
_NOTE = (
    "Every model drew by the conditions of the same held-out patches, as it draws by itself. Figures are of patches, "
    "not of people: none of them says that a model is safe to use on a patient. This page shows parts of real images: "
    "handle it as you handle the shards."
)


def compare(
    setting: Setting, runs: Sequence[Path], num: int, where: str | None, extractor: str, only: Sequence[str]
) -> list[Path]:
    """Judge models on the same patches, and write ``compare.html`` and ``compare.json``; return both paths.

    What a model was found to do is kept in the folder ``models`` beside them, and is not measured again for the same
    weights, shards and options. A model that cannot be judged costs its row.

    Args:
        setting: on what they are judged; ``overwrite`` measures anew.
        runs: run folders, or checkpoints.
        num: held-out patches at most.
        where: filter of patches; None: that of all trainings where it is one, else all patches.
        extractor: a name as :func:`nlbs.evaluate.measures.features.extractor` takes it.
        only: parts that are measured, names of PARTS.

    Raises:
        NlbsError: no model can be judged, or something given cannot be used.
    """
    named = _named(runs)
    trained, failed = _trained(named)
    for name, why in failed.items():
        setting.say(f"{name} is left out: {why}")
    if where is None:
        filters = set(trained.values())
        where = filters.pop() if len(filters) == 1 else None
    rows: dict[str, ModelFigures] = {}
    with open_shards(setting.shards) as shards:
        judge = _Judge.of(setting, shards, num, where, extractor, only)
        for name in trained:
            setting.say(f"{name}:")
            try:
                rows[name] = judge.row(named[name])
            except NlbsError as error:
                setting.say(f"left out: {error}")
                failed[name] = str(error)
        if not rows:
            raise EvaluationError(f"no model could be judged: {'; '.join(failed.values())}")
        ordered = {name: rows[name] for name in named if name in rows}
        sections = comparison_sections(ordered, {name: failed[name] for name in named if name in failed})
        if len(set(trained.values())) > 1:
            sections[0].attention.append(_other_filters(trained, where))
        made = judge.options | {"shard set": str(shards.folder), "nlbs-cvae": __version__}
    head = {"title": "Which generator should I use?", "note": _NOTE, "made": made}
    return write_report(setting.out, COMPARE, head, sections)


def _named(runs: Sequence[Path]) -> dict[str, Path]:
    """Return the runs by the names of their folders; where two have one name, by their paths."""
    short = [run.parent.name if run.suffix == ".safetensors" else run.name for run in runs]
    names = short if len(set(short)) == len(runs) and all(short) else [str(run) for run in runs]
    named = dict(zip(names, runs, strict=True))
    if len(named) < len(runs):
        raise ConfigError(f"of {', '.join(names)} one is given twice; give each run once")
    return named


def _trained(named: Mapping[str, Path]) -> tuple[dict[str, str | None], dict[str, str]]:
    """Return the filters by which models were trained, and in a sentence each why others cannot be read."""
    trained, failed = {}, {}
    for name, run in named.items():
        try:
            trained[name] = read_metadata(model_file(run))["training"].get("where")
        except NlbsError as error:
            failed[name] = str(error)
    return trained, failed


def _other_filters(trained: Mapping[str, str | None], where: str | None) -> str:
    learnt = "; ".join(f"{name} from {filtered or 'all patches'}" for name, filtered in trained.items())
    return f"The models learnt from different patches ({learnt}), and are judged on {where or 'all patches'}."


@dataclass
class _Judge:
    """What all models are judged by."""

    setting: Setting
    shards: ShardSet
    rows: Rows  #: of held-out patches
    learnt: Rows  #: of training patches
    num: int
    features: FeatureExtractor | None
    no_features: str
    only: tuple[str, ...]
    options: dict[str, Any]  #: what figures depend on, beside the model
    _size: Any = None  #: of the images that are held at the moment
    _real: dict[Any, Any] = field(default_factory=dict)  #: what was made of these, as a Study keeps it

    @classmethod
    def of(
        cls,
        setting: Setting,
        shards: ShardSet,
        num: int,
        where: str | None,
        extractor: str,
        only: Sequence[str],
    ) -> "_Judge":
        rows = rows_to_judge_on(shards, setting.split, where, setting.allow_train)
        learnt = rows_to_judge_on(shards, "train", where, allow_train=True)
        features, no_features = extractor_or_why(extractor, setting.device)
        options = {
            "dataset id": shards.dataset_id,
            "split": setting.split,
            "filter": where,
            "held-out patches at most": num,
            "seed": str(setting.seed),
            "features": features.name if features else f"none: {no_features}",
            "parts": ", ".join(only),
            "device": _device(choose_device(setting.device)),
        }
        return cls(setting, shards, rows, learnt, num, features, no_features, tuple(only), options)

    def row(self, run: Path) -> ModelFigures:
        """Return what a model does: as it is kept, else measured, and kept."""
        checkpoint = model_file(run)
        choice = SamplerChoice().of(checkpoint)
        files = [checkpoint, *choice.files(checkpoint)]
        identity = self.options | {
            "version": [_VERSION, __version__],
            "sampler": str(choice),
            "weights": {file.name: file_digest(file) for file in files},
        }
        digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
        path = self.setting.out / KEPT / f"{digest[:32]}.json"
        kept = None if self.setting.overwrite else _kept(path, identity)
        if kept is None:
            kept = plain(asdict(self._measured(checkpoint, choice)))
            write_json(path, {"identity": identity, "measured": kept})
        else:
            self.setting.say("measured before")
        measured = ModelFigures(**kept)
        figures, lacks = cost_of(checkpoint, files)
        return ModelFigures(
            measured.about,
            figures | measured.figures,
            lacks | measured.lacks,
            measured.doubts,
            measured.galleries,
        )

    def _measured(self, checkpoint: Path, choice: SamplerChoice) -> ModelFigures:
        setting = self.setting
        model, training, fit = open_model(checkpoint, setting.device)
        require_channels(self.shards.channels, model.image.channels, self.shards.folder)
        if self._size != (size := (model.resolution, fit)):
            self._size, self._real = size, {}
        held_out = self._read(model, fit, self.rows, self.num)
        train = self._read(model, fit, self.learnt, 2 * self.num)
        setting.say(
            f"{counted_patches(held_out)} of {setting.split}, {model.resolution} pixels wide, by {choice}"
        )
        sampler = TimedSampler(choice.open(model, checkpoint))
        study = Study(
            model, sampler, train, held_out, self.features, self.no_features, setting.seed,
            lambda: self._read(model, fit, self.learnt, most_audited(model)), len(self.learnt), say=setting.say,
            of_real=self._real, shows=foreground_word(self.shards.parameters),
        )  # fmt: skip
        search = Search(
            model, self.shards, fit, setting.split, "", "", _IMAGES, setting.seed, setting.allow_train, setting.say
        )  # fmt: skip
        doubts = doubts_of(training, self.shards, setting.split)
        if new := unseen(training, held_out.conditions, model.schema):
            doubts.append(guess(new))
        about = {
            "family": model.family,
            "resolution": model.resolution,
            "fit": fit,
            "sampler": str(choice),
            "device": self.options["device"],
            "patches": len(held_out),
        }
        figures, lacks, more_doubts, galleries = figures_of(study, sampler, search, self.only)
        return ModelFigures(about, figures, lacks, doubts + more_doubts, galleries)

    def _read(self, model: GenerativeModel, fit: str, rows: Rows, most: int) -> RealPatches:
        """Return real patches at a model's size: read once for all models of that size, with the conditions of each."""
        key = ("patches", len(rows), rows is self.rows, most)
        if key not in self._real:
            self._real[key] = read_patches(
                self.shards, rows, model.resolution, fit, most, self.setting.seed, model.schema
            )
        found: RealPatches = self._real[key]
        conditions = self.shards.conditions(found.rows, model.schema)
        return RealPatches(found.pixels, conditions, found.patients, found.images, found.rows)


def _kept(path: Path, identity: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return what was measured before of just this; None where nothing was, or it cannot be read."""
    try:
        values = read_json(path)
        if values["identity"] != identity:
            return None
        measured: dict[str, Any] = values["measured"]
        ModelFigures(**measured)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return measured


def _device(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{platform.machine()} processor, {counted(torch.get_num_threads(), 'thread')}"


def cost_of(checkpoint: Path, files: Sequence[Path]) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the training minutes and patches that a run folder tells, and why it tells no more.

    The minutes are those of training epochs, by their rates in ``metrics.jsonl``, without validation, and of the
    stages that are drawn with; of a run of before their time was kept, these have no minutes of their own beside.

    Args:
        checkpoint: whose run folder it is.
        files: that are drawn with.
    """
    folder = checkpoint.parent
    try:
        config = read_yaml(folder / "config.yaml")
        batch = int(config["data"]["batch_size"])
        ends, spent = _times(folder / "metrics.jsonl")
        steps = [0, *(step for step, _ in ends)]
        seconds = sum(
            (end - start) * batch / rate
            for start, end, (_, rate) in zip(steps, steps[1:], ends, strict=False)
        )
        figures = {"minutes": seconds / 60, "patches": steps[-1] * batch}
    except (NlbsError, OSError, ValueError, KeyError, TypeError, ZeroDivisionError):
        why = f"{folder} has no config.yaml and metrics.jsonl of a run"
        return {}, dict.fromkeys(("minutes", "patches"), why)
    drawn = {file.name for file in files}
    for stage in stages():
        section = config.get(stage.section)
        if stage.path(checkpoint).name not in drawn:
            continue
        if stage.name in spent:
            figures[f"minutes of {stage.words}"] = spent[stage.name] / 60
            figures["minutes"] += spent[stage.name] / 60
        if isinstance(section, dict) and "patches" in section:
            figures[f"patches of {stage.words}"] = section["patches"]
    return figures, {}


def _times(metrics: Path) -> tuple[list[tuple[int, float]], dict[str, float]]:
    """Return the last step of each epoch with its patches per second, and the seconds of the last fit of each stage."""
    ends: dict[int, tuple[int, float]] = {}
    spent: dict[str, float] = {}
    with open(open_regular(metrics), encoding="utf-8") as file:
        while text := file.readline(_MOST_ROW_CHARS):
            try:
                row = parse_json(text)
            except ValueError:
                continue  # the last row of a run that was killed while it wrote
            if row["kind"] == "speed" and row["patches_per_s"]:
                ends[row["epoch"]] = row["step"], row["patches_per_s"]
            elif row["kind"] == "stage":  # a part of its fit; one that begins at step 0 is another fit
                before = spent.get(row["stage"], 0.0) if row["first"] else 0.0
                spent[row["stage"]] = before + row["seconds"]
    return list(ends.values()), spent
