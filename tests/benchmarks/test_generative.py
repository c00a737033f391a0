"""The benchmarks of what is generated: their variants exist, and their figures are those of the report."""

from typing import Any

import pytest
import torch
from benchmarks.ablation import WITH, WITHOUT, changes_of
from benchmarks.generative import figures

from nlbs.cvae import ConditionalVAE
from nlbs.train.config import resolved_config


@pytest.mark.parametrize("name", [*WITHOUT, *WITH])
def test_every_part_that_is_left_out_or_added_leaves_a_model_that_differs(name: str) -> None:
    whole, changed = (
        resolved_config("nlbs-small", None, changes_of(variant)) for variant in ("nothing", name)
    )
    assert (changed == whole) == (name == "nothing")
    with torch.device("meta"):
        ConditionalVAE(changed.model, changed.data.resolution)


def value(number: float) -> dict[str, float]:
    return {"value": number, "low": number - 1, "high": number + 1}


def test_the_figures_are_those_of_the_report() -> None:
    sharp = {"exponent": value(3.0), "real_exponent": value(3.2), "top_octave_ratio": value(0.9)}
    condition: dict[str, Any] = {
        "ratio": value(0.95),
        "ceiling_auc": value(0.9),
        "generated_auc": value(0.88),
        "flip": {"moved": 0.75},
    }
    unseen = {"ratio": None, "ceiling_auc": None, "generated_auc": None, "flip": {"moved": None}}
    worth = {"real_auc": value(0.9), "synthetic_auc": value(0.8), "difference": value(-0.1)}
    copies = {
        "verdict": "no copies found",
        "planted_caught": {"flip": value(0.96)},
        "generated_flagged": value(0.01),
        "held_out_flagged": value(0.02),
        "generated_auc": value(0.5),
        "control_auc": value(0.51),
    }
    sections: dict[str, Any] = {
        "latents": {
            "nats": value(700.0), "levels": [{"nats": value(30.0)}, {"nats": value(670.0)}],
            "active_units": [{"active": 40, "total": 256}],
        },
        "realism": {
            "frechet": {"floor": 2.0, "generated": 12.0, "point_mass": 48.0, "reconstructed": 8.0,
                        "without_grain": 16.0},
            "sharpness": {"generated": sharp, "reconstructed": sharp | {"top_octave_ratio": value(0.8)}},
        },
        "control": {"view": condition, "laterality": condition, "age_bin": condition, "cancer": unseen},
        "utility": dict.fromkeys(("view", "laterality", "age_bin", "cancer"), worth),
        "memorisation": {"copies": copies, "c_t": {"drawn": 2.0, "held_out": None}},
        "reconstruction": {"dots": {"planted": {"recall": value(0.9), "chance": 0.1}}},
    }  # fmt: skip
    found = figures(sections)
    assert (found["over_point_mass"], found["over_reconstructions"], found["over_floor"]) == (0.25, 1.5, 6.0)
    assert found["over_smooth_reconstructions"] == 0.75
    assert found["exponent_minus_real"] == -0.2
    assert (found["top_octave_over_real"], found["top_octave_of_reconstructions"]) == (0.9, 0.8)
    shown = {"ratio": 0.95, "ceiling": 0.9, "drawn": 0.88, "moved_by_a_flip": 0.75}
    assert found["control"] == {
        "view": shown, "laterality": shown, "age_bin": shown, "cancer": dict.fromkeys(shown)
    }  # fmt: skip
    assert found["utility"]["cancer"] == {"real_auc": 0.9, "synthetic_auc": 0.8, "difference": -0.1}
    assert found["memorisation"] == {
        "verdict": "no copies found", "planted_caught": {"flip": 0.96}, "generated_flagged": 0.01,
        "held_out_flagged": 0.02, "generated_auc": 0.5, "control_auc": 0.51, "nearest_ratio": {}, "nearer_to_train": {},
        "c_t": {"drawn": 2.0, "held_out": None}, "auth_pct": {}, "membership_auc": {},
    }  # fmt: skip
    assert found["dots"] == {"recall_of_planted": 0.9, "by_chance": 0.1}
    assert found["nats_of_levels"] == [30.0, 670.0]
    sections["realism"]["sharpness"] = dict.fromkeys(
        ("generated", "reconstructed"), "all patches are of one grey"
    )
    of_grey = figures(sections)
    assert of_grey["exponent_minus_real"] is of_grey["top_octave_of_reconstructions"] is None
