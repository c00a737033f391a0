"""The datasheet of a synthetic set that leaves the house: what it is, what it is not, and how to make it again."""

import numpy as np

from nlbs.generate.folder import set_name
from nlbs.generate.plan import Plan
from nlbs.generate.provenance import Provenance
from nlbs.generate.words import in_words
from nlbs.manifests.conditions import CONDITIONS, UNKNOWN

_TEXT = """\
# Synthetic mammogram patches

**Every picture in this folder is synthetic.** A conditional variational autoencoder drew it. None shows a person, and
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


def datasheet(plan: Plan, provenance: Provenance, kind: str) -> str:
    """Return the text, in Markdown.

    Args:
        plan: what was drawn.
        provenance: by what.
        kind: the format, "png" or "shards".
    """
    where = "PNG files and `samples.csv`"
    if kind == "shards":
        where = f"`{set_name(provenance.resolution)}/`, tar shards for any WebDataset reader, and `manifest.arrow`"
    rows = "\n".join(f"| {name} | {value} | {count:,} |" for name, value, count in frequencies(plan))
    return _TEXT.format(
        patches=len(plan),
        resolution=provenance.resolution,
        where=where,
        model=provenance.model,
        sampler=provenance.sampler,
        seed=provenance.seed,
        conditions=provenance.conditions,
        software="NLBS-CVAE",
        recipe=provenance.recipe,
        rows=rows,
    )


def frequencies(plan: Plan) -> list[tuple[str, str, int]]:
    """Return condition, value in words and number of patches, values in the order of their codes, unknown last."""
    found = []
    for name, count in CONDITIONS.items():
        for code in (*range(count), UNKNOWN):
            word = in_words({**dict.fromkeys(CONDITIONS, UNKNOWN), name: code})[name]
            number = int(np.count_nonzero(plan.codes[name] == code))
            if number:
                found.append((name.replace("_", " "), word or "unknown", number))
    return found
