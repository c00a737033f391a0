"""Conditions that a model never met in training: what they do to a patch, it has not learned."""

from collections.abc import Mapping
from typing import Any

import numpy.typing as npt

from nlbs.manifests.conditions import UNKNOWN
from nlbs.manifests.schema import Condition, Schema

SEEN = "conditions"


def unseen(training: Any, values: Mapping[str, npt.ArrayLike], schema: Schema) -> list[str]:
    """Return in words which values of conditions training never met: "cancer yes", "age bin known at all".

    Args:
        training: of a checkpoint's metadata; one that does not say what it met gives nothing.
        values: what is asked for, of each condition as :mod:`nlbs.manifests.schema` says.
        schema: the conditions of the model.
    """
    seen = training.get(SEEN) if isinstance(training, Mapping) else None
    if not isinstance(seen, Mapping):
        return []
    found = []
    for condition in schema:
        asked = condition.codes_met(values[condition.name])
        met = seen.get(condition.name)
        if not isinstance(met, list):
            continue
        new = [code for code in sorted(asked) if code not in met]
        if any(code != UNKNOWN for code in new) and all(code == UNKNOWN for code in met):
            found.append(f"{condition.label} known at all")
        else:
            found += [f"{condition.label} {_word(condition, code)}" for code in new]
    return found


def _word(condition: Condition, code: int) -> str:
    if code == UNKNOWN:
        return "unknown"
    return "known at all" if condition.kind == "continuous" else condition.values[code]


def guess(unseen: list[str]) -> str:
    """Return a sentence about what :func:`unseen` found."""
    return f"The model met no training patch with {', or with '.join(unseen)}: what it draws for that is a guess."
