"""The section on memorisation: held-out patches stand in for drawn ones, by halves of the patients."""

import numpy as np
import pytest

from nlbs.errors import EvaluationError
from nlbs.evaluate.sections.memorisation import _by_halves
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
