"""The section on memorisation: held-out patches stand in for drawn ones, by halves of the patients."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from nlbs.errors import EvaluationError
from nlbs.evaluate.measures.intervals import Interval
from nlbs.evaluate.report import Section, as_card
from nlbs.evaluate.sections import memorisation
from nlbs.evaluate.sections.memorisation import _by_halves, _tells_who_was_trained_on
from tests.evaluate.made_up import signed_patches


def test_held_out_patches_stand_in_for_drawn_ones_by_halves_of_the_patients() -> None:
    held_out = signed_patches(60, patients=7)
    seen: list[tuple[np.ndarray, np.ndarray]] = []
    features = held_out.patients[:, None].astype(float)
    _by_halves(lambda a, b: seen.append((a, b)), features, held_out, 0)
    one, other = (set(half.ravel()) for half in seen[0])
    assert one | other == set(held_out.patients)
    assert not one & other
    assert abs(len(one) - len(other)) <= 1
    alone = signed_patches(60, patients=1)
    with pytest.raises(EvaluationError, match="all held-out patches are of one patient"):
        _by_halves(lambda a, b: None, features, alone, 0)


def test_the_audit_is_told_whose_the_training_patches_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """Other views of the same patient are no others, whom a copy stands out from."""
    told: dict[str, Any] = {}

    def audit(*_: object, **more: object) -> None:
        told.update(more)
        raise EvaluationError("seen enough")

    monkeypatch.setattr(memorisation, "audit_copies", audit)
    train, held_out = signed_patches(12, patients=3), signed_patches(8, patients=2)
    study = SimpleNamespace(
        all_train=train,
        train_total=12,
        held_out=held_out,
        drawn=held_out.pixels,
        seed=4,
        say=lambda line: None,
    )
    section = Section("memorisation", "Memorisation")
    memorisation._add_audit(section, study)  # type: ignore[arg-type]
    assert np.array_equal(told["train_groups"], train.patients)
    assert section.figures["copies"] == {"proven": False, "verdict": "not proven", "why": "seen enough"}


def test_weights_that_tell_who_was_trained_on_are_spoken_of_also_in_the_card() -> None:
    told = _tells_who_was_trained_on(Interval(0.99, 0.97, 1.0, 0.95, 40))
    assert told is not None and "AUC of 0.99 (95% interval 0.97 to 1.00)" in told
    for silent in (
        Interval(0.62, 0.5, 0.7, 0.95, 40),
        Interval(0.9, None, None, 0.95, 2),
        None,
        "left out: no bound",
    ):
        assert _tells_who_was_trained_on(silent) is None
    section = Section("memorisation", "Memorisation", figures={"copies": {"verdict": "no copies found"}})
    section.attention.append(told)
    words = str(as_card(section, {})[""])
    assert words.startswith(
        "**Copies of training patches: no copies found.** The model's likelihood bound tells"
    )
