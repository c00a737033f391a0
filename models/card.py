"""The model card: README.md beside a model (:mod:`nlbs.card`), which nlbs-train and nlbs-evaluate write."""

import re
from collections.abc import Mapping
from pathlib import Path

from nlbs.card import CARD, Parts, blocks_of, markdown, marked, read_card, with_blocks, write_card
from nlbs.models.folder import fitted_ids, model_id
from nlbs.models.stages.stage import stages

NO_COPIES = "no copies found"
#: The blocks of nlbs-evaluate, which are named like the sections of its report -> their headings.
MEASURED = {
    "reconstruction": "Reconstruction",
    "realism": "Realism",
    "control": "Control by conditions",
    "utility": "Utility",
    "memorisation": "Memorisation",
    "latents": "Latents",
}

_VERDICT = "Copies of training patches"
_NOT_MEASURED = "Not measured yet: `nlbs-evaluate` writes it here.\n"
_NOT_AUDITED = (
    f"**{_VERDICT}: not audited.** `nlbs-evaluate` looks for them, and writes here what it finds.\n"
)
_NOTHING = dict.fromkeys(MEASURED, _NOT_MEASURED) | {"memorisation": _NOT_AUDITED}
_TEXT = """\
---
license: unknown  # choose one before you share it, under the terms of the data
library_name: nlbs-cvae
pipeline_tag: unconditional-image-generation
tags:
- medical-imaging
- synthetic-data
---

# Synthetic patches by a {title}

<!-- What stands between two marks "nlbs-cvae" is written by its programs, again and again; all else is yours. -->

## Intended use

Research and teaching: it draws patches of images by condition, none of which shows a person.

**Not for diagnosis**, triage, or anything that touches a patient, nor to measure how well anything does on people. What
it draws says nothing about a person, and may repeat what it was trained on: see *Memorisation*.

```python
import nlbs

nlbs.Generator.from_pretrained("FOLDER").draw(n=4, seed=0).save("samples/")
```

## Data and training

{training}

## Figures

{measured}

## Licence

unknown: choose one before you share it, under the terms of the data that it was trained on, here and in the first
lines of this file.
"""


def identity(checkpoint: Path) -> str:
    """Return the ids of the files of a model: "0a1b..., flow 2c3d...".

    Raises:
        CheckpointError: one cannot be read.
    """
    fitted = [stage.path(checkpoint) for stage in stages()]
    return ", ".join(
        filter(None, (model_id(checkpoint), fitted_ids(path for path in fitted if path.exists())))
    )


def new_card(title: str, training: Parts) -> str:
    """Return a card of which nothing is measured yet.

    Args:
        title: of the model's family, in words.
        training: what is known of data and training.
    """
    bodies = _NOTHING
    measured = (f"### {MEASURED[name]}\n\n{marked(name, body)}" for name, body in bodies.items())
    return _TEXT.format(
        title=title, training=marked("training", markdown(training)), measured="\n\n".join(measured)
    )


def update_card(checkpoint: Path, title: str, training: Parts) -> Path | None:
    """Write what is known of a model's training into the card in its folder; figures of other weights go.

    Returns:
        The card; None where a README.md without marks is there, which is somebody's own.

    Raises:
        NlbsError, OSError: it cannot be written, or a file of the model cannot be read.
    """
    folder, of_model = checkpoint.parent, identity(checkpoint)
    text = read_card(folder)
    if text is None and not (folder / CARD).exists():
        text = new_card(title, training)
    elif text is None or not blocks_of(text):
        return None
    else:
        blocks = {"training": markdown(training)}
        if not is_of(text, of_model):
            blocks |= _NOTHING
        text = with_blocks(text, blocks)
    return _write(folder, text)


def complete_card(checkpoint: Path, figures: Mapping[str, Parts]) -> Path | None:
    """Write figures into the card beside a checkpoint, where that is of just these weights.

    Args:
        checkpoint: the model's file.
        figures: some of :data:`MEASURED`; the others stay as they are.

    Returns:
        The card; None where there is none of this model.

    Raises:
        NlbsError, OSError: it cannot be written, or a file of the model cannot be read.
    """
    text = read_card(checkpoint.parent)
    if text is None or not is_of(text, identity(checkpoint)):
        return None
    blocks = {name: markdown(parts) for name, parts in figures.items() if name in MEASURED}
    return _write(checkpoint.parent, with_blocks(text, blocks)) if blocks else None


def is_of(text: str, of_model: str) -> bool:
    """Return whether a card is of a model with such an :func:`identity`."""
    return any(f" {of_model} |" in body for name, body in blocks_of(text) if name == "training")


def audited(verdict: str) -> str:
    """Return the sentence of a card about memorisation, of the verdict of an audit."""
    return f"**{_VERDICT}: {verdict}.**"


def verdict_of(text: str) -> str:
    """Return the verdict about memorisation that a card gives: "not audited" where it gives none."""
    found = re.search(rf"\*\*{_VERDICT}: ([a-z ]+)\.\*\*", text)
    return found[1] if found else "not audited"


def told_filter(where: str | None) -> str:
    """Return a filter of patches as a card tells it: not one that names patients or images."""
    if where is None:
        return "all patches"
    return "some patients or images" if re.search(r"\b(patient|image)\b", where) else where


def _write(folder: Path, text: str) -> Path:
    write_card(folder, text)
    return folder / CARD
