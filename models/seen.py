"""Conditions that a model never met in training: what they do to a patch, it has not learned."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from nlbs.manifests.conditions import CONDITIONS, UNKNOWN, word_of

SEEN = "conditions"


def unseen(training: Any, codes: Mapping[str, npt.ArrayLike]) -> list[str]:
    """Return in words which values of conditions training never met: "cancer yes", "age bin known at all".

    Args:
        training: of a checkpoint's metadata; one that does not say what it met gives nothing.
        codes: what is asked for, codes of each condition, -1 for unknown.
    """
    seen = training.get(SEEN) if isinstance(training, Mapping) else None
    if not isinstance(seen, Mapping):
        return []
    found = []
    for name in CONDITIONS:
        asked = set(np.unique(np.asarray(codes[name])).tolist())
        met = seen.get(name)
        if not isinstance(met, list):
            continue
        label = name.replace("_", " ")
        new = [code for code in sorted(asked) if code not in met]
        if any(code != UNKNOWN for code in new) and all(code == UNKNOWN for code in met):
            found.append(f"{label} known at all")
        else:
            found += [f"{label} {word_of(name, code) or 'unknown'}" for code in new]
    return found


def guess(unseen: list[str]) -> str:
    """Return a sentence about what :func:`unseen` found."""
    return f"The model met no training patch with {', or with '.join(unseen)}: what it draws for that is a guess."
