"""Single patches of a set, and how sets look in a notebook."""

from pathlib import Path

import numpy as np
import pytest

from nlbs.shards import open_shards
from tests.shards.conftest import make_shard_set


def test_a_row_gives_its_pixels_and_its_conditions_in_words(tmp_path: Path) -> None:
    kept = {"density": ["A", None, "C", "D"] * 3}
    pixels = make_shard_set(tmp_path, 12, dtype="uint16", columns=kept)
    with open_shards(tmp_path) as shards:
        patch = shards[1]
        assert np.array_equal(patch.pixels, pixels[1])
        assert np.array_equal(shards[-1].pixels, pixels[11])
        assert (patch.row, shards[np.int64(-1)].row) == (1, 11)
        known = {name: word for name, word in patch.conditions.items() if word}
        assert known == {"view": "MLO", "laterality": "R", "cancer": "yes", "false_positive": "no"}
        assert patch.conditions["density"] == ""
        assert (shards[2].conditions["density"], shards[2].conditions["age_years"]) == ("C", "50")
        assert repr(patch) == (
            "Patch(16x16 uint16, row 1: view MLO, laterality R, cancer yes, false_positive no)"
        )
        assert [one.row for one in shards] == list(range(12))
        for row in (12, -13):
            with pytest.raises(IndexError, match=f"no row {row} of ShardSet"):
                shards[row]
        with pytest.raises(TypeError):
            shards["view"]  # type: ignore[index]


def test_a_notebook_shows_sets_and_patches(tmp_path: Path) -> None:
    make_shard_set(tmp_path, 12)
    with open_shards(tmp_path) as shards:
        html = shards._repr_html_()
        assert "12 of 16x16 uint8" in html
        assert "6 patches" in html  # of train
        assert html.count("data:image/png;base64,") == 1
        assert "<th style='text-align:left'>view</th>" in shards[0]._repr_html_()
