"""The datasheet of a synthetic set that leaves the house: what it is, what it is not, and how to make it again."""

import numpy as np

from nlbs.generate.folder import SOFTWARE, Provenance, set_name
from nlbs.generate.plan import Plan
from nlbs.manifests.conditions import UNKNOWN
from nlbs.manifests.schema import Columns, Condition

_TEXT = """\
# Synthetic patches

**Every picture in this folder is synthetic.** A {title} drew it. None shows a person, and
none may be used to diagnose, to triage, or to measure how well anything does on people.

| | |
|---|---|
| patches | {patches:,} of {resolution} x {resolution} pixels, 8 bits, grey |
| where | {where} |
| model | {model} (first 16 digits of the SHA-256 of its checkpoint) |
| sampler | {sampler} |
| seed | {seed} |
| conditions | {conditions} |
| made with | {software}, `nlbs-generate {recipe}` |

## Conditions

What the model was asked for, not what anybody has seen in the pictures.

| condition | value | patches |
|---|---|---|
{rows}

## Before it is passed on

- A model may repeat images that it was trained on. Whether this one does is not known from here: measure it, with
  `nlbs-evaluate` where it is at hand, before anybody outside sees this folder.
- The conditions have the joint distribution of the training images: how often each combination occurs is told.
- Each patch is an image and a patient of its own, in the split `train`; their ids begin with `s`, as no real one does.
- Do not mix it with real patches without keeping the column `synthetic`.
"""


def datasheet(plan: Plan, provenance: Provenance, kind: str, title: str) -> str:
    """Return the text, in Markdown.

    Args:
        plan: what was drawn.
        provenance: by what.
        kind: the format, "png" or "shards".
        title: of the model's family, in words.
    """
    where = "PNG files and `samples.csv`"
    if kind == "shards":
        where = f"`{set_name(provenance.resolution)}/`, tar shards for any WebDataset reader, and `manifest.arrow`"
    rows = "\n".join(f"| {name} | {value} | {count:,} |" for name, value, count in frequencies(plan))
    return _TEXT.format(
        title=title,
        patches=len(plan),
        resolution=provenance.resolution,
        where=where,
        model=provenance.model,
        sampler=provenance.sampler,
        seed=provenance.seed,
        conditions=provenance.conditions,
        software=SOFTWARE,
        recipe=provenance.recipe,
        rows=rows,
    )


def frequencies(plan: Plan) -> list[tuple[str, str, int]]:
    """Return condition, value in words and number of patches, values in the order of their codes, unknown last.

    A patch may have several labels; of numbers, the range of those that are known is told.
    """
    return [
        (condition.label, word or "unknown", number)
        for condition in plan.schema
        for word, number in _counts(condition, plan.values).items()
        if number
    ]


def _counts(condition: Condition, columns: Columns) -> dict[str, int]:
    values = columns[condition.name]
    if condition.is_coded:
        codes = (*range(len(condition.values)), UNKNOWN)
        return {condition.word(code): int(np.count_nonzero(values == code)) for code in codes}
    unknown = (np.isnan(values) if condition.kind == "continuous" else values == UNKNOWN).any(axis=1)
    known = values[~unknown]
    counts = {"": int(unknown.sum())}
    if condition.kind == "multilabel":
        has = dict(zip(condition.values, (known == 1).sum(axis=0).tolist(), strict=True))
        return {**has, "no finding": int((known != 1).all(axis=1).sum()), **counts}
    if not len(known):
        return counts
    low, high = (condition.word(edge) for edge in (known.min(axis=0), known.max(axis=0)))
    return {low if low == high else f"{low} to {high}": len(known), **counts}
