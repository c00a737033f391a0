"""Quizzes for teaching: of the kinds of cases, and of real or synthetic."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nlbs.generate.educational import cases, kinds
from nlbs.generate.plan import Plan, uniform
from nlbs.generate.png_folder import told_words
from nlbs.generate.real import read_real, rows_of
from nlbs.manifests.captions import caption
from nlbs.models.checkpoint import read_metadata, trained_fit
from nlbs.models.contract import GenerativeModel
from nlbs.models.drawing import Sampler, draw_patches, to_uint8
from nlbs.paths import AnyPath
from nlbs.shards import open_shards


@dataclass(frozen=True)
class Quiz:
    """Pictures, and what each of them is."""

    title: str
    question: str
    choices: Sequence[str]
    images: Sequence[npt.NDArray[np.uint8]]  #: (R, R), or (R, R, 3)
    answers: Sequence[int]  #: places of the choices
    told: Sequence[str]  #: what stands below each picture
    note: str = ""

    def as_json(self) -> dict[str, Any]:
        """Return it as a page holds it, pixels in base64."""
        items = zip(self.images, self.answers, self.told, strict=True)
        return {
            **{name: getattr(self, name) for name in ("title", "question", "choices", "note")},
            "items": [[base64.b64encode(i.tobytes()).decode(), int(a), t] for i, a, t in items],
        }


def quiz_of_kinds(sampler: Sampler, num: int, seed: int) -> Quiz:
    """Return a quiz of the cases that ``nlbs-generate educational`` draws, ``num`` of each kind.

    Raises:
        ConfigError: the model has no condition that tells healthy patients from others.
    """
    plan, choices = cases(sampler.schema, num, seed, {}), list(kinds(sampler.schema))
    told = [caption(told_words(plan, index), plan.schema).replace("\n", ", ") for index in range(len(plan))]
    return Quiz(
        "What is it?",
        "Which kind of case does this synthetic patch show?",
        choices,
        list(draw_patches(sampler, plan.values, seed)),
        [choices.index(str(word)) for word in plan.columns["answer"]],
        told,
    )


def quiz_of_real(
    sampler: Sampler, model: GenerativeModel, checkpoint: Path, shards: AnyPath, split: str, num: int,
    seed: int, licence: str,
) -> Quiz:  # fmt: skip
    """Return a quiz of ``num`` real patches of a split and of as many that are drawn by the same conditions.

    Raises:
        ConfigError: the set has no such patches, or they do not fit the model.
        ShardError: it cannot be opened.
    """
    with open_shards(shards) as opened:
        rows = rows_of(opened, (), split, num, seed)
        fit = trained_fit(read_metadata(checkpoint))
        pixels, conditions = read_real(opened, rows, model, sampler.device, fit)
    plan = Plan(sampler.schema, {name: values.cpu().numpy() for name, values in conditions.items()}, "")
    images = [*to_uint8(pixels), *draw_patches(sampler, plan.values, seed)]
    words = [caption(plan.words(index), plan.schema).replace("\n", ", ") for index in range(len(plan))]
    order = np.argsort(uniform("real or synthetic", seed, len(images)), kind="stable")
    return Quiz(
        "Real or synthetic?",
        "Is this patch real, or drawn by the model?",
        ("real", "synthetic"),
        [images[place] for place in order],
        [int(place >= len(rows)) for place in order],
        [words[place % len(rows)] for place in order],
        f"Real patches: {licence}",
    )
